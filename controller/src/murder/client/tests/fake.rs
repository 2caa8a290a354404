//! The fake server: it listens on loopback, and each connection is a script.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::login::{Password, Security};
use crate::murder::client::{Client, MurderError, Settings, Timeouts};
use crate::observer::Observer;

pub(super) const BANNER: &str = "* AUTH \"PLAIN\"\r\n* COMPRESS \"DEFLATE\"\r\n* PARTIAL-UPDATE\r\n\
    * OK MUPDATE \"mupdate.test\" \"Cyrus IMAP\" \"3.6.1\" \"(master)\"\r\n";
/// What a client sends to log in.
pub(super) const LOGIN: &str = "1 AUTHENTICATE \"PLAIN\" \"AG11cGRhdGVhZG1pbgBzZWNyZXQ=\"";
pub(super) const AUTHENTICATED: &str = "1 OK \"Authenticated\"\r\n";

pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The server's end of a connection.
pub(super) struct End {
    stream: BufReader<Box<dyn Stream>>,
    pub(super) heard: Arc<Mutex<Vec<String>>>,
}

impl End {
    pub(super) fn new(stream: Box<dyn Stream>, heard: &Arc<Mutex<Vec<String>>>) -> Self {
        Self {
            stream: BufReader::new(stream),
            heard: Arc::clone(heard),
        }
    }

    pub(super) fn into_stream(self) -> Box<dyn Stream> {
        self.stream.into_inner()
    }

    /// The client may be gone already.
    pub(super) async fn say(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref()).await;
        let _ = self.stream.flush().await;
    }

    /// A line, without its end; empty if there is none any more.
    pub(super) async fn hear(&mut self) -> String {
        let mut line = String::new();
        let _ = self.stream.read_line(&mut line).await;
        let line = line.trim_end().to_owned();
        self.heard.lock().push(line.clone());
        line
    }

    pub(super) async fn log_in(&mut self) {
        self.say(BANNER).await;
        assert_eq!(self.hear().await, LOGIN);
        self.say(AUTHENTICATED).await;
    }

    /// Answers a command, whose tag stands in the answer as `TAG`.
    pub(super) async fn answer(&mut self, answer: &str) {
        let line = self.hear().await;
        let tag = line.split(' ').next().unwrap_or_default();
        self.say(answer.replace("TAG", tag)).await;
    }
}

/// The server.
pub(super) struct Fake {
    pub(super) port: u16,
    pub(super) heard: Arc<Mutex<Vec<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Fake {
    /// Serves every connection by that script, one after the other.
    pub(super) async fn start<F>(script: impl Fn(End) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let stream: TcpStream = stream;
                script(End::new(Box::new(stream), &all)).await;
            }
        });
        Self { port, heard, task }
    }

    /// Says `said` to every connection and closes it, or else hears until the client does.
    pub(super) async fn saying(
        said: impl AsRef<[u8]> + Send + Sync + 'static,
        closes: bool,
    ) -> Self {
        let said = Arc::new(said);
        Self::start(move |mut end| {
            let said = Arc::clone(&said);
            async move {
                end.say(said.as_ref().as_ref()).await;
                while !closes && !end.hear().await.is_empty() {}
            }
        })
        .await
    }

    pub(super) fn settings(&self) -> Settings {
        self.settings_with(&Security::default())
    }

    pub(super) fn settings_with(&self, security: &Security) -> Settings {
        settings(self.port, security)
    }

    pub(super) async fn client(&self) -> Result<Client, MurderError> {
        Client::connect(&self.settings()).await
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(super) fn settings(port: u16, security: &Security) -> Settings {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "secret\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let password = Password::from_file(&file).unwrap();
    let address = format!("mupdate://127.0.0.1:{port}").parse().unwrap();
    Settings::new(address, "mupdateadmin", password, security).unwrap()
}

/// So short that a server which says nothing is soon given up; one that answers may be given up
/// too, on a busy machine.
pub(super) fn impatient() -> Timeouts {
    Timeouts {
        connect: Duration::from_secs(10),
        reply: Duration::from_millis(300),
        idle: Duration::from_millis(300),
        list: Duration::from_millis(900),
    }
}

/// Keeps what is said.
#[derive(Default)]
pub(super) struct Heard(pub(super) Mutex<Vec<String>>);

impl Observer for Heard {
    fn say(&self, text: &str) {
        self.0.lock().push(format!("say {text}"));
    }
    fn warn(&self, text: &str) {
        self.0.lock().push(format!("warn {text}"));
    }
}
