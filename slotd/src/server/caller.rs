//! Who is at the other end of a connection, and what it may order.

use crate::audit;
use crate::peer::Who;
use crate::protocol::{Code, Command, Reply, Role};

/// The other end of a connection.
pub(super) struct Caller {
    who: Who,
    role: Role,
    /// Whether it may order nothing any more.
    is_out: Option<Box<dyn FnMut() -> bool + Send>>,
}

impl Caller {
    pub(super) fn new(who: Who, role: Role) -> Caller {
        tracing::info!("connected, as a {role}: {who}");
        Caller {
            who,
            role,
            is_out: None,
        }
    }

    /// The same, of one whose certificate may be revoked, or whose user be taken off the list:
    /// `is_out` says so then.
    pub(super) fn until(mut self, is_out: impl FnMut() -> bool + Send + 'static) -> Caller {
        self.is_out = Some(Box::new(is_out));
        self
    }

    /// Who it is, for the audit.
    pub(super) fn who(&self) -> &Who {
        &self.who
    }

    /// Whether it may order nothing any more: what it had sent before is not done either.
    pub(super) fn is_out(&mut self) -> bool {
        self.is_out.as_mut().is_some_and(|is_out| is_out())
    }

    /// The answer to a command that it may not send.
    pub(super) fn refusal(&self, command: &Command) -> Option<Reply> {
        if self.role.may(command) {
            return None;
        }
        let name = command.name();
        let text = format!(
            "{name} is not for a {}: another certificate is needed (certs issue --role controller)",
            self.role
        );
        let reply = Reply::no(Code::Denied, text);
        audit::refused(&self.who, command, &reply);
        Some(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_a_role_may_not_send_is_a_line_of_the_audit() {
        let who = Who::Holder {
            name: "watch".to_owned(),
            role: Some(Role::Viewer),
            serial: "2a".to_owned(),
            address: "10.0.0.1:4711".parse().unwrap(),
        };
        let caller = Caller::new(who, Role::Viewer);
        let refusal = |line: &str| caller.refusal(&Command::parse(line.as_bytes()).unwrap());
        let (reply, log) = audit::tests::logged(|| refusal("LOCK user.joe wait_ms=9"));
        assert!(matches!(
            reply,
            Some(Reply::No {
                code: Code::Denied,
                ..
            })
        ));
        let wanted = "audit who=cert:watch role=viewer serial=2a address=10.0.0.1:4711 what=LOCK \
                      mailbox=user.joe args=wait_ms%3D9 result=NO:DENIED\n";
        assert!(log.ends_with(wanted), "{log}");
        // What only looks is refused with a line as well, and what it may send has none here.
        let (reply, log) = audit::tests::logged(|| refusal("SHA1S user.joe"));
        assert!(reply.is_some() && log.contains(" what=SHA1S "), "{log}");
        let (reply, log) = audit::tests::logged(|| refusal("STATUS user.joe"));
        assert!(reply.is_none() && log.is_empty(), "{log}");
    }
}
