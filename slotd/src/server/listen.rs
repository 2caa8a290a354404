//! Where the server listens: a Unix socket of its owner's, TLS, or TCP on the loopback.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::{TcpListener, UnixListener};

use super::arrive::Arrived;
use super::socket::bind_for;
use super::users::Users;
use crate::client::Addr;
use crate::peer::Peer;
use crate::tls;

/// Who may connect.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// Everybody on this host, over TCP on the loopback.
    pub insecure_tcp: bool,
    /// Whose certificate this accepts.
    pub tls: Option<Arc<tls::Server>>,
    /// The group that may use the Unix socket besides its owner.
    pub socket_group: Option<u32>,
    /// Who may order something through the Unix socket.
    pub users: Users,
}

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
        "{addr}: TCP is not protected; use tls://{addr} with --tls-cert, --tls-key and --tls-ca, \
         unix:/path, or a loopback address with --insecure-tcp"
    )]
    Insecure {
        /// The address.
        addr: Addr,
    },
    /// There is no certificate to show.
    #[error("{addr} needs --tls-cert, --tls-key and --tls-ca (docs/security.md)")]
    NoCertificate {
        /// The address.
        addr: Addr,
    },
}

/// An open listening socket.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket, removed when dropped, and the users who may order something.
    Unix(UnixListener, SocketFile, Users),
    /// TCP.
    Tcp(TcpListener),
    /// TLS, under this name or address.
    Tls(TcpListener, String, Arc<tls::Server>),
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
    /// Begins to listen, for root and our own user alone.
    ///
    /// # Errors
    /// [`ListenError`]
    pub async fn bind(addr: &Addr, insecure_tcp: bool) -> Result<Listener, ListenError> {
        let access = Access {
            insecure_tcp,
            ..Access::default()
        };
        Listener::bind_for(addr, &access).await
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// [`ListenError`]
    pub async fn bind_for(addr: &Addr, access: &Access) -> Result<Listener, ListenError> {
        let io = |source| ListenError::Io {
            addr: addr.clone(),
            source,
        };
        match addr {
            Addr::Unix(path) => {
                let bound = bind_for(path, access.socket_group);
                let bound = bound.map_err(|source| match source.kind() {
                    std::io::ErrorKind::AddrInUse => ListenError::Busy { addr: addr.clone() },
                    _ => io(source),
                })?;
                let listener = UnixListener::from_std(bound).map_err(io)?;
                let file = SocketFile(path.clone());
                Ok(Listener::Unix(listener, file, access.users.clone()))
            }
            Addr::Tcp { host, port } => {
                let found: Vec<_> = tokio::net::lookup_host((host.as_str(), *port))
                    .await
                    .map_err(io)?
                    .collect();
                let safe = access.insecure_tcp
                    && !found.is_empty()
                    && found.iter().all(|a| is_loopback(a.ip()));
                if !safe {
                    return Err(ListenError::Insecure { addr: addr.clone() });
                }
                Ok(Listener::Tcp(
                    TcpListener::bind(found.as_slice()).await.map_err(io)?,
                ))
            }
            Addr::Tls { host, port } => {
                let Some(server) = &access.tls else {
                    return Err(ListenError::NoCertificate { addr: addr.clone() });
                };
                let listener = TcpListener::bind((host.as_str(), *port)).await;
                let listener = listener.map_err(io)?;
                Ok(Listener::Tls(listener, host.clone(), Arc::clone(server)))
            }
        }
    }

    /// The address that a client can use.
    ///
    /// # Errors
    /// The system's.
    pub fn addr(&self) -> std::io::Result<Addr> {
        Ok(match self {
            Listener::Unix(_, socket, _) => Addr::Unix(socket.0.clone()),
            Listener::Tcp(listener) => {
                let local = listener.local_addr()?;
                Addr::Tcp {
                    host: local.ip().to_string(),
                    port: local.port(),
                }
            }
            // By the name that the certificate has.
            Listener::Tls(listener, host, _) => Addr::Tls {
                host: host.clone(),
                port: listener.local_addr()?.port(),
            },
        })
    }

    /// The next connection, and whose it is.
    pub(super) async fn accept(&self) -> std::io::Result<(Arrived, Peer)> {
        let address = |from: SocketAddr| Peer::Address(from.ip().to_canonical());
        Ok(match self {
            Listener::Unix(listener, _, users) => {
                let (stream, _) = listener.accept().await?;
                let peer = stream.peer_cred().map(|of| Peer::User(of.uid()));
                let arrived = Arrived::Unix(stream, users.clone());
                (arrived, peer.unwrap_or_default())
            }
            Listener::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                (Arrived::Tcp(stream, from), address(from))
            }
            Listener::Tls(listener, _, server) => {
                let (stream, from) = listener.accept().await?;
                let arrived = Arrived::Tls(stream, from, Arc::clone(server));
                (arrived, address(from))
            }
        })
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    ip.is_loopback()
}
