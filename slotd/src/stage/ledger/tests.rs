//! What is written to `cyrus.uuids` is read, and no changed byte goes unnoticed.

use std::io::Write as _;

use indexfile::Uuid;

use super::format::{Counts, row_of_kept, row_of_wrong};
use super::*;

fn head() -> Head {
    let file = Identity {
        dev: 1,
        ino: 7,
        born: Some(99),
    };
    Head {
        uniqueid: "3f1c2d4e5a6b7c8d".to_owned(),
        uidvalidity: 1_164_000_000,
        replaced: [Some(Replaced { file, run: 5 }), None],
    }
}

fn kept(n: u8) -> Kept {
    let old = OldUuid {
        uuid: Uuid::from_bytes([n; 12]),
        zero_modseq: n.is_multiple_of(2),
        internaldate: 1_200_000_000,
        size: u64::from(n) << 33,
    };
    let run = u64::from(n);
    Kept { old, run }
}

fn wrong(n: u8) -> WrongKept {
    WrongKept {
        guid: Guid::from_bytes([n; 20]),
        internaldate: 1_200_000_000,
        size: u64::from(n) << 33,
        run: u64::from(n),
    }
}

fn file(wrong: &[(u32, WrongKept)]) -> Vec<u8> {
    let mut rows: Vec<u8> = Vec::new();
    rows.extend((1..5).flat_map(|n| row_of_kept(u32::from(n) * 3, &kept(n))));
    rows.extend(wrong.iter().flat_map(|(uid, w)| row_of_wrong(*uid, w)));
    let counts = Counts {
        entries: 4,
        wrong: (!wrong.is_empty()).then(|| u32::try_from(wrong.len()).unwrap()),
        crc: crc32fast::hash(&rows),
    };
    let mut bytes = head().to_bytes(counts);
    assert_eq!(bytes.len(), head().length(!wrong.is_empty()));
    bytes.extend_from_slice(&rows);
    bytes
}

fn read(bytes: &[u8]) -> Option<Ledger> {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    Ledger::read(file, Path::new("x")).unwrap()
}

#[test]
fn what_is_written_is_read_and_no_changed_byte_goes_unnoticed() {
    for wrong_ones in [vec![], vec![(3, wrong(9)), (3, wrong(2)), (70, wrong(6))]] {
        let bytes = file(&wrong_ones);
        let ledger = read(&bytes).unwrap();
        assert_eq!(ledger.head, head());
        for uid in 0..80 {
            let n = u8::try_from(uid / 3).unwrap();
            let expected = (uid % 3 == 0 && (1..5).contains(&n)).then(|| kept(n));
            assert_eq!(ledger.kept(uid).unwrap(), expected);
            let expected = wrong_ones.iter().filter(|(of, _)| *of == uid);
            let expected: Vec<_> = expected.map(|(_, wrong)| *wrong).collect();
            assert_eq!(ledger.wrong(uid).unwrap(), expected);
        }
        for run in 0..12 {
            let of_wrong = wrong_ones.iter().any(|(_, w)| w.run == run);
            assert_eq!(ledger.knows(run), (1..6).contains(&run) || of_wrong);
            assert_eq!(ledger.wrong_runs().any(|r| r == run), of_wrong);
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(read(&changed).is_none(), "byte {at}");
            assert!(read(&bytes[..at]).is_none(), "cut at {at}");
        }
    }
}

#[test]
fn a_file_that_got_the_place_of_the_one_replaced_is_not_taken_for_it() {
    let ledger = read(&file(&[])).unwrap();
    let file = ledger.head.replaced[0].unwrap().file;
    assert_eq!(ledger.run_of(FileKind::Index, file), Some(5));
    assert_eq!(ledger.run_of(FileKind::Expunge, file), None);
    let other = Identity {
        born: Some(100),
        ..file
    };
    assert_eq!(ledger.run_of(FileKind::Index, other), None);
}
