use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

const UNIQUEID: &str = "6t1vo4vdbkrdyc31bte53jwh";

fn fixture(name: &str) -> Vec<u8> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fixtures/cyrus-3.6.1-cutover");
    std::fs::read(fixtures.join(name)).expect("fixture")
}

fn of(bytes: &[u8]) -> Result<Option<SeenRecord>, SeenError> {
    from_bytes(bytes, Path::new("joe.seen"), UNIQUEID)
}

fn uids(record: &SeenRecord) -> Vec<u32> {
    (0..=100).filter(|&uid| record.contains(uid)).collect()
}

#[test]
fn databases_of_real_servers_are_read() {
    for (name, last_uid, last_change, seen) in [
        (
            "joe.seen",
            40,
            1_795_303_867,
            &[
                2, 4, 6, 8, 10, 11, 12, 16, 18, 20, 22, 26, 28, 30, 31, 32, 34, 38, 40,
            ][..],
        ),
        ("ann.seen", 40, 1_795_303_867, &[1, 2, 3, 7]),
        ("ann-twoskip.seen", 41, 1_795_700_729, &[8]),
    ] {
        let record = of(&fixture(name)).expect("sound").expect("a record");
        assert_eq!(
            (record.last_uid, record.last_change),
            (last_uid, last_change)
        );
        assert_eq!(uids(&record), seen, "{name}");
    }
}

#[test]
fn a_deleted_key_and_an_unknown_one_have_no_record() {
    let ann = fixture("ann.seen");
    for (key, there) in [
        (UNIQUEID, true),
        ("gone0000000000000000", false),
        ("x", false),
    ] {
        let found = from_bytes(&ann, Path::new("ann.seen"), key).expect("sound");
        assert_eq!(found.is_some(), there, "{key}");
    }
    assert_eq!(from_bytes(b"", Path::new("x"), "x").expect("empty"), None);
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// A node of a skiplist file with one pointer.
fn node(kind: u32, key: &str, value: &str) -> Vec<u8> {
    let mut out = words(&[kind]);
    for text in [key, value] {
        out.extend(words(&[u32::try_from(text.len()).expect("short")]));
        out.extend(text.bytes());
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out.extend(words(&[0, u32::MAX]));
    out
}

const COMMIT: [u8; 4] = [0, 0, 0, 255];

#[test]
fn of_the_log_of_a_skiplist_only_what_was_committed_counts() {
    let start = [
        &fixture("joe.seen")[..0x90],
        &node(1, UNIQUEID, "1 1 9 9 1"),
    ]
    .concat();
    let seen = |log: &[&[u8]]| {
        let record = of(&[&start[..], &log.concat()].concat()).expect("sound");
        record.map(|record| uids(&record))
    };
    let (two, other) = (
        node(2, UNIQUEID, "1 1 9 9 2"),
        node(2, "other", "1 1 9 9 3"),
    );
    let delete = words(&[4, 0x90]);
    assert_eq!(seen(&[]), Some(vec![1]));
    assert_eq!(seen(&[&two]), Some(vec![1]));
    assert_eq!(seen(&[&two, &COMMIT]), Some(vec![2]));
    assert_eq!(seen(&[&two, &COMMIT, &delete]), Some(vec![2]));
    assert_eq!(seen(&[&delete, &two, &COMMIT]), Some(vec![2]));
    assert_eq!(seen(&[&two, &delete, &COMMIT]), None);
    assert_eq!(seen(&[&other, &COMMIT]), Some(vec![1]));
    assert_eq!(seen(&[&two, &COMMIT, &two[..30]]), Some(vec![2]));
    assert_eq!(seen(&[&[0; 8], &two, &COMMIT, &[0; 3]]), Some(vec![2]));
    let bad = of(&[&start[..], &words(&[7, 7])].concat());
    assert!(matches!(bad, Err(SeenError::Damaged { .. })), "{bad:?}");
}

#[test]
fn of_a_twoskip_file_only_what_was_committed_counts_and_damage_is_noticed() {
    let sound = fixture("ann-twoskip.seen");
    let mut early = sound.clone();
    // The end of the last commit: that of the first of the two records.
    early[48..56].copy_from_slice(&0x1c0_u64.to_be_bytes());
    let crc = crc32fast::hash(&early[..60]);
    early[60..64].copy_from_slice(&crc.to_be_bytes());
    assert!(uids(&of(&early).expect("sound").expect("a record")).is_empty());
    for at in [30, 0x44, 0x150, 0x160, 0x1c8, 0x1e0, 0x201] {
        let mut bad = sound.clone();
        bad[at] ^= 1;
        let found = of(&bad);
        // Nothing leads to the record that was replaced.
        if (0x150..0x1b0).contains(&at) {
            assert_eq!(
                uids(&found.expect("sound").expect("a record")),
                [8],
                "{at:#x}"
            );
        } else {
            assert!(matches!(found, Err(SeenError::Damaged { .. })), "{at:#x}");
        }
    }
}

#[test]
fn flat_files_are_read_line_by_line() {
    let flat = format!("6t\t1 1 1 1 9\n{UNIQUEID}x\t1 1 1 1 8\n{UNIQUEID}\t1 5 6 7 1:3,5\nz\t1\n");
    let record = of(flat.as_bytes()).expect("sound").expect("a record");
    assert_eq!((record.last_uid, record.last_change), (6, 7));
    assert_eq!(uids(&record), [1, 2, 3, 5]);
    assert!(of(format!("{UNIQUEID}\t1 5 6 7 1:3").as_bytes()).is_err());
    assert_eq!(of(b"another\t1 5 6 7 1\n").expect("sound"), None);
}

#[test]
fn sequences_are_in_any_order_and_a_star_is_the_last_uid() {
    let record = |text: &str| SeenRecord::parse(text.as_bytes());
    let seen = |text: &str| uids(&record(text).expect("sound"));
    assert!(seen("1 0 9 5 ").is_empty());
    assert_eq!(seen("1 0 9 5 7,1:2,2:3,*"), [1, 2, 3, 7, 9]);
    assert_eq!(seen("1 0 5 5 *:3,"), [3, 4, 5]);
    assert_eq!(seen("1 -1 3 5 1:4294967295").len(), 100);
    for bad in [
        "",
        "2 0 1 1 1",
        "1 0 1",
        "1 0 1 1 1;2",
        "1 0 1 1 1:",
        "1 0 1 1 1:2:3",
    ] {
        assert!(record(bad).is_err(), "{bad}");
    }
    for bad in [
        "1 0 4294967296 1 1",
        "1 0 1 -1 1",
        "1 0 1 1 4294967296",
        "1 0 1 1 1 2",
    ] {
        assert!(record(bad).is_err(), "{bad}");
    }
    assert!(record("1 0 1 1 +1").is_err() && SeenRecord::parse(b"\xff").is_err());
}

#[test]
fn files_of_other_kinds_are_told_apart() {
    let mut berkeley = [0; 64];
    berkeley[12..16].copy_from_slice(&0x0005_3162_u32.to_le_bytes());
    for bytes in [&berkeley[..], b"\x01\x02", b"\xa1\x02\x8b\x0dtwom file"] {
        let found = of(bytes);
        assert!(matches!(found, Err(SeenError::NotSeen { .. })), "{found:?}");
    }
    for magic in [skiplist::MAGIC, twoskip::MAGIC] {
        assert!(matches!(of(magic), Err(SeenError::Damaged { .. })));
    }
}

/// A record of a twoskip file, with one level.
fn twoskip_record(kind: u8, key: &str, next: u64) -> Vec<u8> {
    let mut out = vec![kind, 1];
    out.extend(u16::try_from(key.len()).expect("short").to_be_bytes());
    out.extend(words(&[0]));
    out.extend([next.to_be_bytes(), 0_u64.to_be_bytes()].concat());
    let mut tail = key.as_bytes().to_vec();
    tail.resize(tail.len().next_multiple_of(8), 0);
    out.extend(words(&[crc32fast::hash(&out), crc32fast::hash(&tail)]));
    [out, tail].concat()
}

fn twoskip_of(records: &[Vec<u8>]) -> Vec<u8> {
    let mut file = fixture("ann-twoskip.seen")[..64].to_vec();
    let end = 64 + records.iter().map(Vec::len).sum::<usize>() as u64;
    file[48..56].copy_from_slice(&end.to_be_bytes());
    let crc = crc32fast::hash(&file[..60]);
    file[60..64].copy_from_slice(&crc.to_be_bytes());
    [file, records.concat()].concat()
}

#[test]
fn pointers_that_lead_in_a_circle_or_back_and_forth_come_to_an_end() {
    let first = twoskip_record(b'=', "", 96);
    let sound = twoskip_of(&[first.clone(), twoskip_record(b'+', "anothr", 0)]);
    assert_eq!(of(&sound).expect("sound"), None);
    let circle = twoskip_of(&[first, twoskip_record(b'+', "anothr", 96)]);
    let found = of(&circle);
    assert!(matches!(found, Err(SeenError::Damaged { .. })), "{found:?}");
    // A log that deletes what lies far away, and again what lies near.
    let start = [&fixture("joe.seen")[..0x90], &node(1, "a", "1 1 9 9 1")].concat();
    let far = node(2, "far", "1 1 9 9 1");
    let filler = node(2, "filler", &"x".repeat(300 << 10));
    let at = u32::try_from(start.len() + filler.len()).expect("small");
    let log = words(&[4, at]).repeat(200_000);
    let found = of(&[
        start,
        filler,
        far,
        node(2, "b", &"x".repeat(300 << 10)),
        log,
    ]
    .concat());
    let error = found.expect_err("it is read for days");
    assert!(error.to_string().contains("too far apart"), "{error}");
}

#[test]
fn a_skiplist_that_ends_before_its_log_has_lost_records() {
    let nodes = [node(1, "a", "1 1 9 9 1"), node(1, UNIQUEID, "1 1 9 9 1")];
    let mut sound = [&fixture("joe.seen")[..0x90], &nodes.concat()].concat();
    let log = u32::try_from(sound.len()).expect("small");
    sound[40..44].copy_from_slice(&log.to_be_bytes());
    assert!(of(&sound).expect("sound").is_some());
    // Where a node ends, so that nothing else shows it.
    let found = of(&sound[..sound.len() - nodes[1].len()]);
    assert!(matches!(found, Err(SeenError::Damaged { .. })), "{found:?}");
}

/// By the value's length, and by how much is made of it: out of order, each UID many times.
#[test]
fn a_value_makes_no_more_ranges_than_memory_is_for() {
    let text = |uids: &mut dyn Iterator<Item = u32>| {
        let uids: Vec<String> = uids.map(|uid| uid.to_string()).collect();
        format!("1 0 9999999 1 {}", uids.join(","))
    };
    let every_other = text(&mut (0..1_100_000).map(|n| 2 * n + 1));
    assert!(every_other.len() as u64 <= LONGEST_VALUE);
    let record = SeenRecord::parse(every_other.as_bytes()).expect("sound");
    assert_eq!(record.ranges().len(), 1_100_000);
    let few_again_and_again = text(&mut (0..3_000_000).map(|n| n % 2 * 8 + 1));
    let record = SeenRecord::parse(few_again_and_again.as_bytes()).expect("sound");
    assert_eq!(record.ranges(), [(1, 1), (9, 9)]);
    let too_many = text(&mut (0..1_300_000).map(|n| 2 * n + 1));
    assert!(SeenRecord::parse(too_many.as_bytes()).is_err());
}

const KEYS: [&str; 4] = ["a", UNIQUEID, "6t1vo4vdbkrdyc31bte53jwhx", "zzzz"];

/// A change to a database: which key, and the last UID that it has from then on, if it has one.
type Change = (usize, Option<u32>);

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A skiplist file with a log, cut anywhere, has what was committed before the cut.
    #[test]
    fn a_skiplist_that_was_cut_has_the_last_commit_before_it(
        in_order in proptest::collection::btree_map(0..4_usize, 1..99_u32, 0..4),
        log in proptest::collection::vec(
            proptest::collection::vec((0..4_usize, proptest::option::of(1..99_u32)), 1..4),
            0..5,
        ),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut file = fixture("joe.seen")[..0x90].to_vec();
        let (mut at, mut now) = (BTreeMap::new(), BTreeMap::new());
        let add = |file: &mut Vec<u8>, at: &mut BTreeMap<usize, usize>, kind, (key, uid)| {
            at.insert(key, file.len());
            file.extend(node(kind, KEYS[key], &format!("1 1 {uid} 1 1")));
        };
        for (&key, &uid) in &in_order {
            add(&mut file, &mut at, 1, (key, uid));
            now.insert(key, uid);
        }
        let start = file.len();
        let mut states = vec![(start, now.clone())];
        for transaction in &log {
            for &(key, uid) in transaction as &Vec<Change> {
                match (uid, at.get(&key)) {
                    (Some(uid), _) => {
                        add(&mut file, &mut at, 2, (key, uid));
                        now.insert(key, uid);
                    }
                    (None, Some(&gone)) => {
                        file.extend(words(&[4, u32::try_from(gone).expect("small")]));
                        at.remove(&key);
                        now.remove(&key);
                    }
                    (None, None) => {}
                }
            }
            file.extend(COMMIT);
            states.push((file.len(), now.clone()));
        }
        let end = start + cut.index(file.len() - start + 1);
        let (_, state) = states.iter().rfind(|(committed, _)| *committed <= end).expect("one");
        for (key, name) in KEYS.iter().enumerate() {
            let found = from_bytes(&file[..end], Path::new("x.seen"), name).expect("sound");
            prop_assert_eq!(found.map(|record| record.last_uid), state.get(&key).copied());
        }
    }

    #[test]
    fn a_flat_file_has_its_keys(
        records in proptest::collection::btree_map(0..4_usize, 1..99_u32, 0..5),
    ) {
        let line = |(&key, uid): (&usize, &u32)| format!("{}\t1 1 {uid} 1 1\n", KEYS[key]);
        let flat: String = records.iter().map(line).collect();
        for (key, name) in KEYS.iter().enumerate() {
            let found = from_bytes(flat.as_bytes(), Path::new("x.seen"), name).expect("sound");
            prop_assert_eq!(found.map(|record| record.last_uid), records.get(&key).copied());
        }
    }

    /// Whatever lies behind the first bytes, there is an answer.
    #[test]
    fn no_database_makes_the_reader_panic(
        first in prop_oneof![Just(&skiplist::MAGIC[..]), Just(&twoskip::MAGIC[..]), Just(&b""[..])],
        version in prop_oneof![Just(vec![0, 0, 0, 1]), proptest::collection::vec(any::<u8>(), 4)],
        rest in proptest::collection::vec(prop_oneof![Just(0), any::<u8>()], 0..400),
    ) {
        let _ = of(&[first, &version, &rest].concat());
    }

    #[test]
    fn a_sequence_holds_the_uids_it_was_made_of(
        ranges in proptest::collection::vec((0..90_u32, 0..9_u32, any::<bool>()), 0..12),
    ) {
        let parts: Vec<String> = ranges
            .iter()
            .map(|&(first, more, swapped)| match (more, swapped) {
                (0, _) => format!("{first}"),
                (_, true) => format!("{}:{first}", first + more),
                _ => format!("{first}:{}", first + more),
            })
            .collect();
        let record = SeenRecord::parse(format!("1 1 99 1 {}", parts.join(",")).as_bytes());
        let record = record.expect("sound");
        for uid in 0..=100 {
            let mut of = ranges.iter().map(|&(first, more, _)| first..=first + more);
            let expected = of.any(|range| range.contains(&uid));
            prop_assert_eq!(record.contains(uid), expected, "UID {}", uid);
        }
    }
}
