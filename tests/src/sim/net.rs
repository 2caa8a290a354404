//! The simulated network, as the controller sees it.

use std::time::Duration;

use controller::run::{BoxFuture, Connect};
use controller::two_phase::Side;
use slotd::client::{Addr, Client, ClientError, Timeouts};
use turmoil::net::TcpStream;

use super::host::PORT;
use super::storm::HOSTS;

/// Connections to both hosts.
pub(super) struct Net;

fn timeouts() -> Timeouts {
    Timeouts {
        connect: Duration::from_millis(200),
        call: Duration::from_millis(400),
        work: Duration::from_millis(500),
    }
}

impl Connect for Net {
    fn connect(&self, side: Side) -> BoxFuture<'_, Result<Client, ClientError>> {
        let host = HOSTS[side.index()];
        let addr = Addr::Tcp {
            host: host.to_owned(),
            port: PORT,
        };
        Box::pin(async move {
            let connected =
                tokio::time::timeout(timeouts().connect, TcpStream::connect((host, PORT)));
            let stream = match connected.await {
                Ok(Ok(stream)) => stream,
                Ok(Err(source)) => return Err(ClientError::Connect { addr, source }),
                Err(_) => {
                    let source = std::io::Error::from(std::io::ErrorKind::TimedOut);
                    return Err(ClientError::Connect { addr, source });
                }
            };
            Ok(Client::from_stream(Box::new(stream), addr, timeouts()))
        })
    }

    fn address(&self, side: Side) -> Option<String> {
        Some(format!("{}:{PORT}", HOSTS[side.index()]))
    }
}
