//! Certificates that are refused, by either end: each has its sentence.

use std::sync::Arc;

use rcgen::ExtendedKeyUsagePurpose as Eku;
use slotd::client::{Addr, Client, Timeouts};
use slotd::host::Options;
use slotd::protocol::Role;
use slotd::server::{Access, Listener};
use slotd::tls::{Credentials, Files, Server};
use tokio::net::TcpStream;

use crate::common::Store;
use crate::setup::{Authority, CONTROLLER, Cert, JOE, Reached, SLOTD, connect, serve};

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_refused_is_told_by_its_own_sentence_and_no_lost_connection() {
    let reached = Reached::new().await;
    let own = &reached.authority;
    let other = Authority::new(&reached.store.tmp.path().join("other"));
    own.revoke(&[13]);
    reached.server.reload().unwrap();
    let ours = "the other side refuses our certificate: ";
    let theirs = "its certificate is not accepted: ";
    let foreign = Files {
        ca: own.path("ca.pem"),
        ..other.issue(10, &CONTROLLER)
    };
    let expired = Cert {
        from: -10,
        until: -1,
        ..CONTROLLER
    };
    let early = Cert {
        from: 10,
        ..CONTROLLER
    };
    let serves = Cert {
        usages: &[Eku::ServerAuth],
        ..CONTROLLER
    };
    let unknown = Files {
        ca: other.path("ca.pem"),
        ..own.issue(15, &CONTROLLER)
    };
    for (files, begin, rest) in [
        (
            foreign,
            ours,
            "it is of an authority that the other side does not know",
        ),
        (
            own.issue(11, &expired),
            ours,
            "expired, or not valid yet: it is valid from ",
        ),
        (
            own.issue(12, &early),
            ours,
            "expired, or not valid yet: it is valid from ",
        ),
        (own.issue(13, &CONTROLLER), ours, "revoked (serial 0d)"),
        (own.issue(14, &serves), ours, "it is not one of a client"),
        (
            unknown,
            theirs,
            "it is of another authority than those that we know",
        ),
    ] {
        let error = reached.try_client(files).await.err().unwrap();
        let text = error.to_string();
        assert!(text.contains(&format!("{begin}{rest}")), "{text}");
        assert!(error.is_untrusted(), "{text}");
    }
    // The name that is asked for counts, not the address that is reached.
    let mut asked = 0;
    for (number, serial) in [("127.0.0.1", 16), ("::1", 19)] {
        if TcpStream::connect((number, reached.port())).await.is_err() {
            continue;
        }
        asked += 1;
        let numbered = Addr::Tls {
            host: number.to_owned(),
            port: reached.port(),
        };
        let error = connect(&numbered, own.issue(serial, &CONTROLLER))
            .await
            .err()
            .unwrap();
        let text = format!("{theirs}it is not for {number}, but for ");
        assert!(error.to_string().contains(&text), "{error}");
    }
    assert!(asked > 0, "localhost has neither number");
    // A host's certificate that was revoked, by what the client knows.
    own.revoke(&[1]);
    let knows = own.with_list(own.issue(17, &CONTROLLER));
    let error = reached.try_client(knows).await.err().unwrap();
    assert!(
        error
            .to_string()
            .contains(&format!("{theirs}it is revoked")),
        "{error}"
    );
    reached.client(18, &CONTROLLER).await.hello().await.unwrap();
    reached.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_that_listens_is_taken_for_no_slotd() {
    let store = Store::small(&[JOE]);
    let authority = Authority::new(&store.tmp.path().join("ca"));
    for (serial, role) in [(20, Role::Controller), (21, Role::Viewer)] {
        let cert = Cert {
            role: Some(role),
            ..SLOTD
        };
        let error = Server::open(authority.issue(serial, &cert)).unwrap_err();
        assert!(
            error.to_string().contains("no certificate of a host"),
            "{error}"
        );
    }
    let asks = Cert {
        usages: &[Eku::ClientAuth],
        ..SLOTD
    };
    let server = Arc::new(Server::open(authority.issue(22, &asks)).unwrap());
    let served = serve(&store, &server, Options::default()).await;
    let error = connect(&served.addr, authority.issue(23, &CONTROLLER))
        .await
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("may not be used for that"),
        "{error}"
    );
    served.stop().await;
    let past = Cert {
        from: -10,
        until: -1,
        ..SLOTD
    };
    let error = Server::open(authority.issue(24, &past)).unwrap_err();
    assert!(error.to_string().contains("and not now"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_certificate_is_told_what_is_missing() {
    let reached = Reached::new().await;
    let error = Client::connect(&reached.served.addr, Timeouts::default())
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains("--tls-cert"), "{error}");
    assert!(error.is_untrusted());
    let wanted: Addr = "tls://localhost:0".parse().unwrap();
    let error = Listener::bind_for(&wanted, &Access::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("needs --tls-cert"), "{error}");
    let open = reached.authority.issue(90, &CONTROLLER);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o604);
    std::fs::set_permissions(&open.key, mode).unwrap();
    let error = Credentials::open(open).unwrap_err();
    assert!(
        error.to_string().contains("(mode 604): chmod o= it"),
        "{error}"
    );
    reached.served.stop().await;
}
