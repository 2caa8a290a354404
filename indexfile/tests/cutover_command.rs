//! `indexfile convert --to 12..19`: what another program wrote, byte for byte; what is refused, and
//! that nothing is left then.

use indexfile::exit::Exit;
use indexfile::{FileKind, HeaderField, IndexFile, cli};
use std::path::{Path, PathBuf};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fixtures")
        .join(path)
}

/// A copy of a real mailbox of version 10, and the seen database of its owner.
struct Mailbox(tempfile::TempDir);

impl Mailbox {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let from = fixture("cyrus-2.3.16/c-v10-after-reconstruct-k-G");
        for name in [
            "cyrus.index",
            "cyrus.expunge",
            "cyrus.header",
            "cyrus.cache",
        ] {
            std::fs::copy(from.join(name), dir.path().join(name)).expect("copy");
        }
        let seen = fixture("cyrus-3.6.1-cutover/joe.seen");
        std::fs::copy(seen, dir.path().join("joe.seen")).expect("copy");
        Self(dir)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// Runs `convert` with `more`, in which a word like `@joe.seen` is a file of the mailbox.
    fn convert(&self, to: u32, more: &[&str]) -> (Exit, String, String) {
        let at = |word: &&str| match word.strip_prefix('@') {
            Some(name) => self.path(name),
            None => (*word).to_owned(),
        };
        let (to, time) = (to.to_string(), "1795700000");
        let mut args: Vec<String> = ["indexfile", "convert", "@cyrus.index", "@out", "--to", &to]
            .iter()
            .map(at)
            .collect();
        args.extend(more.iter().map(at));
        if more.contains(&"--header") {
            args.extend(["--time", time].map(str::to_owned));
        }
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let exit = cli::run(args, &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (exit, text(out), text(err))
    }

    fn out(&self) -> Vec<u8> {
        let path = self.path("out");
        let bytes = std::fs::read(&path).expect("written");
        std::fs::remove_file(path).expect("remove");
        bytes
    }
}

const ALL: [&str; 8] = [
    "--expunge",
    "@cyrus.expunge",
    "--header",
    "@cyrus.header",
    "--cache",
    "@cyrus.cache",
    "--seen",
    "@joe.seen",
];

#[test]
fn the_command_writes_what_another_program_wrote() {
    let mailbox = Mailbox::new();
    for to in [12, 14, 16, 17, 19] {
        let (exit, _, err) = mailbox.convert(to, &ALL);
        assert_eq!(exit, Exit::Ok, "{err}");
        let golden = fixture(&format!("cyrus-3.6.1-cutover/v{to}.index"));
        assert!(
            mailbox.out() == std::fs::read(golden).expect("fixture"),
            "{to}"
        );
    }
    let messages = fixture("cyrus-3.6.1/messages").display().to_string();
    let more = [&ALL[..], &["--json", "--messages", &messages]].concat();
    let (exit, out, err) = mailbox.convert(16, &more);
    assert_eq!((exit, err.as_str()), (Exit::Ok, ""));
    let summary: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        summary,
        serde_json::json!({
            "from": 10, "to": 16, "records": 40, "exists": 34, "expunged": 6, "seen": 18,
            "seen_record": true, "zero_modseqs": 0, "without_date": 1, "superseded": 0,
        })
    );
}

#[test]
fn versions_without_a_golden_differ_from_their_neighbours_as_the_format_says() {
    let mailbox = Mailbox::new();
    let of = |to| {
        assert_eq!(mailbox.convert(to, &ALL).0, Exit::Ok);
        IndexFile::from_bytes(mailbox.out(), Path::new("out"), FileKind::Index).expect("sound")
    };
    let fields = |index: &IndexFile| -> Vec<_> {
        let minor = |f| matches!(f, HeaderField::MinorVersion | HeaderField::HeaderCrc);
        index
            .header()
            .fields()
            .filter(|&(f, _)| !minor(f))
            .collect()
    };
    // 13 has all fields of 14 but one, 15 all fields of 14, 18 all of 19.
    let [thirteen, fourteen, fifteen, eighteen, nineteen] = [13, 14, 15, 18, 19].map(of);
    let mut shorter = fields(&fourteen);
    shorter.retain(|(f, _)| *f != HeaderField::Unseen);
    for (field, value) in &mut shorter {
        if *field == HeaderField::StartOffset {
            *value = 128;
        }
    }
    assert_eq!(fields(&thirteen), shorter);
    assert_eq!(fields(&fifteen), fields(&fourteen));
    let sorted = |index: &IndexFile| {
        let mut all = fields(index);
        all.sort_unstable();
        all
    };
    assert_eq!(sorted(&eighteen), sorted(&nineteen));
    let records =
        |index: &IndexFile| index.to_bytes().expect("bytes")[index_start(index)..].to_vec();
    assert!(records(&thirteen) == records(&fourteen));
    assert!(records(&fifteen) == records(&fourteen));
    assert!(records(&eighteen) == records(&nineteen));
}

fn index_start(index: &IndexFile) -> usize {
    index.header().start_offset() as usize
}

#[test]
fn without_a_seen_record_the_command_says_so() {
    let mailbox = Mailbox::new();
    let without = |seen: &[&'static str]| {
        let (exit, _, err) = mailbox.convert(16, &[&ALL[..6], seen].concat());
        assert_eq!(exit, Exit::Ok, "{err}");
        assert!(
            err.contains("0 of them seen") && err.contains("no seen record"),
            "{err}"
        );
        mailbox.out()
    };
    let none = without(&[]);
    assert!(without(&["--seen", "--"]) == none && without(&["--seen=--"]) == none);
    std::fs::write(mailbox.path("other.seen"), "another\t1 1 1 1 1\n").expect("write");
    assert!(without(&["--seen", "@other.seen"]) == none);
}

#[test]
fn what_is_refused_leaves_no_file() {
    let mailbox = Mailbox::new();
    let damaged = fixture("cyrus-2.3.16/a-v9-before");
    std::fs::write(
        mailbox.path("bad.seen"),
        [&[0; 12][..], b"\x00\x05\x31\x62"].concat(),
    )
    .expect("write");
    let nine = damaged.join("cyrus.expunge").display().to_string();
    let messages = mailbox.0.path().display().to_string();
    let replaced = |option: &str, file: &'static str| {
        let at = ALL
            .iter()
            .position(|word| *word == option)
            .expect("an option");
        let mut all: Vec<&str> = ALL.to_vec();
        all[at + 1] = file;
        all
    };
    let with = |more: &[&'static str]| [&ALL[..], more].concat();
    let mut nine_expunge = ALL.to_vec();
    nine_expunge[1] = &nine;
    let mut unmounted = ALL.to_vec();
    unmounted.extend(["--messages", &messages]);
    for (to, args, exit, says) in [
        (16, ALL[2..].to_vec(), Exit::Usage, "give it with --expunge"),
        (
            16,
            ALL[..4].to_vec(),
            Exit::Usage,
            "need --header and --cache",
        ),
        (
            16,
            with(&["--keep-guids"]),
            Exit::Usage,
            "go with versions 6 to 10",
        ),
        (
            16,
            with(&["--kind", "expunge"]),
            Exit::Usage,
            "give the index",
        ),
        (
            10,
            ALL[6..].to_vec(),
            Exit::Usage,
            "go with versions 12 to 19",
        ),
        (
            20,
            ALL[6..].to_vec(),
            Exit::Usage,
            "go with versions 12 to 19",
        ),
        (
            16,
            replaced("--seen", "@bad.seen"),
            Exit::Data,
            "no skiplist, twoskip or flat",
        ),
        (16, replaced("--seen", "@none.seen"), Exit::Io, "none.seen"),
        (
            16,
            replaced("--header", "@cyrus.cache"),
            Exit::Data,
            "not a cyrus.header",
        ),
        (
            16,
            replaced("--cache", "@cyrus.header"),
            Exit::Data,
            "generation",
        ),
        (16, nine_expunge, Exit::Data, "it has version 9"),
        (16, unmounted, Exit::Data, "is missing"),
    ] {
        let (got, out, err) = mailbox.convert(to, &args);
        assert_eq!((got, out.as_str()), (exit, ""), "{args:?}: {err}");
        assert!(
            err.contains(says) && err.lines().count() == 1,
            "{args:?}: {err}"
        );
        let names = std::fs::read_dir(mailbox.0.path()).expect("list").count();
        assert_eq!(names, 6, "{args:?}");
    }
}
