//! A real Cyrus 3.6.1 (the Debian packages) asked what it reads in our files: by its tools, as
//! here, or served by its master ([`server`]).
//!
//! Each question here runs on a copy in a directory of its own: 3.x destroys a cyrus.expunge when
//! it opens a mailbox below version 12, so the copy has none. The copy's mailboxes.db is loaded
//! from JSON, for only that form carries the unique id without which 3.6 opens no mailbox; the type
//! letters `el` say that the mailbox lies at its name's path.
//!
//! The tools refuse to run as root, so this needs root to become user `cyrus`, or that user.

pub mod before;
pub mod imap;
pub mod log;
pub mod server;
pub(crate) mod user;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{Ended, Guard};
use stores::genuine::copy_tree;
use stores::{Dirs, Host};

/// What `mbexamine` prints of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// UID.
    pub uid: u32,
    /// Internal date, seconds since 1970.
    pub internaldate: u32,
    /// Size in bytes.
    pub size: u32,
    /// System flag bits.
    pub system_flags: u32,
    /// GUID, lower-case hex.
    pub guid: String,
    /// Modseq.
    pub modseq: u64,
    /// User flag words as they lie in the record.
    pub user_flags: [u32; 4],
}

/// A copy of some mailboxes that a real Cyrus 3.6.1 serves.
pub struct Cyrus36 {
    dir: tempfile::TempDir,
    meta: PathBuf,
}

impl Cyrus36 {
    /// Copies every mailbox of `host` (all but cyrus.expunge and what is ours) and loads the list.
    ///
    /// # Panics
    /// If anything of that fails, with what the real programs said.
    #[must_use]
    pub fn serve_copy_of(host: &Host) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (data, meta) = (dir.path().join("data"), dir.path().join("meta"));
        for sub in ["conf", "conf/db", "conf/proc", "conf/lock", "conf/socket"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        copy_tree(&host.data, &data, &mut BTreeMap::new()).unwrap();
        copy_tree(&host.meta, &meta, &mut BTreeMap::new()).unwrap();
        let copy = Host {
            data,
            meta: meta.clone(),
            ..host.clone()
        };
        let mut entries = Vec::new();
        for (name, dirs) in copy.mailboxes().unwrap() {
            for gone in [
                "cyrus.expunge",
                "cyrus.index.OLD",
                "cyrus.expunge.OLD",
                "cyrus.sha1s",
            ] {
                let _ = fs::remove_file(dirs.meta.join(gone));
            }
            entries.push(list_entry(&name, &dirs));
        }
        let conf = format!(
            "configdirectory: {0}/conf\ndefaultpartition: default\npartition-default: {0}/data\n\
             metapartition-default: {0}/meta\nmetapartition_files: header index cache squat\n\
             hashimapspool: {1}\nservername: interop.test\nmboxlist_db: twoskip\n",
            dir.path().display(),
            if host.hashed { "yes" } else { "no" },
        );
        fs::write(dir.path().join("imapd.conf"), conf).unwrap();
        fs::write(
            dir.path().join("list"),
            format!("{{\n{}\n}}\n", entries.join(",\n")),
        )
        .unwrap();
        user::give_to_cyrus(dir.path());
        let cyrus = Self { dir, meta };
        let list = fs::File::open(cyrus.dir.path().join("list")).unwrap();
        let loaded = cyrus
            .command("ctl_mboxlist", &["-u"])
            .stdin(list)
            .output()
            .unwrap();
        assert!(loaded.status.success(), "ctl_mboxlist -u: {loaded:?}");
        cyrus
    }

    fn command(&self, tool: &str, args: &[&str]) -> Command {
        let mut command = user::as_cyrus(&user::tool(tool));
        command
            .arg("-C")
            .arg(self.dir.path().join("imapd.conf"))
            .args(args);
        command.current_dir(self.dir.path());
        command
    }

    /// Runs a tool of Cyrus on the copy.
    ///
    /// # Panics
    /// If it is not installed or is stuck.
    #[must_use]
    pub fn run(&self, tool: &str, args: &[&str]) -> Ended {
        Guard::spawn(&mut self.command(tool, args)).finish()
    }

    /// What `mbexamine` lists in a mailbox, by its internal name.
    ///
    /// # Panics
    /// If it could not open the mailbox (it exits 0 even then), with what it said.
    #[must_use]
    pub fn examine(&self, name: &str) -> Vec<Message> {
        let said = self.run("mbexamine", &[&name.replace('.', "/")]);
        assert!(
            said.stdout.contains("Message Info:"),
            "mbexamine {name}: {said:?}"
        );
        messages_in(&said.stdout)
    }

    /// The meta directory of the copy.
    #[must_use]
    pub fn meta(&self) -> &Path {
        &self.meta
    }
}

fn list_entry(name: &str, dirs: &Dirs) -> String {
    let uniqueid = before::unique_id(dirs);
    let index = fs::read(dirs.meta.join("cyrus.index")).unwrap();
    let entry = serde_json::json!({
        "name": name, "mtime": "1",
        "uidvalidity": stores::judge::image::word(&index, 44).to_string(),
        "createdmodseq": "1", "foldermodseq": "1", "mbtype": "el", "partition": "default",
        "acl": {"anyone": "lrs"}, "uniqueid": uniqueid, "name_history": [],
    });
    format!("{}: {entry}", serde_json::Value::from(name))
}

/// Reads the messages out of mbexamine's text.
fn messages_in(text: &str) -> Vec<Message> {
    let starts: Vec<usize> = text.match_indices("> UID:").map(|(at, _)| at).collect();
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(from, to)| message_in(&text[*from..to]))
        .collect()
}

fn message_in(text: &str) -> Message {
    let field = |key: &str| {
        let after = text
            .split_once(key)
            .unwrap_or_else(|| panic!("no {key} in {text}"))
            .1;
        after
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    let flags = text.split_once("USERFLAGS:").unwrap().1;
    // printed from the highest word down
    let words: Vec<u32> = flags
        .split_whitespace()
        .take(4)
        .map(|w| u32::from_str_radix(w, 16).unwrap())
        .collect();
    Message {
        uid: field("UID:").parse().unwrap(),
        internaldate: field("INT_DATE:").parse().unwrap(),
        size: field(" SIZE:").parse().unwrap(),
        system_flags: u32::from_str_radix(&field("SYSFLAGS:"), 16).unwrap(),
        guid: field("GUID:"),
        modseq: field("MODSEQ:").parse().unwrap(),
        user_flags: [words[3], words[2], words[1], words[0]],
    }
}
