//! Where the server listens: a Unix socket of its owner's alone, or TCP on the loopback.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::socket::bind_private;
use crate::client::{Addr, Stream};
use crate::peer::Peer;

/// When a silent TCP peer is asked whether it is there, how often then, and how often in vain.
const PROBE_AFTER: Duration = Duration::from_secs(30);
const PROBE_EVERY: Duration = Duration::from_secs(10);
const PROBES: u32 = 3;

/// Why it cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// The system's reason.
    #[error("cannot listen on {addr}: {source}")]
    Io {
        /// The address.
        addr: Addr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Another server answers on this socket.
    #[error("another server listens on {addr}")]
    Busy {
        /// The address.
        addr: Addr,
    },
    /// TCP has no protection of its own.
    #[error(
        "{addr}: TCP is not protected; use unix:/path, or a loopback address with --insecure-tcp"
    )]
    Insecure {
        /// The address.
        addr: Addr,
    },
}

/// An open listening socket.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket, removed when dropped.
    Unix(UnixListener, SocketFile),
    /// TCP.
    Tcp(TcpListener),
}

/// The name of our Unix socket.
#[derive(Debug)]
pub struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        // If it cannot be removed, the next server finds that nobody answers on it.
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Listener {
    /// Begins to listen.
    ///
    /// # Errors
    /// [`ListenError`]
    pub async fn bind(addr: &Addr, insecure_tcp: bool) -> Result<Listener, ListenError> {
        let io = |source| ListenError::Io {
            addr: addr.clone(),
            source,
        };
        match addr {
            Addr::Unix(path) => {
                let bound = bind_private(path).map_err(|source| match source.kind() {
                    std::io::ErrorKind::AddrInUse => ListenError::Busy { addr: addr.clone() },
                    _ => io(source),
                })?;
                let listener = UnixListener::from_std(bound).map_err(io)?;
                Ok(Listener::Unix(listener, SocketFile(path.clone())))
            }
            Addr::Tcp { host, port } => {
                let found: Vec<_> = tokio::net::lookup_host((host.as_str(), *port))
                    .await
                    .map_err(io)?
                    .collect();
                let safe =
                    insecure_tcp && !found.is_empty() && found.iter().all(|a| is_loopback(a.ip()));
                if !safe {
                    return Err(ListenError::Insecure { addr: addr.clone() });
                }
                Ok(Listener::Tcp(
                    TcpListener::bind(found.as_slice()).await.map_err(io)?,
                ))
            }
        }
    }

    /// The address that a client can use.
    ///
    /// # Errors
    /// The system's.
    pub fn addr(&self) -> std::io::Result<Addr> {
        Ok(match self {
            Listener::Unix(_, socket) => Addr::Unix(socket.0.clone()),
            Listener::Tcp(listener) => {
                let local = listener.local_addr()?;
                Addr::Tcp {
                    host: local.ip().to_string(),
                    port: local.port(),
                }
            }
        })
    }

    /// The next connection, and whose it is.
    pub(super) async fn accept(&self) -> std::io::Result<(Box<dyn Stream>, Peer)> {
        Ok(match self {
            Listener::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let peer = stream.peer_cred().map(|of| Peer::User(of.uid()));
                (Box::new(stream), peer.unwrap_or_default())
            }
            Listener::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                stream.set_nodelay(true)?;
                notice_a_dead_peer(&stream)?;
                (Box::new(stream), Peer::Address(from.ip().to_canonical()))
            }
        })
    }
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

fn is_loopback(ip: IpAddr) -> bool {
    ip.is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt;

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
}
