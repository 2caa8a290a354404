//! In the place of the files of a mailbox, and of its directories.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use stores::judge::snapshot;
use tests::fleet::program;
use tests::process::Slotd;
use tests::wire::Wire;

use crate::attacked::{Attacked, MAILBOX, assert_memory, copy};
use crate::odd::{ALL, Odd};

/// Commands of slotd that look at a mailbox, `{}`.
const LOOKS: &[&str] = &["STATUS {}", "VERIFY {}", "SHA1S {}"];
/// Its whole way up and down.
const CHANGES: &[&str] = &[
    "PREPARE {}",
    "LOCK {} wait_ms=100",
    "UPGRADE",
    "COMMIT",
    "ROLLBACK",
    "LOCK {} wait_ms=100",
    "UPGRADE 9",
    "COMMIT",
    "ROLLBACK",
    "CLEAN {}",
];

/// Swaps what two names lead to: at no instant is nothing there.
fn exchange(one: &Path, other: &Path) {
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    let cwd = rustix::fs::CWD;
    rustix::fs::renameat_with(cwd, one, cwd, other, flags).unwrap();
}

/// Every kind of thing that anybody can make in the place of files of a mailbox.
fn in_the_place_of(names: &[&str]) {
    are_in_the_place_of(&ALL, names);
}

/// These in the place of one file of a mailbox after the other, before all programs.
fn are_in_the_place_of(odds: &[Odd], names: &[&str]) {
    are_met(&Attacked::new(), odds, names);
}

fn are_met(it: &Attacked, odds: &[Odd], names: &[&str]) {
    let slotd = Slotd::start_under(&it.wrapper, &program("slotd"), &it.host, &[]);
    for name in names {
        for &odd in odds {
            let what = format!("{name} is {odd:?}");
            it.restore();
            // A mailbox of 2.3.9 has its messages apart from the rest.
            let dir = if name.ends_with('.') {
                &it.data
            } else {
                &it.meta
            };
            let path = dir.join(name);
            let sound = fs::read(&path).or_else(|_| fs::read(it.meta.join("cyrus.index")));
            fs::write(it.elsewhere().join("sound"), sound.unwrap()).unwrap();
            let before = snapshot::take(&it.elsewhere()).unwrap();
            let placed = odd.put(&path, &it.elsewhere());
            if odd != Odd::LinkToDevice || !name.ends_with('.') {
                let meta = it.meta.to_str().unwrap();
                Attacked::judge(&what, &it.run("indexfile", &["check", meta], false), name);
            }
            if !name.ends_with('.') {
                let dump = it.run("indexfile", &["dump", path.to_str().unwrap()], false);
                Attacked::judge(&what, &dump, name);
            }
            for verb in ["verify", "scrub", "run"] {
                Attacked::judge(&what, &it.run("precompute", &[verb], true), name);
            }
            let mut wire = Wire::connect(&slotd.addr).unwrap();
            for command in LOOKS.iter().chain(CHANGES) {
                let reply = wire.ask(&command.replace("{}", MAILBOX));
                let fits = reply.starts_with("OK") || reply.starts_with("NO [STATE]");
                let fits = fits || reply.starts_with("NO [TOOLATE]");
                assert!(fits || reply.contains(name), "{what}: {command}: {reply}");
            }
            drop((placed, wire));
            let after = snapshot::take(&it.elsewhere()).unwrap();
            let differences = snapshot::differences(&before, &after);
            assert!(differences.is_empty(), "{what}: {differences:?}");
        }
    }
    assert_eq!(slotd.stop().code, Some(0));
    assert_memory();
}

// One test a file: they wait for programs most of the time, and run beside each other.

#[test]
fn in_the_place_of_the_header() {
    in_the_place_of(&["cyrus.header"]);
}

#[test]
fn in_the_place_of_the_index() {
    in_the_place_of(&["cyrus.index"]);
}

#[test]
fn in_the_place_of_the_expunge_file() {
    in_the_place_of(&["cyrus.expunge"]);
}

#[test]
fn in_the_place_of_the_cache() {
    in_the_place_of(&["cyrus.cache"]);
}

/// Of each kind of file one.
const NAMES: [&str; 9] = [
    "cyrus.header",
    "cyrus.index",
    "cyrus.expunge",
    "cyrus.cache",
    "cyrus.sha1s",
    "cyrus.uuids",
    "cyrus.index.NEW",
    "cyrus.expunge.OLD",
    "2.",
];

#[test]
#[ignore = "needs root, to make a device"]
fn a_device_in_the_place_of_each_file() {
    are_in_the_place_of(&[Odd::Device], &NAMES);
}

#[test]
fn what_its_mode_forbids_to_read_in_the_place_of_each_file() {
    let it = Attacked::by_mode_alone();
    let index = it.meta.join("cyrus.index");
    let placed = Odd::Unreadable.put(&index, &it.elsewhere());
    let refused = it.run("indexfile", &["dump", index.to_str().unwrap()], false);
    assert!(
        refused.code != Some(0),
        "the mode forbids nothing here: {refused:?}"
    );
    drop(placed);
    are_met(&it, &[Odd::Unreadable], &NAMES);
}

#[test]
fn in_the_place_of_the_cached_sha1s() {
    in_the_place_of(&["cyrus.sha1s"]);
}

#[test]
fn in_the_place_of_the_kept_identifiers() {
    in_the_place_of(&["cyrus.uuids"]);
}

#[test]
fn in_the_place_of_staged_files() {
    in_the_place_of(&["cyrus.index.NEW", "cyrus.expunge.NEW"]);
}

#[test]
fn in_the_place_of_replaced_files() {
    in_the_place_of(&["cyrus.index.OLD", "cyrus.expunge.OLD"]);
}

// scrub looks at a message again after 2 s before it says what is wrong; at one that grows, for 12.

#[test]
fn links_in_the_place_of_a_message() {
    are_in_the_place_of(&ALL[..4], &["2."]);
}

#[test]
fn what_is_no_file_in_the_place_of_a_message() {
    are_in_the_place_of(&ALL[4..7], &["2."]);
}

#[test]
fn what_is_no_sound_file_in_the_place_of_a_message() {
    are_in_the_place_of(&ALL[7..10], &["2."]);
}

#[test]
fn a_file_that_grows_in_the_place_of_a_message() {
    are_in_the_place_of(&ALL[10..], &["2."]);
}

/// While all programs work on a mailbox its directories become links to others, and come back,
/// again and again: nothing there is touched. A controller is another client of slotd.
#[test]
fn a_directory_that_is_swapped_for_a_link_leads_nowhere() {
    let it = Attacked::new();
    let elsewhere = it.elsewhere();
    let (sound_meta, sound_data) = (it.dir.path().join("meta"), it.dir.path().join("data"));
    for (from, to) in [(&sound_meta, "meta"), (&sound_data, "data")] {
        copy(from, &elsewhere.join(to));
    }
    let before = snapshot::take(&elsewhere).unwrap();
    let slotd = Slotd::start(&program("slotd"), &it.host, &[]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let stop = &stop;
        for (at, to) in [(&it.meta, "meta"), (&it.data, "data")] {
            let link = it.dir.path().join(format!("{to}.link"));
            symlink(elsewhere.join(to), &link).unwrap();
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    exchange(at, &link);
                    thread::sleep(Duration::from_micros(200));
                }
                if fs::symlink_metadata(at).unwrap().is_symlink() {
                    exchange(at, &link);
                }
            });
        }
        let changes = || {
            let mut done = 0;
            for _ in 0..50 {
                let mut wire = Wire::connect(&slotd.addr).unwrap();
                for command in CHANGES {
                    let reply = wire.ask(&command.replace("{}", MAILBOX));
                    let fits = reply.starts_with("OK") || reply.starts_with("NO [");
                    assert!(fits, "{reply}");
                    done += usize::from(*command == "COMMIT" && reply.starts_with("OK"));
                }
            }
            done
        };
        // A link is looked at again for 30 ms before it is refused.
        let clients = [(); 3].map(|()| scope.spawn(changes));
        let done: usize = clients.map(|client| client.join().unwrap()).iter().sum();
        let path = |path: &Path| path.to_str().unwrap().to_owned();
        let (meta, index) = (path(&it.meta), path(&it.meta.join("cyrus.index")));
        let journal = path(&it.dir.path().join("journal"));
        let at = ["--master", &slotd.addr, MAILBOX];
        let mut ran = 0;
        for n in 0..5 {
            for verb in ["run", "verify", "scrub"] {
                let ended = it.run("precompute", &[verb], true);
                Attacked::judge("swapped", &ended, "");
            }
            let out = path(&it.dir.path().join(format!("out.{n}")));
            let convert = ["convert", "--to", "10", &index, &out];
            for words in [&["check", &meta][..], &["dump", &index], &convert] {
                let ended = it.run("indexfile", words, false);
                Attacked::judge("swapped", &ended, "");
            }
            let run = ["--state", &journal, "--attempts", "1"];
            let down = [&["--to", "9", "--force-live"], &run[..]].concat();
            for (verb, more) in [("upgrade", &run[..]), ("downgrade", &down), ("verify", &[])] {
                let words = [&[verb], &at[..], more].concat();
                let ended = it.run("controller", &words, false);
                Attacked::judge("swapped", &ended, "");
                ran += usize::from(ended.code == Some(0));
            }
        }
        stop.store(true, Ordering::Relaxed);
        eprintln!("{done} commits and {ran} runs between the swaps");
    });
    let after = snapshot::take(&elsewhere).unwrap();
    let differences = snapshot::differences(&before, &after);
    assert!(differences.is_empty(), "{differences:?}");
    assert_eq!(slotd.stop().code, Some(0));
}
