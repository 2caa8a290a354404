//! Against a server that answers what a test wants.

use std::time::Duration;

use indexfile::exit::Exit;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

use super::*;
use crate::observer::Silent;
use crate::stop::stop_pair;

/// Messages as FETCH gives them: UID, RFC822.SIZE, EMAILID, bytes.
type Given = (u32, usize, &'static str, &'static str);

/// The first 24 digits of the SHA-1 of `hello`.
const HELLO: &str = "Maaf4c61ddcc5e8a2dabede0f";

/// What the server answers where it is not what a good one does.
#[derive(Clone, Default)]
struct Fake {
    /// By the first words of a command: all that is said, or nothing at all and the end if empty.
    instead: Vec<(&'static str, &'static str)>,
    messages: Vec<Given>,
    /// Of EXAMINE.
    exists: usize,
}

impl Fake {
    fn with(messages: &[Given]) -> Self {
        Self {
            instead: Vec::new(),
            messages: messages.to_vec(),
            exists: messages.len(),
        }
    }

    fn instead(mut self, command: &'static str, answer: &'static str) -> Self {
        self.instead.push((command, answer));
        self
    }

    fn answer(&self, tag: &str, command: &str) -> Option<Vec<u8>> {
        for (of, answer) in &self.instead {
            if command.starts_with(of) {
                let answer = answer.replace("TAG", tag);
                return (!answer.is_empty()).then(|| answer.into_bytes());
            }
        }
        let exists = self.exists;
        let data = if command.starts_with("CAPABILITY") {
            "* CAPABILITY IMAP4rev1 OBJECTID\r\n".to_owned()
        } else if command.starts_with("LIST") {
            "* LIST (\\HasChildren) \".\" \"INBOX\"\r\n* LIST (\\Noselect) \".\" \"Top\"\r\n"
                .to_owned()
        } else if command.starts_with("STATUS") {
            format!("* STATUS INBOX (MESSAGES {exists} UIDNEXT 100 UIDVALIDITY 7)\r\n")
        } else if command.starts_with("EXAMINE") {
            format!("* {exists} EXISTS\r\n* OK [UIDVALIDITY 7] Ok\r\n* OK [UIDNEXT 100] Ok\r\n")
        } else if command.starts_with("UID FETCH") {
            let one = |(n, (uid, size, id, bytes)): (usize, &Given)| {
                format!(
                    "* {} FETCH (FLAGS (\\Seen \\Recent $Work) UID {uid} INTERNALDATE \
                     \" 7-Jul-1996 09:44:25 +0000\" RFC822.SIZE {size} EMAILID ({id}) \
                     BODY[] {{{}}}\r\n{bytes})\r\n",
                    n + 1,
                    bytes.len()
                )
            };
            self.messages.iter().enumerate().map(one).collect()
        } else if command.starts_with("STARTTLS") {
            return Some(format!("{tag} BAD no TLS here\r\n").into_bytes());
        } else {
            String::new()
        };
        Some(format!("{data}{tag} OK done\r\n").into_bytes())
    }

    /// Serves one client and gives what that saw.
    async fn read(self) -> Result<(Seen, ImapReport), ImapError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let place = listener.local_addr().unwrap().to_string();
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (from, mut to) = stream.split();
            let greeting = self.answer("*", "GREETING").unwrap_or_default();
            let greeting = if self.instead.iter().any(|(of, _)| *of == "GREETING") {
                greeting
            } else {
                b"* OK hello\r\n".to_vec()
            };
            let _ = to.write_all(&greeting).await;
            let mut lines = BufReader::new(from).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let (tag, command) = line.split_once(' ').unwrap();
                assert!(!command.starts_with("SELECT"), "it takes \\Recent");
                let Some(answer) = self.answer(tag, command) else {
                    return;
                };
                let _ = to.write_all(&answer).await;
            }
        });
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "sec\"ret\n").unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        let password = Password::from_file(&path).unwrap();
        let address = place.parse().unwrap();
        let mut settings = Settings::new(address, "joe", password, &Security::default()).unwrap();
        settings.timeouts.reply = Duration::from_millis(500);
        let (_handle, stop) = stop_pair();
        let read = read(&settings, &Silent, &stop).await;
        served.abort();
        read
    }
}

fn codes(report: &ImapReport) -> Vec<&'static str> {
    report.findings.iter().map(|f| f.code.as_str()).collect()
}

#[tokio::test]
async fn all_that_a_user_sees_is_read_and_counted() {
    let fake = Fake::with(&[(3, 5, HELLO, "hello"), (9, 5, HELLO, "hello")]);
    let (seen, report) = fake.read().await.unwrap();
    assert_eq!(codes(&report), [""; 0]);
    let numbers = [
        report.mailboxes,
        report.messages,
        report.bytes,
        report.guids,
    ];
    assert_eq!(numbers, [1, 2, 10, 2]);
    let inbox = &seen.mailboxes["INBOX"];
    assert_eq!((inbox.uidvalidity, inbox.uidnext), (7, 100));
    let message = &inbox.messages[&9];
    assert_eq!(message.sha1, "aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d");
    assert_eq!(message.date, Some(836_732_665));
    assert_eq!(message.flags, ["$Work", "\\Seen"].map(str::to_owned).into());
}

#[tokio::test]
async fn nothing_seen_is_a_finding() {
    let (_, report) = Fake::with(&[]).read().await.unwrap();
    assert_eq!(codes(&report), ["nothing"]);
    let none = Fake::with(&[]).instead("LIST", "TAG OK done\r\n");
    let (_, report) = none.read().await.unwrap();
    assert_eq!(codes(&report), ["nothing", "nothing"]);
    assert_eq!(report.exit(), Exit::Data);
}

#[tokio::test]
async fn each_thing_that_does_not_fit_is_a_finding() {
    let one = |given: Given| async move { codes(&Fake::with(&[given]).read().await.unwrap().1) };
    assert_eq!(one((3, 6, HELLO, "hello")).await, ["size"]);
    assert_eq!(
        one((3, 5, "Maaf4c61ddcc5e8a2dabede00", "hello")).await,
        ["guid"]
    );
    let mut fake = Fake::with(&[(3, 5, HELLO, "hello")]);
    fake.exists = 2;
    assert_eq!(codes(&fake.read().await.unwrap().1), ["count"]);
    let good = Fake::with(&[(3, 5, HELLO, "hello")]);
    for (command, answer, found) in [
        (
            "STATUS",
            "TAG NO System I/O error\r\n",
            &["refused", "nothing"][..],
        ),
        (
            "EXAMINE",
            "TAG NO Mailbox does not exist\r\n",
            &["refused", "nothing"],
        ),
        (
            "UID FETCH",
            "TAG NO it broke\r\n",
            &["refused", "count", "nothing"],
        ),
        (
            "UID FETCH",
            "* 1 FETCH (UID 3 BODY[] NIL)\r\nTAG OK\r\n",
            &["size", "count", "nothing"],
        ),
        (
            "STATUS",
            "* STATUS INBOX (MESSAGES 1 UIDNEXT 100 UIDVALIDITY 8)\r\nTAG OK done\r\n",
            &["count"],
        ),
    ] {
        let (_, report) = good.clone().instead(command, answer).read().await.unwrap();
        assert_eq!(codes(&report), found, "{command}: {answer}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_be_read_ends_the_command_with_its_own_code() {
    let good = Fake::with(&[(3, 5, HELLO, "hello")]);
    for (command, answer, exit, text) in [
        (
            "LOGIN",
            "TAG NO Login failed: authentication failure\r\n",
            Exit::Denied,
            "refuses user joe",
        ),
        (
            "LOGIN",
            "",
            Exit::Unavailable,
            "closed the connection during LOGIN",
        ),
        (
            "GREETING",
            "* BYE too many\r\n",
            Exit::Unavailable,
            "Bye too many",
        ),
        (
            "GREETING",
            "",
            Exit::Unavailable,
            "no answer to the greeting within",
        ),
        (
            "GREETING",
            "220 mail ESMTP\r\n",
            Exit::Unavailable,
            "cannot be read as IMAP",
        ),
        (
            "LIST",
            "TAG NO it is broken\r\n",
            Exit::Unavailable,
            "answers LIST with it is broken",
        ),
        (
            "UID FETCH",
            "* BYE shutdown\r\n",
            Exit::Unavailable,
            "BYE shutdown",
        ),
        (
            "UID FETCH",
            "* 1 FETCH (UID 3 BODY[] {5}\r\nhe",
            Exit::Unavailable,
            "no answer to FETCH",
        ),
        (
            "UID FETCH",
            "* 1 FETCH )))\r\n",
            Exit::Unavailable,
            "cannot be read as IMAP",
        ),
        (
            "EXAMINE",
            "",
            Exit::Unavailable,
            "closed the connection during EXAMINE",
        ),
    ] {
        let error = good
            .clone()
            .instead(command, answer)
            .read()
            .await
            .unwrap_err();
        assert_eq!(error.exit(), exit, "{command} {answer}: {error}");
        assert!(
            error.to_string().contains(text),
            "{command} {answer}: {error}"
        );
        assert!(!error.to_string().contains("ret"), "no password: {error}");
    }
}

#[tokio::test]
async fn what_the_server_calls_a_mailbox_is_printed_escaped() {
    let fake = Fake::with(&[]).instead(
        "LIST",
        "* LIST () \".\" {7}\r\n\x1b[31m\r\n\r\n* LIST () \".\" INBOX\r\nTAG OK done\r\n",
    );
    let (_, report) = fake.read().await.unwrap();
    let refused = report
        .findings
        .iter()
        .find(|f| f.code == Code::Refused)
        .unwrap();
    assert!(
        refused.to_string().contains("\\u{1b}[31m\\r\\n"),
        "{refused}"
    );
}
