//! The JSON form of Cyrus 3.6: one member a line, `"NAME": {...}`.

use std::collections::HashMap;

use serde::Deserialize;

use super::{Item, Skip, name};

pub(super) enum Line {
    Item(Item),
    Nothing,
    End,
}

#[derive(Deserialize)]
struct Entry {
    name: Option<String>,
    #[serde(default)]
    mbtype: String,
    partition: Option<String>,
    server: Option<String>,
    uniqueid: Option<String>,
}

/// Letters of `mbtype` after its kind, with what they mean for us, the most specific first.
const FLAGS: [(char, Skip); 5] = [
    ('d', Skip::Deleted),
    ('r', Skip::Remote),
    ('z', Skip::Reserved),
    ('m', Skip::Moving),
    ('i', Skip::Intermediate),
];

pub(super) fn entry(bytes: &[u8]) -> Result<Line, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8".to_owned())?;
    let member = text.trim().trim_matches(',').trim();
    match member {
        "{" | "" => return Ok(Line::Nothing),
        "}" | "{}" => return Ok(Line::End),
        _ => {}
    }
    let object: HashMap<String, Entry> = serde_json::from_str(&format!("{{{member}}}"))
        .map_err(|error| format!("not a member of ctl_mboxlist's JSON: {error}"))?;
    let mut members = object.into_iter();
    let (Some((key, entry)), None) = (members.next(), members.next()) else {
        return Err("more than one member on a line".to_owned());
    };
    let listed = entry.name.unwrap_or(key);
    // The first letter is the kind of mailbox; `d` there would be none of the flags.
    let flags = entry.mbtype.get(1..).unwrap_or("");
    let skip = FLAGS
        .iter()
        .find(|(letter, _)| flags.contains(*letter))
        .map(|(_, skip)| *skip);
    Ok(Line::Item(match skip {
        Some(skip) => Item::Skipped(skip),
        None if entry.server.is_some() => Item::Skipped(Skip::Remote),
        // `l`: the directory is at the path of the name, as in all earlier releases.
        None if !flags.contains('l') => Item::ByUniqueId {
            name: listed,
            partition: entry.partition,
            uniqueid: entry.uniqueid.unwrap_or_default(),
        },
        None => Item::Mailbox {
            name: name(listed.as_bytes())?,
            partition: entry.partition,
        },
    }))
}
