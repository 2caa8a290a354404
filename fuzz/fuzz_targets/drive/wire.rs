//! What the target `wire` does with its bytes: both ends of slotd's protocol. `cargo test` replays
//! the corpus, and mutations of it, through the same code (`slotd/tests/fuzz_corpus.rs`).

use slotd::protocol::{
    Cleaned, Command, Committed, Completed, Confirmed, Digests, Fields, Found, Greeting, GuidPage,
    HostFacts, Listed, MAX_COMMAND, MAX_LINE, MailboxFacts, Prepared, Reply, Revoked, Sha1sChunk,
    Status, Upgraded, Verified,
};

/// First byte: which end. The rest is a line.
pub fn wire(data: &[u8]) {
    match data.split_first() {
        Some((which, line)) if which & 1 == 0 => command(line),
        Some((_, line)) => reply(line),
        None => {}
    }
}

/// What the server does with what a client says. Whatever is understood goes over the wire again as
/// the same; what is not is answered by one printable line.
fn command(line: &[u8]) {
    match Command::parse(line) {
        Ok(command) => {
            assert!(line.len() <= MAX_COMMAND);
            let again = command.to_line();
            if again.len() <= MAX_COMMAND {
                assert_eq!(Command::parse(again.as_bytes()).as_ref(), Ok(&command));
            }
        }
        Err(error) => one_line(&error.to_reply().to_line()),
    }
}

/// What a client does with what a server says.
fn reply(line: &[u8]) {
    let Ok(reply) = Reply::parse(line) else {
        return;
    };
    one_line(&reply.to_line());
    if let Reply::Ok(fields) = &reply {
        answers(fields);
    }
}

/// Every answer, whatever was asked.
fn answers(fields: &Fields) {
    let _ = Greeting::from_fields(fields).map(|it| it.to_fields());
    let _ = HostFacts::from_fields(fields).map(|it| it.to_fields());
    let _ = MailboxFacts::from_fields(fields).map(|it| it.to_fields());
    let _ = Upgraded::from_fields(fields).map(|it| it.to_fields());
    let _ = GuidPage::from_fields(fields).map(|it| it.to_fields());
    let _ = Digests::from_fields(fields).map(|it| it.to_fields());
    let _ = Confirmed::from_fields(fields).map(|it| it.to_fields());
    let _ = Committed::from_fields(fields).map(|it| it.to_fields());
    let _ = Prepared::from_fields(fields).map(|it| it.to_fields());
    let _ = Listed::from_fields(fields).map(|it| it.to_fields());
    let _ = Found::from_fields(fields).map(|it| it.to_fields());
    let _ = Sha1sChunk::from_fields(fields).map(|it| it.to_fields());
    let _ = Status::from_fields(fields).map(|it| it.to_fields());
    let _ = Verified::from_fields(fields).map(|it| it.to_fields());
    let _ = Cleaned::from_fields(fields).map(|it| it.to_fields());
    let _ = Completed::from_fields(fields).map(|it| it.to_fields());
    let _ = Revoked::from_fields(fields).map(|it| it.to_fields());
}

fn one_line(line: &str) {
    assert!(line.len() <= MAX_LINE, "{} bytes", line.len());
    let text = line.strip_suffix('\n').expect("a line has an end");
    assert!(!text.contains(['\n', '\r', '\0', '\u{1b}']), "{text:?}");
}
