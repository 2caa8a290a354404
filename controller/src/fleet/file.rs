//! The fleet file: which pairs there are, how their slotds are reached, and their limits.
//!
//! It is read as written first (`Raw`), and turned into one checked value ([`Fleet`]) in which
//! nothing is left to doubt. An unknown key is an error: a limit with a slip of the pen must not
//! pass for one that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use indexfile::IoError;
use indexfile::config::line_at;
use indexfile::dir::{OpenError, read_named};
use serde::Deserialize;
use slotd::client::Addr;

use super::error::FleetError;
use crate::control::Limits;

/// Most that a fleet file may have, bytes: one with a thousand pairs has a tenth of it.
const LIMIT: u64 = 4 << 20;

/// A fleet, as its file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    /// The file.
    pub path: PathBuf,
    /// Mailboxes at once over all pairs; `None` without a limit.
    pub parallel: Option<usize>,
    /// Mailboxes at once on a machine that serves several pairs.
    pub hosts: BTreeMap<String, usize>,
    /// The pairs, by name.
    pub pairs: BTreeMap<String, Pair>,
    /// Servers of a Murder that are not worked on, though its list has them.
    pub skip_servers: BTreeSet<String>,
}

/// One of its pairs.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The master.
    pub master: Host,
    /// The replica, if there is one.
    pub replica: Option<Host>,
    /// `servername` of the master's imapd.conf, and the server of its mailboxes in a Murder.
    pub servername: String,
    /// Partitions of the master on which nothing is done.
    pub leave_out: BTreeSet<String>,
    /// Limits of this pair that the file sets, by name and value: checked, in the order of
    /// [`crate::control::LIMITS`].
    pub limits: Vec<(String, String)>,
}

/// How one host of a pair is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Its slotd.
    pub addr: Addr,
    /// The machine it runs on, by which limits of `[hosts]` apply: as named, else the host of the
    /// address; `None` behind a Unix socket that does not tell.
    pub machine: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Raw {
    #[serde(default)]
    limits: RawTotal,
    #[serde(default)]
    defaults: BTreeMap<String, toml::Value>,
    #[serde(default)]
    hosts: BTreeMap<String, RawTotal>,
    #[serde(default)]
    pairs: BTreeMap<String, RawPair>,
    #[serde(default)]
    skip_servers: BTreeSet<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTotal {
    parallel: Option<i64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawPair {
    master: String,
    replica: Option<String>,
    master_host: Option<String>,
    replica_host: Option<String>,
    servername: Option<String>,
    #[serde(default)]
    leave_out: BTreeSet<String>,
    #[serde(default)]
    limits: BTreeMap<String, toml::Value>,
}

impl Fleet {
    /// Reads a fleet file.
    ///
    /// # Errors
    /// [`FleetError`]: it cannot be read, or something in it makes no sense.
    pub fn read(path: &Path) -> Result<Self, FleetError> {
        let io = |source| FleetError::Io {
            path: path.to_owned(),
            source,
        };
        let bytes = match read_named(path, LIMIT) {
            Ok(bytes) => bytes,
            Err(OpenError::TooLarge { size, .. }) => {
                return Err(FleetError::Long {
                    path: path.to_owned(),
                    bytes: size,
                    limit: LIMIT,
                });
            }
            Err(error) => return Err(io(IoError::from(error).source)),
        };
        let text = String::from_utf8(bytes);
        let text = text.map_err(|error| io(std::io::Error::other(error)))?;
        Self::parse(path, &text)
    }

    /// The same, of a text.
    ///
    /// # Errors
    /// As [`Fleet::read`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, FleetError> {
        let raw: Raw = toml::from_str(text).map_err(|error| FleetError::Syntax {
            path: path.to_owned(),
            line: line_at(text.as_bytes(), error.span().map_or(0, |span| span.start)),
            // With what was expected it has several lines.
            text: error.message().replace('\n', ", "),
        })?;
        if raw.pairs.is_empty() {
            return Err(FleetError::Empty {
                path: path.to_owned(),
            });
        }
        let value = |at: String, text: String| FleetError::Value {
            path: path.to_owned(),
            at,
            text,
        };
        let defaults =
            settings(&raw.defaults).map_err(|text| value("[defaults]".to_owned(), text))?;
        let mut pairs = BTreeMap::new();
        for (name, pair) in raw.pairs {
            let at = format!("[pairs.{name}]");
            let pair = pair_of(&name, pair, &defaults).map_err(|text| value(at, text))?;
            pairs.insert(name, pair);
        }
        let mut hosts = BTreeMap::new();
        for (name, total) in raw.hosts {
            let at = format!("[hosts.{name}]");
            let most = match places(total.parallel) {
                Ok(Some(most)) => most,
                Ok(None) => return Err(value(at, "parallel is expected".to_owned())),
                Err(text) => return Err(value(at, text)),
            };
            if !pairs.values().any(|pair| pair.is_on(&name)) {
                let text = "no pair has a host of that name".to_owned();
                return Err(value(at, text));
            }
            hosts.insert(name, most);
        }
        let fleet = Self {
            path: path.to_owned(),
            parallel: places(raw.limits.parallel)
                .map_err(|text| value("[limits]".to_owned(), text))?,
            hosts,
            pairs,
            skip_servers: raw.skip_servers,
        };
        fleet.check_names()?;
        Ok(fleet)
    }

    /// Refuses what would be ambiguous: an address or a server's name twice.
    fn check_names(&self) -> Result<(), FleetError> {
        let (mut addresses, mut servers) = (BTreeMap::new(), BTreeMap::new());
        for (name, pair) in &self.pairs {
            let twice = |what: String, other: &String| FleetError::Value {
                path: self.path.clone(),
                at: format!("[pairs.{name}]"),
                text: format!("{what} stands at [pairs.{other}] too"),
            };
            let hosts = std::iter::once(&pair.master).chain(&pair.replica);
            for host in hosts {
                if let Some(other) = addresses.insert(host.addr.clone(), name) {
                    return Err(twice(format!("the address {}", host.addr), other));
                }
            }
            if let Some(other) = servers.insert(&pair.servername, name) {
                return Err(twice(format!("the servername {}", pair.servername), other));
            }
            if self.skip_servers.contains(&pair.servername) {
                return Err(FleetError::Value {
                    path: self.path.clone(),
                    at: "skip-servers".to_owned(),
                    text: format!("{} is the pair {name}", pair.servername),
                });
            }
        }
        Ok(())
    }

    /// Only these pairs; all of them without a name. The servers of the others are left out then.
    ///
    /// # Errors
    /// There is no pair of that name.
    pub fn select(mut self, names: &[String]) -> Result<Self, FleetError> {
        if names.is_empty() {
            return Ok(self);
        }
        for name in names {
            if !self.pairs.contains_key(name) {
                let known: Vec<&str> = self.pairs.keys().map(String::as_str).collect();
                return Err(FleetError::NoPair {
                    path: self.path,
                    name: name.clone(),
                    known: known.join(", "),
                });
            }
        }
        let all = std::mem::take(&mut self.pairs).into_iter();
        let (chosen, others): (BTreeMap<_, _>, BTreeMap<_, _>) =
            all.partition(|(name, _)| names.contains(name));
        self.pairs = chosen;
        let others = others.into_values().map(|pair| pair.servername);
        self.skip_servers.extend(others);
        Ok(self)
    }
}

impl Pair {
    /// Whether one of its hosts is on that machine.
    fn is_on(&self, machine: &str) -> bool {
        let hosts = std::iter::once(&self.master).chain(&self.replica);
        hosts
            .filter_map(|host| host.machine.as_deref())
            .any(|m| m == machine)
    }

    /// The machines that its work needs, each once.
    #[must_use]
    pub fn machines(&self) -> BTreeSet<String> {
        let hosts = std::iter::once(&self.master).chain(&self.replica);
        hosts.filter_map(|host| host.machine.clone()).collect()
    }
}

/// Longest name of a pair.
const NAME_MAX: usize = 64;

fn pair_of(name: &str, raw: RawPair, defaults: &[(String, String)]) -> Result<Pair, String> {
    // It stands in file names, in `--pairs a,b` and in front of lines.
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(plain) {
        return Err(format!(
            "a pair's name has 1 to {NAME_MAX} letters, digits and . _ -"
        ));
    }
    let mut limits: BTreeMap<String, String> = defaults.iter().cloned().collect();
    limits.extend(settings(&raw.limits)?);
    Ok(Pair {
        master: host(&raw.master, raw.master_host)?,
        replica: match (raw.replica, raw.replica_host) {
            (Some(replica), machine) => Some(host(&replica, machine)?),
            (None, None) => None,
            (None, Some(_)) => return Err("replica-host is given, and no replica".to_owned()),
        },
        servername: raw.servername.unwrap_or_else(|| name.to_owned()),
        leave_out: raw.leave_out,
        limits: limits.into_iter().collect(),
    })
}

fn host(text: &str, machine: Option<String>) -> Result<Host, String> {
    let addr: Addr = text.parse().map_err(|error| format!("{error}"))?;
    let of_addr = match &addr {
        Addr::Tcp { host, .. } | Addr::Tls { host, .. } => Some(host.clone()),
        Addr::Unix(_) => None,
    };
    Ok(Host {
        machine: machine.or(of_addr),
        addr,
    })
}

/// Limits by name and value, each looked at by the table of limits.
fn settings(raw: &BTreeMap<String, toml::Value>) -> Result<Vec<(String, String)>, String> {
    let mut limits = Limits::default();
    let mut settings = Vec::with_capacity(raw.len());
    for (name, value) in raw {
        let text = match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(n) => n.to_string(),
            toml::Value::Float(n) => n.to_string(),
            toml::Value::Boolean(false) => crate::control::OFF.to_owned(),
            _ => return Err(format!("{name}: a number or a string is expected")),
        };
        limits.set(name, &text)?;
        settings.push((name.clone(), text));
    }
    Ok(settings)
}

fn places(parallel: Option<i64>) -> Result<Option<usize>, String> {
    let places = |n: i64| match usize::try_from(n) {
        Ok(n @ 1..=MOST) => Ok(n),
        _ => Err(format!("parallel: a number from 1 to {MOST} is expected")),
    };
    parallel.map(places).transpose()
}

/// Most mailboxes at once over all pairs.
const MOST: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Fleet, FleetError> {
        Fleet::parse(Path::new("fleet.toml"), text)
    }

    const TWO: &str = r#"
        skip-servers = ["old.example.com"]
        [limits]
        parallel = 64
        [defaults]
        parallel = 8
        window = "22:00-06:00"
        [hosts.imap2]
        parallel = 12
        [pairs.be1]
        master = "imap1:4711"
        replica = "unix:/run/tunnel/imap2.sock"
        replica-host = "imap2"
        servername = "be1.example.com"
        leave-out = ["archive"]
        [pairs.be1.limits]
        parallel = 4
        target-lock = "off"
        [pairs.be2]
        master = "imap2:4712"
    "#;

    #[test]
    fn a_pair_has_its_own_limits_over_the_defaults_and_its_name_is_the_servers() {
        let fleet = parse(TWO).unwrap();
        assert_eq!(fleet.parallel, Some(64));
        assert_eq!(fleet.hosts["imap2"], 12);
        let be1 = &fleet.pairs["be1"];
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            be1.limits,
            [
                set("parallel", "4"),
                set("target-lock", "off"),
                set("window", "22:00-06:00")
            ]
        );
        assert_eq!(be1.servername, "be1.example.com");
        assert_eq!(
            be1.machines().into_iter().collect::<Vec<_>>(),
            ["imap1", "imap2"]
        );
        assert!(be1.leave_out.contains("archive"));
        let be2 = &fleet.pairs["be2"];
        assert_eq!((be2.servername.as_str(), &be2.replica), ("be2", &None));
        assert_eq!(be2.limits[0], set("parallel", "8"));
    }

    #[test]
    fn what_is_not_understood_refuses_the_whole_file_and_is_named() {
        for (text, wanted) in [
            ("", "has no pair"),
            ("[pairs.a]\nmaster = 7", "invalid type"),
            ("[pairs.a]\nreplica = \"h:1\"", "missing field `master`"),
            (
                "[pairs.a]\nmaster = \"h:1\"\nmasterhost = \"x\"",
                "unknown field",
            ),
            (
                "[pairs.a]\nmaster = \"h\"",
                "[pairs.a]: \"h\" is no address",
            ),
            ("[pairs.\"a b\"]\nmaster = \"h:1\"", "letters, digits"),
            (
                "[pairs.a]\nmaster = \"h:1\"\n[pairs.a.limits]\nparalel = 4",
                "no limit called \"paralel\"",
            ),
            (
                "[pairs.a]\nmaster = \"h:1\"\nlimits.parallel = 0",
                "parallel: a number from 1",
            ),
            (
                "[pairs.a]\nmaster = \"h:1\"\nreplica-host = \"x\"",
                "and no replica",
            ),
            (
                "[pairs.a]\nmaster = \"h:1\"\nreplica = \"h:1\"",
                "the address h:1 stands at [pairs.a] too",
            ),
            (
                "[pairs.a]\nmaster = \"h:1\"\n[pairs.b]\nmaster = \"h:1\"",
                "the address h:1 stands at [pairs.a] too",
            ),
            (
                "[pairs.a]\nmaster = \"h:1\"\n[pairs.b]\nmaster = \"h:2\"\nservername = \"a\"",
                "the servername a stands at [pairs.a] too",
            ),
            (
                "[pairs.a]\nmaster = \"h:1\"\n[hosts.g]\nparallel = 3",
                "[hosts.g]: no pair has a host",
            ),
            (
                "skip-servers = [\"a\"]\n[pairs.a]\nmaster = \"h:1\"",
                "skip-servers: a is the pair a",
            ),
            (
                "[limits]\nparallel = 0\n[pairs.a]\nmaster = \"h:1\"",
                "from 1 to",
            ),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(wanted), "{text}: {error}");
            assert!(error.contains("fleet.toml"), "{error}");
        }
    }

    #[test]
    fn a_pair_that_is_not_there_cannot_be_selected() {
        let one = parse(TWO).unwrap().select(&["be2".to_owned()]).unwrap();
        assert_eq!(one.pairs.keys().collect::<Vec<_>>(), ["be2"]);
        assert!(one.skip_servers.contains("be1.example.com"));
        assert_eq!(parse(TWO).unwrap().select(&[]).unwrap().pairs.len(), 2);
        let error = parse(TWO).unwrap().select(&["be3".to_owned()]).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("has no pair \"be3\"; it has be1, be2")
        );
        assert_eq!(error.exit(), indexfile::exit::Exit::Usage);
    }
}
