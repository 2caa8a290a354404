//! What a look at both hosts concludes.

use indexfile::Guid;
use indexfile::exit::Exit;
use indexfile::mailbox::MailboxName;
use slotd::protocol::{Code, Greeting, HostFacts, MailboxFacts, RootFacts, Status};

use crate::survey::{HostAnswers, Sampled};
use crate::survey::{Preflight, Weight};
use crate::two_phase::Reason;

fn root(path: &str, device: u64, trouble: Option<Code>) -> RootFacts {
    RootFacts {
        path: path.to_owned(),
        device,
        free: 1_000_000,
        written: true,
        trouble,
    }
}

fn host() -> HostAnswers {
    HostAnswers {
        greeting: Greeting {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            served: "2.3".to_owned(),
            ..Greeting::default()
        },
        facts: Some(HostFacts {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            nofile: 1024,
            chown: true,
            roots: vec![root("/spool", 1, None), root("/meta", 2, None)],
            open: None,
            fence: None,
            ..HostFacts::default()
        }),
        clock_ms: None,
    }
}

fn status(name: &str, uidvalidity: u32) -> Status {
    Status {
        facts: MailboxFacts {
            mailbox: MailboxName::parse(name).unwrap(),
            partition: "default".to_owned(),
            uniqueid: "id".to_owned(),
            uidvalidity,
            index: 9,
            expunge: None,
            exists: 1,
            expunged: 0,
            old: Some(1),
        },
        cached: 0,
        bytes: 10,
        hash_bytes: 10,
        index_bytes: 800,
        last_uid: 1,
        has_old: false,
        keeps_owner: true,
        findings: Vec::new(),
        digest: Guid::NULL,
    }
}

/// A mailbox that is the same on both hosts.
fn same(n: u32) -> Sampled {
    let name = format!("user.a{n}");
    let said = [0, 1].map(|_| Some(Ok(status(&name, n))));
    Sampled {
        name,
        named: true,
        said,
    }
}

fn missing() -> Result<Status, (Reason, String)> {
    Err((Reason::NoMailbox, "no such mailbox".to_owned()))
}

fn five() -> Vec<Sampled> {
    (1..=5).map(same).collect()
}

#[test]
fn what_a_host_would_refuse_of_the_sample_weighs_on_the_look() {
    let refused = (Reason::Damaged, "cyrus.expunge: it is empty".to_owned());
    let mut sample = five();
    sample[1].said[1] = Some(Err(refused));
    assert_found(
        &judge([host(), host()], &sample),
        "mailboxes",
        Weight::Some,
        Exit::Data,
    );
    for (finding, weight) in [
        ("cyrus.expunge:expunge-older", Some(Weight::Some)),
        ("cyrus.index:a-code-of-a-later-release", None),
    ] {
        let mut sample = five();
        if let Some(Ok(status)) = &mut sample[0].said[0] {
            status.findings.push(finding.to_owned());
        }
        let found = judge([host(), host()], &sample);
        let trouble = found.troubles.iter().find(|t| t.what == "mailboxes");
        assert_eq!(trouble.map(|t| t.weight), weight, "{finding}");
    }
}

#[test]
fn a_certificate_is_spoken_of_from_thirty_days_before_its_end_on() {
    let with = |days| {
        let mut answers = [host(), host()];
        answers[1].greeting.cert_days = days;
        let found = judge(answers, &[]).troubles;
        found
            .into_iter()
            .find(|t| t.what == "certificate")
            .map(|t| (t.weight, t.text))
    };
    assert_eq!(with(None), None);
    assert_eq!(with(Some(30)), None);
    let (weight, text) = with(Some(29)).unwrap();
    assert_eq!(weight, Weight::Warning);
    assert!(
        text.starts_with("the certificate of the replica's slotd ends in 29 days"),
        "{text}"
    );
    assert!(with(Some(-2)).unwrap().1.contains("ended 2 days ago"));
}

fn judge(answers: [HostAnswers; 2], sample: &[Sampled]) -> Preflight {
    Preflight::judge(&answers.map(Some), sample, 5)
}

/// What was found, and whether a run would be refused, and with what.
#[track_caller]
fn assert_found(found: &Preflight, what: &str, weight: Weight, exit: Exit) {
    let seen: Vec<_> = found.troubles.iter().map(|t| (t.what, t.weight)).collect();
    assert!(seen.contains(&(what, weight)), "{seen:?}");
    assert_eq!(found.exit(), exit, "{seen:?}");
    let refused = found.refusal().map(|error| error.exit());
    assert_eq!(refused, (weight == Weight::All).then_some(exit), "{seen:?}");
}

#[test]
fn a_pair_that_is_as_it_should_be_has_no_trouble() {
    let found = judge([host(), host()], &five());
    assert_eq!(found.troubles, []);
    assert_eq!((found.exit(), found.sampled), (Exit::Ok, 5));
    assert_eq!(found.hosts["replica"].free, Some(2_000_000));
    assert_eq!(found.hosts["master"].needed, 5 * 900);
}

#[test]
fn a_store_that_another_server_serves_is_refused_unless_it_is_stopped() {
    for served in ["2.4+", "unknown"] {
        let mut answers = [host(), host()];
        answers[1].greeting.served = served.to_owned();
        let found = judge(answers, &five());
        assert_found(&found, "served", Weight::All, Exit::Config);
        let mut answers = [host(), host()];
        answers[1].greeting.served = served.to_owned();
        answers[1].greeting.stopped = true;
        assert_eq!(judge(answers, &five()).exit(), Exit::Ok);
    }
}

#[test]
fn a_host_without_room_is_refused_and_roots_on_one_file_system_share_it() {
    let small = |devices: [u64; 2]| {
        let mut answers = [host(), host()];
        let facts = answers[0].facts.as_mut().unwrap();
        for (root, device) in facts.roots.iter_mut().zip(devices) {
            (root.device, root.free) = (device, 3000);
        }
        judge(answers, &five())
    };
    assert_found(&small([1, 1]), "space", Weight::All, Exit::Io);
    assert_eq!(small([1, 2]).exit(), Exit::Ok);
}

#[test]
fn a_root_that_is_not_mounted_is_told_and_all_of_them_refuse_the_run() {
    let mut answers = [host(), host()];
    answers[0].facts.as_mut().unwrap().roots[0].trouble = Some(Code::Unmounted);
    let found = judge(answers, &five());
    assert_found(&found, "mounts", Weight::Some, Exit::Data);
    let mut answers = [host(), host()];
    let facts = answers[0].facts.as_mut().unwrap();
    for root in &mut facts.roots {
        root.trouble = Some(Code::Unmounted);
        let path = &root.path;
        let said = format!("{path} is set offline, until `slotd mount state {path} online`");
        facts.troubles.push(said);
    }
    let found = judge(answers, &[]);
    assert_found(&found, "mounts", Weight::All, Exit::Unavailable);
    let text = &found
        .troubles
        .iter()
        .find(|t| t.what == "mounts")
        .unwrap()
        .text;
    assert_eq!(
        text,
        "on the master /spool is set offline, until `slotd mount state /spool online`"
    );
}

#[test]
fn a_host_that_is_no_replica_is_known_by_five_mailboxes_and_fewer_are_told() {
    let strange = |n: usize| {
        let mut sample = five();
        for (i, one) in sample.iter_mut().enumerate().take(n) {
            let other = status(&one.name, 77);
            one.said[1] = Some(if i % 2 == 0 { missing() } else { Ok(other) });
        }
        judge([host(), host()], &sample)
    };
    assert_found(&strange(5), "replica", Weight::All, Exit::Config);
    assert_found(&strange(4), "replica", Weight::Some, Exit::Data);
}

#[test]
fn owners_that_cannot_be_kept_are_told() {
    let mut sample = five();
    for one in &mut sample {
        let Some(Ok(status)) = &mut one.said[0] else {
            continue;
        };
        status.keeps_owner = false;
    }
    let found = judge([host(), host()], &sample);
    assert_found(&found, "owner", Weight::All, Exit::Denied);
    sample[0] = same(1);
    let found = judge([host(), host()], &sample);
    assert_found(&found, "owner", Weight::Some, Exit::Data);
}

#[test]
fn a_name_that_is_no_mailbox_is_told_and_so_is_that_it_is_a_file() {
    let mut sample = five();
    sample[0].said = [Some(missing()), Some(missing())];
    let found = judge([host(), host()], &sample);
    assert_found(&found, "names", Weight::Some, Exit::NoMailbox);
    assert_eq!(found.unknown, ["user.a1"]);
    // A test runs in the directory of its package.
    "Cargo.toml".clone_into(&mut sample[0].name);
    let found = judge([host(), host()], &sample);
    assert!(found.troubles[0].text.contains("--mailboxes"));
}

#[test]
fn what_only_a_person_should_know_refuses_nothing() {
    let mut answers = [host(), host()];
    answers[0].greeting.version = "0.0.1".to_owned();
    answers[0].facts.as_mut().unwrap().nofile = 64;
    answers[1].facts = None;
    let found = judge(answers, &five());
    let what: Vec<_> = found.troubles.iter().map(|t| t.what).collect();
    assert_eq!(what, ["version", "open_files", "untold"]);
    assert_eq!(found.exit(), Exit::Ok);
}

#[test]
fn servers_that_are_said_to_be_stopped_and_are_not_refuse_the_run() {
    let mut replica = host();
    let answers = [Some(host()), Some(host())];
    Preflight::judge(&answers, &[], 1).check_stopped().unwrap();
    let open = "imapd (process 7) has /meta/user/a/cyrus.index open";
    replica.facts.as_mut().unwrap().open = Some(open.to_owned());
    let found = Preflight::judge(&[Some(host()), Some(replica)], &[], 1);
    let refused = found.check_stopped().unwrap_err();
    assert_eq!(refused.exit(), Exit::Config);
    let text = refused.to_string();
    assert!(
        text.contains("on the replica") && text.contains(open),
        "{text}"
    );
}
