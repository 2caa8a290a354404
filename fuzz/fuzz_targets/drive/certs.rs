//! What the target `certs` does with its bytes: a directory of certificates with the list of those
//! that are revoked. `cargo test` replays the corpus through the same code
//! (`controller/tests/fuzz_corpus.rs`).

use controller::certs::show;
use std::time::UNIX_EPOCH;
use tempfile::TempDir;

thread_local! {
    static DIR: TempDir = tempfile::tempdir().expect("a directory");
}

/// First two bytes: the length of a certificate's file; behind it is the list.
pub fn certs(data: &[u8]) {
    let Some(([a, b], rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let (file, list) = rest.split_at(usize::from(u16::from_be_bytes([*a, *b])).min(rest.len()));
    DIR.with(|dir| {
        std::fs::write(dir.path().join("a.pem"), file).expect("write");
        let crl = dir.path().join("crl.pem");
        if list.is_empty() {
            let _ = std::fs::remove_file(&crl);
        } else {
            std::fs::write(&crl, list).expect("write");
        }
        match show(dir.path(), UNIX_EPOCH) {
            Ok(shown) => {
                assert_eq!(shown.len(), 1);
                let json = serde_json::to_string(&shown).expect("it can be written");
                one_line(&json);
                one_line(&shown[0].holder);
                shown[0].names.iter().for_each(|name| one_line(name));
            }
            Err(error) => one_line(&error.to_string()),
        }
    });
}

fn one_line(text: &str) {
    assert!(!text.contains(|c: char| c.is_control()), "{text:?}");
}
