//! Each release's form, with the examples that real servers printed.

use super::*;

fn read(text: &str) -> Vec<Item> {
    Reader::new(text.as_bytes())
        .collect::<Result<_, _>>()
        .unwrap_or_else(|e| panic!("{text:?}: {e}"))
}

fn error(text: &str) -> String {
    let error = Reader::new(text.as_bytes()).find_map(Result::err);
    error
        .unwrap_or_else(|| panic!("{text:?} is accepted"))
        .to_string()
}

fn mailbox(name: &str, partition: &str) -> Item {
    let partition = (!partition.is_empty()).then(|| partition.to_owned());
    Item::Mailbox {
        name: MailboxName::parse(name).unwrap(),
        partition,
    }
}

#[test]
fn text_dumps_of_every_release_are_read() {
    for (release, line) in [
        ("2.0 - 2.3.3", "user.joe\tp1\tjoe\tlrswipcda\t"),
        ("2.3.4 - 2.3.9", "user.joe\t0 p1\tjoe\tlrswipcda\t"),
        ("2.3.10 - 3.4", "user.joe\t0 p1 joe\tlrswipcda\t"),
        ("with a server", "user.joe\t0 be1.test!p1 joe\tlrswipcda\t"),
        ("an empty ACL", "user.joe\t0 p1 "),
        ("an old empty ACL", "user.joe\tp1\t"),
        ("CRLF", "user.joe\t0 p1 joe\tlrs\t\r"),
        (
            "no line end at the end of the file",
            "user.joe\t0 p1 joe\tlrs\t",
        ),
    ] {
        let lines = format!("{line}\n");
        assert_eq!(read(&lines), [mailbox("user.joe", "p1")], "{release}");
        assert_eq!(read(line), [mailbox("user.joe", "p1")], "{release}");
    }
}

#[test]
fn odd_names_are_kept_as_they_are() {
    for name in [
        "user.alice.With space &AOk-t&AOk- caf&AOk-",
        "user.joe.Old^Stuff",
        "ex.com!user.joe.Old",
        "DELETED.user.del.6B022D41",
        "user.joe.0 leading digit",
    ] {
        assert_eq!(
            read(&format!("{name}\t0 default\tjoe\tlrs\t\n")),
            [mailbox(name, "default")]
        );
        assert_eq!(read(&format!("{name}\n")), [mailbox(name, "")]);
    }
}

#[test]
fn entries_without_a_mailbox_here_are_skipped_and_say_why() {
    for (kind, skip) in [
        (1, Skip::Remote),
        (3, Skip::Remote),
        (2, Skip::Reserved),
        (8, Skip::Moving),
        (16, Skip::Deleted),
        // 3.2 and 3.4
        (256, Skip::Intermediate),
    ] {
        assert_eq!(
            read(&format!("user.joe\t{kind} be1.test!p1 joe\tlrs\t\n")),
            [Item::Skipped(skip)]
        );
    }
    // Netnews is a mailbox like any other.
    assert_eq!(
        read("news.a\t4 p1 anyone\tlrs\t\n"),
        [mailbox("news.a", "p1")]
    );
}

const JSON: &str = r#"{
"user.joe.Old": {"name": "user.joe.Old", "mtime": "1795303865", "uidvalidity": "1795303866", "createdmodseq": "1", "foldermodseq": "2", "mbtype": "e", "partition": "default", "acl": {"joe": "lrswipkxtecdan"}, "uniqueid": "6t1vo4vdbkrdyc31bte53jwh", "name_history": []},
"user.joe": {"name": "user.joe", "mbtype": "el", "partition": "p1", "acl": {}},
"user.bob": {"name": "user.bob", "mbtype": "er", "partition": "p2", "server": "be1.test", "acl": {}},
"user.del": {"name": "user.del", "mbtype": "edl", "uniqueid": "x"},
"user.mid": {"name": "user.mid", "mbtype": "ei"}
}
"#;

#[test]
fn the_json_of_3_6_is_read_and_the_letter_l_decides_the_directory() {
    let expected = [
        Item::ByUniqueId {
            name: "user.joe.Old".to_owned(),
            partition: Some("default".to_owned()),
            uniqueid: "6t1vo4vdbkrdyc31bte53jwh".to_owned(),
        },
        mailbox("user.joe", "p1"),
        Item::Skipped(Skip::Remote),
        Item::Skipped(Skip::Deleted),
        Item::Skipped(Skip::Intermediate),
    ];
    assert_eq!(read(JSON), expected);
    // The comma may also stand at the start of a line.
    assert_eq!(read(&JSON.replace(",\n", "\n,")), expected);
}

#[test]
fn comments_are_passed_over_and_names_that_are_commented_out_are_counted() {
    let list = "# the first wave\n#\nuser.joe\n#user.later\n#\tlater\nuser.bob\t0 p1 bob\tl\t\n";
    assert_eq!(
        read(list),
        [
            mailbox("user.joe", ""),
            Item::Skipped(Skip::CommentedOut),
            mailbox("user.bob", "p1")
        ]
    );
}

#[test]
fn netnews_below_its_own_prefix_is_not_taken_for_a_comment() {
    for name in ["#news", "#news.comp.mail"] {
        assert_eq!(read(&format!("{name}\n")), [mailbox(name, "")]);
        let dumped = format!("{name}\t4 p1 anyone\tlrs\t\n");
        assert_eq!(read(&dumped), [mailbox(name, "p1")]);
    }
    assert_eq!(read("#newsletters\n"), [Item::Skipped(Skip::CommentedOut)]);
}

#[test]
fn an_empty_list_is_empty_in_every_form() {
    for empty in ["", "\n\n", "{\n\n}\n", "{\n}\n"] {
        assert_eq!(read(empty), []);
    }
}

#[test]
fn a_bad_entry_has_its_number_and_does_not_end_the_list() {
    for (text, number, start) in [
        ("user.joe\nuser..bob\n", 2, "the mailbox name \"user..bob\""),
        (
            "user.joe\n\n/etc/passwd\n",
            3,
            "the mailbox name \"/etc/passwd\"",
        ),
        (
            "user.joe\t12345678901 p1 x\n",
            1,
            "a type that is no number",
        ),
        ("user.joe\t0\n", 1, "a type without a partition"),
        ("user.joe\t0 \tjoe\tlrs\n", 1, "no partition"),
        ("user.joe\t\n", 1, "no partition"),
        ("{\n\"user.joe\": [1]\n", 2, "not a member"),
        ("\u{0}\n", 1, "the mailbox name"),
    ] {
        let more = if text.starts_with('{') {
            format!("{text}\"user.last\": {{\"mbtype\": \"el\"}}\n}}\n")
        } else {
            format!("{text}user.last\n")
        };
        let after = mailbox("user.last", "");
        let items = read(&more);
        let bad = items.iter().find_map(|item| match item {
            Item::Bad { line, what } => Some((*line, what.as_str())),
            _ => None,
        });
        let (line, what) = bad.unwrap_or_else(|| panic!("{text:?} is accepted"));
        assert_eq!(line, number, "{text:?}");
        assert!(what.starts_with(start), "{text:?}: {what}");
        assert_eq!(items.last(), Some(&after), "{text:?}");
    }
}

#[test]
fn a_list_of_which_the_rest_cannot_be_known_is_an_error_with_its_line() {
    for (text, start) in [
        (
            "{\n\"user.joe\": {\"mbtype\": \"el\"},\n",
            "mailbox list, line 3: the list ends before",
        ),
        (
            "{\n}\nuser.joe\n",
            "mailbox list, line 3: something follows",
        ),
    ] {
        let error = error(text);
        assert!(error.starts_with(start), "{text:?}: {error}");
    }
    let long = format!("user.{}\n", "x".repeat(MAX_LINE));
    assert!(error(&long).contains("longer than"));
}

#[test]
fn nothing_comes_after_an_error() {
    let mut reader = Reader::new("{\n}\nuser.joe\nuser.bob\n".as_bytes());
    assert!(reader.next().unwrap().is_err());
    assert!(reader.next().is_none());
}

proptest::proptest! {
    #[test]
    fn no_list_makes_the_reader_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
    ) {
        let _ = Reader::new(bytes.as_slice()).count();
    }

    #[test]
    fn near_lists_do_not_make_the_reader_panic(
        text in "(\\{\n)?(\"?[a-z.]{0,5}\"?[\t:{} 0-9!,]{0,4}[a-z!\t ]{0,5}\n){0,6}",
    ) {
        let _ = Reader::new(text.as_bytes()).count();
    }
}
