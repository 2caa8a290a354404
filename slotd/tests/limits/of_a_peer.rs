//! What one user or address may have of a slotd: connections, and mailboxes locked at once. What is
//! more is refused with one line, and keeps no other peer out.

use std::net::SocketAddr;
use std::time::Duration;

use crate::common::{Served, Store, lock, named};
use crate::serve_at;
use slotd::client::{Addr, Client, Timeouts};
use slotd::host::Options;
use slotd::protocol::{Code, Commit, Prepare, Upgrade, Write};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const MAILBOXES: [&str; 4] = [
    "user.alice",
    "user.bob",
    "user.alice.expunged",
    "shared.news",
];

fn options() -> Options {
    Options {
        max_lock: Duration::from_secs(60),
        max_connections: 8,
        ..Options::default()
    }
}

/// Serves over TCP, eight connections at once.
async fn serve(store: &Store, options: Options) -> Served {
    let any = "127.0.0.1:0".parse().unwrap();
    serve_at(&any, 8, store.host(options)).await
}

/// A connection that comes from this address of the loopback.
async fn stream(served: &Served, from: &str) -> TcpStream {
    let Addr::Tcp { host, port } = &served.addr else {
        panic!("no TCP");
    };
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind(SocketAddr::new(from.parse().unwrap(), 0))
        .unwrap();
    let to = SocketAddr::new(host.parse().unwrap(), *port);
    socket.connect(to).await.unwrap()
}

async fn connect(served: &Served, from: &str) -> Client {
    let stream = stream(served, from).await;
    Client::from_stream(Box::new(stream), served.addr.clone(), Timeouts::default())
}

#[tokio::test]
async fn hello_tells_the_limits_and_a_client_what_it_can_have_at_once() {
    let store = Store::small(&["user.alice"]);
    let served = serve(
        &store,
        Options {
            max_connections_peer: Some(6),
            max_transactions_peer: Some(5),
            ..options()
        },
    )
    .await;
    let greeting = connect(&served, "127.0.0.1").await.hello().await.unwrap();
    let limits = greeting.limits.unwrap();
    assert_eq!(
        (
            limits.connections,
            limits.connections_peer,
            limits.transactions_peer
        ),
        (8, 6, 5)
    );
    assert_eq!((limits.line, limits.first_command_ms), (8192, 60_000));
    assert_eq!(greeting.capacity, Some(5));
    served.stop().await;
}

#[tokio::test]
async fn the_share_of_one_address_is_nothing_to_another() {
    let store = Store::cyrus_2_3_9();
    let served = serve(
        &store,
        Options {
            max_connections_peer: Some(3),
            ..options()
        },
    )
    .await;
    let mut busy = Vec::new();
    for mailbox in MAILBOXES.into_iter().take(3) {
        let mut client = connect(&served, "127.0.0.2").await;
        client.lock(lock(mailbox)).await.unwrap();
        busy.push(client);
    }
    let refused = connect(&served, "127.0.0.2").await.hello().await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Full), "{refused}");
    assert!(
        refused.to_string().contains("one user or address"),
        "{refused}"
    );
    // One that says nothing hears the same.
    let mut silent = stream(&served, "127.0.0.2").await;
    let mut said = String::new();
    silent.read_to_string(&mut said).await.unwrap();
    assert!(
        said.starts_with("NO [FULL] ") && said.lines().count() == 1,
        "{said}"
    );
    // And another is served as ever, again and again.
    for _ in 0..20 {
        let mut other = connect(&served, "127.0.0.1").await;
        other.lock(lock(MAILBOXES[3])).await.unwrap();
        other.rollback().await.unwrap();
    }
    for client in &mut busy {
        client.rollback().await.unwrap();
    }
    served.stop().await;
}

async fn three_of_one_address_that_may_have_two(store: &Store) -> (Served, Vec<Client>) {
    let options = Options {
        max_transactions_peer: Some(2),
        ..options()
    };
    let served = serve(store, options).await;
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(connect(&served, "127.0.0.2").await);
    }
    (served, clients)
}

#[tokio::test]
async fn mailboxes_locked_by_one_address_are_counted_and_one_more_is_refused() {
    let store = Store::cyrus_2_3_9();
    let (served, mut clients) = three_of_one_address_that_may_have_two(&store).await;
    clients[0].lock(lock(MAILBOXES[0])).await.unwrap();
    clients[1].lock(lock(MAILBOXES[1])).await.unwrap();
    let refused = clients[2].lock(lock(MAILBOXES[2])).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Full), "{refused}");
    assert!(refused.to_string().contains("all 2 mailboxes"), "{refused}");
    let mut other = connect(&served, "127.0.0.1").await;
    other.lock(lock(MAILBOXES[3])).await.unwrap();
    // The connection stands, and what another gives back it can have; also where that was cut.
    clients[0].rollback().await.unwrap();
    clients[2].lock(lock(MAILBOXES[2])).await.unwrap();
    drop(clients.remove(1));
    let again = async {
        while let Err(error) = clients[0].lock(lock(MAILBOXES[1])).await {
            assert_eq!(error.code(), Some(Code::Full), "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again)
        .await
        .unwrap();
    drop((clients, other));
    served.stop().await;
}

fn prepare(mailbox: &str) -> Prepare {
    Prepare {
        write: Write::Always,
        of: named(mailbox),
        upgrade: Upgrade::default(),
        epoch: None,
    }
}

#[tokio::test]
async fn mailboxes_prepared_by_one_address_are_counted_and_one_more_is_refused() {
    let store = Store::cyrus_2_3_9();
    let (served, mut clients) = three_of_one_address_that_may_have_two(&store).await;
    // One that cannot be prepared does not count.
    for _ in 0..3 {
        let error = clients[2]
            .prepare(prepare("user.nobody"))
            .await
            .unwrap_err();
        assert_eq!(error.code(), Some(Code::NoMailbox), "{error}");
    }
    clients[0].prepare(prepare(MAILBOXES[0])).await.unwrap();
    clients[1].prepare(prepare(MAILBOXES[1])).await.unwrap();
    // Another one on the same connection takes the place of the first.
    clients[1].prepare(prepare(MAILBOXES[3])).await.unwrap();
    let refused = clients[2].prepare(prepare(MAILBOXES[2])).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Full), "{refused}");
    let text = refused.to_string();
    assert!(text.contains("prepared here at once"), "{text}");
    assert!(text.contains("--max-transactions-peer"), "{text}");
    let mut other = connect(&served, "127.0.0.1").await;
    other.prepare(prepare(MAILBOXES[2])).await.unwrap();
    // What is prepared may be locked, and once it is done there is room again.
    clients[0].lock(lock(MAILBOXES[0])).await.unwrap();
    clients[0].upgrade(Upgrade::default()).await.unwrap();
    clients[0].commit(Commit::default()).await.unwrap();
    clients[2].prepare(prepare(MAILBOXES[2])).await.unwrap();
    // Also where a connection was cut.
    drop(clients.remove(1));
    let again = async {
        while let Err(error) = clients[0].prepare(prepare(MAILBOXES[1])).await {
            assert_eq!(error.code(), Some(Code::Full), "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), again)
        .await
        .unwrap();
    drop((clients, other));
    served.stop().await;
}

#[tokio::test]
async fn a_lock_that_is_refused_does_not_count() {
    let store = Store::cyrus_2_3_9();
    let served = serve(
        &store,
        Options {
            max_transactions_peer: Some(1),
            ..options()
        },
    )
    .await;
    let mut client = connect(&served, "127.0.0.1").await;
    for _ in 0..3 {
        let error = client.lock(lock("user.nobody")).await.unwrap_err();
        assert_eq!(error.code(), Some(Code::NoMailbox), "{error}");
    }
    client.lock(lock(MAILBOXES[0])).await.unwrap();
    // Nor one that is no fitting command.
    let error = client.lock(lock(MAILBOXES[1])).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::State), "{error}");
    let mut second = connect(&served, "127.0.0.1").await;
    let error = second.lock(lock(MAILBOXES[1])).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::Full), "{error}");
    client.rollback().await.unwrap();
    served.stop().await;
}

#[tokio::test]
async fn half_a_line_is_no_reason_to_keep_a_connection() {
    let store = Store::small(&["user.alice"]);
    let served = serve(
        &store,
        Options {
            first_command: Duration::from_millis(300),
            ..options()
        },
    )
    .await;
    for begun in [&b""[..], b"HEL"] {
        let mut stream = stream(&served, "127.0.0.1").await;
        stream.write_all(begun).await.unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "BAD no whole line came in 0.3 s\n");
    }
    // Between two commands it may be silent.
    let mut client = connect(&served, "127.0.0.1").await;
    client.hello().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    client.hello().await.unwrap();
    served.stop().await;
}
