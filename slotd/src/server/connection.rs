//! One connection: lines in, replies out, and a clock while a mailbox is locked.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{
    AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, ReadHalf, WriteHalf, split,
};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::caller::Caller;
use super::places::Place;
use super::turns::Kind;
use crate::audit;
use crate::client::Stream;
use crate::host::Host;
use crate::protocol::{Code, Command, MAX_COMMAND, Reply};
use crate::session::{CancelReason, Session};

/// How long a client may take to read a reply.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// How long a client for which there is no place has to read why.
const REFUSE_LIMIT: Duration = Duration::from_secs(1);

/// A transaction may stay open for this many times `--max-lock`, its own work not counted.
const TOTAL_FACTOR: u32 = 10;

/// What is read at once; few commands are longer, and it is kept for each connection.
pub(super) const READ: usize = 1024;

type Reader = BufReader<ReadHalf<Box<dyn Stream>>>;

/// The other end, and how it is reached.
pub(super) struct Other {
    pub(super) stream: Box<dyn Stream>,
    pub(super) caller: Caller,
}

/// Serves one connection to its end.
#[allow(clippy::too_many_lines)] // the one loop of a connection, each way it may end in its place
pub(super) async fn serve(
    host: Arc<Host>,
    other: Other,
    mut draining: watch::Receiver<bool>,
    mut place: Place,
) {
    let Other { stream, mut caller } = other;
    let (read, mut write) = split(stream);
    let mut read = BufReader::with_capacity(READ, read);
    let first_command = host.options.first_command;
    let mut spoke = false;
    // It goes from thread to thread with each command, so it has one place in memory.
    let mut session = Box::new(Session::of(Arc::clone(&host), caller.who().clone()));
    let mut line = Vec::new();
    let (mut fenced, mut deaf) = (false, false);
    place.arrived();
    let max_lock = host.options.max_lock;
    let total = max_lock.saturating_mul(TOTAL_FACTOR);
    // What is left to an open transaction of the time in which it is not worked on.
    let mut left = total;
    loop {
        let began = Instant::now();
        let control = session.control();
        let wait = next_line(&mut read, &mut line, first_command);
        let got = if session.is_open() {
            let got = tokio::select! {
                // The clock first: commands that come one upon the other must not keep it from
                // being looked at.
                biased;
                () = control.until_fenced(), if !fenced => None,
                () = sleep(max_lock.min(left)) => None,
                got = wait => Some(got),
            };
            if got.is_some() {
                left = left.saturating_sub(began.elapsed());
            }
            got
        } else {
            left = total;
            tokio::select! {
                got = wait => Some(got),
                () = control.until_fenced(), if !fenced => None,
                _ = draining.wait_for(|d| *d) => break,
                () = place.sent_away() => Some(Line::SentAway),
                () = sleep(first_command), if !spoke => Some(Line::Slow),
                () = sleep(host.options.max_idle) => {
                    tracing::warn!(
                        "a connection said nothing for {:?} and is closed", host.options.max_idle
                    );
                    break;
                }
            }
        };
        let Some(got) = got else {
            session = if control.fenced().is_some() {
                fenced = true;
                // What it has prepared goes too.
                blocking(session, Session::heed_fence).await.0
            } else {
                tracing::warn!(
                    "the controller stalled for {max_lock:?}, or did other things for {total:?}: \
                     its transaction ends"
                );
                blocking(session, Session::expire).await.0
            };
            give_back(&mut place, &session);
            if !session.is_open() {
                place.rests(session.is_engaged());
            }
            continue;
        };
        let reply = match got {
            Line::Whole => {
                let parsed = Command::parse(&line);
                let turn = match parsed.as_ref().ok().and_then(Kind::of) {
                    // Others are not waited for while something is locked.
                    Some(kind) if !session.is_open() => tokio::select! {
                        turn = place.turn(kind) => turn.map(Some),
                        () = place.sent_away() => break,
                    },
                    _ => Ok(None),
                };
                if !place.works() {
                    let text = "the command came when another connection had the place already";
                    last_words(&mut write, Reply::no(Code::Full, text)).await;
                    break;
                }
                // What came in one piece with what was answered before it was revoked.
                if caller.is_out() {
                    break;
                }
                match parsed {
                    Ok(command) => {
                        let quit = command == Command::Quit;
                        let limit = match &command {
                            Command::Upgrade(_) => host.options.max_stage,
                            // These have bounds of their own; the clock is a net below them.
                            _ => host.options.max_stage + host.options.max_wait,
                        };
                        let (open, advances) = (session.is_open(), command.advances());
                        let began = Instant::now();
                        let full = |text| {
                            let reply = Reply::no(Code::Full, text);
                            audit::refused(caller.who(), &command, &reply);
                            reply
                        };
                        let may = match (caller.refusal(&command), &command) {
                            (Some(refusal), _) => Err(refusal),
                            (None, Command::Lock(_)) => {
                                place.begin_transaction().map(|()| None).map_err(full)
                            }
                            (None, Command::Prepare(_)) => {
                                place.begin_prepare().map(|()| None).map_err(full)
                            }
                            (None, _) => turn.map_err(full),
                        };
                        let reply = match may {
                            Ok(turn) => {
                                let reply = if session.answers_at_once(&command) {
                                    session.handle(command)
                                } else {
                                    let work = work(session, command, &mut read, limit);
                                    let (back, reply) = Box::pin(work).await;
                                    session = back;
                                    reply
                                };
                                drop(turn);
                                reply
                            }
                            Err(refusal) => refusal,
                        };
                        give_back(&mut place, &session);
                        if open && !(advances && matches!(reply, Reply::Ok(_))) {
                            left = left.saturating_sub(began.elapsed());
                        }
                        if quit {
                            let _ = send(&mut write, &reply).await;
                            break;
                        }
                        reply
                    }
                    Err(error) => error.to_reply(),
                }
            }
            Line::TooLong => {
                let text = format!("a line is at most {MAX_COMMAND} bytes");
                last_words(&mut write, Reply::Bad(text)).await;
                break;
            }
            Line::Slow => {
                let text = format!("no whole line came in {} s", first_command.as_secs_f64());
                last_words(&mut write, Reply::Bad(text)).await;
                break;
            }
            Line::SentAway if !spoke => {
                let text = "this connection said nothing, and another one has its place";
                last_words(&mut write, Reply::no(Code::Full, text)).await;
                break;
            }
            Line::SentAway | Line::End => break,
        };
        spoke = true;
        line.clear();
        line.shrink_to(READ);
        // No longer than it is, while it waits for its reader.
        let text = reply.to_line().into_boxed_str();
        drop(reply);
        // Who does not read must not keep what is locked, or registered, either.
        let limit = if session.is_open() {
            max_lock
        } else {
            place.rests(session.is_engaged());
            host.options.max_idle
        };
        place.answers(text.len());
        let sent = tokio::select! {
            biased;
            sent = send_within(&mut write, &text, limit.min(WRITE_LIMIT)) => sent,
            // Who does not read keeps nobody out.
            () = place.sent_away() => {
                deaf = true;
                break;
            }
        };
        place.answered();
        if let Err(error) = sent {
            tracing::warn!("a reply could not be sent: {error}");
            deaf = true;
            break;
        }
    }
    blocking(session, Session::end).await;
    drop(place);
    if !deaf {
        let _ = timeout(REFUSE_LIMIT, write.shutdown()).await;
    }
}

/// What the session has no more is another connection's to take.
fn give_back(place: &mut Place, session: &Session) {
    if !session.is_open() {
        place.end_transaction();
    }
    if !session.has_prepared() {
        place.end_prepared();
    }
}

/// Says to a client that is not served why, and closes the connection. `patient`: its
/// first command is waited for.
pub(super) async fn refuse(stream: Box<dyn Stream>, why: &Reply, patient: bool) {
    let (read, mut write) = split(stream);
    let (mut read, mut line) = (BufReader::with_capacity(READ, read), Vec::new());
    if patient {
        // What is closed before it has read all that came loses its answer on the way.
        let first = next_line(&mut read, &mut line, REFUSE_LIMIT);
        let _ = timeout(REFUSE_LIMIT, first).await;
    }
    let answer = async {
        let _ = send(&mut write, why).await;
        let _ = write.shutdown().await;
    };
    let _ = timeout(REFUSE_LIMIT, answer).await;
}

/// What came in.
enum Line {
    Whole,
    TooLong,
    /// It was begun, and has not come to its end in time.
    Slow,
    /// Nothing, and another connection needs the place.
    SentAway,
    End,
}

/// Reads up to a line end, which must come within `limit` of the line's first byte. A last line
/// without one was cut off and is not a command. Dropping the future half-way loses nothing: what
/// was read stays in `line`.
async fn next_line(read: &mut Reader, line: &mut Vec<u8>, limit: Duration) -> Line {
    if line.is_empty() && read.fill_buf().await.map_or(true, <[u8]>::is_empty) {
        return Line::End;
    }
    let rest = timeout(limit, rest_of_line(read, line)).await;
    rest.unwrap_or(Line::Slow)
}

async fn rest_of_line(read: &mut Reader, line: &mut Vec<u8>) -> Line {
    loop {
        let Some(left) = MAX_COMMAND.checked_sub(line.len()).filter(|left| *left > 0) else {
            return Line::TooLong;
        };
        let left = u64::try_from(left).unwrap_or(u64::MAX);
        match (&mut *read).take(left).read_until(b'\n', line).await {
            Ok(_) if line.ends_with(b"\n") => return Line::Whole,
            Ok(0) | Err(_) => return Line::End,
            Ok(_) => {}
        }
    }
}

/// Says why the connection is closed, to one who listens.
async fn last_words(write: &mut WriteHalf<Box<dyn Stream>>, reply: Reply) {
    let _ = send_within(write, &reply.to_line(), REFUSE_LIMIT).await;
}

async fn send(write: &mut WriteHalf<Box<dyn Stream>>, reply: &Reply) -> std::io::Result<()> {
    send_within(write, &reply.to_line(), WRITE_LIMIT).await
}

async fn send_within(
    write: &mut WriteHalf<Box<dyn Stream>>,
    line: &str,
    limit: Duration,
) -> std::io::Result<()> {
    let all = async {
        write.write_all(line.as_bytes()).await?;
        write.flush().await
    };
    timeout(limit, all)
        .await
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
}

/// Runs a piece of a session's work on a blocking thread.
async fn blocking<T: Send + 'static>(
    mut session: Box<Session>,
    f: impl FnOnce(&mut Session) -> T + Send + 'static,
) -> (Box<Session>, Option<T>) {
    let (host, who) = (session.host(), session.who().clone());
    let task = tokio::task::spawn_blocking(move || {
        let result = f(&mut session);
        (session, result)
    });
    match task.await {
        Ok((session, result)) => (session, Some(result)),
        Err(error) => {
            // A panic: its session was dropped on the way, and with it its locks.
            tracing::error!("a session's work ended badly: {error}");
            (Box::new(Session::of(host, who)), None)
        }
    }
}

/// Runs one command, and cuts it short if the client goes away or it takes too long.
async fn work(
    session: Box<Session>,
    command: Command,
    read: &mut Reader,
    limit: Duration,
) -> (Box<Session>, Reply) {
    let control = session.control();
    let task = blocking(session, move |session| session.handle(command));
    tokio::pin!(task);
    let clock = sleep(limit);
    tokio::pin!(clock);
    let (mut watching, mut timing) = (true, true);
    let (session, reply) = loop {
        tokio::select! {
            done = &mut task => break done,
            // End of file, not consumed: the loop above sees it again. Data means that the client
            // has sent its next command already; then only the clock is left.
            peek = read.fill_buf(), if watching => {
                watching = false;
                if peek.map_or(true, <[u8]>::is_empty) {
                    control.cancel(CancelReason::Disconnected);
                }
            }
            () = &mut clock, if timing => {
                timing = false;
                control.cancel(CancelReason::Expired);
            }
        }
    };
    control.clear();
    let failed = || Reply::no(Code::Io, "slotd failed at this command; its log says more");
    (session, reply.unwrap_or_else(failed))
}
