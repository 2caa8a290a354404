//! With `openssl` as the other end of a slotd, and as a judge of the certificates.

use std::process::{Command, Stdio};

use tests::process::{Guard, run};

use crate::Secure;

/// What `openssl s_client` gets for these lines; with a certificate or without.
fn s_client(secure: &Secure, file: Option<&str>, extra: &[&str], lines: &str) -> String {
    let addr = secure.fleet.addr(0);
    let place = addr.strip_prefix("tls://").unwrap();
    let mut command = Command::new("openssl");
    command.args([
        "s_client",
        "-quiet",
        "-verify_return_error",
        "-connect",
        place,
    ]);
    command.arg("-CAfile").arg(secure.ca.join("ca.pem"));
    command.args(["-verify_hostname", "localhost"]).args(extra);
    if let Some(file) = file {
        let path = |extension: &str| secure.ca.join(format!("{file}.{extension}"));
        command
            .arg("-cert")
            .arg(path("pem"))
            .arg("-key")
            .arg(path("key"));
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // The other side may be gone already.
    let _ = std::io::Write::write_all(&mut stdin, lines.as_bytes());
    let guard = Guard(child);
    // It ends with QUIT, or as the connection does.
    let ended = guard.finish();
    drop(stdin);
    ended.stdout + &ended.stderr
}

#[test]
#[ignore = "needs openssl"]
fn openssl_talks_to_a_slotd_and_gets_in_by_its_certificate_alone() {
    let secure = Secure::new(2);
    let _ = secure.issue("controller", "night-run", "night");
    let _ = secure.issue("viewer", "watch", "watch");
    let alpn = ["-alpn", "reguid/1"];
    let lock = "HELLO\nLOCK user.u0000\nQUIT\n";
    let all = s_client(&secure, Some("night"), &alpn, "HELLO\nQUIT\n");
    assert!(
        all.contains("OK slotd=") && all.contains("cert_days=36"),
        "{all}"
    );
    let viewer = s_client(&secure, Some("watch"), &alpn, lock);
    assert!(
        viewer.contains("OK slotd=") && viewer.contains("NO [DENIED] LOCK"),
        "{viewer}"
    );
    for (file, extra) in [
        (None, alpn.to_vec()),
        (Some("night"), vec!["-alpn", "reguid/1", "-tls1_2"]),
        (Some("night"), vec!["-alpn", "http/1.1"]),
        (Some("night"), vec![]),
    ] {
        let nothing = s_client(&secure, file, &extra, lock);
        assert!(
            !nothing.contains("OK slotd="),
            "{file:?} {extra:?}: {nothing}"
        );
        assert!(
            !nothing.contains("[DENIED]"),
            "{file:?} {extra:?}: {nothing}"
        );
    }
    let none = s_client(&secure, None, &alpn, lock);
    assert!(none.contains("certificate required"), "{none}");
}

#[test]
#[ignore = "needs openssl"]
fn openssl_finds_certificates_and_revocation_list_in_order() {
    let secure = Secure::new(2);
    let _ = secure.issue("controller", "night-run", "night");
    let _ = secure.issue("viewer", "watch", "watch");
    secure.revoke("watch");
    let verify = |file: &str, purpose: &str| {
        let path = |name: &str| secure.ca.join(name).into_os_string();
        let words = [
            "verify".into(),
            "-x509_strict".into(),
            "-crl_check".into(),
            "-purpose".into(),
            purpose.into(),
            "-CAfile".into(),
            path("ca.pem"),
            "-CRLfile".into(),
            path("crl.pem"),
            path(&format!("{file}.pem")),
        ];
        let ended = run("openssl", words);
        (ended.code, ended.stderr)
    };
    assert_eq!(verify("master", "sslserver").0, Some(0));
    assert_eq!(verify("master", "sslclient").0, Some(0));
    assert_eq!(verify("night", "sslclient").0, Some(0));
    assert_ne!(verify("night", "sslserver").0, Some(0));
    let (code, why) = verify("watch", "sslclient");
    assert!(code != Some(0) && why.contains("revoked"), "{why}");
}
