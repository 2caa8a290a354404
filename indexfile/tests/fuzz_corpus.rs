//! Replays the committed corpora of the fuzz targets of what lies in a mail store and beside it, so
//! that what they once found stays found.

#[path = "../../fuzz/fuzz_targets/drive/mod.rs"]
mod drive;
#[path = "../../fuzz/replay.rs"]
mod replay;
#[path = "../../fuzz/fuzz_targets/drive/text.rs"]
mod text;

use replay::Target;

fn replay(name: &'static str, drive: fn(&[u8])) {
    let target = Target {
        name,
        drive,
        apart: 2 << 20, // the buffers through which an index is copied
        most: 60,
    };
    target.replay();
}

fn replay_text(name: &'static str, drive: fn(&[u8])) {
    let target = Target {
        name,
        drive,
        apart: 16 << 10,
        most: 400,
    };
    target.replay();
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

#[test]
fn a_header_file_is_read_or_refused_in_a_line() {
    replay_text("header", text::header);
}

#[test]
fn a_cache_of_guids_says_the_same_by_position_and_in_order() {
    replay_text("sha1s", text::sha1s);
}

#[test]
fn no_configuration_leads_out_of_its_directories() {
    replay_text("imapd_conf", text::imapd_conf);
}

#[test]
fn a_list_of_mailboxes_is_read_alike_however_it_comes() {
    replay_text("list", text::list);
}
