//! What is open to those who have no certificate, or do not speak as our clients do: nothing.

use rustls::version::{TLS12, TLS13};
use slotd::host::Options;
use slotd::tls::Refused;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::lock;
use crate::setup::{ALPN, CONTROLLER, HOST, JOE, Reached};

#[tokio::test(flavor = "multi_thread")]
async fn without_a_certificate_nothing_but_the_handshake_is_possible() {
    let reached = Reached::new().await;
    // TLS 1.3: what was written is never answered, and the alert has its sentence.
    let mut nobody = reached.stranger(None, &[&TLS13], &[ALPN]).await.unwrap();
    let line = format!("LOCK {JOE}\n");
    let _ = nobody.write_all(line.as_bytes()).await;
    let mut read = Vec::new();
    let error = nobody.read_to_end(&mut read).await.unwrap_err();
    assert_eq!(read, b"");
    let refused = Refused::of(&error, None).unwrap().to_string();
    let wanted = "the other side refuses our certificate: none was sent, and it demands one";
    assert_eq!(refused, wanted);
    // An older TLS, and another protocol.
    reached
        .stranger(None, &[&TLS12], &[ALPN])
        .await
        .unwrap_err();
    reached
        .stranger(None, &[&TLS13], &[b"http/1.1"])
        .await
        .unwrap_err();
    // No TLS at all.
    let mut plain = TcpStream::connect((HOST, reached.port())).await.unwrap();
    plain.write_all(b"HELLO\n").await.unwrap();
    let mut read = Vec::new();
    let _ = plain.read_to_end(&mut read).await;
    assert!(!String::from_utf8_lossy(&read).contains("OK"), "{read:?}");
    // The mailbox was never locked.
    let mut controller = reached.client(30, &CONTROLLER).await;
    controller.lock(lock(JOE)).await.unwrap();
    drop((controller, nobody, plain));
    reached.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_ask_for_our_protocol_gets_no_answer_whatever_certificate_it_shows() {
    let reached = Reached::new().await;
    let files = reached.authority.issue(32, &CONTROLLER);
    let said = async |alpn: &[&[u8]]| {
        let mut stream = match reached.stranger(Some(&files), &[&TLS13], alpn).await {
            Ok(stream) => stream,
            Err(error) => return error.to_string(),
        };
        let _ = stream.write_all(b"QUIT\n").await;
        let mut read = Vec::new();
        let _ = stream.read_to_end(&mut read).await;
        String::from_utf8_lossy(&read).into_owned()
    };
    assert_eq!(said(&[]).await, "");
    let refused = said(&[b"http/1.1"]).await;
    assert!(refused.contains("NoApplicationProtocol"), "{refused}");
    // The same certificate, by our protocol.
    assert_eq!(said(&[ALPN]).await, "OK\n");
    reached.served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_say_nothing_keep_nobody_out() {
    let reached = Reached::with(Options {
        max_connections_peer: Some(8),
        ..Options::default()
    });
    let reached = reached.await;
    let mut silent = Vec::new();
    // Far more than may be on their way out at once: did each stay for the time of a handshake,
    // nobody would be let in for many of these times.
    for _ in 0..400 {
        silent.push(TcpStream::connect((HOST, reached.port())).await.unwrap());
    }
    reached.client(31, &CONTROLLER).await.hello().await.unwrap();
    drop(silent);
    reached.served.stop().await;
}
