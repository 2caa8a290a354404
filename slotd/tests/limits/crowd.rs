//! Many who wait for one mailbox must not keep its holder from letting go.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::Store;

/// More than tokio has blocking threads by default, and more files than the usual soft limit
/// allows.
const CROWD: usize = 600;

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn serve(store: &Store, limit: &str) -> Running {
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("ulimit {limit} 1024; exec \"$@\""))
        .arg("sh");
    command
        .env("REGUID_SLOTD_ALLOW_ROOT", "yes")
        .arg(env!("CARGO_BIN_EXE_slotd"))
        .args(["serve", "--imapd-conf"]);
    command.arg(store.root().join("imapd.conf"));
    command.arg("--state").arg(store.state()).arg("--listen");
    command.arg(format!("unix:{}", store.tmp.path().join("s").display()));
    command.args(["--max-lock", "600", "--max-wait", "600"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    assert!(line.starts_with("slotd: listening on "), "{line}");
    Running(child)
}

fn send(mut stream: &UnixStream, line: &str) {
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn reply(stream: &UnixStream) -> std::io::Result<String> {
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line)
}

#[test]
fn the_holder_of_a_lock_is_heard_however_many_wait_for_it() {
    crowd("-Sn");
}

#[test]
fn where_descriptors_are_few_others_wait_at_the_door_and_whoever_is_turned_away_is_told_why() {
    crowd("-n");
}

fn crowd(limit: &str) {
    let store = Store::cyrus_2_3_9();
    let _slotd = serve(&store, limit);
    let connect = || UnixStream::connect(store.tmp.path().join("s")).unwrap();
    let holder = connect();
    send(&holder, "LOCK user.alice");
    assert!(reply(&holder).unwrap().starts_with("OK "));
    let crowd: Vec<UnixStream> = (0..CROWD).map(|_| connect()).collect();
    for mut waiter in &crowd {
        // One that had said nothing may have made room for others already: that is said below.
        let _ = waiter.write_all(b"LOCK user.alice wait_ms=600000\n");
    }
    // Whoever does not wait by then has not been heard, and is no burden.
    std::thread::sleep(Duration::from_secs(3));
    send(&holder, "ROLLBACK");
    let heard = reply(&holder);
    assert!(
        heard.is_ok_and(|line| line.starts_with("OK")),
        "the holder was not heard"
    );
    // One of those who waited has it now; none was turned away for want of descriptors without a
    // word.
    for waiter in &crowd {
        waiter.set_nonblocking(true).unwrap();
        let mut line = String::new();
        if BufReader::new(waiter).read_line(&mut line).is_ok() {
            let told = line.starts_with("OK ") || line.starts_with("NO [FULL] ");
            assert!(told, "{line}");
        }
    }
}
