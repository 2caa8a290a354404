//! Metrics are the numbers that `status` shows, a real Prometheus reads them and its alerts fire,
//! and what the rules, the dashboard and the documentation name is exported.
#![allow(clippy::float_cmp)] // small counts, which a float keeps exactly

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use slotd::metrics::Metric;
use stores::judge::When;
use tests::fleet::{Fleet, program};
use tests::process::{Guard, Slotd, run};
use tests::wire::{Wire, escape};

/// How long anything here may take before it counts as stuck.
const LIMIT: Duration = Duration::from_secs(60);

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/prometheus")
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// What is at a place, if somebody answers.
fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    head.split("\r\n")
        .next()?
        .contains(" 200 ")
        .then(|| body.to_owned())
}

/// Waits until this gives something.
fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// The numbers of a page, by name and labels as they stand there.
fn numbers(page: &str) -> BTreeMap<String, f64> {
    let lines = page
        .lines()
        .filter(|l| !l.starts_with('#') && !l.is_empty());
    lines
        .map(|line| {
            let (name, number) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), number.parse().unwrap())
        })
        .collect()
}

fn all_metrics() -> impl Iterator<Item = &'static Metric> {
    controller::metrics::METRICS
        .iter()
        .chain(&slotd::metrics::METRICS)
}

/// Each metric that a text names, without what a histogram's series end in.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c: char| !is_part(c));
    let ours = words.filter(|word| word.starts_with("reguid_"));
    let bare = |word: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        let cut = ends.iter().find_map(|end| word.strip_suffix(end));
        cut.unwrap_or(word).to_owned()
    };
    ours.map(bare).collect()
}

/// The queries of the dashboard's panels.
fn queries() -> Vec<String> {
    let text = read(packaging().join("reguid-dashboard.json"));
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    targets
        .map(|target| target["expr"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn what_rules_dashboard_and_documentation_name_is_exported_and_documented() {
    let names: BTreeSet<String> = all_metrics().map(|m| m.name.to_owned()).collect();
    assert_eq!(
        names.len(),
        all_metrics().count(),
        "a name stands for one metric"
    );
    let rules = read(packaging().join("reguid.rules.yml"));
    let docs = read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/monitoring.md"));
    let queries = queries();
    assert!(queries.len() > 10, "{queries:?}");
    for (what, text) in [
        ("reguid.rules.yml", &rules),
        ("reguid-dashboard.json", &queries.join("\n")),
        ("docs/monitoring.md", &docs),
    ] {
        let unknown: Vec<_> = named(text).difference(&names).cloned().collect();
        assert!(unknown.is_empty(), "{what} names {unknown:?}");
    }
    let row = |m: &Metric| {
        let labels = m.labels.join(", ");
        format!("| `{}` | {} | {labels} | {} |\n", m.name, m.kind, m.help)
    };
    let head = "| metric | kind | labels | what |\n|---|---|---|---|\n";
    for table in [&controller::metrics::METRICS[..], &slotd::metrics::METRICS] {
        let table = format!("{head}{}", table.iter().map(row).collect::<String>());
        assert!(docs.contains(&table), "docs/monitoring.md needs:\n{table}");
    }
    for line in rules.lines() {
        if let Some(alert) = line.trim().strip_prefix("- alert: ") {
            let row = format!("| `{alert}` |");
            assert!(
                docs.contains(&row),
                "docs/monitoring.md says nothing of {alert}"
            );
        }
    }
}

#[test]
fn what_an_alert_goes_by_is_seen_on_the_dashboard() {
    let shown = named(&queries().join("\n"));
    let rules = read(packaging().join("reguid.rules.yml"));
    let unseen: Vec<_> = named(&rules).difference(&shown).cloned().collect();
    assert!(unseen.is_empty(), "there is no panel of {unseen:?}");
}

#[test]
fn the_file_of_a_run_has_the_numbers_that_status_shows_and_names_no_mailbox() {
    let mut fleet = Fleet::of_239();
    let dirs = fleet.master.dirs("user.alice.mixed");
    fs::remove_file(dirs.data.join("3.")).unwrap();
    fleet.start();
    let path = fleet.dir.path().join("reguid.prom");
    let file = path.to_str().unwrap();
    let _ = fleet
        .controller("upgrade", &["--metrics-file", file])
        .expect_code(75);
    let page = read(&path);
    // node_exporter is another user.
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o644
    );
    assert!(!page.contains("user."), "{page}");
    let (found, status) = (
        numbers(&page),
        fleet.controller("status", &["--json"]).json(),
    );
    for outcome in [
        "upgraded",
        "unchanged",
        "rolled_back",
        "wrong_guid",
        "in_doubt",
        "waiting",
        "pending",
        "gone",
    ] {
        let is = found[&format!("reguid_mailboxes{{outcome=\"{outcome}\"}}")];
        assert_eq!(Some(is), status[outcome].as_f64(), "{outcome}: {page}");
    }
    let all = found
        .iter()
        .filter(|(name, _)| name.starts_with("reguid_mailboxes{"));
    let all: f64 = all.map(|(_, n)| n).sum();
    assert_eq!(Some(all), status["mailboxes"].as_f64());
    let number = |name: &str| found.get(name).copied().unwrap_or(-1.0);
    assert_eq!(number("reguid_run_active"), 0.0, "it is of the end");
    assert_eq!(number("reguid_run_number"), 1.0);
    assert_eq!(number("reguid_attempts_total{ended=\"upgraded\"}"), 17.0);
    assert_eq!(number("reguid_failures_total{reason=\"no_message\"}"), 1.0);
    assert_eq!(number("reguid_decisions_total"), 17.0);
    for side in ["master", "replica"] {
        let name = format!("reguid_lock_hold_seconds_count{{side=\"{side}\"}}");
        assert!(number(&name) >= 17.0, "{page}");
    }
    // What cannot be written refuses the start.
    let nowhere = fleet.dir.path().join("none/reguid.prom");
    let refused = fleet.controller("upgrade", &["--metrics-file", nowhere.to_str().unwrap()]);
    assert!(![Some(0), Some(75)].contains(&refused.code), "{refused:?}");
    refused.assert_one_sentence("--metrics-file");
}

#[test]
fn a_controller_is_scraped_while_it_waits_and_a_slotd_while_a_mailbox_is_locked() {
    let mut fleet = Fleet::plain(3, 2);
    let (of_slotd, of_run) = (free_port(), free_port());
    let file = fleet.dir.path().join("slotd.prom");
    let [port, path] = [of_slotd.to_string(), file.to_str().unwrap().to_owned()];
    let extra = ["--metrics", &port, "--metrics-file", &path];
    let slotd = Slotd::start(&program("slotd"), &fleet.master, &extra);
    fleet.put_slotd(0, slotd);
    fleet.start();

    let mut wire = Wire::connect(&fleet.addr(0)).unwrap();
    let list = wire.must("LIST max=1");
    let name = tests::wire::value(&list, "names").unwrap().to_owned();
    let scraped = || numbers(&get(of_slotd, "/metrics").unwrap());
    let before = scraped();
    assert_eq!(before["reguid_slotd_locks_held"], 0.0);
    assert_eq!(before["reguid_slotd_sync_log_age_seconds"], 0.0);
    wire.must(&format!("LOCK {name}"));
    let locked = scraped();
    assert_eq!(locked["reguid_slotd_locks_held"], 1.0);
    assert!(locked["reguid_slotd_lock_hold_longest_seconds"] > 0.0);
    assert_eq!(locked["reguid_slotd_lock_wait_seconds_count"], 1.0);
    assert_eq!(locked["reguid_slotd_connections"], 1.0);
    wire.must("ROLLBACK");
    let ended = "reguid_slotd_transactions_total{outcome=\"rolled_back\"}";
    assert_eq!(scraped()[ended], 1.0);
    let of_file = numbers(&read(&file));
    assert!(
        of_file.contains_key("reguid_slotd_connections_max"),
        "{of_file:?}"
    );
    drop(wire);
    // Another one cannot have the place, and says so.
    let taken = Slotd::try_start(&[], &program("slotd"), &fleet.replica, &extra);
    assert!(taken.unwrap_err().contains("slotd did not start"));

    let flag = fleet.dir.path().join("wait");
    fs::write(&flag, "").unwrap();
    let at = of_run.to_string();
    let extra = ["--metrics", &at, "--flag-file", flag.to_str().unwrap()];
    let run = Guard::spawn(&mut fleet.command("upgrade", &extra));
    let waiting = until("the run waits", || {
        let page = numbers(&get(of_run, "/metrics")?);
        (page.get("reguid_mailboxes{outcome=\"pending\"}") == Some(&3.0)).then_some(page)
    });
    assert_eq!(waiting["reguid_run_active"], 1.0);
    assert_eq!(waiting["reguid_waiting{reason=\"conditions\"}"], 1.0);
    assert_eq!(waiting["reguid_waiting{reason=\"paused\"}"], 0.0);
    fs::remove_file(&flag).unwrap();
    let _ = run.finish().expect_code(0);
    assert_eq!(get(of_run, "/metrics"), None, "it goes with the run");
    let committed = "reguid_slotd_transactions_total{outcome=\"committed\"}";
    assert_eq!(scraped()[committed], 3.0);
    let _ = fleet.take_slotd(0).unwrap().stop().expect_code(0);
    assert!(
        !file.exists(),
        "numbers of a slotd that is gone say nothing"
    );
    let _ = fleet.check(When::Settled);
}

/// Runs promtool, which must find nothing.
fn promtool(words: &[&str]) {
    let ended = run("promtool", words);
    assert_eq!(ended.code, Some(0), "{words:?}: {ended:?}");
}

#[test]
#[ignore = "needs Debian's prometheus, for promtool"]
fn the_rules_fire_when_they_should_and_every_query_of_the_dashboard_is_one() {
    let rules = packaging().join("reguid.rules.yml");
    promtool(&["check", "rules", rules.to_str().unwrap()]);
    let test = packaging().join("reguid.rules.test.yml");
    promtool(&["test", "rules", test.to_str().unwrap()]);
    let dir = tempfile::tempdir().unwrap();
    let as_rules: Vec<String> = queries()
        .iter()
        .enumerate()
        .map(|(n, query)| {
            let query = serde_json::to_string(&query.replace("$__rate_interval", "5m")).unwrap();
            format!("      - record: panel:{n}\n        expr: {query}\n")
        })
        .collect();
    let file = dir.path().join("panels.yml");
    fs::write(
        &file,
        format!(
            "groups:\n  - name: panels\n    rules:\n{}",
            as_rules.concat()
        ),
    )
    .unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()]);
}

/// Answers with a file as `node_exporter`'s textfile collector would, until the test ends.
fn export(path: PathBuf) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let text = fs::read_to_string(&path).unwrap_or_default();
            let kind = "text/plain; version=0.0.4; charset=utf-8";
            let _ = write!(
                stream,
                "HTTP/1.0 200 OK\r\nContent-Type: {kind}\r\n\r\n{text}"
            );
        }
    });
    port
}

/// A mailbox that is in doubt: the master dies after the decision, and is not waited for.
fn in_doubt(file: &Path) -> Fleet {
    let mut fleet = Fleet::plain(2, 2);
    let dies = ["env", "REGUID_FAILPOINTS=commit.link=1:kill"].map(str::to_owned);
    let slotd = Slotd::start_under(&dies, &program("slotd"), &fleet.master, &[]);
    fleet.put_slotd(0, slotd);
    fleet.start();
    let hasty = [
        "--parallel",
        "1",
        "--settle-attempts",
        "1",
        "--host-wait",
        "0",
        "--metrics-file",
        file.to_str().unwrap(),
    ];
    let _ = fleet.controller("upgrade", &hasty).expect_code(70);
    fleet
}

#[test]
#[ignore = "needs Debian's prometheus"]
#[allow(clippy::too_many_lines)] // one story
fn a_prometheus_scrapes_both_programs_and_its_alerts_fire() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("reguid.prom");
    let doubtful = in_doubt(&file);
    assert_eq!(doubtful.open_transactions().len(), 1);
    let exported = export(file);

    // A person who keeps a mailbox locked, and goes on talking.
    let typed = Fleet::plain(1, 2);
    let of_slotd = free_port();
    let port = of_slotd.to_string();
    let slotd = Slotd::start(
        &program("slotd"),
        &typed.master,
        &["--metrics", &port, "--max-lock", "20"],
    );
    let mut wire = Wire::connect(&slotd.addr).unwrap();
    let list = wire.must("LIST max=1");
    let name = tests::wire::value(&list, "names").unwrap().to_owned();

    // A run whose replica goes away while it waits for somebody.
    let mut away = Fleet::plain(2, 2);
    away.start();
    let (of_run, flag) = (free_port(), dir.path().join("wait"));
    fs::write(&flag, "").unwrap();
    let at = of_run.to_string();
    let extra = [
        "--metrics",
        &at,
        "--flag-file",
        flag.to_str().unwrap(),
        "--max-load",
        "1000000",
        "--host-wait",
        "600",
    ];
    let run = Guard::spawn(&mut away.command("upgrade", &extra));
    until("the run has begun", || {
        let page = get(of_run, "/metrics")?;
        let begun = page.contains("reguid_mailboxes{outcome=\"pending\"} 2");
        begun.then_some(())
    });
    away.take_slotd(1).unwrap().kill();

    // The rules as they are, but for how long something has to be so.
    let rules = read(packaging().join("reguid.rules.yml"));
    let rules: String = rules
        .lines()
        .map(|line| {
            if line.trim().starts_with("for: ") {
                "        for: 1s\n"
            } else {
                line
            }
        })
        .collect::<Vec<&str>>()
        .join("\n");
    fs::write(dir.path().join("reguid.rules.yml"), rules).unwrap();
    let job = |name: &str, port: u16| {
        format!("  - job_name: {name}\n    static_configs: [{{targets: ['127.0.0.1:{port}']}}]\n")
    };
    let jobs = [
        job("reguid-slotd", of_slotd),
        job("reguid", of_run),
        job("node", exported),
    ];
    let config = format!(
        "global: {{scrape_interval: 2s, scrape_timeout: 2s, evaluation_interval: 1s}}\n\
         rule_files: [reguid.rules.yml]\nscrape_configs:\n{}",
        jobs.concat()
    );
    let config_file = dir.path().join("prometheus.yml");
    fs::write(&config_file, config).unwrap();
    promtool(&["check", "config", config_file.to_str().unwrap()]);
    let web = free_port();
    let _prometheus = Guard::spawn(
        Command::new("prometheus")
            .arg(format!("--config.file={}", config_file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{web}"))
            .arg("--log.level=error"),
    );
    let api = |path: &str| -> Option<Value> {
        let answer: Value = serde_json::from_str(&get(web, path)?).unwrap();
        (answer["status"] == "success").then(|| answer["data"].clone())
    };
    let mut seen = Value::Null;
    let end = Instant::now() + LIMIT;
    let is_up = |target: &Value| target["health"] == "up";
    while !seen
        .as_array()
        .is_some_and(|each| each.len() == 3 && each.iter().all(is_up))
    {
        assert!(Instant::now() < end, "{seen:#}");
        thread::sleep(Duration::from_millis(200));
        if let Some(targets) = api("/api/v1/targets") {
            seen = targets["activeTargets"].clone();
        }
    }

    wire.must(&format!("LOCK {}", escape(&name)));
    let wanted = ["ReguidInDoubt", "ReguidHostAway", "ReguidLockHeldTooLong"];
    let alerts = until("the alerts fire", || {
        // It is somebody who is there, and not one that is silent.
        wire.must("CONFIRM");
        let alerts = api("/api/v1/alerts")?["alerts"].as_array()?.clone();
        let is_firing = |name: &&str| {
            let mut each = alerts.iter();
            each.any(|a| a["labels"]["alertname"] == *name && a["state"] == "firing")
        };
        wanted.iter().all(is_firing).then_some(alerts)
    });
    let summary = |name: &str| {
        let alert = alerts.iter().find(|a| a["labels"]["alertname"] == name);
        alert.unwrap()["annotations"]["summary"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(summary("ReguidInDoubt"), "1 mailbox(es) in doubt");
    assert_eq!(summary("ReguidHostAway"), "The replica does not answer");
    assert!(summary("ReguidLockHeldTooLong").contains("is locked for 1"));
    for quiet in [
        "ReguidMetricsMissing",
        "ReguidIntentLogFailed",
        "ReguidMountAway",
    ] {
        let fires = alerts.iter().any(|a| a["labels"]["alertname"] == quiet);
        assert!(!fires, "{quiet}: {alerts:?}");
    }
    // Prometheus has the histograms as histograms.
    let quantile =
        "/api/v1/query?query=histogram_quantile(0.5,reguid_slotd_lock_wait_seconds_bucket)";
    let value = api(quantile).unwrap()["result"][0]["value"][1].clone();
    assert!(
        value.as_str().unwrap().parse::<f64>().unwrap() >= 0.0,
        "{value}"
    );
    wire.must("ROLLBACK");
    drop(run);
}
