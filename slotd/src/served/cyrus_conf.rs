//! What `cyrus.conf` says a master listens on: `listen=` of each entry of its section SERVICES.

use std::net::IpAddr;
use std::path::PathBuf;

/// Names of services that /etc/services may not have, or has had under several numbers.
const SERVICES: [(&str, &[u16]); 15] = [
    ("imap", &[143]),
    ("imaps", &[993]),
    ("pop3", &[110]),
    ("pop3s", &[995]),
    ("kpop", &[1109]),
    ("sieve", &[2000, 4190]),
    ("lmtp", &[24, 2003]),
    ("nntp", &[119]),
    ("nntps", &[563]),
    ("csync", &[2005]),
    ("mupdate", &[3905]),
    ("fud", &[4201]),
    ("http", &[80]),
    ("https", &[443]),
    ("smmap", &[2345]),
];

/// One `listen=`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Listen {
    /// The name of the service's entry.
    pub(super) service: String,
    /// What it listens on, as it stands there.
    pub(super) on: String,
}

/// Where a service listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A socket in the file system.
    Socket(PathBuf),
    /// One of these ports, of this address or of any.
    Port {
        host: Option<IpAddr>,
        ports: Vec<u16>,
    },
}

/// Every `listen=` of the section SERVICES; `None` if there is no such section.
pub(super) fn listens(text: &str) -> Option<Vec<Listen>> {
    let mut words = words(text).into_iter();
    let mut before = String::new();
    // Another section's entries have no word alone before a brace.
    loop {
        let word = words.next()?;
        if word == "{" && before.eq_ignore_ascii_case("services") {
            break;
        }
        before = word;
    }
    let mut service = String::new();
    let mut found = Vec::new();
    for word in words {
        match word.split_once('=') {
            None if word == "}" => return Some(found),
            None => service = word,
            Some((key, on)) if key.eq_ignore_ascii_case("listen") => found.push(Listen {
                service: service.clone(),
                on: on.to_owned(),
            }),
            Some(_) => {}
        }
    }
    None
}

/// Words as Cyrus separates them: at blanks that are not in quotes, which are dropped; a line that
/// begins with `#` is none. Braces outside of quotes are words.
fn words(text: &str) -> Vec<String> {
    let lines = text.lines().filter(|l| !l.trim_start().starts_with('#'));
    let mut words = Vec::new();
    for line in lines {
        let (mut word, mut quoted) = (String::new(), false);
        let mut end = |word: &mut String| {
            if !word.is_empty() {
                words.push(std::mem::take(word));
            }
        };
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                c if quoted => word.push(c),
                c if c.is_whitespace() => end(&mut word),
                '{' | '}' => {
                    end(&mut word);
                    end(&mut c.to_string());
                }
                c => word.push(c),
            }
        }
        end(&mut word);
    }
    words
}

/// Where `on` is. `services`: the text of /etc/services. `None` if a name is not known.
pub(super) fn place(on: &str, services: &str) -> Option<Place> {
    if on.starts_with('/') {
        return Some(Place::Socket(PathBuf::from(on)));
    }
    let (host, port) = match on.rsplit_once(':') {
        Some((host, port)) => (Some(host), port),
        None => (None, on),
    };
    let ports = match port.parse() {
        Ok(number) => vec![number],
        Err(_) => ports(port, services),
    };
    // The name of a host is not looked up: its port then counts on every address.
    let host = host
        .map(|h| h.trim_matches(['[', ']']))
        .and_then(|h| h.parse().ok());
    let host = host.filter(|host: &IpAddr| !host.is_unspecified());
    (!ports.is_empty()).then_some(Place::Port { host, ports })
}

fn ports(name: &str, services: &str) -> Vec<u16> {
    let mut ports = Vec::new();
    for line in services.lines() {
        let line = line.split('#').next().unwrap_or_default();
        let mut words = line.split_whitespace();
        // "imap2 143/tcp imap"
        let (Some(first), Some(number)) = (words.next(), words.next()) else {
            continue;
        };
        if first == name || words.any(|alias| alias == name) {
            let number = number.split('/').next().unwrap_or_default();
            ports.extend(number.parse::<u16>());
        }
    }
    let known = SERVICES.iter().filter(|(known, _)| *known == name);
    ports.extend(known.flat_map(|(_, numbers)| numbers.iter()));
    ports.sort_unstable();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONF: &str = "# standard\nSTART {\n  recover cmd=\"ctl_cyrusdb -r\"\n}\n\n\
        SERVICES {\n  # imap cmd=\"imapd\" listen=\"off\"\n\
        \timap\t\tcmd=\"imapd -U 30\" listen=\"imap\" prefork=0\n\
        \x20 lmtpunix cmd=\"lmtpd\" listen=\"/var/imap/socket/lmtp\" prefork=1\n\
        \x20 odd cmd=\"x {\" LISTEN=[::1]:2003\n}\n\
        EVENTS {\n  checkpoint cmd=\"ctl_cyrusdb -c\" period=30 listen=\"none\"\n}\n";

    #[test]
    fn every_listen_of_the_services_is_found_and_none_of_another_section() {
        let found = listens(CONF).unwrap();
        let found: Vec<_> = found.iter().map(|l| (&*l.service, &*l.on)).collect();
        assert_eq!(
            found,
            [
                ("imap", "imap"),
                ("lmtpunix", "/var/imap/socket/lmtp"),
                ("odd", "[::1]:2003")
            ]
        );
        assert_eq!(listens("START {\n}\n"), None);
        assert_eq!(listens("SERVICES {\n imap listen=imap\n"), None, "no end");
        assert_eq!(listens("SERVICES {}"), Some(Vec::new()));
    }

    #[test]
    fn a_place_is_a_path_a_number_or_a_name_of_the_system_s_or_of_cyrus_s() {
        let services = "imap2 143/tcp imap # mail\nsieve 4190/tcp\nours 1430/tcp\n";
        let port = |on: &str| match place(on, services)? {
            Place::Port { host, ports } => Some((host.map(|h| h.to_string()), ports)),
            Place::Socket(_) => panic!(),
        };
        assert_eq!(port("imap"), Some((None, vec![143])));
        assert_eq!(port("ours"), Some((None, vec![1430])));
        assert_eq!(port("csync"), Some((None, vec![2005])));
        assert_eq!(port("sieve"), Some((None, vec![2000, 4190])));
        let localhost = Some("127.0.0.1".to_owned());
        assert_eq!(port("127.0.0.1:1143"), Some((localhost, vec![1143])));
        let six = Some("::1".to_owned());
        assert_eq!(port("[::1]:imaps"), Some((six, vec![993])));
        assert_eq!(port("mail.example:993"), Some((None, vec![993])));
        assert_eq!(port("0.0.0.0:993"), Some((None, vec![993])));
        assert_eq!(port("nobody-knows"), None);
        let socket = Place::Socket("/var/imap/socket/lmtp".into());
        assert_eq!(place("/var/imap/socket/lmtp", ""), Some(socket));
    }
}
