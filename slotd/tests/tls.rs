//! Connections by TLS: who gets in, what each may order, and what becomes of open connections when
//! files are replaced.

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose as Eku, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use slotd::client::{Addr, Client, ClientError, Timeouts};
use slotd::host::Options;
use slotd::protocol::{Code, Command, Commit, Reply, Role, Sha1sRange, Upgrade};
use slotd::server::{self, Access, Listener};
use slotd::tls::{Credentials, Files, Refused, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use common::{Served, Store, lock, named};

const JOE: &str = "user.alice";
const HOST: &str = "localhost";

/// An authority in a directory, which issues whatever it is asked for.
struct Authority {
    dir: PathBuf,
    params: CertificateParams,
    key: KeyPair,
}

/// A certificate, by what it differs in from a controller's.
struct Cert<'a> {
    role: Option<Role>,
    usages: &'a [Eku],
    names: &'a [&'a str],
    /// Days from now.
    from: i64,
    until: i64,
}

const CONTROLLER: Cert<'static> = Cert {
    role: Some(Role::Controller),
    usages: &[Eku::ClientAuth],
    names: &[],
    from: -1,
    until: 40,
};
const SLOTD: Cert<'static> = Cert {
    role: Some(Role::Slotd),
    usages: &[Eku::ServerAuth, Eku::ClientAuth],
    names: &[HOST],
    ..CONTROLLER
};
const VIEWER: Cert<'static> = Cert {
    role: Some(Role::Viewer),
    ..CONTROLLER
};

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, mode).unwrap();
}

impl Authority {
    fn new(dir: &Path) -> Authority {
        std::fs::create_dir(dir).unwrap();
        let mut params = CertificateParams::default();
        let name = dir.file_name().unwrap().to_string_lossy().into_owned();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        write(&dir.join("ca.pem"), &certificate.pem());
        let dir = dir.to_owned();
        let authority = Authority { dir, params, key };
        authority.revoke(&[]);
        authority
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// With a serial number of its own, a byte.
    fn issue(&self, serial: u8, cert: &Cert<'_>) -> Files {
        let names: Vec<String> = cert.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let at = |days: i64| {
            let days = i64::try_from(now.as_secs()).unwrap() + days * 86_400 + 60;
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(days.try_into().unwrap())
        };
        (params.not_before, params.not_after) = (at(cert.from), at(cert.until));
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        params.extended_key_usages = cert.usages.to_vec();
        params.use_authority_key_identifier_extension = true;
        if let Some(role) = cert.role {
            let uri = SanType::URI(role.uri().as_str().try_into().unwrap());
            params.subject_alt_names.push(uri);
        }
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let (cert, key_path) = (
            self.path(&format!("{serial}.pem")),
            self.path(&format!("{serial}.key")),
        );
        write(&cert, &certificate.pem());
        write(&key_path, &key.serialize_pem());
        Files {
            cert,
            key: key_path,
            ca: self.path("ca.pem"),
            crl: None,
        }
    }

    /// Makes the list of those with these serial numbers.
    fn revoke(&self, serials: &[u8]) {
        let epoch = rcgen::date_time_ymd(2026, 1, 1);
        let params = CertificateRevocationListParams {
            this_update: epoch,
            next_update: rcgen::date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: serials
                .iter()
                .map(|serial| RevokedCertParams {
                    serial_number: SerialNumber::from_slice(&[*serial]),
                    revocation_time: epoch,
                    reason_code: None,
                    invalidity_date: None,
                })
                .collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&Issuer::from_params(&self.params, &self.key));
        write(&self.path("crl.pem"), &list.unwrap().pem().unwrap());
    }

    fn with_list(&self, files: Files) -> Files {
        Files {
            crl: Some(self.path("crl.pem")),
            ..files
        }
    }
}

/// A store, and its slotd that is reached by TLS.
struct Reached {
    served: Served,
    server: Arc<Server>,
    authority: Authority,
    store: Store,
}

impl Reached {
    async fn new() -> Reached {
        Reached::with(Options::default()).await
    }

    async fn with(options: Options) -> Reached {
        let store = Store::small(&[JOE]);
        let authority = Authority::new(&store.tmp.path().join("ca"));
        let files = authority.with_list(authority.issue(1, &SLOTD));
        let server = Arc::new(Server::open(files).unwrap());
        let served = serve(&store, &server, options).await;
        Reached {
            served,
            server,
            authority,
            store,
        }
    }

    fn port(&self) -> u16 {
        match self.served.addr {
            Addr::Tls { port, .. } => port,
            ref other => panic!("{other}"),
        }
    }

    async fn try_client(&self, files: Files) -> Result<Client, ClientError> {
        connect(&self.served.addr, files).await
    }

    async fn client(&self, serial: u8, cert: &Cert<'_>) -> Client {
        let files = self.authority.issue(serial, cert);
        self.try_client(files).await.unwrap()
    }

    /// TLS without any certificate of a client.
    async fn nobody(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[u8],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        use rustls::pki_types::pem::PemObject as _;
        let mut roots = RootCertStore::empty();
        let ca = std::fs::read(self.authority.path("ca.pem")).unwrap();
        let ca = rustls::pki_types::CertificateDer::from_pem_slice(&ca).unwrap();
        roots.add(ca).unwrap();
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_protocol_versions(versions).unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect((HOST, self.port())).await.unwrap();
        let name = ServerName::try_from(HOST).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }
}

async fn serve(store: &Store, server: &Arc<Server>, options: Options) -> Served {
    let host = store.host(Options {
        tls: Some(Arc::clone(server)),
        ..options
    });
    let access = Access {
        tls: Some(Arc::clone(server)),
        ..Access::default()
    };
    let wanted = Addr::Tls {
        host: HOST.to_owned(),
        port: 0,
    };
    let listener = Listener::bind_for(&wanted, &access).await.unwrap();
    let addr = listener.addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(server::serve(Arc::clone(&host), listener, stopped));
    Served {
        addr,
        stop,
        task,
        host,
    }
}

async fn connect(addr: &Addr, files: Files) -> Result<Client, ClientError> {
    let credentials = Credentials::open(files).unwrap();
    Client::connect_as(addr, Some(&credentials), Timeouts::default()).await
}

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
async fn without_a_certificate_nothing_but_the_handshake_is_possible() {
    let reached = Reached::new().await;
    // TLS 1.3: what was written is never answered, and the alert has its sentence.
    let mut nobody = reached.nobody(&[&TLS13], b"reguid/1").await.unwrap();
    let line = format!("LOCK {JOE}\n");
    let _ = nobody.write_all(line.as_bytes()).await;
    let mut read = Vec::new();
    let error = nobody.read_to_end(&mut read).await.unwrap_err();
    assert_eq!(read, b"");
    let refused = Refused::of(&error, None).unwrap().to_string();
    let wanted = "the other side refuses our certificate: none was sent, and it demands one";
    assert_eq!(refused, wanted);
    // An older TLS, and another protocol.
    reached.nobody(&[&TLS12], b"reguid/1").await.unwrap_err();
    reached.nobody(&[&TLS13], b"http/1.1").await.unwrap_err();
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
