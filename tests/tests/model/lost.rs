//! The journal has lost its newest rows, as at a failover to a standby that did not have them: one
//! side that is committed proves a decision, without any row.

use tests::model::Config;

use super::{NEW, OLD, PADDED, down, exhaust_and_see, over, undo};

/// What makes another setup of one.
type Change = fn(&mut Config);

#[test]
fn where_rows_are_lost_no_mailbox_is_called_rolled_back_whose_hosts_are_unlike() {
    let setups: [(&str, Change); 8] = [
        ("the replica is committed", |c| c.initial = [OLD, NEW]),
        ("the master is committed", |c| c.initial = [NEW, OLD]),
        ("GUIDs alone change, of the replica", |c| {
            c.initial = [PADDED, NEW];
        }),
        ("10 to 9, the replica is committed", |c| {
            down(c);
            c.initial = [NEW, OLD];
        }),
        ("nothing is committed", |c| c.initial = [OLD, OLD]),
        ("taken up again", |c| {
            c.initial = [OLD, NEW];
            c.retries = 1;
        }),
        ("10 to 16, the replica is committed", |c| {
            over(c);
            c.over[1] = true;
        }),
        ("16 to 10, the replica is committed", |c| {
            undo(c);
            c.over[1] = false;
        }),
    ];
    for (name, change) in setups {
        let mut config = Config {
            lost: true,
            writes: 0,
            ..Config::upgrade(1)
        };
        change(&mut config);
        exhaust_and_see(&format!("rows lost, {name}"), config, &["it upgrades"]);
    }
}
