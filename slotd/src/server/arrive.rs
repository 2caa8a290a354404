//! A connection that was accepted, before it is known who is at its other end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::unistd::{Uid, User};
use tokio::net::{TcpStream, UnixStream};

use super::caller::Caller;
use super::users::Users;
use crate::audit;
use crate::client::Stream;
use crate::peer::Who;
use crate::protocol::{Code, Reply, Role};
use crate::tls::{self, Cut, MAX_CHAIN, NoHandshake};

/// What a client did that is refused before its first command, for the audit.
const CONNECT: &str = "CONNECT";

/// When a silent TCP peer is asked whether it is there, how often then, and how often in vain.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// A connection, and by what it is known who made it.
pub(super) enum Arrived {
    /// The user behind it, who must be one of these.
    Unix(UnixStream, Users),
    /// Nothing.
    Tcp(TcpStream, SocketAddr),
    /// A certificate.
    Tls(TcpStream, SocketAddr, Arc<tls::Server>),
}

/// What became of it.
pub(super) enum Met {
    /// It may order what its role may.
    Caller(Box<dyn Stream>, Caller),
    /// It may order nothing, and gets a line that says so.
    Refused(Box<dyn Stream>, Reply),
    /// It is gone, or may not even get a line.
    Gone,
}

impl Met {
    /// The connection, where there still is one.
    pub(super) fn into_stream(self) -> Option<Box<dyn Stream>> {
        match self {
            Met::Caller(stream, _) | Met::Refused(stream, _) => Some(stream),
            Met::Gone => None,
        }
    }
}

impl Arrived {
    /// Whether nothing can be said before a handshake.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self, Arrived::Tls(..))
    }

    /// Finds out who it is, within the time of a handshake.
    pub(super) async fn meet(self) -> Met {
        match self {
            Arrived::Unix(stream, allowed) => meet_user(stream, &allowed),
            Arrived::Tcp(stream, addr) => match prepare(&stream) {
                Ok(()) => {
                    let caller = Caller::new(Who::Address(addr), Role::Controller);
                    Met::Caller(Box::new(stream), caller)
                }
                Err(error) => gone(&addr.to_string(), &error),
            },
            Arrived::Tls(stream, addr, server) => {
                if let Err(error) = prepare(&stream) {
                    return gone(&addr.to_string(), &error);
                }
                let failed = match server.accept(stream, addr).await {
                    Ok(accepted) => return meet_holder(accepted),
                    Err(failed) => failed,
                };
                let (NoHandshake::Refused(why) | NoHandshake::Other(why)) = &failed;
                // Anybody who reaches the port could fill the log.
                server.failed().say(
                    || format!("{addr}: {why}"),
                    || match &failed {
                        NoHandshake::Refused(why) => {
                            audit::turned_away(&Who::Address(addr), (CONNECT, why));
                        }
                        NoHandshake::Other(why) => {
                            tracing::warn!("{addr}: no connection: {why}");
                        }
                    },
                );
                Met::Gone
            }
        }
    }
}

fn gone(who: &str, error: &std::io::Error) -> Met {
    tracing::warn!("{who}: no connection: {error}");
    Met::Gone
}

fn meet_user(stream: UnixStream, allowed: &Users) -> Met {
    let user = match stream.peer_cred() {
        Ok(user) => user,
        Err(error) => return gone("a process of this host", &error),
    };
    let (uid, pid) = (user.uid(), user.pid().unwrap_or_default());
    let who = Who::Process { uid, pid };
    if let Some(listed) = allowed.listed(uid) {
        let (until, whose) = (listed.clone(), who.clone());
        let until = async move {
            until.until_out().await;
            audit::turned_away(&whose, ("CONNECTION", &may_order_nothing(uid)));
        };
        let caller = Caller::new(who, Role::Controller).until(move || listed.is_out());
        return Met::Caller(Box::new(Cut::new(stream, until)), caller);
    }
    let text = may_order_nothing(uid);
    audit::turned_away(&who, (CONNECT, &text));
    Met::Refused(Box::new(stream), Reply::no(Code::Denied, text))
}

fn may_order_nothing(uid: u32) -> String {
    let name = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    let name = name.map_or_else(|| uid.to_string(), |user| user.name);
    format!(
        "user {name} may order nothing here: root may, the user that slotd runs as, and those of \
         --allow-user"
    )
}

fn meet_holder(accepted: tls::Accepted) -> Met {
    let tls::Accepted {
        stream,
        who,
        role,
        chain_bytes,
        mut standing,
    } = accepted;
    let stream = Box::new(stream);
    let role = match (role, chain_bytes) {
        (Some(role), 0..=MAX_CHAIN) => Ok(role),
        (Some(_), bytes) => Err(format!(
            "the certificates that are shown have {bytes} bytes, and may have {MAX_CHAIN}"
        )),
        (None, _) => Err(
            "the certificate does not say what its holder is: one role is needed among its \
             alternative names (certs issue)"
                .to_owned(),
        ),
    };
    let role = match role {
        Ok(role) => role,
        Err(text) => {
            audit::turned_away(&who, (CONNECT, &text));
            return Met::Refused(stream, Reply::no(Code::Denied, text));
        }
    };
    let caller = Caller::new(who, role).until(move || standing.refused().is_some());
    Met::Caller(stream, caller)
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    notice_a_dead_peer(stream)
}

/// A peer that vanished without a word (a cut line, a host that was switched off) sends no end of
/// file. The kernel asks it now and then, and ends the connection when no answer comes, or what was
/// sent is not acknowledged.
fn notice_a_dead_peer(stream: &TcpStream) -> std::io::Result<()> {
    use rustix::net::sockopt;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, PROBE_AFTER)?;
    sockopt::set_tcp_keepintvl(stream, PROBE_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, PROBES)?;
    let limit = PROBE_AFTER + PROBE_EVERY * PROBES;
    let limit = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
    Ok(sockopt::set_tcp_user_timeout(stream, limit)?)
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_tcp_peer_that_vanished_is_asked_for_and_given_up_after_a_minute() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let _peer = TcpStream::connect(addr).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        assert!(!sockopt::socket_keepalive(&stream).unwrap());
        notice_a_dead_peer(&stream).unwrap();
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), PROBE_AFTER);
        assert_eq!(sockopt::tcp_keepintvl(&stream).unwrap(), PROBE_EVERY);
        assert_eq!(sockopt::tcp_keepcnt(&stream).unwrap(), PROBES);
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 60_000);
    }

    #[tokio::test]
    async fn a_user_who_may_order_nothing_is_told_why() {
        let own = rustix::process::geteuid().as_raw();
        let (ours, _theirs) = UnixStream::pair().unwrap();
        assert!(matches!(
            meet_user(ours, &Users::only(&[own])),
            Met::Caller(..)
        ));
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let (met, log) = crate::audit::tests::logged(|| meet_user(ours, &Users::only(&[own + 1])));
        let Met::Refused(_, Reply::No { code, text }) = met else {
            panic!("it was let in");
        };
        let pid = std::process::id();
        let wanted =
            format!("audit who=uid:{own} pid={pid} what=CONNECT result=NO:DENIED why=user");
        assert!(log.contains(&wanted), "{log}");
        assert_eq!(code, Code::Denied);
        assert!(text.contains("may order nothing here"), "{text}");
        assert!(text.contains("--allow-user"), "{text}");
    }

    #[tokio::test]
    async fn an_open_connection_ends_once_its_user_is_taken_off_the_list() {
        let own = rustix::process::geteuid().as_raw();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let users = Users::only(&[own, own + 1]);
        let Met::Caller(mut stream, mut caller) = meet_user(ours, &users) else {
            panic!("it was not let in");
        };
        users.replace_all(vec![own]);
        theirs.try_write(b"a").unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'a');
        assert!(!caller.is_out());
        users.replace_all(vec![own + 1]);
        // Before anything of it is read: what it had sent is not done.
        assert!(caller.is_out());
        theirs.try_write(b"b").unwrap();
        let end = stream.read_u8().await.unwrap_err();
        assert_eq!(end.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}
