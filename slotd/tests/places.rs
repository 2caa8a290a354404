//! Where the files of a mailbox may lie: every layout that `imapd.conf` allows, and each directory
//! of it out of reach.
//!
//! A directory that cannot be reached is not one without files. Taken for that, an unreachable
//! expunge file stays at version 9 beside an index of version 10, and Cyrus unlinks live messages
//! by what it reads there.

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use common::{Store, lock, named};
use indexfile::mailbox::ImapdConf;
use slotd::client::ClientError;
use slotd::protocol::{Clean, Code, Commit, DuplicateName, ListRange, Upgrade, Verify};
use slotd::store::Place;

const MAILBOX: &str = "user.alice.expunged";
const FILES: [&str; 4] = ["header", "index", "cache", "expunge"];

/// Which files lie in the metapartition.
const LAYOUTS: [&str; 4] = [
    "header index cache expunge",
    "index",
    "expunge",
    "index cache expunge",
];

/// The store with these files only below `meta`, and the others beside the messages.
fn laid_out(words: &str) -> Store {
    let mut store = Store::small(&[MAILBOX, "user.alice"]);
    for mailbox in [MAILBOX, "user.alice"] {
        for file in FILES.into_iter().filter(|f| !words.contains(f)) {
            let name = format!("cyrus.{file}");
            let from = store.meta(mailbox).join(&name);
            if from.exists() {
                fs::rename(from, store.spool(mailbox).join(name)).unwrap();
            }
        }
    }
    let path = store.root().join("imapd.conf");
    let text = fs::read_to_string(&path).unwrap();
    let files = format!("metapartition_files: {words}");
    let text = text.replace(
        "metapartition_files: header index cache expunge squat",
        &files,
    );
    fs::write(&path, &text).unwrap();
    store.conf = ImapdConf::load(&path).unwrap();
    store
}

/// Path and bytes of everything.
fn everything(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        // slotd's own, made when it starts.
        if path
            .file_name()
            .is_some_and(|n| n.to_string_lossy().starts_with("reguid."))
        {
            continue;
        }
        if path.is_dir() {
            all.extend(everything(&path));
        } else {
            let regular = path.symlink_metadata().unwrap().is_file();
            let bytes = regular.then(|| fs::read(&path).unwrap());
            all.push((path, bytes.unwrap_or_default()));
        }
    }
    all.sort();
    all
}

fn refused<T: std::fmt::Debug>(what: &str, result: Result<T, ClientError>) -> (Code, String) {
    let error = result.expect_err(what);
    (error.code().expect(what), error.to_string())
}

/// Every command refuses the mailbox, with one of these codes and a sentence that names the
/// directory or file.
async fn all_refuse(store: &Store, what: &str, codes: &[Code], path: &Path) {
    let before = everything(&store.root());
    let served = store.serve().await;
    let mut client = served.client().await;
    let clean = Clean {
        of: named(MAILBOX),
        dry_run: false,
    };
    let verify = Verify {
        of: named(MAILBOX),
        sample: None,
    };
    let answers = [
        refused(what, client.lock(lock(MAILBOX)).await),
        refused(what, client.status(named(MAILBOX)).await),
        refused(what, client.verify(verify).await),
        refused(what, client.clean(clean).await),
    ];
    for (code, text) in answers {
        assert!(codes.contains(&code), "{what}: {text}");
        assert!(text.contains(path.to_str().unwrap()), "{what}: {text}");
    }
    drop(client);
    served.stop().await;
    assert_eq!(everything(&store.root()), before, "{what}");
}

#[tokio::test]
async fn each_layout_is_upgraded_with_index_and_expunge_file_in_step() {
    for words in LAYOUTS {
        let store = laid_out(words);
        let served = store.serve().await;
        let mut client = served.client().await;
        client.lock(lock(MAILBOX)).await.unwrap();
        client.upgrade(Upgrade::default()).await.unwrap();
        client.commit(Commit::default()).await.unwrap();
        let status = client.status(named(MAILBOX)).await.unwrap();
        assert_eq!((status.facts.index, status.facts.expunge), (10, Some(10)));
        served.stop().await;
    }
}

#[tokio::test]
async fn an_unreachable_directory_of_any_file_refuses_the_mailbox() {
    for words in LAYOUTS {
        for half in ["meta", "spool"] {
            // One directory is missing.
            let store = laid_out(words);
            let away = store.tmp.path().join("away");
            let dir = store.root().join(half).join("user/alice/expunged");
            fs::rename(&dir, &away).unwrap();
            let what = format!("{words}: no {half} directory");
            all_refuse(&store, &what, &[Code::Damaged], &dir).await;

            // The whole root is an empty mount point, and slotd's state is new.
            let store = laid_out(words);
            let root = store.root().join(half);
            fs::rename(&root, store.tmp.path().join("disk")).unwrap();
            fs::create_dir(&root).unwrap();
            let what = format!("{words}: {half} not mounted");
            all_refuse(&store, &what, &[Code::Unmounted], &root).await;
        }
    }
}

#[tokio::test]
async fn what_is_no_regular_file_refuses_the_mailbox_and_does_not_make_it_gone() {
    for file in ["cyrus.header", "cyrus.index", "cyrus.expunge"] {
        let store = laid_out(LAYOUTS[0]);
        let path = store.meta(MAILBOX).join(file);
        let elsewhere = store.tmp.path().join("fast-disk");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        all_refuse(&store, "a link", &[Code::Damaged], &path).await;
        fs::remove_file(&path).unwrap();
        let socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        all_refuse(&store, "a socket", &[Code::Damaged], &path).await;
        drop(socket);
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        all_refuse(&store, "a fifo", &[Code::Damaged], &path).await;
    }
}

#[tokio::test]
async fn a_mailbox_with_a_part_out_of_reach_is_listed_so_that_it_is_refused_by_name() {
    for words in LAYOUTS {
        for half in ["meta", "spool"] {
            let store = laid_out(words);
            fs::remove_dir_all(store.root().join(half).join("user/alice/expunged")).unwrap();
            let served = store.serve().await;
            let page = served.client().await.list(ListRange::default()).await;
            let names: Vec<_> = page
                .unwrap()
                .names
                .iter()
                .map(ToString::to_string)
                .collect();
            let listed = names.contains(&MAILBOX.to_owned());
            // Messages alone, or an expunge file alone, may be left of a mailbox that was deleted.
            let rest_tells = ["header", "index"]
                .iter()
                .any(|word| words.contains(word) == (half == "spool"));
            assert_eq!(
                listed, rest_tells,
                "{words}: no {half} directory: {names:?}"
            );
            served.stop().await;
        }
    }
}

#[tokio::test]
async fn a_name_on_two_partitions_is_listed_with_both() {
    let mut store = Store::small(&[MAILBOX, "user.alice"]);
    let path = store.root().join("imapd.conf");
    let root = store.root().display().to_string();
    let more = format!("\npartition-two: {root}/two\npartition-alias: {root}/two\n");
    fs::write(&path, fs::read_to_string(&path).unwrap() + &more).unwrap();
    let copy = store.root().join("two/user/alice/expunged");
    fs::create_dir_all(&copy).unwrap();
    for dir in [store.meta(MAILBOX), store.spool(MAILBOX)] {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), copy.join(entry.file_name())).unwrap();
        }
    }
    store.conf = ImapdConf::load(&path).unwrap();
    let served = store.serve().await;
    let mut client = served.client().await;
    let (mut twice, mut names, mut range) = (Vec::new(), 0, ListRange::default());
    loop {
        let page = client.list(range.clone()).await.unwrap();
        names += page.names.len();
        twice.extend(page.twice.into_iter().map(|t| (page.partition.clone(), t)));
        range.after = page.next;
        if range.after.is_none() {
            break;
        }
    }
    let told = |on: &str, other: &str| {
        let mailbox = named(MAILBOX).mailbox;
        let partitions = vec![other.to_owned()];
        (
            on.to_owned(),
            DuplicateName {
                mailbox,
                partitions,
            },
        )
    };
    // Two partitions with one root are one place, and a mailbox there is not on two of them.
    fs::remove_dir_all(store.meta(MAILBOX)).unwrap();
    fs::remove_dir_all(store.spool(MAILBOX)).unwrap();
    let status = client.status(named(MAILBOX)).await.unwrap();
    assert_eq!(status.facts.partition, "alias");
    let (one, two) = (told("alias", "default"), told("default", "alias"));
    assert_eq!((names, twice), (3, vec![one, two]));
    served.stop().await;
}

#[tokio::test]
async fn a_header_longer_than_any_header_is_refused_and_not_read() {
    let store = laid_out(LAYOUTS[0]);
    let header = store.meta(MAILBOX).join("cyrus.header");
    let file = fs::File::options().write(true).open(&header).unwrap();
    // Sparse: read whole, it would be the end of slotd and of every other mailbox's connection.
    file.set_len(3 << 30).unwrap();
    let served = store.serve().await;
    let mut client = served.client().await;
    for (code, text) in [
        refused("lock", client.lock(lock(MAILBOX)).await),
        refused("status", client.status(named(MAILBOX)).await),
    ] {
        assert_eq!(code, Code::Damaged, "{text}");
        assert!(text.contains("3221225472 bytes or more"), "{text}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_mailbox_is_gone_only_when_nothing_of_it_is_left() {
    let store = laid_out(LAYOUTS[0]);
    let served = store.serve().await;
    let mut client = served.client().await;
    // On the way to a mailbox, and no mailbox.
    let (code, _) = refused("user", client.lock(lock("user")).await);
    assert_eq!(code, Code::NoMailbox);
    // As in the middle of a RENAME or DELETE: not damage, before it is so for long.
    for file in ["cyrus.header", "cyrus.index"] {
        fs::remove_file(store.meta(MAILBOX).join(file)).unwrap();
        let (code, text) = refused(file, client.lock(lock(MAILBOX)).await);
        assert_eq!(code, Code::Incomplete, "{text}");
    }
    fs::remove_dir_all(store.meta(MAILBOX)).unwrap();
    let (code, text) = refused("the messages", client.lock(lock(MAILBOX)).await);
    assert_eq!(code, Code::Damaged, "{text}");
    fs::remove_dir_all(store.spool(MAILBOX)).unwrap();
    let (code, _) = refused("nothing", client.lock(lock(MAILBOX)).await);
    assert_eq!(code, Code::NoMailbox);
    served.stop().await;
}

/// The store with a second partition that has `other`, and without it on the first.
fn two_partitions(other: &str) -> Store {
    let mut store = Store::small(&[MAILBOX, "user.alice", other]);
    let path = store.root().join("imapd.conf");
    let mut text = fs::read_to_string(&path).unwrap();
    for half in ["meta", "spool"] {
        let root = store.root().join(format!("{half}2"));
        let sub = other.replace('.', "/");
        fs::create_dir_all(root.join(&sub).parent().unwrap()).unwrap();
        fs::rename(store.root().join(half).join(&sub), root.join(&sub)).unwrap();
        let key = if half == "meta" {
            "metapartition"
        } else {
            "partition"
        };
        text = format!("{text}\n{key}-second: {}\n", root.display());
    }
    fs::write(&path, &text).unwrap();
    store.conf = ImapdConf::load(&path).unwrap();
    store
}

fn on(partition: &str, mailbox: &str) -> slotd::protocol::Lock {
    let mut lock = lock(mailbox);
    lock.of.partition = Some(partition.to_owned());
    lock
}

#[tokio::test]
async fn a_mailbox_that_moved_to_another_partition_is_elsewhere_and_not_gone() {
    let store = two_partitions("user.bob");
    let served = store.serve().await;
    let mut client = served.client().await;
    let (code, text) = refused("moved", client.lock(on("default", "user.bob")).await);
    assert_eq!(code, Code::Elsewhere, "{text}");
    assert!(
        text.contains("not on partition default, but on second"),
        "{text}"
    );
    let (code, _) = refused("no such", client.lock(on("default", "user.nobody")).await);
    assert_eq!(code, Code::NoMailbox);
    client.lock(on("second", "user.bob")).await.unwrap();
    drop(client);
    served.stop().await;
}

#[tokio::test]
async fn a_mailbox_on_two_partitions_is_refused_as_such_unless_one_is_named() {
    let store = two_partitions("user.bob");
    for half in ["meta", "spool"] {
        let root = store.root();
        let second = root.join(format!("{half}2")).join("user/bob");
        let first = root.join(half).join("user/bob");
        fs::create_dir_all(&first).unwrap();
        for entry in fs::read_dir(second).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, first.join(path.file_name().unwrap())).unwrap();
        }
    }
    let served = store.serve().await;
    let mut client = served.client().await;
    let (code, text) = refused("two", client.lock(lock("user.bob")).await);
    assert_eq!(code, Code::TwoPlaces, "{text}");
    client.lock(on("second", "user.bob")).await.unwrap();
    drop(client);
    served.stop().await;
}

#[test]
fn on_a_metapartition_that_two_share_a_mailbox_is_where_its_messages_are() {
    let mut store = two_partitions("user.bob");
    let root = store.root().clone();
    fs::rename(root.join("meta2/user/bob"), root.join("meta/user/bob")).unwrap();
    let path = root.join("imapd.conf");
    let text = fs::read_to_string(&path).unwrap();
    let shared = text.replace(
        &format!("{}/meta2", root.display()),
        &format!("{}/meta", root.display()),
    );
    assert_ne!(shared, text);
    fs::write(&path, shared).unwrap();
    store.conf = ImapdConf::load(&path).unwrap();
    let host = store.host(slotd::host::Options::default());
    for (mailbox, partition, spool) in [
        ("user.bob", "second", "spool2/user/bob"),
        ("user.alice", "default", "spool/user/alice"),
    ] {
        let place = host.store.find(&named(mailbox)).unwrap();
        assert_eq!(place.partition, partition);
        assert_eq!(place.data_path, root.join(spool));
    }
}

/// Empties a root, but for what every new file system has.
/// In a command the name is resolved once, before the work that takes its time.
#[test]
fn a_mailbox_that_was_renamed_since_its_name_was_resolved_is_looked_for_anew() {
    let store = Store::small(&[MAILBOX]);
    let host = store.host(slotd::host::Options::default());
    let of = named(MAILBOX);
    let place = host.store.find(&of).unwrap();
    let dirs = [store.meta(MAILBOX), store.spool(MAILBOX)];
    for dir in &dirs {
        fs::rename(dir, dir.with_extension("away")).unwrap();
    }
    let refusal = host.store.refresh(&place, &of).unwrap_err();
    assert_eq!(refusal.code, Code::NoMailbox, "{refusal}");
    for dir in &dirs {
        fs::create_dir(dir).unwrap();
        for entry in fs::read_dir(dir.with_extension("away")).unwrap() {
            let from = entry.unwrap().path();
            fs::copy(&from, dir.join(from.file_name().unwrap())).unwrap();
        }
    }
    let header = |place: &Place| place.header.id("cyrus.header").unwrap();
    let now = host.store.refresh(&place, &of).unwrap();
    assert_ne!(header(&now), header(&place));
    let again = host.store.refresh(&now, &of).unwrap();
    assert!(std::sync::Arc::ptr_eq(&again.header, &now.header));
}

fn emptied(root: &Path, away: &Path) {
    fs::rename(root, away).unwrap();
    fs::create_dir(root).unwrap();
    fs::create_dir(root.join("lost+found")).unwrap();
}

#[tokio::test]
async fn on_an_empty_store_no_mailbox_is_gone() {
    let store = two_partitions("user.bob");
    for half in ["meta", "spool", "meta2", "spool2"] {
        emptied(&store.root().join(half), &store.tmp.path().join(half));
    }
    // Its state directory is new: it remembers nothing.
    let served = store.serve().await;
    let mut client = served.client().await;
    for asked in [lock(MAILBOX), on("default", MAILBOX)] {
        let (code, text) = refused("empty", client.lock(asked).await);
        assert_eq!(code, Code::Unmounted, "{text}");
        assert!(text.contains("is empty; is it mounted?"), "{text}");
    }
    served.stop().await;
}

#[tokio::test]
async fn a_partition_that_had_mailboxes_and_is_empty_after_a_restart_has_lost_them() {
    let store = two_partitions("user.bob");
    let served = store.serve().await;
    let mut client = served.client().await;
    client.status(named("user.bob")).await.unwrap();
    drop(client);
    served.stop().await;
    for half in ["meta2", "spool2"] {
        emptied(&store.root().join(half), &store.tmp.path().join(half));
    }
    let served = store.serve().await;
    let mut client = served.client().await;
    let (code, text) = refused("lost", client.lock(lock("user.bob")).await);
    assert_eq!(code, Code::Unmounted, "{text}");
    // What is on the other partition is served.
    client.lock(lock(MAILBOX)).await.unwrap();
    drop(client);
    served.stop().await;
}

/// Removes everything below a root, as Cyrus does when it deletes the last mailbox there.
fn deleted(root: &Path) {
    for entry in fs::read_dir(root).unwrap() {
        fs::remove_dir_all(entry.unwrap().path()).unwrap();
    }
}

#[tokio::test]
async fn the_last_mailbox_of_a_partition_is_gone_when_the_root_is_the_one_it_was_seen_in() {
    let store = two_partitions("user.bob");
    let served = store.serve().await;
    let mut client = served.client().await;
    client.status(named("user.bob")).await.unwrap();
    for half in ["meta2", "spool2"] {
        deleted(&store.root().join(half));
    }
    for asked in [lock("user.bob"), on("second", "user.bob")] {
        let (code, text) = refused("deleted", client.lock(asked).await);
        assert_eq!(code, Code::NoMailbox, "{text}");
    }
    drop(client);
    served.stop().await;
    // It is remembered which directory it was.
    let served = store.serve().await;
    let mut client = served.client().await;
    let (code, text) = refused("deleted", client.lock(on("second", "user.bob")).await);
    assert_eq!(code, Code::NoMailbox, "{text}");
    drop(client);
    served.stop().await;
    // Another directory in its place, empty too, proves nothing.
    let root = store.root().join("spool2");
    emptied(&root, &store.tmp.path().join("spool2"));
    let served = store.serve().await;
    let mut client = served.client().await;
    let (code, text) = refused("unmounted", client.lock(on("second", "user.bob")).await);
    assert_eq!(code, Code::Unmounted, "{text}");
    assert!(text.contains(root.to_str().unwrap()), "{text}");
    assert!(text.contains("Or was its last mailbox deleted"), "{text}");
    served.stop().await;
}
