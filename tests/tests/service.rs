//! slotd as a service of systemd: it says when it serves, that it lives, and when it stops.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use tests::fleet::{Fleet, program};
use tests::process::{PATIENCE, Slotd};

/// The next message of at least one that has this line.
fn heard(socket: &UnixDatagram, line: &str) -> String {
    let until = Instant::now() + PATIENCE;
    let mut all = String::new();
    while Instant::now() < until {
        let mut bytes = [0; 4096];
        if let Ok(read) = socket.recv(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            all += &text;
            if text.lines().any(|said| said == line) {
                return text;
            }
        }
    }
    panic!("{line} was not said:\n{all}");
}

#[test]
fn systemd_hears_when_slotd_serves_that_it_lives_and_when_it_stops() {
    let fleet = Fleet::of_239();
    let path = fleet.dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let wrapper = [
        "env".to_owned(),
        format!("NOTIFY_SOCKET={}", path.display()),
        "WATCHDOG_USEC=200000".to_owned(),
    ];
    let slotd = Slotd::start_under(&wrapper, &program("slotd"), &fleet.master, &[]);
    let ready = heard(&socket, "READY=1");
    assert!(ready.contains("STATUS=serves"), "{ready}");
    assert!(ready.contains(&slotd.addr), "{ready}");
    let _ = heard(&socket, "WATCHDOG=1");
    let _ = heard(&socket, "WATCHDOG=1");
    let _ = slotd.stop().expect_code(0);
    let stopping = heard(&socket, "STOPPING=1");
    assert!(
        stopping.contains("EXTEND_TIMEOUT_USEC=10000000"),
        "{stopping}"
    );
}
