//! One index or expunge file against what it was, byte by byte, and its GUIDs against the messages.

use std::fs;
use std::path::Path;

use sha1::{Digest, Sha1};

use super::fields::{self, Fields, SAME, word};

/// Offsets of the header words that a change of version changes: version, header and record size.
const RESHAPED: [usize; 3] = [8, 12, 16];

/// What a comparison gives.
#[derive(Debug, Default)]
pub(super) struct Compared {
    pub findings: Vec<String>,
    /// GUIDs that are right.
    pub right: u64,
    /// Bytes hashed.
    pub hashed: u64,
    /// UIDs and GUIDs as they are now, in the file's order.
    pub guids: Vec<(u32, [u8; 20])>,
}

/// A file cut into header and records.
struct Parts<'a> {
    minor: u32,
    fields: Fields,
    header: &'a [u8],
    records: Vec<&'a [u8]>,
    trailing: usize,
}

fn parts(bytes: &[u8]) -> Result<Parts<'_>, String> {
    let minor = word(bytes, 8).ok_or("is shorter than a header")?;
    let fields = fields::of(minor).ok_or_else(|| format!("has version {minor}"))?;
    let count = word(bytes, 20).ok_or("is shorter than a header")? as usize;
    let sizes = (word(bytes, 12), word(bytes, 16));
    if sizes
        != (
            u32::try_from(fields.header).ok(),
            u32::try_from(fields.record).ok(),
        )
    {
        return Err(format!("says version {minor} but has sizes {sizes:?}"));
    }
    let end = count
        .checked_mul(fields.record)
        .and_then(|n| n.checked_add(fields.header))
        .filter(|&end| end <= bytes.len())
        .ok_or_else(|| format!("is too short for its {count} records"))?;
    Ok(Parts {
        minor,
        header: &bytes[..fields.header],
        records: bytes[fields.header..end]
            .chunks_exact(fields.record)
            .collect(),
        trailing: bytes.len() - end,
        fields,
    })
}

/// Compares the file at `path` with `old`, its bytes before the run. `data` is where messages lie.
pub(super) fn compare(
    place: &str,
    old: &[u8],
    path: &Path,
    replaced: bool,
    data: &Path,
) -> Compared {
    let mut out = Compared::default();
    let now = match fs::read(path) {
        Ok(now) => now,
        Err(e) => {
            out.findings.push(format!("{place}: cannot be read: {e}"));
            return out;
        }
    };
    if !replaced && now != old {
        out.findings.push(format!("{place}: was written in place"));
    }
    match (parts(old), parts(&now)) {
        (Ok(old), Ok(now)) => {
            if now.minor != 10 {
                out.findings
                    .push(format!("{place}: is still at version {}", now.minor));
            }
            if replaced && now.trailing != 0 {
                out.findings.push(format!(
                    "{place}: {} bytes too many at its end",
                    now.trailing
                ));
            }
            if replaced {
                header(place, &old, &now, &mut out);
                records(place, &old, &now, &mut out);
            }
            guids(place, &now, data, &mut out);
        }
        (Err(e), _) => out.findings.push(format!("{place}: before the run it {e}")),
        (_, Err(e)) => out.findings.push(format!("{place}: {e}")),
    }
    out
}

fn header(place: &str, old: &Parts<'_>, now: &Parts<'_>, out: &mut Compared) {
    let same =
        |range: std::ops::Range<usize>| old.header.get(range.clone()) == now.header.get(range);
    let mut wrong = Vec::new();
    for offset in (0..old.fields.meaning)
        .step_by(4)
        .filter(|o| !RESHAPED.contains(o))
    {
        if !same(offset..offset + 4) {
            wrong.push(offset);
        }
    }
    if old.fields.modseq.is_none() && now.header.get(68..76) != Some(&1_u64.to_be_bytes()) {
        // highestmodseq, which versions 6 and 7 do not have, starts at 1.
        wrong.push(68);
    }
    if now.header.iter().skip(76).any(|&b| b != 0) {
        wrong.push(76);
    }
    if !wrong.is_empty() {
        out.findings
            .push(format!("{place}: header differs at offsets {wrong:?}"));
    }
}

fn records(place: &str, old: &Parts<'_>, now: &Parts<'_>, out: &mut Compared) {
    if old.records.len() != now.records.len() {
        let counts = (old.records.len(), now.records.len());
        out.findings.push(format!(
            "{place}: had {} records and has {}",
            counts.0, counts.1
        ));
        return;
    }
    for (n, (was, is)) in old.records.iter().zip(&now.records).enumerate() {
        if was.get(SAME) != is.get(SAME) {
            out.findings.push(format!(
                "{place}: record {n}: a field before the GUID differs"
            ));
        }
        let modseq = old.fields.modseq.clone().and_then(|r| was.get(r));
        let modseq = modseq.map_or_else(|| 1_u64.to_be_bytes().to_vec(), <[u8]>::to_vec);
        if now.fields.modseq.clone().and_then(|r| is.get(r)) != Some(&modseq[..]) {
            out.findings
                .push(format!("{place}: record {n}: the modseq differs"));
        }
    }
}

fn guids(place: &str, now: &Parts<'_>, data: &Path, out: &mut Compared) {
    for (n, record) in now.records.iter().enumerate() {
        let uid = word(record, 0).unwrap_or(0);
        let guid: Option<[u8; 20]> = now
            .fields
            .id
            .clone()
            .and_then(|r| record.get(r))
            .and_then(|b| b.try_into().ok());
        let message = data.join(format!("{uid}."));
        match (guid, fs::read(&message)) {
            (Some(guid), Ok(bytes)) => {
                out.hashed += bytes.len() as u64;
                if <[u8; 20]>::from(Sha1::digest(&bytes)) == guid {
                    out.right += 1;
                } else {
                    let path = message.display();
                    out.findings.push(format!(
                        "{place}: record {n}: GUID is not the SHA-1 of {path}"
                    ));
                }
                out.guids.push((uid, guid));
            }
            (_, Err(e)) => out
                .findings
                .push(format!("{place}: {}: {e}", message.display())),
            // The version was complained about already.
            (None, Ok(_)) => {}
        }
    }
}
