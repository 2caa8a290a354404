//! Replays the committed corpus of the fuzz targets, so that what they once found stays found.

use std::path::Path;

#[path = "../../fuzz/fuzz_targets/drive/mod.rs"]
mod drive;

fn replay(target: &str, drive: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut files = 0;
    for entry in std::fs::read_dir(&dir).expect("corpus") {
        let path = entry.expect("entry").path();
        let bytes = std::fs::read(&path).expect("read");
        println!("{}", path.display());
        drive(&bytes);
        // Cut and flipped forms are cheap and reach the paths that sound files do not.
        for cut in [1, 3, 20, 97, bytes.len() / 2, bytes.len().saturating_sub(1)] {
            drive(&bytes[..cut.min(bytes.len())]);
        }
        for at in (0..bytes.len().min(300)).step_by(7) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x81;
            drive(&flipped);
        }
        files += 1;
    }
    assert!(files > 0, "{}", dir.display());
}

#[test]
fn the_reader_never_panics() {
    replay("reader", drive::reader);
}

#[test]
fn what_is_converted_is_sound_and_goes_back() {
    replay("convert", drive::convert);
}

#[test]
fn the_checks_never_panic_and_repairs_are_sound() {
    replay("check", drive::check);
}

#[test]
fn seen_databases_never_make_the_reader_panic() {
    replay("seen", drive::seen);
}

#[test]
fn what_is_made_of_a_mailbox_is_accepted_by_check() {
    replay("cutover", drive::cutover);
}
