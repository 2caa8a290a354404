//! What the target `certificate` does with its bytes: the certificate of the other end, and the
//! files of our own. `cargo test` replays the corpus through the same code
//! (`slotd/tests/fuzz_corpus.rs`).

use slotd::protocol::Role;
use slotd::tls::Certificate;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// First byte: whether the rest is DER, as on the wire, or PEM, as in a file.
pub fn certificate(data: &[u8]) {
    match data.split_first() {
        Some((which, der)) if which & 1 == 0 => one(der),
        Some((_, file)) => match Certificate::in_pem(file) {
            Ok(all) => all.iter().for_each(|der| one(der)),
            Err(error) => one_line(&error.to_string()),
        },
        None => {}
    }
}

/// What it says makes no line of a log of its own; it has one role, and only one that stands there.
fn one(der: &[u8]) {
    let said = match Certificate::of(der) {
        Ok(said) => said,
        Err(error) => return one_line(&error.to_string()),
    };
    one_line(&said.holder);
    said.names.iter().for_each(|name| one_line(name));
    assert!(said.serial.bytes().all(|b| b.is_ascii_hexdigit()));
    if let Some(role) = said.role {
        let uri = role.uri();
        assert!(der.windows(uri.len()).any(|part| part == uri.as_bytes()));
        assert_eq!(Role::of_uri(&uri), Some(role));
    }
    let (from, until) = said.period();
    one_line(&from);
    one_line(&until);
    let far = Duration::from_secs(1 << 40);
    for now in [
        UNIX_EPOCH,
        UNIX_EPOCH - far,
        UNIX_EPOCH + far,
        SystemTime::now(),
    ] {
        std::hint::black_box((said.days_left(now), said.is_outside(now)));
    }
}

fn one_line(text: &str) {
    assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
}
