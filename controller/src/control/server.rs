//! The control socket of a running controller: one JSON object a line, one reply a line.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::{Control, Controls, Parallel};
use crate::stop::StopHandle;

/// Longest request, bytes.
const MAX_LINE: u64 = 64 << 10;
/// Longest reply, bytes: that of a fleet has some for each pair.
const MAX_REPLY: u64 = 16 << 20;
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
    /// Roll back what is not decided, carry out what is, and end.
    Panic,
    /// Change a limit; `off` takes it away.
    Set {
        /// Its name, see [`super::LIMITS`].
        key: String,
        /// Its value.
        value: String,
    },
}

/// The same of one pair, or of all.
#[derive(Serialize, Deserialize)]
struct Request {
    #[serde(flatten)]
    ask: Ask,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pair: Option<String>,
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
    controls: Controls,
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
            let (controls, stop) = (controls.clone(), stop.clone());
            tokio::spawn(async move {
                // A client that says nothing, or goes away, is its own loss.
                let _ = tokio::time::timeout(LIMIT, answer(stream, &controls, &stop)).await;
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

async fn answer(stream: UnixStream, controls: &Controls, stop: &StopHandle) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    (&mut stream).take(MAX_LINE).read_line(&mut line).await?;
    let reply = match serde_json::from_str::<Request>(&line) {
        Ok(Request { ask, pair }) => {
            if let Some(error) = cannot(&ask).await {
                serde_json::json!({ "error": error })
            } else {
                let (controls, stop) = (controls.clone(), stop.clone());
                // It may wait for a disk.
                let obeyed = tokio::task::spawn_blocking(move || {
                    obey(&ask, pair.as_deref(), &controls, &stop)
                });
                obeyed
                    .await
                    .unwrap_or_else(|error| serde_json::json!({ "error": error.to_string() }))
            }
        }
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

fn obey(ask: &Ask, pair: Option<&str>, controls: &Controls, stop: &StopHandle) -> Value {
    let done = match (ask, controls.of(pair)) {
        (_, Err(error)) => Err(error),
        (Ask::Status, _) => Ok(()),
        (Ask::Pause, Ok(each)) => pause(&each, true),
        (Ask::Resume, Ok(each)) => pause(&each, false),
        (Ask::Stop | Ask::Panic, _) if pair.is_some() => Err(
            "a controller stops as a whole: pause the pair instead, or stop without --pair"
                .to_owned(),
        ),
        (Ask::Panic, _) => {
            stop.panic("`panic` was asked for");
            Ok(())
        }
        (Ask::Stop, _) => {
            stop.stop(crate::run::Stop::Finish);
            Ok(())
        }
        (Ask::Set { key, value }, Ok(each)) => set(&each, key, value),
    };
    match done {
        Ok(()) => controls.json(),
        Err(error) => serde_json::json!({ "error": error }),
    }
}

/// All of them, also where one is not kept.
fn pause(each: &[&Arc<Control>], paused: bool) -> Result<(), String> {
    let kept: Vec<_> = each.iter().map(|control| control.pause(paused)).collect();
    let error = kept.into_iter().find_map(Result::err);
    error.map_or(Ok(()), |error| {
        let what = if paused { "it is paused" } else { "it goes on" };
        Err(format!(
            "{what}, but the next start will not know of it: {error}"
        ))
    })
}

/// On all of them, or on none.
fn set(each: &[&Arc<Control>], key: &str, value: &str) -> Result<(), String> {
    for control in each {
        let mut state = control.state();
        state.limits.set(key, value)?;
        if matches!(state.limits.parallel, Parallel::Fixed(number) if number > state.most) {
            return Err(format!(
                "{key}: at most {} at once can be served",
                state.most
            ));
        }
    }
    for control in each {
        control.update(|state| drop(state.limits.set(key, value)));
    }
    Ok(())
}

/// Asks the controller that runs with a state file. Blocks for a few seconds at most.
///
/// # Errors
/// None is running, or it refused.
pub fn ask(path: &Path, what: &Ask) -> Result<Value, ServeError> {
    ask_pair(path, what, None)
}

/// The same, about one of its pairs.
///
/// # Errors
/// As [`ask`], or it has no such pair.
pub fn ask_pair(path: &Path, what: &Ask, pair: Option<&str>) -> Result<Value, ServeError> {
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
    let request = Request {
        ask: what.clone(),
        pair: pair.map(str::to_owned),
    };
    let question = serde_json::to_string(&request).map_err(|e| io(e.into()))?;
    stream
        .write_all(format!("{question}\n").as_bytes())
        .map_err(io)?;
    let mut line = String::new();
    std::io::BufReader::new(stream.take(MAX_REPLY))
        .read_line(&mut line)
        .map_err(io)?;
    let reply: Value = serde_json::from_str(&line).map_err(|e| io(e.into()))?;
    match reply.get("error").and_then(|e| e.as_str()) {
        Some(error) => Err(ServeError::Refused(error.to_owned())),
        None => Ok(reply),
    }
}
