//! Who is at the other end of a connection, and what it may order.

use crate::protocol::{Code, Command, Reply, Role};
use crate::tls::Standing;

/// The other end of a connection.
pub(super) struct Caller {
    /// For the log.
    who: String,
    role: Role,
    /// Of a certificate: whether it still counts.
    standing: Option<Standing>,
}

impl Caller {
    pub(super) fn new(who: String, role: Role) -> Caller {
        tracing::info!("{who}: connected, as a {role}");
        Caller {
            who,
            role,
            standing: None,
        }
    }

    /// The same, of one whose certificate may be revoked.
    pub(super) fn while_it_counts(mut self, standing: Standing) -> Caller {
        self.standing = Some(standing);
        self
    }

    /// Whether its certificate counts no more: what it had sent before is not done either.
    pub(super) fn is_out(&mut self) -> bool {
        self.standing
            .as_mut()
            .is_some_and(|standing| standing.refused().is_some())
    }

    /// The answer to a command that it may not send.
    pub(super) fn refusal(&self, command: &Command) -> Option<Reply> {
        if self.role.may(command) {
            return None;
        }
        let name = command.name();
        tracing::warn!("{}: {name} is refused: it is a {}", self.who, self.role);
        let text = format!(
            "{name} is not for a {}: another certificate is needed (certs issue --role controller)",
            self.role
        );
        Some(Reply::no(Code::Denied, text))
    }
}
