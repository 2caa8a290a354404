//! The control socket of a running controller: one JSON object a line, one reply a line.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::Control;
use crate::stop::StopHandle;

/// Longest line in either direction, bytes.
const MAX_LINE: u64 = 64 * 1024;
/// How long either side waits for the other.
const LIMIT: Duration = Duration::from_secs(5);

/// What can be asked of a running controller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub enum Ask {
    /// What it is doing.
    Status,
    /// Begin nothing new.
    Pause,
    /// Go on.
    Resume,
    /// Let what is under way end, and end.
    Stop,
    /// Change a limit; `off` takes it away.
    Set {
        /// Its name, see [`super::LIMITS`].
        key: String,
        /// Its value.
        value: String,
    },
}

/// Why there is no control socket, or no answer from one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The socket cannot be used.
    #[error("control socket {path}: {source}")]
    Io {
        /// Its path.
        path: PathBuf,
        /// What the operating system says.
        source: std::io::Error,
    },
    /// Nobody answers there.
    #[error("no controller is running with this state file (nobody answers at {path})")]
    Nobody {
        /// The socket's path.
        path: PathBuf,
    },
    /// The controller refused.
    #[error("{0}")]
    Refused(String),
}

/// The control socket that belongs to a state file.
#[must_use]
pub fn socket_path(state: &Path) -> PathBuf {
    let mut name = crate::journal::resolve(state).into_os_string();
    name.push(".sock");
    name.into()
}

/// Answers at a socket until the future is dropped; the file goes with the first value. The caller
/// owns the state file, so a socket that is there already is a dead one.
///
/// # Errors
/// The socket cannot be made.
pub fn serve(
    path: &Path,
    control: Arc<Control>,
    stop: StopHandle,
) -> Result<(Socket, impl Future<Output = ()> + Send + use<>), ServeError> {
    let io = |source| ServeError::Io {
        path: path.to_owned(),
        source,
    };
    let bound = slotd::server::bind_private(path).map_err(io)?;
    let listener = UnixListener::from_std(bound).map_err(io)?;
    let socket = Socket(path.to_owned());
    let server = async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (control, stop) = (Arc::clone(&control), stop.clone());
            tokio::spawn(async move {
                // A client that says nothing, or goes away, is its own loss.
                let _ = tokio::time::timeout(LIMIT, answer(stream, &control, &stop)).await;
            });
        }
    };
    Ok((socket, server))
}

/// The socket file; it goes when this is dropped.
#[derive(Debug)]
pub struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        // If it is gone already, that is as well.
        let _ = std::fs::remove_file(&self.0);
    }
}

async fn answer(stream: UnixStream, control: &Control, stop: &StopHandle) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    (&mut stream).take(MAX_LINE).read_line(&mut line).await?;
    let reply = match serde_json::from_str::<Ask>(&line) {
        Ok(ask) => match cannot(&ask).await {
            Some(error) => serde_json::json!({ "error": error }),
            None => obey(&ask, control, stop),
        },
        Err(error) => serde_json::json!({ "error": format!("not understood: {error}") }),
    };
    stream
        .get_mut()
        .write_all(format!("{reply}\n").as_bytes())
        .await
}

/// Why a wish could not be fulfilled, ever.
async fn cannot(ask: &Ask) -> Option<String> {
    match ask {
        Ask::Set { key, value } if key == "wait-command" && value != "off" => {
            super::unusable(value).await
        }
        _ => None,
    }
}

fn obey(ask: &Ask, control: &Control, stop: &StopHandle) -> serde_json::Value {
    let done = match ask {
        Ask::Status => Ok(()),
        Ask::Pause => {
            control.update(|state| state.paused = true);
            Ok(())
        }
        Ask::Resume => {
            control.update(|state| state.paused = false);
            Ok(())
        }
        Ask::Stop => {
            stop.stop(crate::run::Stop::Finish);
            Ok(())
        }
        Ask::Set { key, value } => set(control, key, value),
    };
    match done {
        Ok(()) => serde_json::to_value(control.live()).unwrap_or_default(),
        Err(error) => serde_json::json!({ "error": error }),
    }
}

fn set(control: &Control, key: &str, value: &str) -> Result<(), String> {
    let mut state = control.state();
    state.limits.set(key, value)?;
    if state.limits.parallel > state.most {
        return Err(format!(
            "{key}: at most {} at once can be served",
            state.most
        ));
    }
    control.update(|state| drop(state.limits.set(key, value)));
    Ok(())
}

/// Asks the controller that runs with a state file. Blocks for a few seconds at most.
///
/// # Errors
/// None is running, or it refused.
pub fn ask(path: &Path, what: &Ask) -> Result<serde_json::Value, ServeError> {
    use std::io::{BufRead, Read, Write};
    let io = |source: std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => {
            ServeError::Nobody {
                path: path.to_owned(),
            }
        }
        _ => ServeError::Io {
            path: path.to_owned(),
            source,
        },
    };
    let mut stream = std::os::unix::net::UnixStream::connect(path).map_err(io)?;
    stream.set_read_timeout(Some(LIMIT)).map_err(io)?;
    stream.set_write_timeout(Some(LIMIT)).map_err(io)?;
    let question = serde_json::to_string(what).map_err(|e| io(e.into()))?;
    stream
        .write_all(format!("{question}\n").as_bytes())
        .map_err(io)?;
    let mut line = String::new();
    std::io::BufReader::new(stream.take(MAX_LINE))
        .read_line(&mut line)
        .map_err(io)?;
    let reply: serde_json::Value = serde_json::from_str(&line).map_err(|e| io(e.into()))?;
    match reply.get("error").and_then(|e| e.as_str()) {
        Some(error) => Err(ServeError::Refused(error.to_owned())),
        None => Ok(reply),
    }
}
