//! Replays the committed corpora of the fuzz targets of what comes from a mupdate server, from a
//! journal and from a directory of certificates, so that what they once found stays found.

#[path = "../../fuzz/fuzz_targets/drive/certs.rs"]
mod certs;
#[path = "../../fuzz/fuzz_targets/drive/journal.rs"]
mod journal;
#[path = "../../fuzz/fuzz_targets/drive/mupdate.rs"]
mod mupdate;
#[path = "../../fuzz/replay.rs"]
mod replay;

use replay::Target;

#[test]
fn what_a_mupdate_server_says_never_makes_the_decoder_panic() {
    let target = Target {
        name: "mupdate",
        drive: mupdate::mupdate,
        apart: 16 << 10,
        most: 400,
    };
    target.replay();
}

#[test]
fn rows_of_a_journal_are_read_as_what_they_say_or_refused_in_a_line() {
    let target = Target {
        name: "journal",
        drive: journal::journal,
        apart: 1 << 20, // the whole file
        most: 10,
    };
    target.replay();
}

#[test]
fn certificates_in_a_directory_are_shown_or_refused_in_a_line() {
    let target = Target {
        name: "certs",
        drive: certs::certs,
        apart: 64 << 10,
        most: 200,
    };
    target.replay();
}
