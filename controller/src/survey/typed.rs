//! Names as they are typed: internal ones, or as administrators of the pair's server write them.
//!
//! Only the server's configuration tells what `user/joe.doe@example.com` is, so its host is asked.

use std::sync::Arc;

use indexfile::mailbox::{MailboxName, Naming};

use super::source::Source;
use crate::error::RunError;
use crate::hosts::{Connect, host_facts};
use crate::two_phase::Side;

/// Whether a name may be another one than what it looks like.
pub(crate) fn needs_naming(text: &str) -> bool {
    text.contains(['/', '@'])
}

/// The sources with all names internal, as the master of this pair has them.
///
/// # Errors
/// The master does not answer or does not say how its names are written, or a name is none.
pub async fn resolve(
    sources: Vec<Source>,
    connect: &Arc<dyn Connect>,
) -> Result<Vec<Source>, RunError> {
    if !sources.iter().any(Source::is_typed) {
        return Ok(sources);
    }
    let naming = naming(connect).await?;
    let internal = |source: Source| source.internal(&naming);
    sources.into_iter().map(internal).collect()
}

/// How administrators of a pair's server write names.
///
/// # Errors
/// The master does not answer, or does not say so.
pub async fn naming(connect: &Arc<dyn Connect>) -> Result<Naming, RunError> {
    let facts = host_facts(connect, Side::Master).await?.unwrap_or_default();
    let (Some(slashes), Some(domains)) = (facts.slashes, facts.domains) else {
        return Err(RunError::Config(
            "the master's slotd does not say how names are written on its server: use the same \
             release on all hosts, or give internal names"
                .to_owned(),
        ));
    };
    Ok(Naming {
        slashes,
        domains,
        default_domain: facts.default_domain,
    })
}

impl Source {
    /// Whether it has names that only the server's configuration explains.
    pub(crate) fn is_typed(&self) -> bool {
        match self {
            Self::Typed(_) => true,
            Self::On(_, source) | Self::Kept(_, source) => source.is_typed(),
            _ => false,
        }
    }

    /// The same with internal names.
    fn internal(self, naming: &Naming) -> Result<Self, RunError> {
        Ok(match self {
            Self::Typed(names) => {
                let parse = |name: &String| {
                    let parsed = MailboxName::from_admin(name, naming);
                    parsed.map_err(|error| RunError::NoMailbox(error.to_string()))
                };
                Self::Names(names.iter().map(parse).collect::<Result<_, _>>()?)
            }
            Self::On(partition, source) => Self::On(partition, Box::new(source.internal(naming)?)),
            Self::Kept(keep, source) => Self::Kept(keep, Box::new(source.internal(naming)?)),
            source => source,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::survey::Keep;

    #[test]
    fn typed_names_become_internal_ones_wherever_they_stand() {
        let naming = Naming {
            slashes: true,
            ..Naming::default()
        };
        let typed = Source::Typed(vec!["user/joe.doe".to_owned(), "user.ann".to_owned()]);
        let kept = Source::Kept(Keep::Tranche(50), Box::new(typed.clone()));
        let on = Source::On("p1".to_owned(), Box::new(kept));
        assert!(on.is_typed() && !Source::Master.is_typed());
        let names = ["user.joe^doe", "user.ann"].map(|n| MailboxName::parse(n).unwrap());
        let internal = Source::Names(names.to_vec());
        assert_eq!(typed.internal(&naming).unwrap(), internal);
        let wanted = Source::Kept(Keep::Tranche(50), Box::new(internal));
        let wanted = Source::On("p1".to_owned(), Box::new(wanted));
        assert_eq!(on.internal(&naming).unwrap(), wanted);
        let wrong = Source::Typed(vec!["user//joe".to_owned()]);
        assert!(matches!(
            wrong.internal(&naming),
            Err(RunError::NoMailbox(_))
        ));
    }
}
