//! `PRECOMPUTE`: the pass that hashes messages ahead, as a task of slotd's.

mod common;

use std::time::{Duration, Instant};

use common::{Store, lock};
use slotd::client::Client;
use slotd::protocol::{Command, PassLimits, PassProgress, PassState, Precompute, Reply};

const MAILBOX: &str = "user.alice.mixed";

async fn ask(client: &mut Client, what: Precompute) -> PassProgress {
    let reply = client.call(&Command::Precompute(what)).await.unwrap();
    let Reply::Ok(fields) = reply else {
        panic!("{reply:?}");
    };
    PassProgress::from_fields(&fields).unwrap()
}

/// Asks until nothing more is to come.
async fn ended(client: &mut Client) -> PassProgress {
    let begun = Instant::now();
    loop {
        let progress = ask(client, Precompute::Ask).await;
        if !progress.state.is_at_work() {
            return progress;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{progress:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// So slow that it does not end by itself.
const SLOW: PassLimits = PassLimits {
    jobs: Some(2),
    max_rate: Some(1),
    all_messages: false,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_hashes_every_message_of_the_store_and_who_began_it_may_go_away() {
    let store = Store::cyrus_2_3_9();
    let served = store.serve().await;
    let mut client = served.client().await;
    assert_eq!(
        ask(&mut client, Precompute::Ask).await,
        PassProgress::default()
    );
    let begun = ask(&mut client, Precompute::Start(PassLimits::default())).await;
    assert!(begun.began > 0 && !begun.already, "{begun:?}");
    drop(client);
    let mut client = served.client().await;
    let done = ended(&mut client).await;
    assert_eq!(
        (done.state, done.began),
        (PassState::Done, begun.began),
        "{done:?}"
    );
    assert_eq!((done.mailboxes, done.errors), (18, 0), "{done:?}");
    assert!(done.hashed > 0 && done.messages >= done.hashed, "{done:?}");
    assert!(store.meta(MAILBOX).join("cyrus.sha1s").exists());
    // Nothing is left to read for who locks a mailbox.
    let _ = client.lock(lock(MAILBOX)).await.unwrap();
    let staged = client
        .upgrade(slotd::protocol::Upgrade::default())
        .await
        .unwrap();
    assert_eq!(staged.hashed, 0, "{staged:?}");
    client.rollback().await.unwrap();
    // The next one finds all of it, and is another one.
    ask(&mut client, Precompute::Start(PassLimits::default())).await;
    let again = ended(&mut client).await;
    assert_eq!(
        (again.state, again.hashed),
        (PassState::Done, 0),
        "{again:?}"
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pass_is_at_work_at_a_time_it_keeps_no_mailbox_locked_and_can_be_ended() {
    let store = Store::cyrus_2_3_9();
    let served = store.serve().await;
    let mut client = served.client().await;
    let begun = ask(&mut client, Precompute::Start(SLOW)).await;
    assert_eq!(begun.state, PassState::Running);
    let second = ask(&mut client, Precompute::Start(PassLimits::default())).await;
    assert!(second.already && second.began == begun.began, "{second:?}");
    let mut other = served.client().await;
    let _ = other.lock(lock(MAILBOX)).await.unwrap();
    other.rollback().await.unwrap();
    let stopping = ask(&mut client, Precompute::Stop).await;
    assert!(
        !matches!(stopping.state, PassState::Running | PassState::Done),
        "{stopping:?}"
    );
    let stopped = ended(&mut client).await;
    assert_eq!(
        (stopped.state, stopped.began),
        (PassState::Stopped, begun.began)
    );
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slotd_that_stops_ends_its_pass_and_takes_no_other() {
    let store = Store::cyrus_2_3_9();
    let served = store.serve().await;
    let mut client = served.client().await;
    ask(&mut client, Precompute::Start(SLOW)).await;
    let host = std::sync::Arc::clone(&served.host);
    served.stop().await;
    assert_eq!(host.pass.progress().state, PassState::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_hashed_is_counted_and_named() {
    let store = Store::cyrus_2_3_9();
    let index = store.meta(MAILBOX).join("cyrus.index");
    std::fs::write(&index, b"no index").unwrap();
    let served = store.serve().await;
    let mut client = served.client().await;
    ask(&mut client, Precompute::Start(PassLimits::default())).await;
    let done = ended(&mut client).await;
    assert_eq!((done.state, done.errors), (PassState::Done, 1), "{done:?}");
    assert!(done.first[0].starts_with(MAILBOX), "{done:?}");
    served.stop().await;
}
