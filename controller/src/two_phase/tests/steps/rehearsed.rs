//! A rehearsal goes as far as the decision, and never over it.

use super::*;

fn rehearsal() -> Coordinator {
    Coordinator::new(Plan {
        rehearse: true,
        ..plan()
    })
}

#[test]
fn a_rehearsal_stages_compares_and_rolls_back_both_and_decides_nothing() {
    assert_eq!(
        drive(rehearsal(), &[]),
        "m:lock r:lock m:upgrade r:upgrade m:confirm r:confirm r:rollback m:rollback rehearsed"
    );
    let differs = ("r:upgrade", staged(Side::Replica, 10, 11));
    assert_eq!(
        drive(rehearsal(), &[differs]),
        "m:lock r:lock m:upgrade r:upgrade compare m:confirm r:confirm r:rollback m:rollback \
         rehearsed"
    );
}

#[test]
fn one_host_alone_is_rehearsed_as_well() {
    let alone = Plan {
        rehearse: true,
        replica: false,
        ..plan()
    };
    assert_eq!(
        drive(Coordinator::new(alone), &[]),
        "m:lock m:upgrade m:rollback rehearsed"
    );
}

#[test]
fn a_rollback_that_is_lost_leaves_what_was_seen_as_it_was_seen() {
    let lost = ("r:rollback", Event::Lost(Side::Replica, "gone".to_owned()));
    let line = drive(rehearsal(), &[lost]);
    assert!(line.ends_with("r:rollback m:rollback rehearsed"), "{line}");
}

#[test]
fn with_lost_rows_a_rehearsal_assumes_no_decision() {
    let lost = Plan {
        rehearse: true,
        rows_lost: true,
        ..plan()
    };
    let away = ("r:upgrade", Event::Lost(Side::Replica, "gone".to_owned()));
    let line = drive(Coordinator::new(lost), &[away]);
    assert!(
        line.ends_with("m:rollback rolled_back(host_away)"),
        "{line}"
    );
}
