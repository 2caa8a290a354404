//! What a running controller says of itself, for a person.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::Value;

use super::text;
use crate::control::LIMITS;

/// All of it, in lines; those of pairs are aligned.
pub(super) fn describe(live: &Value) -> String {
    let mut eta = eta(live, "eta_seconds").unwrap_or_else(|| "unknown".to_owned());
    for (key, by) in [
        ("eta_messages_seconds", "messages"),
        ("eta_bytes_seconds", "bytes"),
    ] {
        if let Some(time) = self::eta(live, key) {
            let _ = write!(eta, ", by {by} {time}");
        }
    }
    // Writing to a String cannot fail.
    let mut out = format!(
        "running: {} %, {} of {} mailboxes, {:.0}/s, {:.0} messages/s, ETA {eta}; {} under way, at \
         most {}{}",
        percent(live),
        number(live, "done"),
        number(live, "mailboxes"),
        rate(live, "rate"),
        rate(live, "messages_rate"),
        number(live, "under_way"),
        number(live, "allowed").min(number(live, "parallel")),
        steered(live)
    );
    if number(live, "failed") > 0 {
        let _ = write!(out, ", {} failed", number(live, "failed"));
    }
    if let Some(why) = live["waiting"].as_str() {
        let _ = write!(out, "\nwaiting: {why}");
    }
    for parked in live["parked"].as_array().into_iter().flatten() {
        let _ = write!(out, "\nparked: {}", parked.as_str().unwrap_or_default());
    }
    for host in live["hosts"].as_array().into_iter().flatten() {
        let _ = write!(
            out,
            "\n{}: {:.0} committed/s, locks held {:.1} ms on average, longest {:.1} ms (last \
             minute)",
            host["side"].as_str().unwrap_or_default(),
            rate(host, "rate"),
            rate(host, "mean_lock_ms"),
            rate(host, "longest_lock_ms")
        );
    }
    let limits = LIMITS.iter().filter_map(|limit| {
        let value = live["limits"][limit.name].as_str()?;
        (value != limit.default).then(|| format!("{} {value}", limit.name))
    });
    let limits: Vec<String> = limits.collect();
    if !limits.is_empty() {
        let _ = write!(out, "\nlimits: {}", limits.join(", "));
    }
    let slowest = live["slowest"].as_array().into_iter().flatten();
    let slowest: Vec<String> = slowest
        .filter_map(|s| Some(format!("{} {:.1} ms", s[0].as_str()?, s[1].as_f64()?)))
        .collect();
    if !slowest.is_empty() {
        let _ = write!(out, "\nlongest locks: {}", slowest.join(", "));
    }
    for (name, pair) in pairs(live) {
        let wide = pairs(live).map(|(name, _)| name.len()).max().unwrap_or(0);
        let _ = write!(
            out,
            "\n{:<wide$} {}{}",
            format!("{name}:"),
            line(pair),
            at_most(pair),
            wide = wide + 1
        );
    }
    out
}

/// The pairs of a fleet that it works on.
pub(super) fn pairs(live: &Value) -> impl Iterator<Item = (&String, &Value)> {
    live["pairs"].as_object().into_iter().flatten()
}

/// A pair, or all there is, in one line: how far, how fast, how long still, and why it waits.
pub(super) fn line(live: &Value) -> String {
    let (done, all) = (number(live, "done"), number(live, "mailboxes"));
    let mut out = format!("{:>3} %, {done} of {all} mailboxes", percent(live));
    // Writing to a String cannot fail.
    let over = done >= all && all > 0;
    if !over {
        let time = eta(live, "eta_messages_seconds").or_else(|| eta(live, "eta_seconds"));
        let time = time.unwrap_or_else(|| "unknown".to_owned());
        let _ = write!(
            out,
            ", {:.0}/s, ETA {time}, {} under way",
            rate(live, "rate"),
            number(live, "under_way")
        );
    }
    if number(live, "failed") > 0 {
        let _ = write!(out, ", {} failed", number(live, "failed"));
    }
    match live["waiting"].as_str() {
        Some(why) if !over => {
            let _ = write!(out, ", waiting: {why}");
        }
        _ => {}
    }
    out
}

/// Of how many at once those are that are allowed, and why, where that is found while it works.
fn steered(live: &Value) -> String {
    let word = |key: &str| live["steered"][key].as_str();
    let Some((of, why)) = word("of").zip(word("why")) else {
        return String::new();
    };
    let [least, most] = ["least", "most"].map(|key| number(&live["steered"], key));
    if least < most {
        format!(" of {of} ({least} to {most} so far): {why}")
    } else {
        format!(" of {of}: {why}")
    }
}

/// The same of a pair that is not done.
fn at_most(pair: &Value) -> String {
    match steered(pair) {
        steered if !steered.is_empty() && number(pair, "done") < number(pair, "mailboxes") => {
            format!(", at most {}{steered}", number(pair, "allowed"))
        }
        _ => String::new(),
    }
}

/// How much is done; 100 only if all is.
fn percent(live: &Value) -> u64 {
    (number(live, "done") * 100)
        .checked_div(number(live, "mailboxes"))
        .unwrap_or(0)
        .min(100)
}

fn number(of: &Value, key: &str) -> u64 {
    of[key].as_u64().unwrap_or(0)
}

fn rate(of: &Value, key: &str) -> f64 {
    of[key].as_f64().unwrap_or(0.0)
}

fn eta(live: &Value, key: &str) -> Option<String> {
    let seconds = live[key].as_u64()?;
    Some(text::duration(Duration::from_secs(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_has_a_line_with_percent_rate_time_and_what_it_waits_for() {
        let live = serde_json::json!({
            "done": 999, "mailboxes": 1000, "rate": 12.4, "eta_seconds": 61, "under_way": 3,
            "failed": 2, "waiting": "replica away since 03:12:05",
        });
        assert_eq!(
            line(&live),
            " 99 %, 999 of 1000 mailboxes, 12/s, ETA 1m01s, 3 under way, 2 failed, waiting: \
             replica away since 03:12:05"
        );
        let done = serde_json::json!({ "done": 5, "mailboxes": 5, "waiting": "paused" });
        assert_eq!(line(&done), "100 %, 5 of 5 mailboxes");
        let none = serde_json::json!({ "done": 0, "mailboxes": 0 });
        assert_eq!(
            line(&none),
            "  0 %, 0 of 0 mailboxes, 0/s, ETA unknown, 0 under way"
        );
    }

    #[test]
    fn the_lines_of_pairs_are_aligned_and_all_of_it_has_its_percent() {
        let pair = serde_json::json!({ "done": 1, "mailboxes": 2 });
        let mut live = pair.clone();
        live["pairs"]["a"] = pair.clone();
        live["pairs"]["a"]["allowed"] = 6.into();
        live["pairs"]["a"]["steered"] = serde_json::json!({
            "of": "auto", "least": 4, "most": 9,
            "why": "locks p99 8.2 ms of 10.0 ms, 9 held them for 12.4 ms",
        });
        live["pairs"]["long-name"] = pair;
        let text = describe(&live);
        assert!(
            text.starts_with("running: 50 %, 1 of 2 mailboxes"),
            "{text}"
        );
        assert!(text.contains("\na:          50 %, 1 of 2"), "{text}");
        let why = ", at most 6 of auto (4 to 9 so far): locks p99 8.2 ms of 10.0 ms, 9 held them \
                   for 12.4 ms\n";
        assert!(text.contains(why), "{text}");
        assert!(text.contains("\nlong-name:  50 %, 1 of 2"), "{text}");
    }
}
