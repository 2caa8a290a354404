//! A connection that somebody else can end.
//!
//! It ends as if the other end had closed it: reads find the end, and writes fail. What that means
//! for an open transaction is known already where connections are served.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection, and what ends it.
pub struct Cut<S> {
    stream: S,
    /// `None` once it has ended.
    until: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<S> Cut<S> {
    /// It ends with that future.
    pub fn new(stream: S, until: impl Future<Output = ()> + Send + 'static) -> Cut<S> {
        Cut {
            stream,
            until: Some(Box::pin(until)),
        }
    }

    fn is_cut(&mut self, context: &mut Context<'_>) -> bool {
        if let Some(until) = &mut self.until
            && until.as_mut().poll(context).is_ready()
        {
            self.until = None;
        }
        self.until.is_none()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Cut<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_cut(context) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Cut<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.until.is_none() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_is_cut_wakes_its_reader_and_sends_nothing_more() {
        let (mut client, server) = tokio::io::duplex(64);
        let (cut, until) = oneshot::channel::<()>();
        let mut server = Cut::new(server, async move {
            let _ = until.await;
        });
        client.write_all(b"one").await.unwrap();
        let mut read = [0; 8];
        assert_eq!(server.read(&mut read).await.unwrap(), 3);
        server.write_all(b"two").await.unwrap();
        let waiting = tokio::spawn(async move {
            let got = server.read(&mut [0; 8]).await.unwrap();
            (got, server)
        });
        tokio::task::yield_now().await;
        cut.send(()).unwrap();
        let (got, mut server) = waiting.await.unwrap();
        assert_eq!(got, 0);
        assert!(server.write_all(b"three").await.is_err());
        // What was sent before the end arrives, and nothing else.
        drop(server);
        let mut all = Vec::new();
        client.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"two");
    }
}
