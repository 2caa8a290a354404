//! `indexfile check --imapd-conf FILE [NAME...]`: where a mailbox lies by its name, and what is
//! said of a place that cannot be looked at or has nothing.

use indexfile::exit::Exit;
use indexfile::mailbox::{ImapdConf, MailboxName};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(path)
}

/// A store in a scratch directory; `@` in its configuration is that directory.
struct Store(tempfile::TempDir);

impl Store {
    fn new(conf: &str) -> Self {
        let dir = tempfile::tempdir().expect("scratch");
        let text = conf.replace('@', &dir.path().display().to_string());
        fs::write(dir.path().join("imapd.conf"), text).expect("conf");
        Self(dir)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn copy(&self, files: &[&str], from: &str, to: &str) {
        fs::create_dir_all(self.at(to)).expect("mkdir");
        for file in files {
            fs::copy(fixture(from).join(file), self.at(to).join(file)).expect("copy");
        }
    }

    /// A sound mailbox of version 10.
    fn mailbox(&self, dir: &str) {
        let files = [
            "cyrus.index",
            "cyrus.expunge",
            "cyrus.cache",
            "cyrus.header",
        ];
        self.copy(&files, "cyrus-2.3.16/c-v10-after-reconstruct-k-G", dir);
    }

    /// Exit code, codes and paths of the findings that are no notes, and what went to stderr.
    fn check(&self, more: &[&str]) -> (Exit, Vec<(String, PathBuf)>, String) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let conf = self.at("imapd.conf").display().to_string();
        let args = [
            &["indexfile", "check", "--json", "--imapd-conf", &conf],
            more,
        ]
        .concat();
        let exit = indexfile::cli::run(args, &mut out, &mut err);
        let found = serde_json::from_slice(&out).unwrap_or(serde_json::Value::Null);
        let list = found["findings"].as_array().cloned().unwrap_or_default();
        let text = |v: &serde_json::Value| v.as_str().expect("text").to_owned();
        let grave = list.iter().filter(|f| f["severity"] != "note");
        let grave = grave.map(|f| (text(&f["code"]), PathBuf::from(text(&f["path"]))));
        (exit, grave.collect(), String::from_utf8(err).expect("text"))
    }
}

#[test]
fn a_name_is_looked_for_where_each_release_puts_it() {
    let text = "partition-a: @/a\npartition-b: @/b\ndefaultpartition: a\nhashimapspool: yes\n\
                fulldirhash: yes\n";
    let store = Store::new(text);
    let conf = ImapdConf::load(&store.at("imapd.conf")).expect("sound");
    let name = MailboxName::parse("user.first^last").expect("good");
    let all = conf.dirs_of_any_release(&name, "b").expect("known");
    let [_, of_3_x] = all.as_slice() else {
        panic!("{all:?}");
    };
    store.mailbox(
        &Path::new("b")
            .join(&of_3_x.data().sub)
            .display()
            .to_string(),
    );
    fs::create_dir_all(store.at("a/user")).expect("mkdir");
    assert_eq!(store.check(&["user.first^last"]).0, Exit::Ok);
    // One of 3.6, which only its cyrus.header has the name of.
    let files = ["cyrus.index", "cyrus.cache", "cyrus.header"];
    let uuid = "a/uuid/6/t/6t1vo4vdbkrdyc31bte53jwh";
    store.copy(&files, "cyrus-3.6.1/v17", uuid);
    let (exit, found, err) = store.check(&["user.joe.Old"]);
    assert_eq!((exit, found), (Exit::Ok, Vec::new()), "{err}");
    let (exit, found, _) = store.check(&["--before-reconstruct", "user.joe.Old"]);
    assert_eq!(exit, Exit::Data);
    assert!(
        found.iter().any(|(code, _)| code == "message-missing"),
        "{found:?}"
    );
    let (exit, found, err) = store.check(&["user.joe.Old", "user.ann"]);
    assert_eq!((exit, found), (Exit::NoMailbox, Vec::new()));
    assert_eq!(err, "indexfile: there is no mailbox user.ann\n");
}

#[test]
fn a_place_that_cannot_be_looked_at_is_no_proof_that_there_is_no_mailbox() {
    let store = Store::new("partition-a: @/a\npartition-b: @/none\ndefaultpartition: a\n");
    store.mailbox("elsewhere");
    fs::create_dir_all(store.at("a/user")).expect("mkdir");
    symlink(store.at("elsewhere"), store.at("a/user/joe")).expect("link");
    let link = ("directory-link".to_owned(), store.at("a/user/joe"));
    let gone = ("unreadable-directory".to_owned(), store.at("none"));
    let (exit, found, err) = store.check(&["user.joe"]);
    assert_eq!(
        (exit, found, err.as_str()),
        (Exit::Data, vec![link, gone.clone()], "")
    );
    // It may well be on the partition that is not there; what is elsewhere is checked.
    let uuid = "a/uuid/6/t/6t1vo4vdbkrdyc31bte53jwh";
    store.copy(&["cyrus.header"], "cyrus-3.6.1/v17", uuid);
    fs::remove_file(store.at("a/user/joe")).expect("remove");
    let (exit, found, _) = store.check(&["user.joe.Old"]);
    assert_eq!(exit, Exit::Data);
    assert!(found.contains(&gone) && found.iter().any(|(_, at)| at.starts_with(store.at(uuid))));
    let (exit, found, err) = store.check(&["user.ann"]);
    assert_eq!((exit, found, err.as_str()), (Exit::Data, vec![gone], ""));
    fs::create_dir(store.at("none")).expect("mkdir");
    store.mailbox("a/user/eve");
    symlink(store.at("elsewhere"), store.at("a/user/eve/Sub")).expect("link");
    // What is below it is not what was asked about.
    assert_eq!(store.check(&["user.eve"]).0, Exit::Ok);
}

#[test]
fn an_empty_partition_beside_a_full_one_is_not_passed_over() {
    let store = Store::new("partition-a: @/a\npartition-b: @/b\ndefaultpartition: a\n");
    store.mailbox("a/user/joe");
    fs::create_dir(store.at("b")).expect("mkdir");
    let empty = ("partition-empty".to_owned(), store.at("b"));
    let (exit, found, _) = store.check(&[]);
    assert_eq!((exit, found), (Exit::Data, vec![empty.clone()]));
    let (exit, found, _) = store.check(&["--before-reconstruct"]);
    assert_eq!(exit, Exit::Data);
    assert!(found.contains(&empty), "{found:?}");
    // Who names a mailbox did not ask about the others.
    assert_eq!(store.check(&["user.joe"]).0, Exit::Ok);
    // A new file system is there, and has nothing yet.
    fs::create_dir(store.at("b/lost+found")).expect("mkdir");
    assert_eq!(store.check(&[]).0, Exit::Ok);
    // Without any mailbox nothing is known.
    fs::remove_dir_all(store.at("a/user")).expect("remove");
    fs::create_dir(store.at("a/user")).expect("mkdir");
    assert_eq!(store.check(&[]).0, Exit::Data);
}

#[test]
fn partitions_that_share_a_metapartition_keep_their_messages_apart() {
    let store = Store::new(
        "partition-a: @/a\npartition-b: @/b\nmetapartition-a: @/meta\nmetapartition-b: @/meta\n\
         metapartition_files: header index cache expunge\ndefaultpartition: a\n",
    );
    for (data, name) in [("a", "joe"), ("b", "ann")] {
        store.mailbox(&format!("meta/user/{name}"));
        fs::create_dir_all(store.at(&format!("{data}/user/{name}"))).expect("mkdir");
    }
    for names in [&[][..], &["user.joe", "user.ann"]] {
        let (exit, found, err) = store.check(names);
        assert_eq!(exit, Exit::Data, "{err}");
        let other = found.iter().find(|(code, _)| code != "shared-roots");
        assert_eq!(other, None);
    }
}
