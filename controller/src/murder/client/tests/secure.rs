//! STARTTLS, with certificates made for these tests (`ca.pem` signed `server.pem`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use indexfile::exit::Exit;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use super::fake::{BANNER, End, Fake};
use crate::login::{LinkError, Security};
use crate::murder::client::{Client, Fault};

const OFFER: &str = "* AUTH \"PLAIN\"\r\n* STARTTLS\r\n";

fn file(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    dir.join("src/murder/client/tests").join(name)
}

fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_file(file("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// A server that goes on with TLS after STARTTLS, and says this to it.
async fn server(answer: &'static str) -> Fake {
    Fake::start(move |mut end| async move {
        end.say([OFFER, BANNER].concat()).await;
        assert_eq!(end.hear().await, "1 STARTTLS");
        end.say(answer).await;
        let heard = Arc::clone(&end.heard);
        let Ok(stream) = acceptor().accept(end.into_stream()).await else {
            return;
        };
        let mut end = End::new(Box::new(stream), &heard);
        end.say(BANNER).await;
        end.answer("TAG OK \"Authenticated\"\r\n").await;
        end.answer("TAG OK \"Noop done\"\r\n").await;
    })
    .await
}

fn ca(name: &str) -> Security {
    Security {
        ca_file: Some(file(name)),
        ..Security::default()
    }
}

const BEGIN: &str = "1 OK Begin TLS negotiation now\r\n";

#[tokio::test]
async fn tls_is_used_where_it_is_offered_and_the_password_goes_by_it() {
    let demanded = Security {
        demanded: true,
        ..ca("ca.pem")
    };
    let insecure = Security {
        insecure: true,
        ..Security::default()
    };
    for security in [ca("ca.pem"), demanded, insecure] {
        let fake = server(BEGIN).await;
        let mut client = Client::connect(&fake.settings_with(&security))
            .await
            .unwrap();
        assert!(client.is_tls());
        client.noop().await.unwrap();
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_right_is_78_and_no_password_is_sent() {
    // Signed by another authority, or by none that this system knows.
    for security in [ca("other-ca.pem"), Security::default()] {
        let fake = server(BEGIN).await;
        let error = Client::connect(&fake.settings_with(&security))
            .await
            .unwrap_err();
        assert!(
            matches!(*error.fault, Fault::Link(LinkError::Certificate(_))),
            "{error}"
        );
        assert_eq!(error.exit(), Exit::Config);
        assert!(!error.may_pass());
        assert!(
            !fake
                .heard
                .lock()
                .iter()
                .any(|line| line.contains("AUTHENTICATE"))
        );
    }
    // Of another name: `localhost` stands in none.
    let fake = server(BEGIN).await;
    let mut settings = fake.settings_with(&ca("ca.pem"));
    settings.address.place.host = "localhost".to_owned();
    let error = Client::connect(&settings).await.unwrap_err();
    assert!(
        matches!(*error.fault, Fault::Link(LinkError::Certificate(_))),
        "{error}"
    );
}

#[tokio::test]
async fn tls_that_is_refused_injected_or_none_is_an_error() {
    let fake = server("1 BAD \"Unrecognized command\"\r\n").await;
    let error = Client::connect(&fake.settings_with(&ca("ca.pem")))
        .await
        .unwrap_err();
    assert!(matches!(*error.fault, Fault::Answer { .. }), "{error}");
    // Bytes in clear behind the OK would be taken for the server's by TLS.
    let fake = server("1 OK Begin TLS negotiation now\r\n* AUTH \"PLAIN\"\r\n").await;
    let error = Client::connect(&fake.settings_with(&ca("ca.pem")))
        .await
        .unwrap_err();
    assert!(matches!(*error.fault, Fault::Unexpected { .. }), "{error}");
    let fake = Fake::start(|mut end| async move {
        end.say([OFFER, BANNER].concat()).await;
        end.hear().await;
        end.say(BEGIN).await;
        end.hear().await;
        end.say("* OK no TLS at all\r\n").await;
        end.hear().await;
    })
    .await;
    let error = Client::connect(&fake.settings_with(&ca("ca.pem")))
        .await
        .unwrap_err();
    assert!(
        matches!(*error.fault, Fault::Link(LinkError::Tls(_))),
        "{error}"
    );
    assert_eq!(error.exit(), Exit::Unavailable);
}

#[tokio::test]
async fn tls_that_is_demanded_and_not_offered_is_78_and_no_password_is_sent() {
    let fake = Fake::start(|mut end| async move {
        end.say(BANNER).await;
        end.hear().await;
    })
    .await;
    let demanded = Security {
        demanded: true,
        ..Security::default()
    };
    let error = Client::connect(&fake.settings_with(&demanded))
        .await
        .unwrap_err();
    assert!(
        matches!(*error.fault, Fault::Link(LinkError::NoTls)),
        "{error}"
    );
    assert_eq!(error.exit(), Exit::Config);
    assert!(
        !fake
            .heard
            .lock()
            .iter()
            .any(|line| line.contains("AUTHENTICATE"))
    );
}
