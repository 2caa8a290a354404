//! A connection of which only so much is read until its handshake is over: what a client says in it
//! is kept as long as the connection.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf, Take};

/// A connection with a bound on what is read of it; behind it, it seems to have ended.
pub struct Bounded<S>(Take<S>);

impl<S: AsyncRead> Bounded<S> {
    /// Of it that many bytes are read.
    pub fn new(stream: S, bytes: u64) -> Bounded<S> {
        Bounded(stream.take(bytes))
    }

    /// All that comes is read from now on. Whether it was more than the bound.
    pub fn unbound(&mut self) -> bool {
        let was_reached = self.0.limit() == 0;
        self.0.set_limit(u64::MAX);
        was_reached
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Bounded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Bounded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.0.get_mut()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.0.get_mut()).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.get_mut()).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.get_mut()).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_behind_the_bound_is_read_once_there_is_none() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = Bounded::new(server, 3);
        client.write_all(b"one, two").await.unwrap();
        client.shutdown().await.unwrap();
        let mut read = Vec::new();
        server.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"one");
        assert!(server.unbound());
        server.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, b"one, two");
        assert!(!server.unbound());
    }
}
