//! Reads all that a user sees.

use std::collections::BTreeMap;

use async_imap::imap_proto::{
    AttributeValue, MailboxDatum, NameAttribute, Response, ResponseCode, StatusAttribute,
};
use indexfile::Guid;
use sha1::{Digest, Sha1};

use super::Settings;
use super::client::LoggedIn;
use super::error::{Fault, ImapError};
use super::report::{Code, ImapReport};
use super::seen::{Mailbox, Message, Seen};
use crate::observer::Observer;
use crate::stop::{Stop, StopSignal};

/// Logs in, reads every message of every mailbox, and adds what is wrong with them to the report.
/// The mailboxes that were opened are named to `observer` as they are read.
///
/// # Errors
/// The server cannot be reached, refuses the user, or breaks off. That it refuses one mailbox is a
/// finding.
pub async fn read(
    settings: &Settings,
    observer: &dyn Observer,
    stop: &StopSignal,
) -> Result<(Seen, ImapReport), ImapError> {
    let mut stop = stop.clone();
    let reading = async {
        let mut session = LoggedIn::begin(settings).await?;
        let mut reader = Reader {
            guids: session.has("OBJECTID").await?,
            report: ImapReport::default(),
            seen: Seen {
                user: settings.user.clone(),
                mailboxes: BTreeMap::new(),
            },
        };
        for name in reader.names(&mut session).await? {
            observer.say(&format!("reading {}", name.escape_debug()));
            reader.mailbox(&mut session, name).await?;
        }
        session.end().await;
        Ok(reader.end())
    };
    let read = tokio::select! {
        read = reading => read,
        () = stop.reached(Stop::Finish) => Err(Fault::Stopped),
    };
    read.map_err(|fault| ImapError {
        address: settings.address.clone(),
        fault,
    })
}

struct Reader {
    /// The server says GUIDs, as EMAILID.
    guids: bool,
    report: ImapReport,
    seen: Seen,
}

/// What STATUS or EXAMINE says of a mailbox.
#[derive(Default, PartialEq, Eq)]
struct Numbers {
    messages: u32,
    uidvalidity: u32,
    uidnext: u32,
}

impl Reader {
    /// The mailboxes that can be opened.
    async fn names(&mut self, session: &mut LoggedIn) -> Result<Vec<String>, Fault> {
        let doing = "LIST";
        let mut names = Vec::new();
        let listed = session.command(doing, "LIST \"\" *", |response| {
            if let Response::MailboxData(MailboxDatum::List(data)) = response
                && !data.name_attributes.contains(&NameAttribute::NoSelect)
            {
                names.push(data.name.clone().into_owned());
            }
        });
        if let Err(text) = listed.await? {
            return Err(Fault::Answer { doing, text });
        }
        names.sort();
        names.dedup();
        if !names.iter().any(|name| name.eq_ignore_ascii_case("INBOX")) {
            self.report
                .add(Code::Nothing, "", None, "the user has no INBOX");
        }
        Ok(names)
    }

    async fn mailbox(&mut self, session: &mut LoggedIn, name: String) -> Result<(), Fault> {
        let Some(quoted) = quoted(&name) else {
            let text = "its name has a line end in it";
            self.report.add(Code::Refused, &name, None, text);
            return Ok(());
        };
        let mut status = Numbers::default();
        let command = format!("STATUS {quoted} (MESSAGES UIDNEXT UIDVALIDITY)");
        let ended = session.command("STATUS", &command, |response| status.status(response));
        let refused = match ended.await? {
            Err(text) => Some(format!("STATUS: {text}")),
            Ok(()) => None,
        };
        let mut opened = Numbers::default();
        let command = format!("EXAMINE {quoted}");
        let ended = session.command("EXAMINE", &command, |response| opened.examine(response));
        let refused = match (refused, ended.await?) {
            (Some(text), _) => Some(text),
            (None, Err(text)) => Some(format!("EXAMINE: {text}")),
            (None, Ok(())) => None,
        };
        if let Some(text) = refused {
            self.report.add(Code::Refused, &name, None, text);
            return Ok(());
        }
        self.report.mailboxes += 1;
        if status != opened {
            let text = format!(
                "STATUS says {}, and EXAMINE says {}",
                status.words(),
                opened.words()
            );
            self.report.add(Code::Count, &name, None, text);
        }
        let mut mailbox = Mailbox {
            uidvalidity: opened.uidvalidity,
            uidnext: opened.uidnext,
            messages: BTreeMap::new(),
        };
        if opened.messages > 0 {
            let emailid = if self.guids { " EMAILID" } else { "" };
            let command =
                format!("UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE{emailid} BODY.PEEK[])");
            let report = &mut self.report;
            let ended = session.command("FETCH", &command, |response| {
                if let Response::Fetch(_, attributes) = response {
                    message(&name, attributes, &mut mailbox, report);
                }
            });
            if let Err(text) = ended.await? {
                let text = format!("FETCH: {text}");
                self.report.add(Code::Refused, &name, None, text);
            }
        }
        let read = mailbox.messages.len();
        if read < opened.messages as usize {
            let text = format!(
                "EXAMINE says {} messages, {read} were read",
                opened.messages
            );
            self.report.add(Code::Count, &name, None, text);
        }
        self.seen.mailboxes.insert(name, mailbox);
        Ok(())
    }

    fn end(mut self) -> (Seen, ImapReport) {
        if self.report.messages == 0 {
            let text = "no message was seen: this proves nothing";
            self.report.add(Code::Nothing, "", None, text);
        }
        (self.seen, self.report)
    }
}

impl Numbers {
    fn status(&mut self, response: &Response<'_>) {
        let Response::MailboxData(MailboxDatum::Status { status, .. }) = response else {
            return;
        };
        for attribute in status {
            match attribute {
                StatusAttribute::Messages(n) => self.messages = *n,
                StatusAttribute::UidNext(n) => self.uidnext = *n,
                StatusAttribute::UidValidity(n) => self.uidvalidity = *n,
                _ => {}
            }
        }
    }

    fn examine(&mut self, response: &Response<'_>) {
        match response {
            Response::MailboxData(MailboxDatum::Exists(n)) => self.messages = *n,
            Response::Data { outcome, .. } => match outcome.code {
                Some(ResponseCode::UidNext(n)) => self.uidnext = n,
                Some(ResponseCode::UidValidity(n)) => self.uidvalidity = n,
                _ => {}
            },
            _ => {}
        }
    }

    fn words(&self) -> String {
        let Self {
            messages,
            uidvalidity,
            uidnext,
        } = self;
        format!("{messages} messages, UIDNEXT {uidnext}, UIDVALIDITY {uidvalidity}")
    }
}

/// Takes in one message. What is no whole message is news of a flag that changed meanwhile.
fn message(
    name: &str,
    attributes: &[AttributeValue<'_>],
    mailbox: &mut Mailbox,
    report: &mut ImapReport,
) {
    let mut one = Message::default();
    let (mut uid, mut size, mut body, mut guid) = (None, None, None, None);
    for attribute in attributes {
        match attribute {
            AttributeValue::Uid(n) => uid = Some(*n),
            AttributeValue::Rfc822Size(n) => size = Some(u64::from(*n)),
            AttributeValue::InternalDate(text) => one.date = date(text),
            AttributeValue::EmailId(id) => guid = id.strip_prefix('M').map(str::to_lowercase),
            AttributeValue::BodySection {
                section: None,
                data,
                ..
            } => body = Some(data.as_deref()),
            AttributeValue::Flags(flags) => {
                let flags = flags.iter().filter(|f| !f.eq_ignore_ascii_case("\\Recent"));
                one.flags = flags.map(|flag| flag.clone().into_owned()).collect();
            }
            _ => {}
        }
    }
    let (Some(uid), Some(body)) = (uid, body) else {
        return;
    };
    let Some(bytes) = body else {
        let text = "the server has no bytes of it (NIL)";
        report.add(Code::Size, name, Some(uid), text);
        return;
    };
    one.size = bytes.len() as u64;
    one.sha1 = Guid::from_bytes(Sha1::digest(bytes).into()).to_string();
    if size != Some(one.size) {
        let text = match size {
            Some(size) => format!("RFC822.SIZE is {size}, and it has {} bytes", one.size),
            None => "the server does not say its RFC822.SIZE".to_owned(),
        };
        report.add(Code::Size, name, Some(uid), text);
    }
    // Cyrus's EMAILID is M and the first 24 digits of the GUID.
    if let Some(guid) = guid.filter(|guid| guid.len() >= 24) {
        report.guids += 1;
        if !one.sha1.starts_with(&guid) {
            let text = format!("its GUID begins with {guid}, and its SHA-1 is {}", one.sha1);
            report.add(Code::Guid, name, Some(uid), text);
        }
    }
    report.messages += 1;
    report.bytes += one.size;
    mailbox.messages.insert(uid, one);
}

/// Seconds since 1970 of `17-Jul-1996 02:44:25 -0700`.
fn date(text: &str) -> Option<i64> {
    let parsed = jiff::fmt::strtime::parse("%d-%b-%Y %H:%M:%S %z", text.trim_start());
    Some(parsed.ok()?.to_timestamp().ok()?.as_second())
}

/// A name as a quoted string; none if it cannot be one.
fn quoted(name: &str) -> Option<String> {
    if name.contains(['\r', '\n', '\0']) {
        return None;
    }
    Some(format!(
        "\"{}\"",
        name.replace('\\', "\\\\").replace('"', "\\\"")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_date_is_the_same_instant_in_every_zone() {
        for text in [
            "17-Jul-1996 02:44:25 -0700",
            "17-Jul-1996 09:44:25 +0000",
            "17-Jul-1996 11:44:25 +0200",
        ] {
            assert_eq!(date(text), Some(837_596_665), "{text}");
        }
        assert_eq!(date(" 7-Jul-1996 09:44:25 +0000"), Some(836_732_665));
        assert_eq!(date("yesterday"), None);
    }

    #[test]
    fn a_name_is_sent_as_one_string_whatever_is_in_it() {
        assert_eq!(quoted("a \"b\\").unwrap(), "\"a \\\"b\\\\\"");
        assert_eq!(quoted("a\r\nb DELETE INBOX"), None);
    }
}
