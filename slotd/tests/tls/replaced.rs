//! Files that are replaced, and certificates that are revoked, while connections are open.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use slotd::client::{Client, Timeouts};
use slotd::host::Options;
use slotd::protocol::{Commit, Upgrade};
use slotd::tls::{Credentials, Files, Server};

use crate::common::{Store, lock};
use crate::setup::{Authority, CONTROLLER, Cert, JOE, Reached, SLOTD, connect, serve, write};

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_revoked_is_out_at_once_and_its_transaction_is_undone() {
    let reached = Reached::new().await;
    let before = reached.store.meta_files();
    let mut revoked = reached.client(50, &CONTROLLER).await;
    let mut other = reached.client(51, &CONTROLLER).await;
    revoked.lock(lock(JOE)).await.unwrap();
    revoked.upgrade(Upgrade::default()).await.unwrap();
    reached.authority.revoke(&[50]);
    reached.server.reload().unwrap();
    // Its end is seen without any word of it.
    let error = revoked.commit(Commit::default()).await.unwrap_err();
    assert!(error.is_unanswered(), "{error}");
    // The other one has never been interrupted, and finds the mailbox as it was.
    other.hello().await.unwrap();
    let facts = other.lock(lock(JOE)).await.unwrap();
    assert!(facts.index < 10, "{facts:?}");
    assert_eq!(reached.store.meta_files(), before);
    other.upgrade(Upgrade::default()).await.unwrap();
    other.commit(Commit::default()).await.unwrap();
    // Nor does it come back.
    let files = Files {
        cert: reached.authority.path("50.pem"),
        key: reached.authority.path("50.key"),
        ca: reached.authority.path("ca.pem"),
        crl: None,
    };
    let error = reached.try_client(files).await.err().unwrap();
    assert!(error.to_string().contains("revoked (serial 32)"), "{error}");
    drop((revoked, other));
    reached.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_counts_although_the_host_s_own_certificate_has_expired() {
    let store = Store::small(&[JOE]);
    let authority = Authority::new(&store.tmp.path().join("ca"));
    let short = Cert {
        until: 0,
        seconds: 2,
        ..SLOTD
    };
    let files = authority.with_list(authority.issue(1, &short));
    let server = Arc::new(Server::open(files).unwrap());
    let served = serve(&store, &server, Options::default()).await;
    let files = authority.issue(55, &CONTROLLER);
    let mut revoked = connect(&served.addr, files).await.unwrap();
    while !server.certificate().is_outside(SystemTime::now()) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    authority.revoke(&[55]);
    server.reload().unwrap();
    let error = revoked.hello().await.unwrap_err();
    assert!(error.is_unanswered(), "{error}");
    // One that was valid is not replaced by one that is not.
    authority.issue(1, &SLOTD);
    server.reload().unwrap();
    authority.issue(
        1,
        &Cert {
            until: -1,
            from: -2,
            ..SLOTD
        },
    );
    assert!(
        server
            .reload()
            .unwrap_err()
            .to_string()
            .contains("and not now")
    );
    drop(revoked);
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_used_leave_all_as_it_was() {
    let reached = Reached::new().await;
    let mut open = reached.client(60, &CONTROLLER).await;
    let list = reached.authority.path("crl.pem");
    for text in [
        "",
        "no list",
        "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
    ] {
        write(&list, text);
        let error = reached.server.reload().unwrap_err();
        assert!(error.to_string().contains("crl.pem"), "{error}");
        open.hello().await.unwrap();
        reached.client(61, &CONTROLLER).await.hello().await.unwrap();
    }
    std::fs::remove_file(&list).unwrap();
    reached.server.reload().unwrap_err();
    open.hello().await.unwrap();
    // A key of another certificate.
    reached.authority.revoke(&[]);
    reached.authority.issue(62, &SLOTD);
    std::fs::copy(
        reached.authority.path("62.key"),
        reached.authority.path("1.key"),
    )
    .unwrap();
    reached.server.reload().unwrap_err();
    open.hello().await.unwrap();
    drop(open);
    reached.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_connections_get_the_new_certificate_and_open_ones_go_on() {
    let reached = Reached::new().await;
    let mut open = reached.client(70, &CONTROLLER).await;
    let days = open.hello().await.unwrap().cert_days;
    assert_eq!(days, Some(40));
    open.lock(lock(JOE)).await.unwrap();
    let longer = Cert { until: 90, ..SLOTD };
    reached.authority.issue(1, &longer);
    reached.server.reload().unwrap();
    open.upgrade(Upgrade::default()).await.unwrap();
    open.commit(Commit::default()).await.unwrap();
    let mut new = reached.client(71, &CONTROLLER).await;
    assert_eq!(new.hello().await.unwrap().cert_days, Some(90));
    drop((open, new));
    reached.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_whose_files_are_replaced_shows_the_new_ones_at_its_next_connection() {
    let reached = Reached::new().await;
    let expired = Cert {
        from: -10,
        until: -1,
        ..CONTROLLER
    };
    let files = reached.authority.issue(80, &expired);
    let credentials = Credentials::open(files).unwrap();
    let connect = || {
        Client::connect_as(
            &reached.served.addr,
            Some(&credentials),
            Timeouts::default(),
        )
    };
    assert!(connect().await.err().unwrap().is_untrusted());
    reached.authority.issue(80, &CONTROLLER);
    connect().await.unwrap().hello().await.unwrap();
    // Half a replacement is left for the next time.
    write(&reached.authority.path("80.pem"), "");
    connect().await.unwrap().hello().await.unwrap();
    reached.served.stop().await;
}
