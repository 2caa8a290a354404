//! Questions to the hosts, outside of any transaction: does each answer, is it another one than the
//! other, what does it know, and what does it say about one mailbox?

use std::sync::Arc;

use slotd::mounts::back_online;
use slotd::protocol::{
    Code, Command, Greeting, HostFacts, Named, PROTOCOL_VERSION, Rehash, Reply, StoreRoots,
};

use super::connect::Connect;
use super::link::{Link, is_elsewhere, local, reason_of};
use crate::error::RunError;
use crate::journal::Candidate;
use crate::two_phase::{Reason, Side};

/// Looks whether each slotd answers and is one that we understand, and not the same one twice.
pub(crate) async fn check_hosts(connect: &Arc<dyn Connect>) -> Result<[String; 2], RunError> {
    identify_hosts(connect).await.map(|(ids, ..)| ids)
}

/// The same, with how many connections each serves at once, where it says so, and which is in
/// failover, in words.
pub(crate) async fn identify_hosts(
    connect: &Arc<dyn Connect>,
) -> Result<([String; 2], [Option<u32>; 2], Option<String>), RunError> {
    let mut ids = [String::new(), String::new()];
    let mut roots = Vec::new();
    let mut capacities = [None; 2];
    let mut over = None;
    for side in Side::ALL {
        if connect.address(side).is_some() {
            let greeting = hello(connect, side).await?;
            over = over.or_else(|| failover(side, &greeting));
            ids[side.index()] = greeting.host_id;
            roots.push(greeting.roots);
            capacities[side.index()] = greeting.capacity;
        }
    }
    if let [master, replica] = &roots[..] {
        two_stores([(&ids[0], master), (&ids[1], replica)])?;
    }
    Ok((ids, capacities, over))
}

/// Whether master and replica, which say this of themselves, are not one store.
///
/// # Errors
/// They are.
pub(crate) fn two_stores([master, replica]: [(&String, &StoreRoots); 2]) -> Result<(), RunError> {
    if !master.0.is_empty() && master.0 == replica.0 {
        return Err(RunError::Config(format!(
            "master and replica are the same store ({}); if one host was cloned from the other, \
             stop its slotd, remove \
             reguid.store from its configdirectory and start it again",
            master.0
        )));
    }
    if let Some(path) = master.1.shared_with(replica.1) {
        return Err(RunError::Config(format!(
            "master and replica are the same store: the replica's index files lie in {path} of \
             the master, too"
        )));
    }
    Ok(())
}

/// What one side's slotd says of itself.
///
/// # Errors
/// It does not answer, or speaks another version of the protocol.
pub(crate) async fn hello(connect: &Arc<dyn Connect>, side: Side) -> Result<Greeting, RunError> {
    let unavailable = |text: String| RunError::Unavailable {
        side: side.as_str(),
        text,
    };
    let mut link = Link::new(side, connect);
    let reply = link.call(&Command::Hello).await;
    let reply = reply.map_err(|error| {
        if error.is_local() {
            RunError::Local(local(&error))
        } else {
            RunError::unanswered(side.as_str(), &error)
        }
    })?;
    let fields = match reply {
        Reply::Ok(fields) => fields,
        Reply::No {
            code: Code::Full,
            text,
        } => {
            return Err(RunError::Full {
                side: side.as_str(),
                text,
            });
        }
        Reply::No {
            code: Code::Denied,
            text,
        } => {
            return Err(RunError::Denied {
                side: side.as_str(),
                text,
            });
        }
        other => {
            let line = other.to_line();
            return Err(unavailable(format!(
                "HELLO was answered with {}",
                line.trim_end()
            )));
        }
    };
    let greeting =
        Greeting::from_fields(&fields).map_err(|error| unavailable(error.to_string()))?;
    if greeting.protocol != PROTOCOL_VERSION {
        return Err(RunError::Config(format!(
            "the {side}'s slotd speaks version {} of the protocol and this controller version \
             {PROTOCOL_VERSION}",
            greeting.protocol
        )));
    }
    Ok(greeting)
}

/// What one host can do and how it is set up; `None` from a release that does not say.
///
/// # Errors
/// It does not answer, or refuses to say.
pub(crate) async fn host_facts(
    connect: &Arc<dyn Connect>,
    side: Side,
) -> Result<Option<HostFacts>, RunError> {
    let unavailable = |text: String| RunError::Unavailable {
        side: side.as_str(),
        text,
    };
    let mut link = Link::new(side, connect);
    let reply = link.call(&Command::Preflight).await;
    match reply.map_err(|error| RunError::unanswered(side.as_str(), &error))? {
        Reply::Ok(fields) => HostFacts::from_fields(&fields)
            .map(Some)
            .map_err(|error| unavailable(error.to_string())),
        Reply::No { code, text } => {
            let text = format!("PREFLIGHT: [{code}] {text}");
            Err(RunError::refused(side.as_str(), code, text))
        }
        Reply::Bad(_) => Ok(None),
    }
}

/// What a host says that is in failover: the other one's mail is believed, and no run works on the
/// pair.
pub(crate) fn failover(side: Side, greeting: &Greeting) -> Option<String> {
    let points = &greeting.failover;
    (!points.is_empty()).then(|| {
        format!(
            "{} on the {side} is in failover, so that the {}'s mail is believed: no run works on \
             this pair until {} there",
            points.join(", "),
            side.other(),
            back_online(points[0].as_ref())
        )
    })
}

/// Looks whether both hosts know `rehash=`, if it is needed.
///
/// # Errors
/// One does not, or does not answer.
pub(crate) async fn check_rehash(
    connect: &Arc<dyn Connect>,
    wanted: Option<Rehash>,
) -> Result<(), RunError> {
    for side in Side::ALL {
        if wanted.is_none() || connect.address(side).is_none() {
            continue;
        }
        let greeting = hello(connect, side).await?;
        if !greeting.rehash {
            return Err(RunError::Config(format!(
                "the {side}'s slotd, of release {}, does not know --rehash: use the same release \
                 on all hosts; nothing was \
                 begun",
                greeting.version
            )));
        }
    }
    Ok(())
}

/// What one host said about one mailbox.
pub type Said = Result<slotd::protocol::Fields, (Reason, String)>;

/// What is asked about each mailbox.
pub type Question = dyn Fn(Named) -> Command + Send + Sync;

/// Asks one host about one mailbox.
pub(crate) async fn ask_about(
    link: &mut Link,
    side: Side,
    strict: Option<bool>,
    of: &Candidate,
    question: &Question,
) -> Option<Said> {
    let strict = strict?;
    // The list is the master's: what it says about partitions need not hold on the replica.
    let partition = if side == Side::Master {
        of.partition.clone()
    } else {
        None
    };
    let named = |partition| Named {
        mailbox: of.name.clone(),
        partition,
    };
    let mut result = link.call_again(&question(named(partition))).await;
    if !strict && is_elsewhere(&result) {
        result = link.call(&question(named(None))).await;
    }
    Some(match result {
        Ok(Reply::Ok(fields)) => Ok(fields),
        Ok(Reply::No { code, text }) => Err((reason_of(code), text)),
        Ok(Reply::Bad(text)) => Err((Reason::Protocol, format!("BAD {text}"))),
        Err(error) if error.is_local() => Err((Reason::Local, local(&error))),
        Err(error) => Err((Reason::HostAway, error.to_string())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spool_behind_two_slotds_is_one_store_and_the_directory_is_named() {
        let roots = StoreRoots {
            boot: "kernel".to_owned(),
            roots: vec!["1-2:/spool".parse().unwrap()],
        };
        let ids = ["m", "r"].map(str::to_owned);
        let error = two_stores([(&ids[0], &roots), (&ids[1], &roots)]).unwrap_err();
        assert_eq!(error.exit(), indexfile::exit::Exit::Config);
        assert!(
            error.to_string().contains("/spool of the master"),
            "{error}"
        );
        let none = StoreRoots::default();
        two_stores([(&ids[0], &roots), (&ids[1], &none)]).unwrap();
    }
}
