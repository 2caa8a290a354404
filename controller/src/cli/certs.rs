//! `certs`: a private authority, and certificates for TLS.

use std::path::PathBuf;
use std::time::SystemTime;

use clap::{Args, Subcommand, ValueEnum};
use indexfile::exit::Exit;
use slotd::protocol::Role;
use slotd::tls::Certificate;

use super::{Fail, text};
use crate::certs::{AUTHORITY_DAYS, Authority, CertsError, DAYS, Shown, Standing, Wanted, show};

#[derive(Debug, Args)]
pub(super) struct CertsArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an authority: its key, its certificate, and an empty list of revoked ones.
    Init(Init),
    /// Issue a certificate with a key of its own; nothing that is there is overwritten.
    Issue(Issue),
    /// Tell how long each certificate lasts, for whom it is, and whether it is revoked.
    Show(Show),
    /// Put certificates on the authority's list of revoked ones.
    Revoke(Revoke),
}

#[derive(Debug, Args)]
struct Init {
    /// The authority's directory, its owner's alone; made if it is not there.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// What the authority is called.
    #[arg(long, value_name = "NAME", default_value = "reguid authority")]
    name: String,
    /// How long it lasts.
    #[arg(long, value_name = "DAYS", default_value_t = AUTHORITY_DAYS,
          value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
}

#[derive(Debug, Args)]
struct Issue {
    /// The authority's directory.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// What it is for: a mail host's slotd, a controller, or somebody who only looks.
    #[arg(long, value_name = "ROLE")]
    role: RoleArg,
    /// Of a host each name and address under which it is reached, several times; else who it is.
    #[arg(long = "name", value_name = "NAME", required = true)]
    names: Vec<String>,
    /// How long it lasts.
    #[arg(long, value_name = "DAYS", default_value_t = DAYS,
          value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: u32,
    /// What its files are called, without .pem and .key; its first name if this is not given.
    #[arg(long, value_name = "NAME")]
    file: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum RoleArg {
    /// Serves a mail host, and fetches cyrus.sha1s of another one.
    Host,
    /// May order everything.
    Controller,
    /// May look, and change nothing.
    Viewer,
}

#[derive(Debug, Args)]
struct Show {
    /// A certificate, or a directory of them.
    #[arg(value_name = "FILE|DIR")]
    path: PathBuf,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Revoke {
    /// The authority's directory.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The certificates.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

impl From<CertsError> for Fail {
    fn from(error: CertsError) -> Self {
        Self::new(error.exit(), error.to_string())
    }
}

pub(super) fn certs(args: &CertsArgs) -> Result<Exit, Fail> {
    match &args.command {
        Command::Init(init) => {
            let authority = Authority::init(&init.dir, &init.name, init.days)?;
            text::say(&format!(
                "{}: {}; every host and controller gets this file (--tls-ca)\n{}: the list of \
                 revoked certificates (--tls-crl)",
                authority.certificate_path().display(),
                lasts(authority.facts()),
                authority.list_path().display()
            ))?;
        }
        Command::Issue(issue) => {
            let wanted = Wanted {
                role: match issue.role {
                    RoleArg::Host => Role::Slotd,
                    RoleArg::Controller => Role::Controller,
                    RoleArg::Viewer => Role::Viewer,
                },
                names: issue.names.clone(),
                days: issue.days,
                file: issue.file.clone(),
            };
            let issued = Authority::open(&issue.dir)?.issue(&wanted)?;
            text::say(&format!(
                "{}: {} {}, {}\n{}: its key; take it to its host, and leave no copy here",
                issued.certificate.display(),
                wanted.role,
                wanted.names.join(", "),
                lasts(&issued.facts),
                issued.key.display()
            ))?;
        }
        Command::Show(args) => {
            let all = show(&args.path, SystemTime::now())?;
            if args.json {
                text::json(&serde_json::to_value(&all).map_err(std::io::Error::from)?)?;
            } else {
                let lines: Vec<String> = all.iter().map(line).collect();
                text::say(&lines.join("\n"))?;
            }
        }
        Command::Revoke(revoke) => {
            let authority = Authority::open(&revoke.dir)?;
            for one in authority.revoke(&revoke.files)? {
                let how = if one.already {
                    "was revoked before"
                } else {
                    "revoked"
                };
                let (path, serial) = (one.path.display(), &one.facts.serial);
                text::say(&format!("{path}: {how} (serial {serial})"))?;
            }
            text::say(&format!(
                "{}: bring it to each host and let its slotd read it anew (SIGHUP)",
                authority.list_path().display()
            ))?;
        }
    }
    Ok(Exit::Ok)
}

fn lasts(facts: &Certificate) -> String {
    let days = facts.days_left(SystemTime::now());
    let end = text::local_time(facts.not_after.saturating_mul(1000));
    format!("lasts {days} days, until {end}")
}

fn line(one: &Shown) -> String {
    let end = text::local_time(one.not_after.saturating_mul(1000));
    let how = match (one.standing, one.days_left) {
        (Standing::Revoked, _) => "REVOKED".to_owned(),
        (Standing::Expired, days) => format!("EXPIRED {} days ago", -days),
        (Standing::NotYet, _) => "NOT VALID YET: is the clock right?".to_owned(),
        (Standing::Valid, days) => format!("{days} days left"),
    };
    let role = one.role.as_deref().unwrap_or("no role");
    let of = if one.names.is_empty() {
        one.holder.clone()
    } else {
        one.names.join(", ")
    };
    format!(
        "{}\t{role}\t{of}\tuntil {end}\t{how}\tserial {}",
        one.file.display(),
        one.serial
    )
}
