//! The records of index and expunge file of a mailbox together, by UID.

use crate::kind::FileKind;
use crate::read_error::ReadError;
use crate::reader::IndexFile;
use crate::record::Record;
use crate::records::Records;
use std::iter::Peekable;
use std::vec::IntoIter;

/// Iterator over the records of both files, ascending by UID; of one UID the index's comes first,
/// then those of the expunge file in the order of that file. Memory is 8 bytes for each record of
/// the expunge file, which is in no order. The index is taken to be in order.
#[derive(Debug)]
pub struct ByUid<'a> {
    index: Peekable<Records<'a>>,
    expunge: Option<&'a IndexFile>,
    /// UIDs and positions of its records, those that are still to come.
    expunged: Peekable<IntoIter<(u32, u32)>>,
}

impl<'a> ByUid<'a> {
    /// Reads the UIDs of the expunge file.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn new(index: &'a IndexFile, expunge: Option<&'a IndexFile>) -> Result<Self, ReadError> {
        let mut expunged = Vec::new();
        for (record, position) in expunge.iter().flat_map(|file| file.records()).zip(0..) {
            expunged.push((record?.uid(), position));
        }
        expunged.sort_unstable();
        Ok(Self {
            index: index.records().peekable(),
            expunge,
            expunged: expunged.into_iter().peekable(),
        })
    }
}

impl<'a> Iterator for ByUid<'a> {
    type Item = Result<(FileKind, Record<'a>), ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        let expunged = match self.index.peek() {
            Some(Ok(live)) => self.expunged.next_if(|(uid, _)| *uid < live.uid()),
            Some(Err(_)) => None,
            None => self.expunged.next(),
        };
        if let Some((_, position)) = expunged {
            let record = self.expunge?.record(position).transpose()?;
            return Some(record.map(|record| (FileKind::Expunge, record)));
        }
        let record = self.index.next()?;
        Some(record.map(|record| (FileKind::Index, record)))
    }
}
