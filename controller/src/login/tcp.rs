//! A TCP connection to a host by its name.

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::HostPort;
use super::error::LinkError;

/// What both a TCP connection and one by TLS are.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Debug + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Debug + Send + Unpin> Stream for T {}

/// Connects to the first of the host's addresses where a server listens; with whether that is
/// loopback. `limit` is for each of the addresses, and for the look-up of the name.
pub(crate) async fn connect(
    place: &HostPort,
    limit: Duration,
) -> Result<(TcpStream, bool), LinkError> {
    let doing = "the look-up of its name";
    let found = tokio::net::lookup_host((place.host.as_str(), place.port));
    let found = timeout(limit, found).await;
    let found = found.map_err(|_| LinkError::Timeout { doing, limit })?;
    let found = found.map_err(LinkError::Resolve)?;
    let mut last = LinkError::Resolve(io::Error::other("it has no address"));
    for addr in found {
        match timeout(limit, TcpStream::connect(addr)).await {
            Ok(Ok(stream)) => {
                // A command is one write; its answer is waited for.
                let _ = stream.set_nodelay(true);
                return Ok((stream, addr.ip().to_canonical().is_loopback()));
            }
            Ok(Err(error)) => last = LinkError::Connect(error),
            Err(_) => {
                let doing = "connect";
                last = LinkError::Timeout { doing, limit };
            }
        }
    }
    Err(last)
}
