//! docs/formats.md, docs/findings.md and docs/scrub.md say what the code does: their generated
//! parts are made from the layout table and the table of codes, and compared here.
//!
//! After a change of the tables: `UPDATE_DOCS=1 cargo test -p indexfile --test docs`.

use indexfile::finding::Code;
use indexfile::layout::{self, Layout, Slot, VERSIONS};
use indexfile::{HeaderField, RecordField};
use std::fmt::Write;
use std::path::Path;

/// Replaces or compares what stands between the markers of `name`.
fn section(file: &str, name: &str, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(file);
    let text = std::fs::read_to_string(&path).expect("the document");
    let (begin, end) = (
        format!("<!-- begin {name} -->\n"),
        format!("<!-- end {name} -->\n"),
    );
    let from = text.find(&begin).unwrap_or_else(|| panic!("no {begin}")) + begin.len();
    let to = from
        + text[from..]
            .find(&end)
            .unwrap_or_else(|| panic!("no {end}"));
    if text[from..to] == *expected {
        return;
    }
    assert!(
        std::env::var_os("UPDATE_DOCS").is_some(),
        "{file}: {name} is not what the code says"
    );
    std::fs::write(&path, [&text[..from], expected, &text[to..]].concat()).expect("write");
}

/// Sixteen bytes a line, a cell for each four.
fn diagram(out: &mut String, slots: &[(&str, Slot)], size: u32) {
    const WIDTH: usize = 20;
    out.push_str(
        "```text\n      +0                  +4                  +8                  +12\n",
    );
    for row in (0..size).step_by(16) {
        let mut line = format!("{row:4}  ");
        for at in (row..(row + 16).min(size)).step_by(4) {
            let at = at as usize;
            let here = slots
                .iter()
                .find(|(_, s)| s.offset as usize <= at && at < s.end());
            let cell = match here {
                Some((name, s)) if s.offset as usize == at => name,
                Some(_) => "  ...",
                None => "(spare)",
            };
            let _ = write!(line, "{cell:WIDTH$}");
        }
        let _ = writeln!(out, "{}", line.trim_end());
    }
    out.push_str("```\n");
}

fn header_slots(layout: &Layout) -> Vec<(&'static str, Slot)> {
    let minor = layout.minor_version;
    layout
        .header
        .present()
        .into_iter()
        .map(|(f, s)| (f.name_in(minor), s))
        .collect()
}

fn record_slots(layout: &Layout) -> Vec<(&'static str, Slot)> {
    let minor = layout.minor_version;
    layout
        .record
        .present()
        .into_iter()
        .map(|(f, s)| (f.name_in(minor), s))
        .collect()
}

#[test]
fn the_diagrams_are_those_of_the_layout_table() {
    let mut out = String::new();
    for version in VERSIONS {
        let layout = layout::of(version).expect("known");
        let (header, record) = (layout.header_size, layout.record_size);
        let _ = writeln!(out, "\n### Version {version}\n\nHeader, {header} bytes:\n");
        diagram(&mut out, &header_slots(layout), header);
        let _ = writeln!(out, "\nRecord, {record} bytes:\n");
        diagram(&mut out, &record_slots(layout), record);
    }
    out.push('\n');
    section("formats.md", "diagrams", &out);
}

/// One row a field, one column for each run of versions in which nothing moves.
fn table(fields: &[&str], slot: impl Fn(u32, usize) -> Option<Slot>) -> String {
    let mut groups: Vec<(u32, u32)> = Vec::new();
    for version in VERSIONS {
        let same = |a, b| (0..fields.len()).all(|f| slot(a, f) == slot(b, f));
        match groups.last_mut() {
            Some((first, last)) if same(*first, version) => *last = version,
            _ => groups.push((version, version)),
        }
    }
    let name = |&(a, b): &(u32, u32)| {
        if a == b {
            format!("{a}")
        } else {
            format!("{a}-{b}")
        }
    };
    let heads: Vec<String> = groups.iter().map(name).collect();
    let mut out = format!(
        "\n| field | {} |\n|---|{}\n",
        heads.join(" | "),
        "---|".repeat(heads.len())
    );
    for (i, field) in fields.iter().enumerate() {
        let cells = groups.iter().map(|&(version, _)| match slot(version, i) {
            Some(Slot { offset, width: 4 }) => format!("{offset}"),
            Some(Slot { offset, width }) => format!("{offset}:{width}"),
            None => "-".to_owned(),
        });
        let _ = writeln!(
            out,
            "| {field} | {} |",
            cells.collect::<Vec<_>>().join(" | ")
        );
    }
    out.push('\n');
    out
}

#[test]
fn the_tables_of_offsets_are_those_of_the_layout_table() {
    let header: Vec<_> = HeaderField::ALL.iter().map(|f| f.name()).collect();
    let offsets = table(&header, |v, i| {
        layout::of(v).and_then(|l| l.header.get(HeaderField::ALL[i]))
    });
    section("formats.md", "header-offsets", &offsets);
    let record: Vec<_> = RecordField::ALL.iter().map(|f| f.name()).collect();
    let offsets = table(&record, |v, i| {
        layout::of(v).and_then(|l| l.record.get(RecordField::ALL[i]))
    });
    section("formats.md", "record-offsets", &offsets);
}

#[test]
fn every_field_is_explained() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/formats.md");
    let text = std::fs::read_to_string(path).expect("the document");
    let names = HeaderField::ALL
        .iter()
        .map(|f| f.name())
        .chain(RecordField::ALL.iter().map(|f| f.name()));
    for name in names {
        assert!(
            text.contains(&format!("* `{name}`")),
            "{name} has no bullet in docs/formats.md"
        );
    }
}

#[test]
fn the_findings_are_those_of_the_code() {
    let mut out =
        String::from("\n| code | severity | what it means | what to do |\n|---|---|---|---|\n");
    for code in Code::CHECK {
        let (name, severity) = (code.name(), code.severity());
        let (meaning, remedy) = (code.meaning(), code.remedy());
        let _ = writeln!(out, "| `{name}` | {severity} | {meaning} | {remedy} |");
    }
    section("findings.md", "codes", &(out + "\n"));
    let mut out = String::from("\n| code | what it means | what to do |\n|---|---|---|\n");
    for code in Code::CHECK.iter().take(2).chain(Code::MESSAGES) {
        let (name, meaning, remedy) = (code.name(), code.meaning(), code.remedy());
        let _ = writeln!(out, "| `{name}` | {meaning} | {remedy} |");
    }
    section("scrub.md", "codes", &(out + "\n"));
}
