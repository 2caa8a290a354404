//! Three sorted lists merged: what all of them say about one name at a time.

use std::iter::Peekable;

/// What the master says about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// `server!partition`, as it came.
    pub(super) location: Vec<u8>,
    pub(super) reserved: bool,
}

/// A backend, by its number, and a partition of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) backend: usize,
    pub(super) partition: String,
}

/// All that is known of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) name: Vec<u8>,
    pub(super) said: Option<Said>,
    /// Where slotds found it.
    pub(super) found: Vec<Place>,
    /// Where the backends' own lists have it.
    pub(super) own: Vec<Place>,
}

/// A row of a list: a name, and what that list says.
pub(super) type Row<T> = (Vec<u8>, T);

/// Merges three lists that are sorted by name, bytewise. A name that stands only in a backend's
/// own list is passed over: neither is it asked for, nor are there files.
pub(super) struct Merge<M: Iterator, F: Iterator, O: Iterator> {
    master: Peekable<M>,
    found: Peekable<F>,
    own: Peekable<O>,
}

impl<M, F, O, E> Merge<M, F, O>
where
    M: Iterator<Item = Result<Row<Said>, E>>,
    F: Iterator<Item = Result<Row<Place>, E>>,
    O: Iterator<Item = Result<Row<Place>, E>>,
{
    pub(super) fn new(master: M, found: F, own: O) -> Self {
        Self {
            master: master.peekable(),
            found: found.peekable(),
            own: own.peekable(),
        }
    }

    fn facts(&mut self) -> Result<Option<Facts>, E> {
        let name = match (head(&mut self.master)?, head(&mut self.found)?) {
            (None, None) => return Ok(None),
            (Some(name), None) | (None, Some(name)) => name,
            (Some(a), Some(b)) => a.min(b),
        };
        let mut said = None;
        while let Some(one) = take(&mut self.master, &name)? {
            said = Some(one);
        }
        let mut facts = Facts {
            name,
            said,
            found: Vec::new(),
            own: Vec::new(),
        };
        while let Some(place) = take(&mut self.found, &facts.name)? {
            facts.found.push(place);
        }
        while head(&mut self.own)?.is_some_and(|name| name < facts.name) {
            self.own.next();
        }
        while let Some(place) = take(&mut self.own, &facts.name)? {
            facts.own.push(place);
        }
        Ok(Some(facts))
    }
}

impl<M, F, O, E> Iterator for Merge<M, F, O>
where
    M: Iterator<Item = Result<Row<Said>, E>>,
    F: Iterator<Item = Result<Row<Place>, E>>,
    O: Iterator<Item = Result<Row<Place>, E>>,
{
    type Item = Result<Facts, E>;

    fn next(&mut self) -> Option<Self::Item> {
        self.facts().transpose()
    }
}

/// The name of the next row.
fn head<T, E>(
    rows: &mut Peekable<impl Iterator<Item = Result<Row<T>, E>>>,
) -> Result<Option<Vec<u8>>, E> {
    match rows.next_if(Result::is_err) {
        Some(Err(error)) => Err(error),
        _ => Ok(match rows.peek() {
            Some(Ok((name, _))) => Some(name.clone()),
            _ => None,
        }),
    }
}

/// The next row, if it is of that name.
fn take<T, E>(
    rows: &mut Peekable<impl Iterator<Item = Result<Row<T>, E>>>,
    name: &[u8],
) -> Result<Option<T>, E> {
    let wanted = |row: &Result<Row<T>, E>| match row {
        Ok((of, _)) => of == name,
        Err(_) => true,
    };
    Ok(rows.next_if(wanted).transpose()?.map(|(_, what)| what))
}
