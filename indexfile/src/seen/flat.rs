//! Flat files: a line for each record, key and value with a tab between them.

use super::database::{Database, Found};

/// Bytes that are looked through at a time.
const PIECE: u64 = 64 << 10;

/// Finds the value of `key`.
pub(super) fn find(database: &mut Database, key: &[u8]) -> Found {
    let prefix = [key, b"\t"].concat();
    let mut line = 0;
    loop {
        let rest = database.len().saturating_sub(line);
        if rest <= prefix.len() as u64 {
            return Ok(None);
        }
        let found = database.is(line, &prefix)?;
        let end = end_of_line(database, line)?;
        if found {
            return Ok(Some(line + prefix.len() as u64..end));
        }
        line = end + 1;
    }
}

/// Where the line break is that ends a line.
fn end_of_line(database: &mut Database, mut at: u64) -> Result<u64, super::SeenError> {
    while at < database.len() {
        let some = (database.len() - at).min(PIECE);
        let piece = database.piece(at, some)?;
        match piece.iter().position(|&c| c == b'\n') {
            Some(i) => return Ok(at + i as u64),
            None => at += some,
        }
    }
    Err(database.damaged(at, "the last line does not end"))
}
