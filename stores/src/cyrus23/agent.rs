//! A server process that keeps changing mailboxes until it is stopped.
//!
//! Arguments: `SPEC SEED STOP MODE PAUSE_US`. SPEC is a file of lines
//! `META<TAB>FILES<TAB>DATA<TAB>LOG[<TAB>FEED_LOG<TAB>FEED_DATA]`, where FILES are the cyrus.*
//! files that lie in META; without a feed the process makes up changes of its own from SEED, with
//! one it applies what the feed's log tells, as `sync_server` does. It ends when STOP exists (and
//! the feed is used up). MODE is `as-is`, which keeps writing the version it finds, or `upgrade`,
//! which upgrades at open as 2.3.10 and later do.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::Dirs;
use crate::judge::image::{Image, unhex, word};

use super::session::Session;

struct Mailbox {
    dirs: Dirs,
    log: PathBuf,
    feed: Option<Feed>,
    session: Option<Session>,
}

struct Feed {
    log: File,
    data: PathBuf,
    pending: String,
    expunge_due: bool,
}

/// Runs one server process; the arguments are those after the program's name.
///
/// # Errors
/// Bad arguments, or the first file operation that failed where none may.
pub fn run(args: &[String]) -> io::Result<()> {
    let [spec, seed, stop, mode, pause] = args else {
        return Err(io::Error::other("arguments: SPEC SEED STOP MODE PAUSE_US"));
    };
    let mut random = fastrand::Rng::with_seed(seed.parse().map_err(io::Error::other)?);
    let pause = Duration::from_micros(pause.parse().map_err(io::Error::other)?);
    let upgrade = mode == "upgrade";
    let mut mailboxes = read_spec(Path::new(spec))?;
    loop {
        let stopping = Path::new(stop).exists();
        let mut fed = false;
        if let Some(n) = random.choice(0..mailboxes.len()) {
            let mailbox = &mut mailboxes[n];
            if mailbox.feed.is_none() {
                if stopping {
                    return Ok(());
                }
                one_change(mailbox, &mut random, upgrade)?;
            }
        }
        for mailbox in mailboxes.iter_mut().filter(|m| m.feed.is_some()) {
            fed |= feed(mailbox, upgrade)?;
        }
        if stopping && !fed {
            return Ok(());
        }
        thread::sleep(pause.mul_f64(random.f64() * 2.0));
    }
}

/// The line of SPEC for one mailbox: its directories, its log, and the (log, data) it is fed from.
#[must_use]
pub fn spec_line(dirs: &Dirs, log: &Path, feed: Option<(&Path, &Path)>) -> String {
    let mut words = vec![
        dirs.meta.display().to_string(),
        dirs.on_meta.join(" "),
        dirs.data.display().to_string(),
        log.display().to_string(),
    ];
    words.extend(
        feed.into_iter()
            .flat_map(|(log, data)| [log.display().to_string(), data.display().to_string()]),
    );
    words.join("\t") + "\n"
}

/// Directories and logs of the mailboxes that a SPEC names.
///
/// # Errors
/// The file cannot be read, or a line is none.
pub fn places(spec: &Path) -> io::Result<Vec<(Dirs, PathBuf)>> {
    let mailboxes = read_spec(spec)?.into_iter();
    Ok(mailboxes
        .map(|mailbox| (mailbox.dirs, mailbox.log))
        .collect())
}

fn read_spec(path: &Path) -> io::Result<Vec<Mailbox>> {
    let mut mailboxes = Vec::new();
    for line in fs::read_to_string(path)?.lines() {
        let words: Vec<&str> = line.split('\t').collect();
        let feed = match words[..] {
            [_, _, _, _] => None,
            [_, _, _, _, log, data] => {
                let log = File::options()
                    .read(true)
                    .append(true)
                    .create(true)
                    .open(log)?;
                Some(Feed {
                    log,
                    data: data.into(),
                    pending: String::new(),
                    expunge_due: false,
                })
            }
            _ => return Err(io::Error::other(format!("bad line: {line}"))),
        };
        mailboxes.push(Mailbox {
            dirs: Dirs {
                meta: words[0].into(),
                on_meta: words[1].split(' ').map(str::to_owned).collect(),
                data: words[2].into(),
            },
            log: words[3].into(),
            feed,
            session: None,
        });
    }
    Ok(mailboxes)
}

/// The open session of a mailbox; opening may fail for a POP lock, then it is tried again later.
fn session(mailbox: &mut Mailbox, upgrade: bool) -> io::Result<Option<&mut Session>> {
    if mailbox.session.is_none() {
        match Session::open(&mailbox.dirs, &mailbox.log, upgrade) {
            Ok(session) => mailbox.session = Some(session),
            Err(e) if e.to_string().contains("POP server") => return Ok(None),
            Err(e) => return Err(e),
        }
    }
    Ok(mailbox.session.as_mut())
}

fn one_change(mailbox: &mut Mailbox, random: &mut fastrand::Rng, upgrade: bool) -> io::Result<()> {
    if random.u8(..) < 16 {
        mailbox.session = None; // the client left; the next one opens the files afresh
    }
    let Some(session) = session(mailbox, upgrade)? else {
        return Ok(());
    };
    let uid = random.u32(1..=session.read_header()?.get(28).max(1));
    match random.u32(0..100) {
        0..30 => {
            session.append(&message(random), None)?;
        }
        30..65 => {
            session.store(uid, random.u32(0..16) & !4, None)?;
        }
        65..68 => {
            if let Some(bit) = session.new_keyword(&format!("kw{:08x}", random.u32(..)))? {
                session.store(uid, 0, Some(bit))?;
            }
        }
        68..76 => {
            session.store(uid, 4, None)?;
            session.expunge()?;
        }
        76..80 => {
            session.pop(|| thread::sleep(Duration::from_millis(5)))?;
        }
        80..85 => {
            session.store_by_rename(uid, random.u32(0..16) & !4)?;
        }
        _ => session.select_and_fetch()?,
    }
    Ok(())
}

/// A message to deliver: up to 2,000 bytes of text.
#[must_use]
pub fn message(random: &mut fastrand::Rng) -> Vec<u8> {
    let body: String = (0..random.usize(0..2000))
        .map(|_| random.alphanumeric())
        .collect();
    format!(
        "Message-ID: <{:016x}@example.org>\r\nSubject: live\r\n\r\n{body}\r\n",
        random.u64(..)
    )
    .into_bytes()
}

/// Applies the next whole lines of the feed, at most fifty; true if there were any.
fn feed(mailbox: &mut Mailbox, upgrade: bool) -> io::Result<bool> {
    let Some(mut feed) = mailbox.feed.take() else {
        return Ok(false);
    };
    feed.log.read_to_string(&mut feed.pending)?;
    let mut done = 0;
    while done < 50
        && let Some((line, rest)) = feed.pending.split_once('\n')
    {
        let (line, rest) = (line.to_owned(), rest.to_owned());
        let Some(session) = session(mailbox, upgrade)? else {
            break;
        };
        if !apply(session, &mut feed, &line)? {
            break; // a POP session is in the way: the same line again later
        }
        feed.pending = rest;
        done += 1;
    }
    mailbox.feed = Some(feed);
    Ok(done > 0)
}

fn apply(session: &mut Session, feed: &mut Feed, line: &str) -> io::Result<bool> {
    let (what, rest) = line.split_once(' ').unwrap_or((line, ""));
    let record = unhex(rest.split(' ').next().unwrap_or_default());
    let uid = Image::uid(&record);
    match what {
        "A" => {
            let message = fs::read(feed.data.join(format!("{uid}.")))?;
            session.append(&message, Some(uid))?;
        }
        "S" => {
            let bit = (0..128_u8)
                .find(|b| word(&record, 36 + usize::from(b / 32) * 4) & (1 << (b % 32)) != 0);
            session.store(uid, word(&record, 32), bit)?;
        }
        "X" => {
            session.store(uid, 4, None)?;
            feed.expunge_due = true;
        }
        "H" if feed.expunge_due => {
            if session.expunge()?.is_none() {
                return Ok(false);
            }
            feed.expunge_due = false;
        }
        _ => {}
    }
    Ok(true)
}
