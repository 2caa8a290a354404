//! What is said of a server that fails, or does not fit.

use std::path::Path;

use super::super::JournalError;

/// What an error says, in the server's own words.
pub(in super::super) fn words(error: &tokio_postgres::Error) -> String {
    use std::error::Error as _;
    match (error.as_db_error(), error.source()) {
        (Some(server), _) => format!("{}: {}", server.severity(), server.message()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

pub(in super::super) fn failed(label: &Path, error: &tokio_postgres::Error) -> JournalError {
    JournalError::Postgres {
        server: label.display().to_string(),
        text: words(error),
    }
}

pub(super) fn unfit(server: &str, what: &str) -> JournalError {
    JournalError::Unfit {
        server: server.to_owned(),
        what: what.to_owned(),
    }
}
