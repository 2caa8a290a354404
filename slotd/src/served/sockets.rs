//! What other processes have bound: sockets in the file system, and ports that are listened on.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use indexfile::IoError;

use super::proc::{Process, text};

/// Tables of the kernel, each with the state of a socket that takes what comes: LISTEN, or bound
/// and not connected. Only the first is always there.
const TABLES: [(&str, &str); 4] = [
    ("net/tcp", "0A"),
    ("net/tcp6", "0A"),
    ("net/udp", "07"),
    ("net/udp6", "07"),
];

/// Paths of the sockets that other processes have bound.
pub(super) fn unix(proc: &Path) -> Result<Vec<PathBuf>, IoError> {
    let table = text(&proc.join("net/unix"))?;
    let own = own_sockets(proc);
    let mut others = Vec::new();
    let mut ours = BTreeSet::new();
    for line in table.lines().skip(1) {
        // "Num: RefCount Protocol Flags Type St Inode Path"
        let mut rest = line;
        let mut word = || {
            let (word, after) = rest.trim_start().split_once(' ').unwrap_or((rest, ""));
            rest = after;
            word
        };
        let inode = (0..7).map(|_| word()).last().unwrap_or_default();
        if !rest.starts_with('/') {
            continue;
        }
        if own.contains(inode) {
            ours.insert(PathBuf::from(rest));
        } else {
            others.push(PathBuf::from(rest));
        }
    }
    // A connection that waits to be accepted has the path of our own socket, and no inode yet.
    others.retain(|path| !ours.contains(path));
    Ok(others)
}

/// The inodes of this process's sockets.
fn own_sockets(proc: &Path) -> BTreeSet<String> {
    let me = Process::of(proc, std::process::id());
    let files = std::fs::read_dir(me.dir.join("fd")).into_iter().flatten();
    let inode = |file: std::fs::DirEntry| {
        let link = std::fs::read_link(file.path()).ok()?;
        let inode = link.to_str()?.strip_prefix("socket:[")?;
        Some(inode.strip_suffix(']')?.to_owned())
    };
    files.flatten().filter_map(inode).collect()
}

/// Addresses of this machine that are listened on.
pub(super) fn listening(proc: &Path) -> Result<Vec<SocketAddr>, IoError> {
    let mut all = Vec::new();
    for (at, (table, state)) in TABLES.into_iter().enumerate() {
        let lines = match text(&proc.join(table)) {
            Ok(lines) => lines,
            Err(error) if at > 0 && error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for line in lines.lines().skip(1) {
            // "sl local_address rem_address st ..."
            let words: Vec<&str> = line.split_whitespace().take(4).collect();
            if let [_, local, _, st] = words[..]
                && st == state
            {
                all.extend(address(local));
            }
        }
    }
    Ok(all)
}

/// `0100007F:1F90`: the address in words of 32 bits as they lie in memory, the port in hexadecimal.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for at in (0..ip.len()).step_by(8) {
        let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
        bytes.extend_from_slice(&word.to_ne_bytes());
    }
    let ip: IpAddr = if let Ok(four) = <[u8; 4]>::try_from(bytes.as_slice()) {
        four.into()
    } else {
        let sixteen: [u8; 16] = bytes.try_into().ok()?;
        Ipv6Addr::from(sixteen).to_canonical()
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_addresses_are_read() {
        let read = |text| address(text).unwrap().to_string();
        if cfg!(target_endian = "little") {
            assert_eq!(read("0100007F:1F90"), "127.0.0.1:8080");
            let mapped = "0000000000000000FFFF00000100007F:008F";
            assert_eq!(read(mapped), "127.0.0.1:143");
            let loopback = "00000000000000000000000001000000:008F";
            assert_eq!(read(loopback), "[::1]:143");
        }
        assert_eq!(read("00000000:008F"), "0.0.0.0:143");
        assert_eq!(address("0000:008F"), None);
    }

    #[test]
    fn a_port_that_is_listened_on_here_and_a_socket_that_is_bound_here_are_seen() {
        let proc = Path::new("/proc");
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = port.local_addr().unwrap();
        assert!(listening(proc).unwrap().contains(&addr));
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = udp.local_addr().unwrap();
        assert!(listening(proc).unwrap().contains(&addr));
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("s");
        let _socket = std::os::unix::net::UnixListener::bind(&path).unwrap();
        assert!(!unix(proc).unwrap().contains(&path), "it is our own");
        // Who has no process of ours sees it as another's.
        std::os::unix::fs::symlink("/proc/net", tmp.path().join("net")).unwrap();
        assert!(unix(tmp.path()).unwrap().contains(&path));
    }
}
