//! What the holder of a certificate may order.

use slotd::client::ClientError;
use slotd::protocol::{Code, Command, Reply, Sha1sRange};
use slotd::tls::Credentials;

use crate::common::{lock, named};
use crate::setup::{CONTROLLER, Cert, JOE, Reached, SLOTD, VIEWER};

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_looks_and_locks_nothing_and_a_slotd_fetches_sha1s() {
    let reached = Reached::new().await;
    let mut viewer = reached.client(40, &VIEWER).await;
    viewer.status(named(JOE)).await.unwrap();
    let mut slotd = reached.client(41, &SLOTD).await;
    let denied = |reply: Result<Reply, ClientError>| match reply {
        Ok(Reply::No { code, text }) => (code, text),
        other => panic!("{other:?}"),
    };
    let sha1s = Command::Sha1s(Sha1sRange {
        of: named(JOE),
        offset: 0,
    });
    for (line, of_slotd) in [
        (format!("LOCK {JOE}"), true),
        (format!("PREPARE {JOE}"), true),
        (format!("CLEAN {JOE} dry_run=1"), true),
        ("REGISTER journal=x".to_owned(), true),
        ("REVOKE".to_owned(), true),
        ("LIST".to_owned(), false),
        (format!("STATUS {JOE}"), false),
    ] {
        let command = Command::parse(line.as_bytes()).unwrap();
        if of_slotd {
            let (code, text) = denied(viewer.call(&command).await);
            assert_eq!(code, Code::Denied, "{line}");
            assert!(text.contains("is not for a viewer"), "{text}");
        }
        let (code, text) = denied(slotd.call(&command).await);
        assert_eq!(code, Code::Denied, "{line}");
        assert!(text.contains("is not for a slotd"), "{text}");
    }
    assert_eq!(denied(viewer.call(&sha1s).await).0, Code::Denied);
    // There is none, and that is what it hears.
    let there_is_none = slotd.call(&sha1s).await;
    assert!(!matches!(
        there_is_none,
        Ok(Reply::No {
            code: Code::Denied,
            ..
        })
    ));
    // Nothing of that locked the mailbox.
    let mut controller = reached.client(42, &CONTROLLER).await;
    controller.lock(lock(JOE)).await.unwrap();
    drop((viewer, slotd, controller));
    reached.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_without_a_role_orders_nothing() {
    let reached = Reached::new().await;
    let files = reached.authority.issue(
        43,
        &Cert {
            role: None,
            ..CONTROLLER
        },
    );
    // Our own client does not even try.
    let error = Credentials::open(files.clone()).unwrap_err();
    assert!(
        error.to_string().contains("says not what its holder is"),
        "{error}"
    );
    reached.served.stop().await;
}
