//! What has to be known after a run of a change-over, or of its way back.

use indexfile::exit::Exit;

use crate::journal::Verb;
use crate::run::Summary;

/// Which servers a version is for, and what comes once one runs.
fn servers(to: u8) -> String {
    let servers = match to {
        16 => "3.4 to 3.8, or 3.10 to 3.12",
        17 => "3.10 to 3.12",
        _ => return format!("Version {to} is untried with any server"),
    };
    format!(
        "Version {to} is for Cyrus {servers}. Searches by sender, recipient and subject are wrong \
         until `reconstruct -V max` has refreshed the caches under the new server"
    )
}

/// What has to be known after a run of a change-over, or of its way back, quiet or not. `whole`: it
/// was of every mailbox.
pub(super) fn after(
    verb: Verb,
    to: u8,
    whole: bool,
    summary: &Summary,
    options: &str,
) -> Vec<String> {
    let left = summary.pending + summary.rolled_back + summary.in_doubt + summary.waiting;
    let done = summary.exit() == Exit::Ok;
    let back = format!("controller cutover --undo {options}");
    match (verb, done && whole) {
        (Verb::Cutover, true) => vec![
            format!(
                "Start no server, old or new, before this ends with 0: controller cutover --to \
                 {to} --verify {options}"
            ),
            format!("The way back, while no server has written: {back}"),
            servers(to),
        ],
        (Verb::Cutover, false) => {
            let what = if done {
                "this was not of every mailbox".to_owned()
            } else {
                format!(
                    "{left} of {} mailboxes are not changed over",
                    summary.mailboxes
                )
            };
            vec![format!(
                "Start no server, old or new: {what}. Bring the rest there, until controller \
                 cutover --to {to} --verify {options} ends with 0; or take all of it back: {back}"
            )]
        }
        (_, true) => vec![
            "Everything is as before the change-over: the old servers may start, once msg/shutdown \
             is removed"
                .to_owned(),
        ],
        (_, false) => vec![format!(
            "Start no server, old or new, before all of it is taken back: {back}"
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Totals;

    fn lines(verb: Verb, whole: bool, pending: u64) -> String {
        let summary = Summary {
            totals: Totals {
                mailboxes: 9,
                upgraded: 9 - pending,
                pending,
                ..Totals::default()
            },
            ..Summary::default()
        };
        after(verb, 16, whole, &summary, "--master m:1 --state x.db").join("\n")
    }

    #[test]
    fn no_server_may_start_before_verify_has_ended_with_0_and_the_way_back_is_named() {
        let verify = "controller cutover --to 16 --verify --master m:1 --state x.db";
        let undo = "controller cutover --undo --master m:1 --state x.db";
        for (whole, pending) in [(true, 0), (false, 0), (true, 2)] {
            let text = lines(Verb::Cutover, whole, pending);
            assert!(text.starts_with("Start no server, old or new"), "{text}");
            assert!(text.contains(verify) && text.contains(undo), "{text}");
            assert_eq!(text.contains("3.4 to 3.8"), whole && pending == 0, "{text}");
        }
        assert!(lines(Verb::Cutover, true, 2).contains("2 of 9 mailboxes are not changed over"));
        assert!(lines(Verb::Cutover, false, 0).contains("not of every mailbox"));
    }

    #[test]
    fn the_old_servers_may_start_only_once_all_of_it_is_taken_back() {
        assert!(lines(Verb::Undo, true, 0).contains("the old servers may start"));
        for (whole, pending) in [(false, 0), (true, 1)] {
            let text = lines(Verb::Undo, whole, pending);
            assert!(text.starts_with("Start no server, old or new"), "{text}");
        }
    }

    #[test]
    fn a_version_that_no_server_was_tried_with_is_said_to_be_untried() {
        assert!(servers(16).contains("3.4 to 3.8") && servers(16).contains("reconstruct -V max"));
        assert!(servers(17).contains("3.10 to 3.12"));
        for to in [12, 13, 14, 15, 18, 19] {
            assert!(servers(to).contains("untried"), "{to}");
        }
    }
}
