//! Replays the committed corpus of the fuzz target of what comes from the network, so that what it
//! once found stays found.

use std::path::Path;

#[path = "../../fuzz/fuzz_targets/drive/mupdate.rs"]
mod drive;

#[test]
fn what_a_mupdate_server_says_never_makes_the_decoder_panic() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/mupdate");
    let mut files = 0;
    for entry in std::fs::read_dir(&dir).expect("corpus") {
        let bytes = std::fs::read(entry.expect("entry").path()).expect("read");
        for cut in 0..=bytes.len() {
            drive::mupdate(&bytes[..cut]);
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x81;
            drive::mupdate(&flipped);
        }
        files += 1;
    }
    assert!(files > 0, "{}", dir.display());
}
