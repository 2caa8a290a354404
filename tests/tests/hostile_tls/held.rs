//! Clients whose certificate is accepted, and which then hold what they can.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};
use tests::attack::{enlarge, raise_files};

use super::Attacked;

/// A client's end, driven by hand.
struct Held {
    tls: ClientConnection,
    tcp: TcpStream,
}

/// Of a client that shows that much more than its certificate, which slotd keeps unread.
fn config(it: &Attacked, more: usize) -> Arc<ClientConfig> {
    let certificates = |name: &str| {
        let all = CertificateDer::pem_file_iter(it.ca(name)).unwrap();
        all.map(Result::unwrap).collect::<Vec<_>>()
    };
    let mut roots = RootCertStore::empty();
    for root in certificates("ca.pem") {
        roots.add(root).unwrap();
    }
    let key = PrivateKeyDer::from_pem_file(it.ca("good.key")).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(&[&TLS13]).unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut chain = certificates("good.pem");
    if more > 0 {
        chain.push(CertificateDer::from(vec![b'0'; more]));
    }
    let config = builder.with_client_auth_cert(chain, key);
    let mut config = config.unwrap();
    config.alpn_protocols = vec![b"reguid/1".to_vec()];
    Arc::new(config)
}

impl Held {
    fn new(it: &Attacked, config: &Arc<ClientConfig>) -> Self {
        let name = "localhost".try_into().unwrap();
        let tcp = it.connect();
        // What comes in pieces would wait for acknowledgements.
        tcp.set_nodelay(true).unwrap();
        Self {
            tls: ClientConnection::new(Arc::clone(config), name).unwrap(),
            tcp,
        }
    }

    fn ask(&mut self, line: &str) -> io::Result<String> {
        let mut stream = Stream::new(&mut self.tls, &mut self.tcp);
        stream.write_all(line.as_bytes())?;
        let mut said = String::new();
        let _ = BufReader::with_capacity(1, stream).read_line(&mut said)?;
        Ok(said)
    }

    /// Says this, but for the last byte of what goes over the wire.
    fn say_but_the_last_byte(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.tls.writer().write_all(bytes)?;
        let mut wire = Vec::new();
        while self.tls.wants_write() {
            let _ = self.tls.write_tls(&mut wire)?;
        }
        let _ = wire.pop();
        self.tcp.write_all(&wire)
    }
}

/// More than slotd has places for by itself.
const MANY: usize = 800;

/// As many, with that much beside their certificates, come in, are answered, and then do that;
/// slotd keeps those for whom it has places.
fn many(
    it: Attacked,
    (connections, more): (usize, usize),
    then: impl Fn(&mut Held) -> io::Result<()>,
) {
    raise_files(connections as u64 + 200);
    let config = config(&it, more);
    let mut held = Vec::new();
    for n in 0..connections {
        let mut one = Held::new(&it, &config);
        let said = one.ask("HELLO\n").expect("no answer");
        assert!(said.starts_with("OK slotd="), "{n}: {said}");
        then(&mut one).unwrap();
        held.push(one);
        if n % 100 == 0 {
            it.serves();
        }
    }
    it.serves();
    drop(held);
    it.end();
}

#[test]
fn thousands_that_have_shaken_hands_and_say_no_more_take_little_memory_and_starve_nobody() {
    let limits = [
        "--max-connections",
        "3100",
        "--max-connections-peer",
        "3050",
    ];
    many(Attacked::with(&limits), (3000, 0), |_| Ok(()));
}

/// Most bytes that a client may show beside a certificate of some 600 bytes.
const MORE: usize = 7400;

/// A line and a record of TLS, each all but whole; slotd keeps as many as it does by itself.
#[test]
fn clients_at_the_limits_of_a_connection_take_little_memory_and_starve_nobody() {
    many(Attacked::start(), (MANY, MORE), |one| {
        let mut stream = Stream::new(&mut one.tls, &mut one.tcp);
        stream.write_all(&[b'L'; 8000])?;
        one.say_but_the_last_byte(&[b'L'; 16 << 10])
    });
}

/// Long answers that nobody reads, a record of TLS with commands behind those, and the beginning of
/// another one: all that a connection can be made to hold at once.
#[test]
fn clients_that_ask_for_long_lists_and_read_none_take_little_memory_and_starve_nobody() {
    let it = Attacked::start();
    enlarge(&it.host);
    many(it, (MANY, MORE), |one| {
        // More than the system takes for one that does not read.
        one.say_but_the_last_byte("LIST\n".repeat(6000).as_bytes())
    });
}

#[test]
fn certificates_beside_ones_own_are_kept_up_to_a_length_and_else_refused() {
    let it = Attacked::start();
    let first = |more: usize| {
        let mut one = Held::new(&it, &config(&it, more));
        one.ask("HELLO\n")
    };
    assert!(first(MORE).unwrap().starts_with("OK slotd="));
    let refused = first(MORE + 1000).unwrap();
    assert!(
        refused.starts_with("NO [DENIED] the certificates that are shown have ")
            && refused.ends_with(" bytes, and may have 8192\n"),
        "{refused}"
    );
    // More than is read of a handshake.
    let ended = first(20_000);
    assert!(!ended.is_ok_and(|said| !said.is_empty()), "it got in");
    let log = it.end();
    assert!(log.contains("no handshake within 16384 bytes"), "{log}");
    assert!(log.contains("what=CONNECT"), "{log}");
}
