//! Whether a mailboxes.db has entries in the list form of 2.5. Bytes only; knows no file.
//!
//! Users choose a part of what such a database has: names, and identifiers in lists of rights. So
//! an entry counts only where a value begins, which each format shows in another way.

/// How an entry of mailboxes.db begins from 2.5 on.
const LIST_ENTRY: &[u8] = b"%(A %(";

const SKIPLIST: &[u8] = b"\xa1\x02\x8b\x0dskiplist file\0\0\0";
/// More than any entry has.
const LONGEST: u32 = 16 << 20;

/// Whether one of the entries is in list form. `bytes`: how the database begins.
pub(super) fn any_in_list_form(bytes: &[u8]) -> bool {
    if bytes.starts_with(SKIPLIST) {
        return skiplist(bytes);
    }
    berkeley(bytes).unwrap_or_else(|| flat(bytes))
}

/// A value lies at a multiple of four, behind its length in four bytes. The first of them is zero,
/// and no text that a user chooses has a zero.
fn skiplist(bytes: &[u8]) -> bool {
    let words = bytes.chunks_exact(4);
    words.enumerate().any(|(at, word)| {
        let len = u32::from_be_bytes([word[0], word[1], word[2], word[3]]);
        let value = &bytes[4 * at + 4..];
        (1..LONGEST).contains(&len) && value.starts_with(LIST_ENTRY)
    })
}

/// A line is a key, a tab and a value, which may have more tabs.
fn flat(bytes: &[u8]) -> bool {
    bytes.split(|b| *b == b'\n').any(|line| {
        let mut fields = line.splitn(2, |b| *b == b'\t');
        let value = fields.nth(1);
        value.is_some_and(|value| value.starts_with(LIST_ENTRY))
    })
}

const BTREE_MAGIC: u32 = 0x0005_3162;
const HASH_MAGIC: u32 = 0x0006_1561;
/// Types of pages with keys and values in turn: leaves of a tree, and of a hash table.
const BTREE_LEAF: u8 = 5;
const HASH_PAGES: [u8; 2] = [2, 13];
/// Where the header of a page ends and the offsets of its items begin.
const PAGE_HEADER: usize = 26;
/// The type of an item that lies in its page.
const IN_PAGE: u8 = 1;

/// Where the pages of a Berkeley DB say; `None` if it is none. Numbers are in the byte order of the
/// machine that made it.
fn berkeley(bytes: &[u8]) -> Option<bool> {
    let array = |at: usize| -> Option<[u8; 4]> { bytes.get(at..at + 4)?.try_into().ok() };
    let magic = array(12)?;
    let is = |magic: u32| [BTREE_MAGIC, HASH_MAGIC].contains(&magic);
    let little = is(u32::from_le_bytes(magic));
    if !little && !is(u32::from_be_bytes(magic)) {
        return None;
    }
    let size = array(20)?;
    let size = if little {
        u32::from_le_bytes(size)
    } else {
        u32::from_be_bytes(size)
    };
    let size = usize::try_from(size).ok()?.max(512);
    let half = |page: &[u8], at: usize| -> Option<usize> {
        let half = page.get(at..at + 2)?.try_into().ok()?;
        let half = if little {
            u16::from_le_bytes(half)
        } else {
            u16::from_be_bytes(half)
        };
        Some(usize::from(half))
    };
    Some(bytes.chunks(size).skip(1).any(|page| {
        // A tree says the length of an item before its type.
        let before_type = match page.get(PAGE_HEADER - 1) {
            Some(&BTREE_LEAF) => 2,
            Some(kind) if HASH_PAGES.contains(kind) => 0,
            _ => return false,
        };
        let items = half(page, 20).unwrap_or(0);
        (1..items).step_by(2).any(|i| {
            let item = half(page, PAGE_HEADER + 2 * i);
            let item = item.and_then(|at| page.get(at + before_type..));
            let value = item.and_then(|item| item.strip_prefix(&[IN_PAGE]));
            value.is_some_and(|value| value.starts_with(LIST_ENTRY))
        })
    }))
}
