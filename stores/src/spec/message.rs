//! One message as it lies on disk, and the record that Cyrus 2.3 keeps of it in cyrus.cache.

use std::io::Write as _;

use jiff::Timestamp;

/// Seconds a day.
const DAY: u32 = 86_400;

/// A message and what the index and the cache say of it.
#[derive(Clone, Debug)]
pub(super) struct Message {
    /// The bytes of the message file.
    pub bytes: Vec<u8>,
    /// Bytes up to and including the empty line.
    pub header_size: u32,
    /// Lines of the body.
    pub lines: u32,
    /// Arrival, seconds since 1970.
    pub internaldate: u32,
    /// Noon of the day of the Date: header, seconds since 1970.
    pub sentdate: u32,
    /// Its record in cyrus.cache, a multiple of four bytes.
    pub cache: Vec<u8>,
}

/// What a message is made from.
pub(super) struct Draft<'a> {
    /// Who gets it; the local part of the address.
    pub to: &'a str,
    /// A number of its own, for the Message-ID.
    pub number: u64,
    /// Arrival, seconds since 1970.
    pub date: u32,
    /// Size to aim at, bytes.
    pub size: usize,
}

const WORDS: [&str; 32] = [
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "omicron", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi",
    "psi", "omega", "minutes", "of", "the", "meeting", "were", "sent", "on", "Monday",
];

const SENDERS: [(&str, &str); 6] = [
    ("Ada Miller", "ada"),
    ("Sender 970", "sender970"),
    ("Post Office", "postmaster"),
    ("Jim", "jim"),
    ("The List", "info-list"),
    ("Cron Daemon", "root"),
];

fn word(rng: &mut fastrand::Rng) -> &'static str {
    WORDS[rng.usize(0..WORDS.len())]
}

impl Message {
    /// Writes a message. Some have 8-bit text, no body at all, or no line end at the end.
    pub fn make(draft: &Draft<'_>, rng: &mut fastrand::Rng) -> Self {
        let (person, local) = SENDERS[rng.usize(0..SENDERS.len())];
        let subject = format!("{} {} {}", word(rng), word(rng), draft.number % 1000);
        let id = format!("<m{}.{}@example.org>", draft.number, draft.date);
        let reply_to = (rng.u32(0..4) == 0)
            .then(|| format!("<m{}.{}@example.net>", draft.number / 2, draft.date - DAY));
        let eight_bit = rng.u32(0..10) == 0;
        let date = date_time(draft.date);
        let (charset, encoding) = if eight_bit {
            ("utf-8", "8BIT")
        } else {
            ("us-ascii", "7BIT")
        };

        let mut bytes = Vec::with_capacity(draft.size + 512);
        let _ = write!(
            bytes,
            "Return-Path: <{local}@example.org>\r\n\
             Received: from mx.example.org (mx.example.org [192.0.2.{octet}])\r\n\
             \tby imap.example.com with ESMTP; {date}\r\n\
             From: {person} <{local}@example.org>\r\n\
             To: {to}@example.com\r\n\
             Date: {date}\r\n\
             Subject: {subject}\r\n\
             Message-ID: {id}\r\n",
            octet = rng.u8(1..=254),
            to = draft.to,
        );
        if let Some(parent) = &reply_to {
            let _ = write!(bytes, "In-Reply-To: {parent}\r\nReferences: {parent}\r\n");
        }
        let _ = write!(
            bytes,
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset={charset}\r\n\r\n"
        );
        let header_size = bytes.len();
        body(&mut bytes, draft.size, eight_bit, rng);

        let body_bytes = &bytes[header_size..];
        // Not worth a crate: bodies are small and this is no hot path.
        #[allow(clippy::naive_bytecount)]
        let lines = u32_of(body_bytes.iter().filter(|&&b| b == b'\n').count());
        let cache = cache_record(&Envelope {
            date: &date,
            subject: &subject,
            person,
            local,
            to: draft.to,
            reply_to: reply_to.as_deref(),
            id: &id,
            charset,
            encoding,
            header_size: u32_of(header_size),
            body_size: u32_of(body_bytes.len()),
            lines,
        });
        Self {
            header_size: u32_of(header_size),
            lines,
            internaldate: draft.date,
            sentdate: draft.date - draft.date % DAY + DAY / 2,
            cache,
            bytes,
        }
    }

    /// Size of the message file, bytes.
    pub fn size(&self) -> u32 {
        u32_of(self.bytes.len())
    }
}

/// Sizes here are far below 4 GiB; a larger one would be refused by the index builder.
pub(super) fn u32_of(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn body(bytes: &mut Vec<u8>, size: usize, eight_bit: bool, rng: &mut fastrand::Rng) {
    if rng.u32(0..40) == 0 {
        return;
    }
    let mut column = 0;
    while bytes.len() < size {
        let word = if eight_bit && rng.u32(0..6) == 0 {
            "caf\u{e9}"
        } else {
            word(rng)
        };
        bytes.extend_from_slice(word.as_bytes());
        column += word.len() + 1;
        if column > 64 {
            bytes.extend_from_slice(b"\r\n");
            column = 0;
        } else {
            bytes.push(b' ');
        }
    }
    if rng.u32(0..20) != 0 {
        bytes.extend_from_slice(b"\r\n");
    }
}

/// What the cache record is made from.
struct Envelope<'a> {
    date: &'a str,
    subject: &'a str,
    person: &'a str,
    local: &'a str,
    to: &'a str,
    reply_to: Option<&'a str>,
    id: &'a str,
    charset: &'a str,
    encoding: &'a str,
    header_size: u32,
    body_size: u32,
    lines: u32,
}

/// Ten items, each its length in four bytes, its bytes, and zeros up to a multiple of four:
/// envelope, body structure, body, sections, cached headers, from, to, cc, bcc, subject.
fn cache_record(e: &Envelope<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(768);
    let sender = format!("((\"{}\" NIL \"{}\" \"example.org\"))", e.person, e.local);
    let reply = e
        .reply_to
        .map_or_else(|| "NIL".to_owned(), |r| format!("\"{r}\""));
    item(
        &mut out,
        &format!(
            "(\"{}\" \"{}\" {sender} {sender} {sender} ((NIL NIL \"{}\" \"example.com\")) \
             NIL NIL {reply} \"{}\")",
            e.date, e.subject, e.to, e.id
        ),
    );
    let text = format!(
        "(\"TEXT\" \"PLAIN\" (\"CHARSET\" \"{}\") NIL NIL \"{}\" {} {}",
        e.charset, e.encoding, e.body_size, e.lines
    );
    item(&mut out, &format!("{text} NIL NIL NIL NIL)"));
    item(&mut out, &format!("{text})"));
    // Two sections, the whole message and its text: header offset and size, content offset and
    // size, charset and encoding; then the number of parts below each.
    let encoding = u32::from(e.encoding == "8BIT");
    let sections = [
        2,
        0,
        e.header_size,
        e.header_size,
        e.body_size,
        0xffff_0000,
        0,
        e.header_size,
        e.header_size,
        e.body_size,
        encoding,
        0,
    ];
    out.extend_from_slice(&u32_of(sections.len() * 4).to_be_bytes());
    for word in sections {
        out.extend_from_slice(&word.to_be_bytes());
    }
    let references = e
        .reply_to
        .map_or_else(String::new, |r| format!("References: {r}\r\n"));
    item(&mut out, &format!("Message-ID: {}\r\n{references}", e.id));
    item(
        &mut out,
        &searchable(&format!("{} <{}@example.org>", e.person, e.local)),
    );
    item(&mut out, &format!("<{}@example.com>", e.to));
    item(&mut out, "");
    item(&mut out, "");
    item(&mut out, &searchable(&format!("\"{}\"", e.subject)));
    out
}

/// Lower case and without spaces, but for the one before an address.
fn searchable(text: &str) -> String {
    let (name, address) = text
        .split_once(" <")
        .map_or((text, None), |(n, a)| (n, Some(a)));
    let name = name.to_ascii_lowercase().replace(' ', "");
    address.map_or(name.clone(), |a| format!("{name} <{a}"))
}

fn item(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&u32_of(text.len()).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
    out.resize(out.len().next_multiple_of(4), 0);
}

/// `Wed, 05 Dec 2007 16:07:00 +0000`
fn date_time(seconds: u32) -> String {
    let time = Timestamp::from_second(i64::from(seconds)).unwrap_or_default();
    time.strftime("%a, %d %b %Y %H:%M:%S +0000").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_mail_has_them() {
        assert_eq!(date_time(0), "Thu, 01 Jan 1970 00:00:00 +0000");
        assert_eq!(date_time(1_196_870_820), "Wed, 05 Dec 2007 16:07:00 +0000");
        assert_eq!(date_time(951_782_399), "Mon, 28 Feb 2000 23:59:59 +0000");
        assert_eq!(date_time(951_782_400), "Tue, 29 Feb 2000 00:00:00 +0000");
    }

    #[test]
    fn a_message_is_in_wire_format_and_its_sizes_are_right() {
        let mut rng = fastrand::Rng::with_seed(7);
        for number in 0..200 {
            let draft = Draft {
                to: "alice",
                number,
                date: 1_196_870_820,
                size: 900,
            };
            let message = Message::make(&draft, &mut rng);
            let text = &message.bytes;
            assert!(
                text.iter()
                    .enumerate()
                    .all(|(i, &b)| b != b'\n' || i > 0 && text[i - 1] == b'\r')
            );
            let end = text
                .windows(4)
                .position(|w| w == b"\r\n\r\n")
                .expect("an empty line")
                + 4;
            assert_eq!(message.header_size as usize, end);
        }
    }

    #[test]
    fn a_cache_record_is_ten_padded_items() {
        let draft = Draft {
            to: "bob",
            number: 3,
            date: 1_196_870_820,
            size: 500,
        };
        let message = Message::make(&draft, &mut fastrand::Rng::with_seed(1));
        let (mut at, mut items) = (0, 0);
        while at < message.cache.len() {
            let length =
                u32::from_be_bytes(message.cache[at..at + 4].try_into().expect("four bytes"));
            at += 4 + (length as usize).next_multiple_of(4);
            items += 1;
        }
        assert_eq!((at, items), (message.cache.len(), 10));
    }
}
