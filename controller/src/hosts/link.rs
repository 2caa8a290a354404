//! The connection to one host's slotd, kept from command to command.

use std::sync::Arc;

use slotd::client::{Client, ClientError};
use slotd::protocol::{Code, Command, Reply};

use super::connect::Connect;
use crate::two_phase::{Reason, Side};

/// A connection to a host, made when it is needed.
pub(crate) struct Link {
    side: Side,
    connect: Arc<dyn Connect>,
    client: Option<Client>,
    /// Whether a command was answered on this connection.
    used: bool,
}

impl Link {
    pub(crate) fn new(side: Side, connect: &Arc<dyn Connect>) -> Self {
        Self {
            side,
            connect: Arc::clone(connect),
            client: None,
            used: false,
        }
    }

    pub(crate) fn side(&self) -> Side {
        self.side
    }

    /// Sends a command and waits for its reply. Once another coordinator has taken over, which any
    /// host may say, nothing is sent to any.
    ///
    /// # Errors
    /// No connection, or no reply; the next call connects anew.
    pub(crate) async fn call(&mut self, command: &Command) -> Result<Reply, ClientError> {
        if let Some(text) = self.connect.fenced() {
            self.client = None;
            let code = Code::Fenced;
            return Err(ClientError::Refused { code, text });
        }
        let client = match &mut self.client {
            Some(client) => client,
            slot => slot.insert(self.connect.connect(self.side).await?),
        };
        let result = client.call(command).await;
        if let Ok(Reply::No { code, text }) = &result
            && *code == Code::Fenced
        {
            self.connect.fence(text);
        }
        self.used = result.is_ok();
        if result.is_err() {
            self.client = None;
        }
        result
    }

    /// As [`Link::call`] for commands that change nothing, or begin something: if the connection
    /// had been idle and has ended since, as at a restart of the slotd, another one is tried at
    /// once.
    ///
    /// # Errors
    /// As [`Link::call`].
    pub(crate) async fn call_again(&mut self, command: &Command) -> Result<Reply, ClientError> {
        let used = self.used && self.client.is_some();
        let result = self.call(command).await;
        if used && matches!(&result, Err(e) if is_closed(e)) {
            return self.call(command).await;
        }
        result
    }
}

/// Whether the host has it, and on another partition than it was asked for.
pub(crate) fn is_elsewhere(result: &Result<Reply, ClientError>) -> bool {
    let code = Code::Elsewhere;
    matches!(result, Ok(Reply::No { code: c, .. }) if *c == code)
}

/// A sentence that does not blame the host.
pub(crate) fn local(error: &ClientError) -> String {
    format!("this controller cannot make another connection: {error}")
}

fn is_closed(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Io { .. } | ClientError::Closed { .. } | ClientError::Broken { .. }
    )
}

/// The class of a code.
pub(crate) fn reason_of(code: Code) -> Reason {
    match code {
        Code::NoMailbox => Reason::NoMailbox,
        Code::Locked => Reason::Locked,
        Code::Unmounted => Reason::Unmounted,
        Code::Damaged => Reason::Damaged,
        Code::NoMessage => Reason::NoMessage,
        Code::Differs => Reason::Differs,
        Code::NoSpace => Reason::NoSpace,
        Code::Io => Reason::Io,
        Code::Denied => Reason::Denied,
        Code::Draining => Reason::Draining,
        Code::Full => Reason::Full,
        Code::Elsewhere => Reason::Elsewhere,
        Code::TwoPlaces => Reason::TwoPlaces,
        Code::Unsupported => Reason::Unsupported,
        Code::Incomplete => Reason::Incomplete,
        Code::State | Code::TooLate | Code::Expired => Reason::Expired,
        Code::Served => Reason::Served,
        Code::Fenced => Reason::Fenced,
        Code::Unfenced => Reason::Unfenced,
        Code::Busy => Reason::Busy,
        _ => Reason::Protocol,
    }
}
