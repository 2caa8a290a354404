//! What is not as the same user saw it before. Pure.

use std::collections::BTreeSet;

use super::report::{Code, ImapReport};
use super::seen::{Mailbox, Message, Seen};

/// Adds to `report` what differs between `was` and `is`. New mailboxes, and new messages from the
/// old UIDNEXT on, are mail that came since and no findings.
pub fn compare(was: &Seen, is: &Seen, report: &mut ImapReport) {
    let mut compared = 0;
    for (name, old) in &was.mailboxes {
        let Some(new) = is.mailboxes.get(name) else {
            // One that could not be opened is a finding already.
            if !report
                .findings
                .iter()
                .any(|f| f.code == Code::Refused && f.mailbox == *name)
            {
                report.add(
                    Code::Missing,
                    name,
                    None,
                    "the mailbox is not listed any more",
                );
            }
            continue;
        };
        compared += 1;
        mailbox(name, old, new, report);
    }
    report.compared = Some(compared);
}

fn mailbox(name: &str, was: &Mailbox, is: &Mailbox, report: &mut ImapReport) {
    if was.uidvalidity != is.uidvalidity {
        let text = format!(
            "UIDVALIDITY was {} and is {}: clients download all of it again",
            was.uidvalidity, is.uidvalidity
        );
        report.add(Code::Uidvalidity, name, None, text);
    }
    if is.uidnext < was.uidnext {
        let text = format!("UIDNEXT was {} and is {}", was.uidnext, is.uidnext);
        report.add(Code::Uidnext, name, None, text);
    }
    for (uid, old) in &was.messages {
        match is.messages.get(uid) {
            Some(new) => message((name, *uid), old, new, report),
            None => report.add(Code::Gone, name, Some(*uid), "the message is gone"),
        }
    }
    for uid in is
        .messages
        .keys()
        .filter(|uid| !was.messages.contains_key(uid))
    {
        if *uid >= was.uidnext {
            report.new += 1;
        } else {
            let text = format!("there was no such message below UIDNEXT {}", was.uidnext);
            report.add(Code::Appeared, name, Some(*uid), text);
        }
    }
}

fn message((name, uid): (&str, u32), was: &Message, is: &Message, report: &mut ImapReport) {
    if (was.size, &was.sha1) != (is.size, &is.sha1) {
        let text = format!(
            "its bytes were {} with SHA-1 {} and are {} with SHA-1 {}",
            was.size, was.sha1, is.size, is.sha1
        );
        report.add(Code::Bytes, name, Some(uid), text);
    }
    if was.date != is.date {
        let date = |date: Option<i64>| {
            let at = date.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
            at.map_or_else(|| "unreadable".to_owned(), |at| at.to_string())
        };
        let text = format!(
            "INTERNALDATE was {} and is {}",
            date(was.date),
            date(is.date)
        );
        report.add(Code::Date, name, Some(uid), text);
    }
    if was.flags != is.flags {
        let only = |a: &BTreeSet<String>, b: &BTreeSet<String>| {
            let only: Vec<_> = a
                .difference(b)
                .map(|f| f.escape_debug().to_string())
                .collect();
            if only.is_empty() {
                "none".to_owned()
            } else {
                only.join(" ")
            }
        };
        let text = format!(
            "flags lost: {}; flags come: {}",
            only(&was.flags, &is.flags),
            only(&is.flags, &was.flags)
        );
        report.add(Code::Flags, name, Some(uid), text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen() -> Seen {
        let message = |n: u32| Message {
            size: n.into(),
            sha1: format!("{n:040x}"),
            date: Some(i64::from(n)),
            flags: BTreeSet::from(["\\Seen".to_owned()]),
        };
        let mailbox = Mailbox {
            uidvalidity: 5,
            uidnext: 10,
            messages: [1, 2, 7].map(|n| (n, message(n))).into(),
        };
        Seen {
            user: "joe".to_owned(),
            mailboxes: [("INBOX", mailbox.clone()), ("Sent", mailbox)]
                .map(|(name, mailbox)| (name.to_owned(), mailbox))
                .into(),
        }
    }

    fn codes(change: impl FnOnce(&mut Seen)) -> (Vec<&'static str>, u64) {
        let (was, mut is) = (seen(), seen());
        change(&mut is);
        let mut report = ImapReport::default();
        compare(&was, &is, &mut report);
        let found = report.findings.iter().map(|f| f.code.as_str()).collect();
        (found, report.new)
    }

    fn inbox(seen: &mut Seen) -> &mut Mailbox {
        seen.mailboxes.get_mut("INBOX").unwrap()
    }

    #[test]
    fn each_way_in_which_a_client_would_see_a_change_is_a_finding_of_its_own() {
        assert_eq!(codes(|_| {}), (vec![], 0));
        let one = |code| (vec![code], 0);
        assert_eq!(codes(|s| drop(s.mailboxes.remove("Sent"))), one("missing"));
        assert_eq!(codes(|s| inbox(s).uidvalidity = 6), one("uidvalidity"));
        assert_eq!(codes(|s| inbox(s).uidnext = 9), one("uidnext"));
        assert_eq!(codes(|s| drop(inbox(s).messages.remove(&2))), one("gone"));
        let flip = |s: &mut Seen, change: fn(&mut Message)| {
            change(inbox(s).messages.get_mut(&7).unwrap());
        };
        assert_eq!(
            codes(|s| flip(s, |m| m.sha1 = "0".repeat(40))),
            one("bytes")
        );
        assert_eq!(codes(|s| flip(s, |m| m.size = 8)), one("bytes"));
        assert_eq!(codes(|s| flip(s, |m| m.date = None)), one("date"));
        assert_eq!(codes(|s| flip(s, |m| m.flags.clear())), one("flags"));
    }

    #[test]
    fn mail_that_came_since_is_no_finding_but_a_message_under_an_old_uid_is() {
        let add = |uid: u32| {
            codes(move |s| {
                let message = inbox(s).messages[&1].clone();
                inbox(s).messages.insert(uid, message);
                inbox(s).uidnext = 11;
            })
        };
        assert_eq!(add(10), (vec![], 1));
        assert_eq!(add(5), (vec!["appeared"], 0));
        let more = codes(|s| drop(s.mailboxes.insert("New".to_owned(), Mailbox::default())));
        assert_eq!(more, (vec![], 0));
    }
}
