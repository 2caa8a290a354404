use super::*;
use crate::mailbox::MailboxName;
use std::fs;
use std::os::unix::fs::symlink;

fn put(path: PathBuf) {
    fs::create_dir_all(path.parent().expect("a directory")).expect("mkdir");
    fs::write(path, b"").expect("write");
}

fn conf(text: &str, at: &Path) -> ImapdConf {
    ImapdConf::parse(&text.replace('@', &at.display().to_string())).expect("sound")
}

fn steps(conf: &ImapdConf, leaves: Leaves) -> (Vec<Found>, Vec<Odd>) {
    let (mut found, mut odd) = (Vec::new(), Vec::new());
    for partition in partitions_once(conf) {
        let tree = Tree::of_partition(conf, partition);
        for step in Walk::new(&tree, leaves).excluding_roots_of(conf) {
            match step {
                Step::Found(one) => found.push(one),
                Step::Odd(one) => odd.push(one),
            }
        }
    }
    (found, odd)
}

fn subs(found: &[Found]) -> Vec<&str> {
    found.iter().filter_map(|f| f.sub.to_str()).collect()
}

const EVERY: [Leaves; 3] = [Leaves::Read, Leaves::SkipMessages, Leaves::Skip];

#[test]
fn a_mailbox_is_found_once_whichever_root_each_file_lies_on() {
    let tmp = tempfile::tempdir().expect("scratch");
    let at = tmp.path();
    let conf = conf(
        "partition-a: @/data\nmetapartition-a: @/meta\nmetapartition_files: index expunge\n",
        at,
    );
    for file in [
        "data/user/joe/cyrus.header",
        "data/user/joe/1.",
        "meta/user/joe/cyrus.index",
    ] {
        put(at.join(file));
    }
    put(at.join("meta/user/joe/cyrus.expunge"));
    // Parts of mailboxes: an index whose messages and header are out of reach, an expunge file
    // alone.
    put(at.join("meta/user/ann/cyrus.index"));
    put(at.join("meta/user/bob/cyrus.expunge"));
    fs::create_dir_all(at.join("data/user/bob")).expect("mkdir");
    // What lies on a root where imapd.conf does not put it is not a part of a mailbox.
    put(at.join("data/user/eve/cyrus.index"));
    fs::create_dir_all(at.join("meta/user/eve")).expect("mkdir");
    for leaves in EVERY {
        let (found, odd) = steps(&conf, leaves);
        assert_eq!(odd, []);
        assert_eq!(
            subs(&found),
            ["user/ann", "user/bob", "user/joe"],
            "{leaves:?}"
        );
        let joe = found.last().expect("joe");
        assert_eq!(
            (joe.header, joe.index, joe.expunge, joe.missing.as_slice()),
            (Presence::File, Presence::File, Presence::File, &[][..])
        );
        let ann = found.first().expect("ann");
        assert_eq!((ann.header, ann.index), (Presence::Absent, Presence::File));
        assert_eq!(ann.missing, [at.join("data/user/ann")]);
    }
}

#[test]
fn messages_without_an_index_are_found_and_links_are_reported_and_not_followed() {
    let tmp = tempfile::tempdir().expect("scratch");
    let at = tmp.path();
    let conf = conf(
        "partition-a: @/data\nmetapartition-a: @/meta\nmetapartition_files: header index expunge\n",
        at,
    );
    put(at.join("data/user/joe/7."));
    put(at.join("data/stage./1."));
    put(at.join("elsewhere/cyrus.index"));
    fs::create_dir_all(at.join("meta/user")).expect("mkdir");
    symlink(at.join("elsewhere"), at.join("meta/user/ann")).expect("link");
    put(at.join("meta/user/bob/cyrus.header"));
    symlink(
        at.join("elsewhere/cyrus.index"),
        at.join("meta/user/bob/cyrus.index"),
    )
    .expect("link");
    fs::create_dir_all(at.join("data/user/bob")).expect("mkdir");
    for leaves in [Leaves::Read, Leaves::SkipMessages] {
        let (found, odd) = steps(&conf, leaves);
        assert_eq!(subs(&found), ["user/bob", "user/joe"]);
        assert!(found.last().is_some_and(|joe| joe.messages));
        assert_eq!(found.first().map(|bob| bob.index), Some(Presence::Odd));
        let odd: Vec<_> = odd.into_iter().map(|o| (o.kind, o.path)).collect();
        assert_eq!(odd, [(OddKind::Link, at.join("meta/user/ann"))]);
    }
}

#[test]
fn roots_that_coincide_or_nest_are_reported_and_each_directory_comes_once() {
    let tmp = tempfile::tempdir().expect("scratch");
    let at = tmp.path();
    for file in [
        "spool/user/joe",
        "spool/meta/user/joe",
        "spool/more/user/ann",
    ] {
        put(at.join(file).join("cyrus.index"));
        put(at.join(file).join("cyrus.header"));
    }
    symlink(at.join("spool"), at.join("alias")).expect("link");
    let conf = conf(
        "partition-a: @/spool\npartition-b: @/alias\npartition-c: @/spool/more\n\
         defaultpartition: b\n",
        at,
    );
    let once = partitions_once(&conf);
    let names: Vec<String> = once.iter().map(|p| p.name.clone()).collect();
    assert_eq!(names, ["b", "c"]);
    let (found, odd) = steps(&conf, Leaves::Read);
    assert_eq!(odd, []);
    assert_eq!(subs(&found), ["meta/user/joe", "user/joe", "user/ann"]);
    let shared = shared_roots(&conf);
    let pairs: Vec<_> = shared
        .iter()
        .map(|s| (s.outer.0.as_str(), s.inner.0.as_str(), s.same))
        .collect();
    assert_eq!(
        pairs,
        [("a", "b", true), ("a", "c", false), ("b", "c", false)]
    );
    let joe = MailboxName::parse("user.joe").expect("good");
    assert_eq!(also_on(&conf, &names, &joe, "b"), Vec::<String>::new());
    put(at.join("spool/more/user/joe/cyrus.index"));
    assert_eq!(also_on(&conf, &names, &joe, "b"), ["c"]);
}

#[test]
fn a_walk_taken_up_after_any_directory_reports_the_rest_and_nothing_twice() {
    let tmp = tempfile::tempdir().expect("scratch");
    let at = tmp.path();
    let conf = conf(
        "partition-a: @/data\nmetapartition-a: @/meta\nmetapartition_files: index\n",
        at,
    );
    let names = ["a", "a/b", "a/b/c", "a.b", "a0", "b/x", "b/y/z", "c"];
    for name in names {
        put(at.join("data").join(name).join("cyrus.header"));
        put(at.join("meta").join(name).join("cyrus.index"));
    }
    let partition = conf.default_partition().expect("one");
    let tree = Tree::of_partition(&conf, partition);
    let all = |walk: Walk| -> Vec<PathBuf> {
        let found = walk.filter_map(|step| match step {
            Step::Found(found) => Some(found.sub),
            Step::Odd(_) => None,
        });
        found.collect()
    };
    let whole = all(Walk::new(&tree, Leaves::Read));
    assert_eq!(whole.len(), names.len());
    for (n, sub) in whole.iter().enumerate() {
        let rest = all(Walk::new(&tree, Leaves::Read).after(sub));
        assert_eq!(rest, whole[n + 1..], "after {}", sub.display());
    }
}

#[test]
fn a_missing_root_is_reported_and_the_others_are_walked() {
    let tmp = tempfile::tempdir().expect("scratch");
    let at = tmp.path();
    let conf = conf("partition-a: @/none\npartition-b: @/b\n", at);
    put(at.join("b/user/joe/cyrus.index"));
    let (found, odd) = steps(&conf, Leaves::Read);
    assert_eq!(subs(&found), ["user/joe"]);
    let odd: Vec<_> = odd.iter().map(|o| (o.kind, o.path.as_path())).collect();
    assert_eq!(odd, [(OddKind::NoRoot, at.join("none").as_path())]);
}
