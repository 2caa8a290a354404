use super::*;

const BOTH: [FileKind; 2] = [FileKind::Index, FileKind::Expunge];

fn names(kind: FileKind, old: Option<Old>) -> Names {
    Names {
        kind,
        change: Change::Replace,
        old,
        prev: false,
    }
}

/// The list of a commit from one version to another, of mailboxes with `.OLD` files or without.
fn commit_from(from: u32, to: u32, old: Option<Old>) -> Vec<Step> {
    commit(&order(from, to).map(|kind| names(kind, old)))
}

fn live_renames(steps: &[Step]) -> Vec<FileKind> {
    let live = steps.iter().filter(|step| step.op.changes_live());
    live.filter_map(|step| step.op.kind()).collect()
}

#[test]
fn the_expunge_file_goes_first_on_the_way_up_and_last_on_the_way_down() {
    let [index, expunge] = BOTH;
    for (from, to, wanted) in [
        (9, 10, [expunge, index]),
        (10, 10, [expunge, index]),
        (10, 9, [index, expunge]),
    ] {
        let steps = commit_from(from, to, None);
        assert_eq!(live_renames(&steps), wanted, "{from} to {to}");
        let ops: Vec<FileOp> = steps.iter().map(|s| s.op).collect();
        let back = put_back(&order(from, to).map(|kind| names(kind, Some(Old::Replaced))));
        for back in [undo(&ops), back] {
            let mut back = live_renames(&back);
            back.reverse();
            assert_eq!(back, wanted, "{from} to {to}, back");
        }
    }
}

/// A change-over and its way back, in the order of their lists.
fn across(from: u32, to: u32, old: Option<Old>) -> Vec<Names> {
    let names = order(from, to).map(|kind| {
        let change = match kind {
            FileKind::Index => Change::Replace,
            FileKind::Expunge if to > from => Change::Remove,
            FileKind::Expunge => Change::Add,
        };
        // What comes back is under `.OLD`, and stays there.
        let old = if change == Change::Add {
            Some(Old::Earlier)
        } else {
            old
        };
        Names {
            change,
            ..names(kind, old)
        }
    });
    names.to_vec()
}

/// An index of version 10 without its expunge file is one whose messages come back as live ones, or
/// are forgotten.
#[test]
fn no_index_of_version_10_is_ever_without_its_expunge_file() {
    for (from, to) in [(10, 16), (16, 10)] {
        for old in [None, Some(Old::Earlier)] {
            let files = across(from, to, old);
            let list = commit(&files);
            let ops: Vec<FileOp> = list.iter().map(|s| s.op).collect();
            let committed: Vec<Names> = across(from, to, Some(Old::Replaced))
                .into_iter()
                .map(|names| Names {
                    prev: old.is_some() && names.change != Change::Add,
                    ..names
                })
                .collect();
            for so_far in 0..=ops.len() {
                let back = undo(&ops[..so_far]);
                walk(from, old, &ops[..so_far], &back);
            }
            walk(from, old, &ops, &put_back(&committed));
        }
    }
}

/// Does these, and looks at the live names after each operation; afterwards all is as before.
fn walk(from: u32, old: Option<Old>, there: &[FileOp], back: &[Step]) {
    let mut disk: Vec<((FileKind, Role), &str)> = Vec::new();
    let [index, expunge] = BOTH;
    disk.push(((index, Role::Live), "live"));
    disk.push(((index, Role::New), "staged"));
    disk.extend(old.map(|_| ((index, Role::Old), "older")));
    if from == 10 {
        disk.push(((expunge, Role::Live), "live"));
        disk.extend(old.map(|_| ((expunge, Role::Old), "older")));
    } else {
        disk.push(((expunge, Role::New), "staged"));
        disk.push(((expunge, Role::Old), "older"));
    }
    let sorted = |disk: &[((FileKind, Role), &'static str)]| {
        let mut kept = disk.to_vec();
        kept.retain(|(name, _)| name.1 != Role::New);
        kept.sort_by_key(|((kind, role), _)| (*kind as u8, *role));
        kept
    };
    let before = sorted(&disk);
    let is_10 = |what: &str| (what == "live") == (from == 10);
    for op in there.iter().copied().chain(back.iter().map(|s| s.op)) {
        apply(&mut disk, op);
        let live = |kind| disk.iter().find(|(name, _)| *name == (kind, Role::Live));
        let index = live(index).unwrap().1;
        assert!(live(expunge).is_some() || !is_10(index), "{op}");
    }
    assert_eq!(sorted(&disk), before, "{there:?}, {back:?}");
}

#[test]
fn a_live_name_changes_when_the_one_before_it_is_durable() {
    let done: Vec<FileOp> = commit_from(9, 10, None).iter().map(|s| s.op).collect();
    let lists = [
        commit_from(9, 10, Some(Old::Earlier)),
        commit_from(10, 9, None),
        undo(&done),
        put_back(&BOTH.map(|kind| names(kind, Some(Old::Replaced)))),
        commit(&across(10, 16, None)),
        commit(&across(16, 10, None)),
        put_back(&across(10, 16, Some(Old::Replaced))),
        put_back(&across(16, 10, Some(Old::Replaced))),
    ];
    for steps in lists {
        let second = steps.iter().rposition(|s| s.op.changes_live());
        let second = second.unwrap();
        let first = live_renames(&steps)[0];
        assert_eq!(steps[second].needs.live, Some(first), "{steps:?}");
        assert!(steps[second].needs.intent);
        let synced = steps[..second]
            .iter()
            .any(|s| s.op == FileOp::SyncDir(first));
        assert!(synced, "{steps:?}");
        assert!(matches!(
            steps.last().unwrap().op,
            FileOp::SyncDir(_) | FileOp::Unlink(..)
        ));
    }
}

/// Each list from what the one before it left, as a transaction has them.
#[test]
fn no_step_of_a_list_comes_before_what_it_needs() {
    let staged = BOTH.map(|kind| (kind, Role::Unnamed));
    for (from, to) in [(9, 10), (10, 9)] {
        let replaced = order(from, to).map(|kind| names(kind, Some(Old::Replaced)));
        let commit = commit_from(from, to, Some(Old::Earlier));
        let done: Vec<FileOp> = commit.iter().map(|s| s.op).collect();
        let lists = [
            vec![stage(&staged), commit.clone(), keep_old(&replaced, true)],
            vec![stage(&staged), commit.clone(), put_back(&replaced)],
            vec![stage(&staged), commit, undo(&done)],
        ];
        for steps in lists.map(|lists| lists.concat()) {
            let mut durable = Durable::default();
            for step in &steps {
                durable.check(*step).unwrap();
                durable.note(step.op);
            }
            // Each thing that is left out is missed.
            let needed = |op: &FileOp| {
                matches!(op, FileOp::SyncFile(..) | FileOp::Intent(Direction::Commit))
            };
            for left_out in steps.iter().map(|s| s.op).filter(needed) {
                let mut durable = Durable::default();
                let early = steps.iter().find_map(|step| {
                    let early = durable.check(*step).err();
                    if step.op != left_out {
                        durable.note(step.op);
                    }
                    early
                });
                assert!(early.is_some(), "{left_out}");
            }
        }
    }
    let mut durable = Durable::default();
    let steps = [stage(&staged), commit_from(9, 10, None)].concat();
    let early = steps.iter().find_map(|step| {
        let early = durable.check(*step).err();
        if !matches!(step.op, FileOp::SyncDir(_)) {
            durable.note(step.op);
        }
        early
    });
    let early = early.unwrap().to_string();
    assert!(
        early.contains("rename cyrus.index.NEW to cyrus.index"),
        "{early}"
    );
}

#[test]
fn whatever_was_done_of_a_commit_is_undone_and_nothing_else() {
    for old in [None, Some(Old::Earlier)] {
        let all: Vec<FileOp> = commit_from(9, 10, old).iter().map(|s| s.op).collect();
        for so_far in 0..=all.len() {
            // What each name stands for: the live file, the staged one, an older `.OLD`.
            let mut disk: Vec<((FileKind, Role), &str)> = Vec::new();
            for kind in BOTH {
                disk.extend([((kind, Role::Live), "live"), ((kind, Role::New), "staged")]);
                disk.extend(old.map(|_| ((kind, Role::Old), "older")));
            }
            let before = disk.clone();
            let undone = undo(&all[..so_far]);
            let ops = all[..so_far].iter().copied();
            for op in ops.chain(undone.iter().map(|s| s.op)) {
                apply(&mut disk, op);
            }
            let staged = |(name, _): &((FileKind, Role), &str)| name.1 != Role::New;
            let sorted = |disk: &[((FileKind, Role), &'static str)]| {
                let mut kept: Vec<_> = disk.iter().copied().filter(staged).collect();
                kept.sort_by_key(|((kind, role), _)| (*kind as u8, *role));
                kept
            };
            assert_eq!(sorted(&disk), sorted(&before), "after {so_far}");
        }
    }
}

fn apply(disk: &mut Vec<((FileKind, Role), &'static str)>, op: FileOp) {
    let find = |disk: &[((FileKind, Role), &'static str)], name| {
        let at = disk.iter().position(|(n, _)| *n == name);
        at.unwrap_or_else(|| panic!("{op}: there is none"))
    };
    match op {
        FileOp::Rename(kind, from, to) => {
            let (_, what) = disk.remove(find(disk, (kind, from)));
            disk.retain(|(name, _)| *name != (kind, to));
            disk.push(((kind, to), what));
        }
        FileOp::Link(kind, from, to) => {
            let what = disk[find(disk, (kind, from))].1;
            assert!(disk.iter().all(|(name, _)| *name != (kind, to)), "{op}");
            disk.push(((kind, to), what));
        }
        FileOp::Unlink(kind, role) => {
            disk.remove(find(disk, (kind, role)));
        }
        _ => {}
    }
}

/// Rows 8 to 13 of the table: an upgrade, where there are `.OLD` files already.
#[test]
fn the_table_in_recovery_md_is_the_list() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/recovery.md");
    let text = std::fs::read_to_string(path).unwrap();
    let row = |n: u32| -> String {
        let row = text
            .lines()
            .find_map(|l| l.strip_prefix(&format!("| {n} | ")));
        let step = row
            .unwrap_or_else(|| panic!("no row {n}"))
            .split(" | ")
            .next();
        step.unwrap_or_default().to_owned()
    };
    let mut told: Vec<String> = Vec::new();
    for step in commit_from(9, 10, Some(Old::Earlier)) {
        let mut line = step.op.to_string();
        // The table says once what is done for each file.
        if !matches!(
            step.op,
            FileOp::Rename(_, _, Role::Live) | FileOp::SyncDir(_)
        ) {
            for kind in BOTH {
                line = line.replace(kind.file_name(), "X");
            }
            line = format!("(X) {line}");
        }
        if !told.contains(&line) || line.starts_with("fsync") {
            told.push(line);
        }
    }
    let table: Vec<String> = (8..=13)
        .map(|n| row(n).replace("if X.OLD exists: rename it", "rename X.OLD"))
        .collect();
    assert_eq!(table, told);
    // Row 5 is what may be under way at once, row 6 what comes after it.
    let steps = stage(&BOTH.map(|kind| (kind, Role::Unnamed)));
    let named = steps.iter().position(|s| s.needs != Needs::default());
    let (at_once, then) = steps.split_at(named.unwrap());
    let fdatasync = |s: &Step| matches!(s.op, FileOp::Intent(_) | FileOp::SyncFile(..));
    assert!(at_once.iter().all(fdatasync) && at_once.len() == 3);
    assert!(row(5).contains("fsync of the file") && row(5).contains("fdatasync of intents.log"));
    for step in then {
        let (link, kind) = (step.op.to_string(), step.op.kind().unwrap());
        assert_eq!(
            row(6),
            format!("(X) {}; reply", link.replace(kind.file_name(), "X"))
        );
    }
}
