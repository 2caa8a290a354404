//! Measures of one thing at several places (mailboxes at once, records): curves.
//!
//! A measure that is part of a curve has [`Measure::at`], and its name says it too: "16 at once".
//! With `N` in the place of that number the names of one curve are the same, and the words behind
//! `N` say what the places are.

use indicatif::HumanCount;

use super::Stats;
use super::document::{Measure, Section, Unit};

/// Measures of one thing, in the order of their places.
#[derive(Clone, Debug)]
pub(super) struct Curve<'a> {
    /// Their name, with `N` for the place.
    pub(super) name: String,
    /// What the places are: `N at once`.
    pub(super) across: String,
    /// Unit of all of them.
    pub(super) unit: Unit,
    /// Places and measures.
    pub(super) points: Vec<(f64, &'a Measure)>,
}

impl Curve<'_> {
    /// The name without what the places are; the unit's, if no more is left of it.
    pub(super) fn short_name(&self) -> String {
        if self.name == self.across && !self.unit.name().is_empty() {
            return self.unit.name().to_owned();
        }
        shortened(&self.name, &self.across)
    }

    /// The measure at a place.
    pub(super) fn at(&self, place: f64) -> Option<&Measure> {
        let same = |(at, _): &&(f64, &Measure)| at.total_cmp(&place).is_eq();
        self.points.iter().find(same).map(|(_, measure)| *measure)
    }

    /// What each is shown as a multiple of, if that is one curve.
    pub(super) fn beside(&self, section: &Section) -> Option<String> {
        let name = |measure: &Measure| {
            let (name, across) = pattern(section.beside(measure)?);
            Some(shortened(&name, &across))
        };
        let first = name(self.points.first()?.1)?;
        let same = |(_, measure): &(f64, &Measure)| name(measure).as_ref() == Some(&first);
        self.points.iter().all(same).then_some(first)
    }
}

/// The curves of a section, and the measures that belong to none: a curve has two points.
pub(super) fn curves(section: &Section) -> (Vec<Curve<'_>>, Vec<&Measure>) {
    let mut curves: Vec<Curve<'_>> = Vec::new();
    for measure in &section.measures {
        let Some(at) = measure.at.filter(|at| at.is_finite()) else {
            continue;
        };
        let (name, across) = pattern(measure);
        let same = |c: &&mut Curve<'_>| c.name == name && c.unit == measure.unit;
        match curves.iter_mut().find(same) {
            Some(curve) => curve.points.push((at, measure)),
            None => curves.push(Curve {
                name,
                across,
                unit: measure.unit,
                points: vec![(at, measure)],
            }),
        }
    }
    curves.retain_mut(|curve| {
        curve.points.sort_by(|a, b| a.0.total_cmp(&b.0));
        curve.points.dedup_by(|a, b| a.0.total_cmp(&b.0).is_eq());
        curve.points.len() > 1
    });
    let alone = |measure: &&Measure| {
        let mut points = curves.iter().flat_map(|curve| &curve.points);
        !points.any(|(_, other)| std::ptr::eq(*other, *measure))
    };
    let rest: Vec<&Measure> = section.measures.iter().filter(alone).collect();
    (curves, rest)
}

/// A name without what the places are, where something is left.
fn shortened(name: &str, across: &str) -> String {
    let cut = [
        format!(", {across}"),
        format!("{across}, "),
        format!("{across}: "),
    ];
    let cut = cut.iter().find(|cut| name.contains(*cut));
    cut.map_or_else(|| name.to_owned(), |cut| name.replacen(cut, "", 1))
}

/// Figures of a measure as multiples of the one beside which it is shown, and that one.
pub(super) fn ratio<'a>(section: &'a Section, measure: &Measure) -> Option<(Stats, &'a Measure)> {
    let other = section.beside(measure)?;
    Some((measure.ratio(other)?, other))
}

/// A measure's name with `N` for its place, and what the places are.
fn pattern(measure: &Measure) -> (String, String) {
    let name = &measure.name;
    let Some((from, to)) = measure.at.and_then(|at| place_in(name, at)) else {
        return (name.clone(), "N".to_owned());
    };
    let behind = &name[to..];
    let words = behind
        .split([',', ':', ';', '('])
        .next()
        .unwrap_or_default();
    let across = format!("N{}", words.trim_end());
    (format!("{}N{behind}", &name[..from]), across)
}

/// Where a number stands in a text, as `20000` or `20,000`.
fn place_in(name: &str, at: f64) -> Option<(usize, usize)> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // within bounds
    let grouped = HumanCount(at as u64).to_string();
    let free = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '.');
    [format!("{at}"), grouped].into_iter().find_map(|number| {
        let mut found = name.match_indices(&number);
        let alone = |(from, _): &(usize, &str)| {
            let behind = name[from + number.len()..].strip_prefix(',');
            let more = behind.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
            free(name[..*from].chars().next_back())
                && free(name[from + number.len()..].chars().next())
                && !more
        };
        let (from, _) = found.find(alone)?;
        Some((from, from + number.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::super::sample::{measure, section};
    use super::*;

    fn at(id: &str, name: &str, at: f64, beside: Option<&str>) -> Measure {
        Measure {
            at: Some(at),
            beside: beside.map(str::to_owned),
            ..measure(id, name, Unit::MailboxesPerSecond, &[at])
        }
    }

    #[test]
    fn measures_whose_names_differ_by_their_place_are_a_curve() {
        let section = section(
            "fleet",
            vec![
                at("rate-16", "Upgrade, 16 at once", 16.0, Some("bare-16")),
                at("bare-16", "The bare way, 16 at once", 16.0, None),
                at("rate-4", "Upgrade, 4 at once", 4.0, Some("bare-4")),
                at("bare-4", "The bare way, 4 at once", 4.0, None),
                at("alone", "With PREPARE, 16 at once", 16.0, None),
                measure("no", "No place", Unit::Count, &[1.0]),
            ],
        );
        let (curves, rest) = curves(&section);
        let names: Vec<&str> = curves.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["Upgrade, N at once", "The bare way, N at once"]);
        assert_eq!(curves[0].across, "N at once");
        assert_eq!(curves[0].short_name(), "Upgrade");
        let places: Vec<f64> = curves[0].points.iter().map(|p| p.0).collect();
        assert_eq!(places, [4.0, 16.0]);
        assert_eq!(curves[0].at(16.0).unwrap().id, "rate-16");
        let beside = curves[0].beside(&section);
        assert_eq!(beside.as_deref(), Some("The bare way"));
        assert_eq!(curves[1].beside(&section), None);
        let rest: Vec<&str> = rest.iter().map(|m| m.id.as_str()).collect();
        assert_eq!(rest, ["alone", "no"]);
    }

    #[test]
    fn a_number_is_found_however_it_is_written_and_never_within_another_one() {
        for (name, place, found) in [
            ("p99, 20,000 messages", 20_000.0, "p99, N messages"),
            ("p99, 20000 messages", 20_000.0, "p99, N messages"),
            ("116 and 16 at once", 16.0, "116 and N at once"),
            ("16,000 or 16", 16.0, "16,000 or N"),
            ("v16 has none", 16.0, "v16 has none"),
            ("1.16 has none", 16.0, "1.16 has none"),
        ] {
            assert_eq!(pattern(&at("id", name, place, None)).0, found, "{name}");
        }
    }
}
