//! Two backends of a Murder that disagree with its list in each way there is, and what the
//! controller has to say of them, whichever server gives the list.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::fleet::Fleet;
use crate::pairs::{EACH, Pairs};

/// Users on each backend.
const USERS: usize = 13;
/// Mailboxes on each backend, that it has alone.
const OWN: u64 = (USERS * EACH) as u64;
/// It is on both backends.
const DUPLICATE: &str = "user.erin.Work";
/// The master says that it is on another partition.
const PARTITION: &str = "user.xenia.Work";
/// The master does not know it.
const UNPUSHED: &str = "user.xenia.Sent";
/// How many findings there are of each kind.
const KINDS: [(&str, u64); 10] = [
    ("normal", 2 * OWN - 3),
    ("unpushed", 1),
    ("partition-differs", 1),
    ("duplicate", 2),
    ("stale", 1),
    ("reserved", 1),
    ("unknown-server", 1),
    ("no-server", 1),
    ("bad-name", 1),
    ("not-asked", 0),
];

/// What a mupdate master says of a mailbox.
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its location.
    pub location: &'static str,
    /// It is only reserved.
    pub reserved: bool,
}

/// The backends, `be1.test` and `be2.test`.
pub struct Disagreements {
    /// Each as a pair.
    pub pairs: Pairs,
}

impl Disagreements {
    /// Makes them.
    ///
    /// # Panics
    /// If the stores cannot be made.
    #[must_use]
    pub fn new() -> Self {
        let pairs = Pairs::of_other_users(&["be1.test", "be2.test"], USERS);
        let (be1, be2) = (&pairs.pairs[0].1, &pairs.pairs[1].1);
        for (from, to) in [(&be1.master, &be2.master), (&be1.replica, &be2.replica)] {
            let to = to.place(DUPLICATE).data;
            fs::create_dir_all(&to).unwrap();
            for entry in fs::read_dir(from.dirs(DUPLICATE).data).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
        Self { pairs }
    }

    /// All that the master says.
    ///
    /// # Panics
    /// If the stores cannot be read.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut say = |name: &str, location, reserved| {
            let name = name.to_owned();
            entries.push(Entry {
                name,
                location,
                reserved,
            });
        };
        let locations = ["be1.test!default", "be2.test!default"];
        for ((_, pair), location) in self.pairs.pairs.iter().zip(locations) {
            for name in pair.master.mailboxes().unwrap().keys() {
                match name.as_str() {
                    UNPUSHED => {}
                    PARTITION => say(name, "be2.test!p2", false),
                    DUPLICATE => say(name, locations[0], false),
                    name => say(name, location, false),
                }
            }
        }
        say("user.nobody", "be1.test!default", false);
        say("user.soon", "be1.test!default", true);
        say("user.far", "be9.test!default", false);
        say("user.lone", "default", false);
        say("user.evil\x1b[2J", "be1.test!default", false);
        entries
    }

    /// Plans, migrates and reports with the list that these options name; each kind has to be
    /// named, and what is refused is as before.
    ///
    /// # Panics
    /// If anything is otherwise.
    pub fn assert_each_is_named_and_the_good_ones_migrated(&self, options: &[String]) {
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let with = |more: &[&'static str]| [&options[..], more].concat();
        // An unknown server: nothing begins, and all is named.
        let plan = self.pairs.json("plan", &options, 78);
        assert_kinds(&plan["murder"]["counts"], &plan);
        let refusal = plan["murder"]["refusal"].as_str().unwrap();
        assert!(
            refusal.contains("no pair: be9.test (1 mailboxes)"),
            "{refusal}"
        );
        let refused = self
            .pairs
            .controller("upgrade", &with(&["-q"]))
            .expect_code(78);
        assert!(refused.stderr.contains("be9.test"), "{}", refused.stderr);
        let none = self.pairs.controller("status", &[]).expect_code(78);
        assert!(
            none.stderr.contains("no run was started yet"),
            "{}",
            none.stderr
        );

        self.pairs.write("skip-servers = [\"be9.test\"]\n");
        self.assert_planned(&options);
        let done = self.pairs.json("upgrade", &with(&["-q"]), 75);
        let upgraded = |pair: &str| done["pairs"][pair]["upgraded"].as_u64().unwrap();
        // Without the duplicate, and on the second without the one on another partition too.
        assert_eq!(
            (upgraded("be1.test"), upgraded("be2.test")),
            (OWN - 1, OWN - 1)
        );
        self.assert_reported();
        self.assert_left(&[("be1.test", 1), ("be2.test", 2)]);

        // The backend's own list agrees with the files, so it is the master who is wrong.
        let own = self.pairs.file().with_file_name("own");
        fs::write(&own, format!("{PARTITION}\t0 default xenia\tlrs\t\n")).unwrap();
        let dump = format!("be2.test={}", own.display());
        let options = [&options[..], &["-q", "--murder-dump", &dump]].concat();
        let done = self.pairs.json("upgrade", &options, 75);
        assert_eq!(
            (&done["run"], &done["upgraded"]),
            (&2.into(), &1.into()),
            "{done}"
        );
        self.assert_left(&[("be1.test", 1), ("be2.test", 1)]);
    }

    fn assert_planned(&self, options: &[&str]) {
        let plan = self.pairs.json("plan", options, 65);
        assert_kinds(&plan["murder"]["counts"], &plan);
        let murder = &plan["murder"];
        assert_eq!(
            (&murder["refusal"], &murder["refused_names"]),
            (&Value::Null, &2.into())
        );
        let both = &murder["pairs"]["be2.test"];
        assert_eq!(
            (&both["said"], &both["found"]),
            (&(OWN - 1).into(), &(OWN + 1).into())
        );
        let mailboxes = |pair: &str| plan["pairs"][pair]["mailboxes"].as_u64().unwrap();
        assert_eq!(
            (mailboxes("be1.test"), mailboxes("be2.test")),
            (OWN - 1, OWN - 1)
        );
        let text = self
            .pairs
            .controller("plan", options)
            .expect_code(65)
            .stdout;
        for part in [
            format!(
                "  be2.test: the master says {}, its slotd found {}\n",
                OWN - 1,
                OWN + 1
            ),
            "\n  duplicate: 2: ".to_owned(),
            format!("{DUPLICATE}: duplicate: "),
            "found at be1.test!default and be2.test!default; the master says be1.test!default"
                .to_owned(),
            format!("{PARTITION}: partition-differs: "),
            format!("{UNPUSHED}: unpushed: "),
            "user.nobody: stale: ".to_owned(),
            "user.soon: reserved: ".to_owned(),
            "user.far: unknown-server: ".to_owned(),
            "user.lone: no-server: ".to_owned(),
            "user.evil\\x1b[2J: bad-name: ".to_owned(),
        ] {
            assert!(text.contains(&part), "{part}\n{text}");
        }
        assert!(!text.contains('\x1b'));
    }

    fn assert_reported(&self) {
        let report = self.pairs.json("report", &[], 0);
        let text = self.pairs.controller("report", &[]).expect_code(0).stdout;
        for (code, count) in KINDS {
            let kind = &report["murder"][code];
            if code == "normal" || count == 0 {
                assert_eq!(*kind, Value::Null, "{code}");
                continue;
            }
            assert_eq!(kind["findings"], count, "{code}: {report}");
            assert_eq!(kind["first"].as_array().unwrap().len() as u64, count);
            assert!(
                text.contains(&format!("\n  {code}: {count}: ")),
                "{code}\n{text}"
            );
        }
        assert!(
            text.contains(&format!("    {DUPLICATE}: duplicate: ")),
            "{text}"
        );
    }

    /// This many mailboxes of each pair are of version 9, on both hosts, the duplicate among them.
    fn assert_left(&self, wanted: &[(&str, u64)]) {
        let plan = self.pairs.json("plan", &["--deep"], 0);
        for (pair, left) in wanted {
            for side in ["master", "replica"] {
                let versions = &plan["pairs"][pair]["hosts"][side]["versions"];
                assert_eq!(versions["9"], *left, "{pair} {side}: {versions}");
            }
        }
        for (_, pair) in &self.pairs.pairs {
            assert_old(pair);
        }
    }
}

impl Default for Disagreements {
    fn default() -> Self {
        Self::new()
    }
}

fn assert_kinds(counts: &Value, plan: &Value) {
    for (code, count) in KINDS {
        assert_eq!(counts[code], count, "{code}: {plan}");
    }
}

fn assert_old(pair: &Fleet) {
    for host in [&pair.master, &pair.replica] {
        let index = host.dirs(DUPLICATE).file("cyrus.index");
        assert_eq!(version(&index), 9, "{}", index.display());
    }
}

/// `minor_version`, in the third word of the header.
fn version(index: &Path) -> u32 {
    let header = fs::read(index).unwrap();
    let word: [u8; 4] = header[8..12].try_into().unwrap();
    u32::from_be_bytes(word)
}
