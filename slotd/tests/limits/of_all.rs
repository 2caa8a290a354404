//! What `HELLO` says of slotd's means: how many connections it serves, and whether it can commit at
//! all. When all places are taken idle connections make room, and nobody waits for ever without a
//! word.

use crate::common::{Served, Store, lock};
use crate::serve_at;
use slotd::client::{Addr, Client, Timeouts};
use slotd::failpoint;
use slotd::host::Options;
use slotd::protocol::{Code, Commit, Upgrade};

const PLACES: usize = 3;
const MAILBOXES: [&str; 4] = [
    "user.alice",
    "user.bob",
    "user.alice.expunged",
    "user.carol",
];

async fn serve(store: &Store) -> Served {
    let addr = Addr::Unix(store.tmp.path().join("s"));
    serve_at(&addr, PLACES, store.host(Options::default())).await
}

async fn connect(served: &Served) -> Client {
    Client::connect(&served.addr, Timeouts::default())
        .await
        .unwrap()
}

#[tokio::test]
async fn hello_tells_how_many_connections_are_served_at_once() {
    let store = Store::small(&["user.alice"]);
    let served = serve(&store).await;
    let greeting = connect(&served).await.hello().await.unwrap();
    assert_eq!(greeting.capacity, Some(3));
    assert!(!greeting.failed);
    served.stop().await;
}

#[tokio::test]
async fn a_connection_that_is_idle_makes_room_for_one_that_comes() {
    let store = Store::small(&["user.alice"]);
    let served = serve(&store).await;
    let mut idle = Vec::new();
    for _ in 0..PLACES {
        let mut client = connect(&served).await;
        client.hello().await.unwrap();
        idle.push(client);
    }
    // However many come: each of them is served, at the cost of one that says nothing.
    for _ in 0..2 * PLACES {
        let mut client = connect(&served).await;
        client.hello().await.unwrap();
        idle.push(client);
    }
    served.stop().await;
}

#[tokio::test]
async fn a_connection_that_holds_a_mailbox_never_makes_room_and_who_finds_none_is_told_why() {
    let store = Store::cyrus_2_3_9();
    let served = serve(&store).await;
    let mut busy = Vec::new();
    for mailbox in MAILBOXES.into_iter().take(PLACES) {
        let mut client = connect(&served).await;
        client.lock(lock(mailbox)).await.unwrap();
        busy.push(client);
    }
    let error = connect(&served).await.hello().await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Full), "{error}");
    assert!(error.to_string().contains("all 3 connections"), "{error}");
    for client in &mut busy {
        client.upgrade(Upgrade::default()).await.unwrap();
        client.commit(Commit::default()).await.unwrap();
    }
    drop(busy);
    connect(&served).await.hello().await.unwrap();
    served.stop().await;
}

#[tokio::test]
async fn a_failed_intent_log_is_told_by_hello_until_it_is_written_anew_by_itself() {
    let store = Store::cyrus_2_3_9();
    let served = serve(&store).await;
    let scratch = slotd::intent::Scratch {
        mailbox: "user.alice".to_owned(),
        partition: "default".to_owned(),
    };
    failpoint::with("intent.sync=1:eio", || {
        assert!(served.host.log.touch(&scratch).is_err());
    });
    let mut client = connect(&served).await;
    assert!(client.hello().await.unwrap().failed);
    client.lock(lock("user.alice")).await.unwrap();
    let refused = client.upgrade(Upgrade::default()).await;
    // Unless a second has passed since.
    if let Err(error) = refused {
        assert_eq!(error.code(), Some(Code::Io), "{error}");
    }
    client.rollback().await.unwrap();
    while client.hello().await.unwrap().failed {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    client.lock(lock("user.alice")).await.unwrap();
    client.upgrade(Upgrade::default()).await.unwrap();
    client.commit(Commit::default()).await.unwrap();
    served.stop().await;
}
