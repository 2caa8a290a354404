//! An authority that issues whatever it is asked for, and a slotd that is reached by TLS.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose as Eku, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    RevokedCertParams, SanType, SerialNumber,
};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use slotd::client::{Addr, Client, ClientError, Timeouts};
use slotd::host::Options;
use slotd::protocol::Role;
use slotd::server::{self, Access, Listener};
use slotd::tls::{Credentials, Files, Server};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::common::{Served, Store};

pub const JOE: &str = "user.alice";
pub const HOST: &str = "localhost";
pub const ALPN: &[u8] = b"reguid/1";

/// An authority in a directory, which issues whatever it is asked for.
pub struct Authority {
    dir: PathBuf,
    params: CertificateParams,
    key: KeyPair,
}

/// A certificate, by what it differs in from a controller's.
pub struct Cert<'a> {
    pub role: Option<Role>,
    pub usages: &'a [Eku],
    pub names: &'a [&'a str],
    /// Days from now.
    pub from: i64,
    pub until: i64,
    /// And seconds besides.
    pub seconds: i64,
}

pub const CONTROLLER: Cert<'static> = Cert {
    role: Some(Role::Controller),
    usages: &[Eku::ClientAuth],
    names: &[],
    from: -1,
    until: 40,
    seconds: 60,
};
pub const SLOTD: Cert<'static> = Cert {
    role: Some(Role::Slotd),
    usages: &[Eku::ServerAuth, Eku::ClientAuth],
    names: &[HOST],
    ..CONTROLLER
};
pub const VIEWER: Cert<'static> = Cert {
    role: Some(Role::Viewer),
    ..CONTROLLER
};

pub fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, mode).unwrap();
}

impl Authority {
    pub fn new(dir: &Path) -> Authority {
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

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// With a serial number of its own, a byte.
    pub fn issue(&self, serial: u8, cert: &Cert<'_>) -> Files {
        let names: Vec<String> = cert.names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let at = |days: i64| {
            let days = i64::try_from(now.as_secs()).unwrap() + days * 86_400 + cert.seconds;
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
    pub fn revoke(&self, serials: &[u8]) {
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

    pub fn with_list(&self, files: Files) -> Files {
        Files {
            crl: Some(self.path("crl.pem")),
            ..files
        }
    }
}

/// A store, and its slotd that is reached by TLS.
pub struct Reached {
    pub served: Served,
    pub server: Arc<Server>,
    pub authority: Authority,
    pub store: Store,
}

impl Reached {
    pub async fn new() -> Reached {
        Reached::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Reached {
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

    pub fn port(&self) -> u16 {
        match self.served.addr {
            Addr::Tls { port, .. } => port,
            ref other => panic!("{other}"),
        }
    }

    pub async fn try_client(&self, files: Files) -> Result<Client, ClientError> {
        connect(&self.served.addr, files).await
    }

    pub async fn client(&self, serial: u8, cert: &Cert<'_>) -> Client {
        let files = self.authority.issue(serial, cert);
        self.try_client(files).await.unwrap()
    }

    /// TLS as no client of ours does it: without a certificate, or with that of these files; in
    /// older versions, for other protocols.
    pub async fn stranger(
        &self,
        files: Option<&Files>,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        use rustls::pki_types::pem::PemObject as _;
        let read = |path: &Path| CertificateDer::from_pem_file(path).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(read(&self.authority.path("ca.pem"))).unwrap();
        let provider = Arc::new(ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider);
        let config = config.with_protocol_versions(versions).unwrap();
        let config = config.with_root_certificates(roots);
        let mut config = match files {
            Some(files) => {
                let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
                let chain = vec![read(&files.cert)];
                config.with_client_auth_cert(chain, key).unwrap()
            }
            None => config.with_no_client_auth(),
        };
        config.alpn_protocols = alpn.iter().map(|one| one.to_vec()).collect();
        let stream = TcpStream::connect((HOST, self.port())).await.unwrap();
        let name = ServerName::try_from(HOST).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }
}

pub async fn serve(store: &Store, server: &Arc<Server>, options: Options) -> Served {
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

pub async fn connect(addr: &Addr, files: Files) -> Result<Client, ClientError> {
    let credentials = Credentials::open(files).unwrap();
    Client::connect_as(addr, Some(&credentials), Timeouts::default()).await
}
