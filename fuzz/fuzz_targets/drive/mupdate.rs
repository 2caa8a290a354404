//! What the target `mupdate` does with its bytes. `cargo test` replays the corpus through the same
//! code (`controller/tests/fuzz_corpus.rs`).

use controller::murder::Location;
use controller::murder::wire::{Decoder, Event, MAX_ACL, MAX_STRING, WireError, shown};
use indexfile::mailbox::MailboxName;

fn decode(bytes: &[u8], piece: usize) -> (Vec<Event>, Option<WireError>) {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    for mut piece in bytes.chunks(piece) {
        loop {
            match decoder.decode(&mut piece) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
        assert!(piece.is_empty());
    }
    (events, None)
}

/// First byte: into how long pieces the rest, what a server says, is cut. All ways of cutting give
/// the same; nothing is longer than its limit; what a person would see is printable.
pub fn mupdate(data: &[u8]) {
    let Some((&piece, rest)) = data.split_first() else {
        return;
    };
    let whole = decode(rest, rest.len().max(1));
    assert_eq!(whole, decode(rest, usize::from(piece).max(1)));
    let (events, error) = whole;
    if let Some(error) = error {
        printable(&error.to_string());
    }
    for event in events {
        match event {
            Event::Capability { name, values } => {
                printable(&name);
                printable(&values.join(" "));
            }
            Event::Banner(banner) => printable(&banner.to_string()),
            Event::Bye { text } | Event::Done { text, .. } => printable(&text),
            Event::Continue => {}
            Event::Entry { entry, .. } => {
                let acl = match &entry {
                    controller::murder::wire::Entry::Mailbox { acl, .. } => acl.len(),
                    _ => 0,
                };
                assert!(entry.name().len() <= 2 * MAX_STRING && acl <= MAX_ACL);
                printable(&shown(entry.name()));
                if let Ok(name) = MailboxName::from_bytes(entry.name()) {
                    assert_eq!(name.as_str().as_bytes(), entry.name());
                }
                if let Some(bytes) = entry.location()
                    && let Some(location) = Location::from_bytes(bytes)
                {
                    assert_eq!(location.to_string().as_bytes(), bytes);
                }
            }
        }
    }
}

fn printable(text: &str) {
    assert!(text.bytes().all(|b| (b' '..=b'~').contains(&b)), "{text:?}");
}
