//! What a genuine 3.6.1 master said, what none would say, and all that we can say.

use indexfile::mailbox::MailboxName;
use proptest::prelude::*;

use super::*;

fn decode(bytes: &[u8]) -> Result<Vec<Event>, WireError> {
    let mut decoder = Decoder::default();
    let (mut input, mut events) = (bytes, Vec::new());
    while let Some(event) = decoder.decode(&mut input)? {
        events.push(event);
    }
    assert!(input.is_empty());
    Ok(events)
}

fn one(bytes: &[u8]) -> Event {
    let mut events = decode(bytes).unwrap();
    assert_eq!(events.len(), 1, "{events:?}");
    events.remove(0)
}

fn done(tag: &str, status: Status, text: &str) -> Event {
    let (tag, text) = (tag.to_owned(), text.to_owned());
    Event::Done { tag, status, text }
}

fn mailbox(tag: &str, name: &[u8], location: &[u8], acl: &[u8]) -> Event {
    Event::Entry {
        tag: tag.to_owned(),
        entry: Entry::Mailbox {
            name: name.to_vec(),
            location: location.to_vec(),
            acl: acl.to_vec(),
        },
    }
}

const BANNER: &str = "* AUTH \"PLAIN\"\r\n* STARTTLS\r\n* COMPRESS \"DEFLATE\"\r\n\
    * PARTIAL-UPDATE\r\n\
    * OK MUPDATE \"mupdate.test\" \"Cyrus IMAP\" \"3.6.1-Debian-3.6.1-4+deb12u5\" \"(master)\"\r\n";

#[test]
fn the_banner_of_a_master_and_of_a_frontend() {
    let events = decode(BANNER.as_bytes()).unwrap();
    let capability = |name: &str, values: &[&str]| Event::Capability {
        name: name.to_owned(),
        values: values.iter().map(|&v| v.to_owned()).collect(),
    };
    assert_eq!(events[0], capability("AUTH", &["PLAIN"]));
    assert_eq!(events[1], capability("STARTTLS", &[]));
    assert_eq!(events[3], capability("PARTIAL-UPDATE", &[]));
    let Event::Banner(banner) = &events[4] else {
        panic!("{events:?}");
    };
    assert!(banner.is_master());
    assert_eq!(
        banner.to_string(),
        "mupdate.test, Cyrus IMAP 3.6.1-Debian-3.6.1-4+deb12u5 (master)"
    );
    let frontend = BANNER.replace("(master)", "mupdate://mupdate.test");
    let events = decode(frontend.as_bytes()).unwrap();
    let Some(Event::Banner(banner)) = events.last() else {
        panic!("{events:?}");
    };
    assert!(!banner.is_master());
}

#[test]
fn a_list_with_literals_of_both_kinds_an_empty_acl_and_bytes_of_any_value() {
    let answer = b"24 MAILBOX {8+}\r\nuser.joe {16+}\r\nbe1.test!default \
        {29+}\r\njoe\tlrswipkxtecdan\tanyone\tlr\t\r\n\
        24 RESERVE {8}\r\nuser.bob {11}\r\nbe2.test!p2\r\n\
        24 mailbox {6+}\r\na\xff\0\r\n{ \"be1!\\\"p\\\\\" {0+}\r\n\r\n\
        24 DELETE {6+}\r\nuser.x\r\n\
        24 OK \"list complete\"\r\n";
    let reserve = Entry::Reserve {
        name: b"user.bob".to_vec(),
        location: b"be2.test!p2".to_vec(),
    };
    let delete = Entry::Delete {
        name: b"user.x".to_vec(),
    };
    let entry = |entry| Event::Entry {
        tag: "24".to_owned(),
        entry,
    };
    let acl = b"joe\tlrswipkxtecdan\tanyone\tlr\t";
    assert_eq!(
        decode(answer).unwrap(),
        [
            mailbox("24", b"user.joe", b"be1.test!default", acl),
            entry(reserve),
            mailbox("24", b"a\xff\0\r\n{", b"be1!\"p\\", b""),
            entry(delete),
            done("24", Status::Ok, "list complete"),
        ]
    );
}

#[test]
fn how_commands_end() {
    for (line, event) in [
        (
            "A0 OK \"Authenticated\"\r\n",
            done("A0", Status::Ok, "Authenticated"),
        ),
        (
            "A0 NO \"undefined error!\"\r\n",
            done("A0", Status::No, "undefined error!"),
        ),
        (
            "3 BAD \"Please login first\"\r\n",
            done("3", Status::Bad, "Please login first"),
        ),
        (
            "s OK Begin TLS negotiation now\r\n",
            done("s", Status::Ok, "Begin TLS negotiation now"),
        ),
        ("s OK\r\n", done("s", Status::Ok, "")),
        ("s NO {3+}\r\n\x1b[m\r\n", done("s", Status::No, "\\x1b[m")),
        ("\r\n", Event::Continue),
        ("+ go ahead\r\n", Event::Continue),
        ("* BYE \"no\"\r\n", Event::Bye { text: "no".into() }),
    ] {
        assert_eq!(one(line.as_bytes()), event, "{line:?}");
    }
}

#[test]
fn what_no_mupdate_server_says_is_an_error_that_shows_it_escaped() {
    for (bytes, text) in [
        (
            &b"* OK [CAPABILITY IMAP4rev1] imap.test Cyrus IMAP server ready\r\n"[..],
            "a line that is no answer: \"* OK [CAPABILITY IMAP4rev1] imap.test",
        ),
        (
            b"SSH-2.0-OpenSSH_9.2\r\n",
            "a line that is no answer: \"SSH-2.0-OpenSSH_9.2 \"",
        ),
        (b"1 MAILBOX {1+}\r\na\r\n", "a line that is no answer"),
        (
            b"1 MAILBOX \"a\" \"b!c\" \"\" \"\"\r\n",
            "a line that is no answer",
        ),
        (b"1 RESERVE \"a\"\r\n", "a line that is no answer"),
        (
            b"1 DELETE \"\x1b\" \"b\"\r\n",
            "a line that is no answer: \"1 DELETE \\x1b b\"",
        ),
        (b"* OK MUPDATE \"h\"\r\n", "a line that is no answer"),
        (b"1 OK\n", "the byte '\\n' in a line"),
        (b"1 OK \0\r\n", "the byte '\\x00' in a line"),
        (b"1 OK\rx", "the byte 'x' after a carriage return"),
        (b"1 OK \"a\r\n", "the byte '\\r' in a quoted string"),
        (b"1 OK \"a\"b\r\n", "the byte 'b' behind a string"),
        (b"1 FIND {1+}\r\nab\r\n", "the byte 'b' behind a string"),
        (b"1 FIND {}\r\n", "the byte '}' in the length of a literal"),
        (b"1 FIND {+}\r\n", "the byte '+' in the length of a literal"),
        (
            b"1 FIND {-1}\r\n",
            "the byte '-' in the length of a literal",
        ),
        (
            b"1 FIND {1++}\r\n",
            "the byte '+' in the length of a literal",
        ),
        (
            b"1 FIND {1} \r\n",
            "the byte ' ' in the length of a literal",
        ),
        (
            b"1 DELETE {4097+}\r\n",
            "a literal of 4097 bytes, where 4096 are allowed",
        ),
        (
            b"1 DELETE {99999999999999999999999999999999+}\r\n",
            "a literal of 18446744073709551615 bytes",
        ),
        (
            b"1 MAILBOX {1+}\r\na {1+}\r\nb {4194305+}\r\n",
            "a literal of 4194305 bytes, where 4194304 are allowed",
        ),
    ] {
        let error = decode(bytes).unwrap_err().to_string();
        assert!(error.starts_with(text), "{}: {error}", shown(bytes));
    }
}

#[test]
fn lines_and_words_without_an_end_are_cut_off() {
    for (piece, wanted) in [
        (&b"x"[..], WireError::LongLine),
        (b" ", WireError::LongLine),
        (b"\"a\" ", WireError::ManyWords),
        (b"{0+}\r\n ", WireError::ManyWords),
    ] {
        let mut decoder = Decoder::default();
        let mut fed = 0;
        let error = loop {
            let mut input = piece;
            match decoder.decode(&mut input) {
                Ok(event) => assert_eq!(event, None),
                Err(error) => break error,
            }
            fed += piece.len();
            assert!(fed <= MAX_LINE, "{}", shown(piece));
        };
        assert_eq!(error, wanted);
        // And nothing is understood after that.
        assert!(decoder.decode(&mut &b"1 OK\r\n"[..]).is_err());
    }
}

/// One of each: a command that is added must be added here, or this does not compile.
fn every_command<'a>(name: &'a MailboxName, so_far: Option<Command<'a>>) -> Option<Command<'a>> {
    Some(match so_far {
        None => Command::StartTls,
        Some(Command::StartTls) => Command::AuthenticatePlain {
            user: "mupdateadmin",
            password: b"secret",
        },
        Some(Command::AuthenticatePlain { .. }) => Command::List { server: None },
        Some(Command::List { server: None }) => Command::List {
            server: Some("be1.test"),
        },
        Some(Command::List { server: Some(_) }) => Command::Find { name },
        Some(Command::Find { .. }) => Command::Update,
        Some(Command::Update) => Command::Noop,
        Some(Command::Noop) => Command::Logout,
        Some(Command::Logout) => return None,
    })
}

#[test]
fn nothing_can_be_said_that_changes_the_master() {
    let name = MailboxName::parse("user.joe").unwrap();
    let mut lines = Vec::new();
    let mut command = None;
    while let Some(next) = every_command(&name, command) {
        let mut bytes = Vec::new();
        next.encode("7", &mut bytes);
        lines.push(String::from_utf8(bytes).unwrap());
        command = Some(next);
    }
    assert_eq!(
        lines,
        [
            "7 STARTTLS\r\n",
            "7 AUTHENTICATE \"PLAIN\" \"AG11cGRhdGVhZG1pbgBzZWNyZXQ=\"\r\n",
            "7 LIST\r\n",
            "7 LIST \"be1.test!\"\r\n",
            "7 FIND \"user.joe\"\r\n",
            "7 UPDATE\r\n",
            "7 NOOP\r\n",
            "7 LOGOUT\r\n",
        ]
    );
    for line in lines {
        for write in ["DELETE", "RESERVE", "ACTIVATE", "DEACTIVATE"] {
            assert!(!line.contains(write), "{line}");
        }
    }
}

#[test]
fn a_string_cannot_end_its_line() {
    let mut bytes = Vec::new();
    let server = Some("x\"\r\n8 DELETE \"user.joe");
    Command::List { server }.encode("7", &mut bytes);
    // The server reads 23 bytes of name, whatever they are.
    assert_eq!(bytes, b"7 LIST {23+}\r\nx\"\r\n8 DELETE \"user.joe!\r\n");
    let mut quoted = Vec::new();
    let server = Some("a\\b\" \"c");
    Command::List { server }.encode("7", &mut quoted);
    assert_eq!(quoted, b"7 LIST \"a\\\\b\\\" \\\"c!\"\r\n");
}

#[test]
fn a_password_is_not_in_what_debug_prints() {
    let (user, password) = ("mupdateadmin", &b"secret"[..]);
    let command = Command::AuthenticatePlain { user, password };
    assert_eq!(format!("{command:?}"), "AUTHENTICATE");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn near_answers_make_it_not_panic(
        text in "([*1+]? ?(OK|AUTH)?( \"?[a-z\\\\]{0,3}\"?| \\{[0-9]\\+?\\}\r\n.)*\r\n){0,5}",
    ) {
        let _ = decode(text.as_bytes());
    }

    #[test]
    fn how_bytes_are_cut_into_pieces_changes_nothing(
        names in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 0..6),
        at in 1_usize..40,
    ) {
        let mut bytes = BANNER.as_bytes().to_vec();
        for name in &names {
            bytes.extend(format!("2 MAILBOX {{{}+}}\r\n", name.len()).bytes());
            bytes.extend(name);
            bytes.extend(b" {5+}\r\nbe1!p {0+}\r\n\r\n");
        }
        bytes.extend(b"2 OK \"done\"\r\n");
        let whole = decode(&bytes).unwrap();
        prop_assert_eq!(whole.len(), 6 + names.len());
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for mut piece in bytes.chunks(at) {
            while let Some(event) = decoder.decode(&mut piece).unwrap() {
                events.push(event);
            }
        }
        prop_assert_eq!(events, whole);
        prop_assert!(decoder.is_between());
    }
}
