//! One page by HTTP: `GET /metrics`, and nothing else.
//!
//! A few lines of HTTP/1.0 and no server of a library: a request is a line that is read, its
//! headers are read and ignored, and each connection is closed after its answer. So nothing of it
//! has to be kept up. Everything has a bound: the bytes that are read, the connections at once, the
//! time of each.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Longest request, bytes.
const MAX_REQUEST: usize = 8 << 10;
/// Connections at once; others wait in the kernel's queue.
const CONNECTIONS: usize = 8;
/// From the connection to the end of its answer.
const LIMIT: Duration = Duration::from_secs(10);

/// What the page is.
const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Where a page is served: `PORT` or `ADDRESS:PORT`. Without an address it is the loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetricsAddr(SocketAddr);

/// Why a text is no such place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("PORT, 127.0.0.1:PORT or another ADDRESS:PORT of this machine is expected")]
pub struct MetricsAddrError;

impl FromStr for MetricsAddr {
    type Err = MetricsAddrError;

    fn from_str(text: &str) -> Result<MetricsAddr, MetricsAddrError> {
        let port = text.strip_prefix("localhost:").unwrap_or(text);
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let is_digits = port.bytes().all(|b| b.is_ascii_digit());
        match port.parse().ok().filter(|_| is_digits) {
            Some(port) => Ok(MetricsAddr(loopback(port))),
            None => text.parse().map(MetricsAddr).map_err(|_| MetricsAddrError),
        }
    }
}

impl std::fmt::Display for MetricsAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl MetricsAddr {
    /// Begins to listen. Must be called on a runtime.
    ///
    /// # Errors
    /// The system's.
    pub fn bind(self) -> std::io::Result<TcpListener> {
        let listener = std::net::TcpListener::bind(self.0)?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    }
}

/// Answers with pages until it is dropped; where none can be made, with 503.
pub async fn serve<F, P>(listener: TcpListener, page: F)
where
    F: Fn() -> P + Send + Sync + 'static,
    P: Future<Output = Option<String>> + Send,
{
    serve_within(LIMIT, listener, page).await;
}

async fn serve_within<F, P>(limit: Duration, listener: TcpListener, page: F)
where
    F: Fn() -> P + Send + Sync + 'static,
    P: Future<Output = Option<String>> + Send,
{
    let (page, places) = (Arc::new(page), Arc::new(Semaphore::new(CONNECTIONS)));
    loop {
        // It is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, _)) => {
                let page = Arc::clone(&page);
                tokio::spawn(async move {
                    // Who goes away, or says nothing, gets no page.
                    let _ = timeout(limit, answer(stream, page.as_ref())).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("metrics: accept: {error}");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn answer<P: Future<Output = Option<String>>>(
    mut stream: TcpStream,
    page: &(impl Fn() -> P + Sync),
) -> std::io::Result<()> {
    let request = head(&mut stream).await?;
    let made = match wanted(&request) {
        Ok(()) => page().await.ok_or("503 Service Unavailable"),
        Err(status) => Err(status),
    };
    let (status, kind, body) = match made {
        Ok(page) => ("200 OK", CONTENT_TYPE, page),
        Err(status) => (status, "text/plain; charset=utf-8", format!("{status}\n")),
    };
    let allow = if status.starts_with("405") {
        "Allow: GET\r\n"
    } else {
        ""
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.0 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{allow}\
         Connection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// The request up to the empty line behind its headers, or as much of it as is read.
async fn head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let (mut request, mut piece) = (Vec::new(), [0; 1024]);
    loop {
        let got = stream.read(&mut piece).await?;
        request.extend_from_slice(&piece[..got]);
        let ended = [&b"\r\n\r\n"[..], b"\n\n"]
            .iter()
            .any(|end| request.windows(end.len()).any(|at| at == *end));
        if got == 0 || ended || request.len() >= MAX_REQUEST {
            return Ok(request);
        }
    }
}

/// Whether this asks for the page; else what is answered.
fn wanted(request: &[u8]) -> Result<(), &'static str> {
    if request.len() >= MAX_REQUEST {
        return Err("431 Request Header Fields Too Large");
    }
    let line = request.split(|b| *b == b'\n').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let words: Vec<&str> = line.split_whitespace().collect();
    let [method, path, version] = words.as_slice() else {
        return Err("400 Bad Request");
    };
    if !version.starts_with("HTTP/1.") {
        return Err("400 Bad Request");
    }
    if path.split('?').next() != Some("/metrics") {
        return Err("404 Not Found");
    }
    if *method != "GET" {
        return Err("405 Method Not Allowed");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn asked(request: &[u8]) -> String {
        asked_of(|| async { Some("page\n".to_owned()) }, request).await
    }

    async fn asked_of<P: Future<Output = Option<String>> + Send + 'static>(
        page: impl Fn() -> P + Send + Sync + 'static,
        request: &[u8],
    ) -> String {
        let addr: MetricsAddr = "0".parse().unwrap();
        let listener = addr.bind().unwrap();
        let at = listener.local_addr().unwrap();
        assert!(at.ip().is_loopback());
        let server = tokio::spawn(serve(listener, page));
        let mut stream = TcpStream::connect(at).await.unwrap();
        // It may be refused before all of it is sent.
        let _ = stream.write_all(request).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        server.abort();
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn a_get_of_the_page_is_answered_and_nothing_else_is() {
        let page = asked(b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n").await;
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.0 200 OK\r\n"), "{head}");
        assert!(
            head.contains(&format!("Content-Type: {CONTENT_TYPE}")),
            "{head}"
        );
        assert!(head.contains("Content-Length: 5"), "{head}");
        assert_eq!(body, "page\n");
        for (request, status) in [
            (&b"GET / HTTP/1.0\r\n\r\n"[..], "404"),
            (b"GET /metrics/../etc HTTP/1.0\r\n\r\n", "404"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "405"),
            (b"GET /metrics\r\n\r\n", "400"),
            (b"GET /metrics SPDY/3\r\n\r\n", "400"),
            (b"\x16\x03\x01\r\n\r\n", "400"),
        ] {
            let answer = asked(request).await;
            let expected = format!("HTTP/1.0 {status} ");
            assert!(answer.starts_with(&expected), "{request:?}: {answer}");
        }
        assert!(
            asked_of(|| async { None }, b"GET /metrics HTTP/1.1\r\n\r\n")
                .await
                .starts_with("HTTP/1.0 503 ")
        );
        let long = [
            b"GET /metrics HTTP/1.1\r\n".as_slice(),
            &[b'x'; MAX_REQUEST],
        ]
        .concat();
        let answer = asked(&long[..MAX_REQUEST]).await;
        assert!(answer.starts_with("HTTP/1.0 431 "), "{answer}");
    }

    #[tokio::test]
    async fn who_says_nothing_is_cut_off_and_keeps_nobody_waiting_for_long() {
        let addr: MetricsAddr = "127.0.0.1:0".parse().unwrap();
        let listener = addr.bind().unwrap();
        let at = listener.local_addr().unwrap();
        let limit = Duration::from_millis(500);
        let server = tokio::spawn(serve_within(limit, listener, || async {
            Some("page\n".to_owned())
        }));
        let mut silent = Vec::new();
        for _ in 0..2 * CONNECTIONS {
            silent.push(TcpStream::connect(at).await.unwrap());
        }
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.0\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("page\n"), "{answer}");
        server.abort();
    }

    #[test]
    fn without_an_address_it_is_the_loopback() {
        let at = |text: &str| text.parse::<MetricsAddr>().map(|at| at.to_string());
        assert_eq!(at("9464").as_deref(), Ok("127.0.0.1:9464"));
        assert_eq!(at("localhost:9464").as_deref(), Ok("127.0.0.1:9464"));
        assert_eq!(at("0.0.0.0:9464").as_deref(), Ok("0.0.0.0:9464"));
        assert_eq!(at("[::1]:9464").as_deref(), Ok("[::1]:9464"));
        for bad in [
            "",
            ":9464",
            "mail1:9464",
            "127.0.0.1",
            "+1",
            "70000",
            "unix:/x",
        ] {
            assert!(at(bad).is_err(), "{bad}");
        }
    }
}
