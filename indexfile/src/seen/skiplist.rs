//! Skiplist files: a header, a node that is none, nodes in order of their keys, then a log.
//!
//! Written for readers of the pointers between nodes; here nodes are read one after the other
//! instead, as Cyrus does it after a crash. So what a transaction left that was never committed
//! does not count, and a pointer that leads nowhere, or in a circle, does no harm.

use super::SeenError;
use super::database::{Database, Found};
use std::ops::Range;

pub(super) const MAGIC: &[u8; 20] = b"\xa1\x02\x8b\x0dskiplist file\0\0\0";

const HEADER: u64 = 48;
/// Where the header says where the log begins: how long the file was when it was last put in order.
const LOG_START: u64 = 40;
const IN_ORDER: u32 = 1;
const ADD: u32 = 2;
const DELETE: u32 = 4;
const COMMIT: u32 = 255;
const DUMMY: u32 = 257;
/// Ends the pointers of a node, of which it has at most this many.
const LAST: u32 = 0xffff_ffff;
const MOST_POINTERS: u64 = 20;

/// Finds the value of `key`.
pub(super) fn find(database: &mut Database, key: &[u8]) -> Found {
    if database.len() < HEADER {
        return Err(database.damaged(0, "it is too short for its header"));
    }
    if database.u32(20)? != 1 {
        return Err(database.damaged(20, "its version is not 1"));
    }
    if u64::from(database.u32(LOG_START)?) > database.len() {
        return Err(database.damaged(database.len(), "it ends before its log begins"));
    }
    if database.u32(HEADER)? != DUMMY {
        return Err(database.damaged(HEADER, "there is no first node"));
    }
    let mut at = node(database, HEADER)?.end;
    // What is so, and what will be once the transaction commits.
    let (mut committed, mut pending) = (None, None);
    let mut in_order = true;
    while at < database.len() {
        if database.len() - at < 4 {
            break;
        }
        match database.u32(at)? {
            kind @ (IN_ORDER | ADD) => {
                let node = match node(database, at) {
                    Ok(node) => node,
                    // The end of what was never committed.
                    Err(SeenError::Damaged { .. }) if kind == ADD => break,
                    Err(error) => return Err(error),
                };
                if node.is(database, key)? {
                    pending = Some(node.value.clone());
                }
                in_order &= kind == IN_ORDER;
                if in_order {
                    committed.clone_from(&pending);
                }
                at = node.end;
            }
            DELETE => {
                in_order = false;
                if database.len() - at < 8 {
                    break;
                }
                let gone = database.u32(at + 4)?.into();
                if gone < HEADER || node(database, gone)?.is(database, key)? {
                    pending = None;
                }
                at += 8;
            }
            COMMIT => {
                in_order = false;
                committed.clone_from(&pending);
                at += 4;
            }
            // Left by recoveries of old releases.
            0 => at += 4,
            _ => return Err(database.damaged(at, "there is no node of this kind")),
        }
    }
    Ok(committed)
}

struct Node {
    key: Range<u64>,
    value: Range<u64>,
    end: u64,
}

impl Node {
    fn is(&self, database: &mut Database, key: &[u8]) -> Result<bool, SeenError> {
        Ok(
            self.key.end - self.key.start == key.len() as u64
                && database.is(self.key.start, key)?,
        )
    }
}

/// The node at `start`: its type, key and value with their lengths, padded to four bytes, and
/// pointers.
fn node(database: &mut Database, start: u64) -> Result<Node, SeenError> {
    let key = start + 8;
    let key = key..key + u64::from(database.u32(start + 4)?);
    let value_len = key.start + (key.end - key.start).next_multiple_of(4);
    let value = value_len + 4;
    let value = value..value + u64::from(database.u32(value_len)?);
    let pointers = value.start + (value.end - value.start).next_multiple_of(4);
    for i in 0..=MOST_POINTERS {
        let at = pointers + 4 * i;
        if database.u32(at)? == LAST {
            let end = at + 4;
            return Ok(Node { key, value, end });
        }
    }
    Err(database.damaged(pointers, "a node has too many pointers"))
}
