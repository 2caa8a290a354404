//! What is made of a bench that is over: a comparison with another one, whose exit code says
//! whether something got worse, and a page that a browser shows without loading or running
//! anything.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use controller::bench::document::{Better, Document, FORMAT, Machine, Measure, Section, Unit};
use tests::browser;
use tests::fleet::program;
use tests::process::{Ended, Guard};

fn bench(args: &[&str]) -> Ended {
    let mut command = Command::new(program("controller"));
    Guard::spawn(command.arg("bench").args(args)).finish()
}

/// A bench whose rates are these times those of a usual one, with a name that is not harmless.
fn document(times: f64) -> Document {
    let rates = [700.0, 690.0, 710.0, 705.0, 695.0, 702.0, 698.0, 701.0];
    let measures = [1.0, 4.0, 16.0].map(|at| {
        let values: Vec<f64> = rates.iter().map(|rate| rate * times).collect();
        let name = "Mailboxes a second";
        let unit = Unit::MailboxesPerSecond;
        Measure::new(format!("rate-{at}"), name, unit, Better::Higher)
            .with(values)
            .at(at)
    });
    let mut fleet = Section::new("fleet", "A fleet <script>alert(1)</script>");
    fleet.measures = measures.into();
    Document {
        format: FORMAT,
        reguid: "0.1.0".to_owned(),
        began: "2026-11-28T00:00:00Z".to_owned(),
        seconds: 60.0,
        machine: Machine::default(),
        settings: [("runs".to_owned(), "8".to_owned())].into(),
        peers: Vec::new(),
        not_measured: vec!["a cold cache: this needs root".to_owned()],
        sections: vec![fleet],
    }
}

fn written(dir: &Path, name: &str, document: &Document) -> PathBuf {
    let path = dir.join(name);
    fs::write(&path, serde_json::to_vec(document).unwrap()).unwrap();
    path
}

#[test]
fn a_comparison_ends_with_65_if_something_got_slower_and_with_0_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let [usual, slow, same] = [("usual", 1.0), ("slow", 0.8), ("same", 1.01)]
        .map(|(name, times)| written(dir.path(), name, &document(times)));
    let compare = |earlier: &Path, later: &Path, extra: &[&str]| {
        let paths = [earlier, later].map(|path| path.to_str().unwrap());
        bench(&[&["compare"], &paths[..], extra].concat())
    };
    let worse = compare(&usual, &slow, &[]).expect_code(65);
    assert!(worse.stdout.contains("fleet/rate-16"), "{worse:?}");
    assert!(worse.stdout.contains("slower"), "{worse:?}");
    let faster = compare(&slow, &usual, &[]).expect_code(0);
    assert!(faster.stdout.contains("faster"), "{faster:?}");
    let alike = compare(&usual, &same, &[]).expect_code(0);
    assert!(!alike.stdout.contains("fleet/rate-16"), "{alike:?}");
    let named = compare(&usual, &same, &["--every"]).expect_code(0);
    assert!(named.stdout.contains("fleet/rate-16"), "{named:?}");
    let json = compare(&usual, &slow, &["--json"]).expect_code(65).json();
    assert_eq!(json["measures"][0]["verdict"], "worse");
    let none = compare(&usual, &dir.path().join("none"), &[]);
    none.expect_code(74).assert_one_sentence("none");
    fs::write(&same, "{\"format\": 1}").unwrap();
    let other = compare(&usual, &same, &[]);
    other.expect_code(65).assert_one_sentence("not what");
}

#[test]
fn a_bench_is_shown_as_text_as_markdown_and_as_a_page_that_replaces_none_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let path = written(dir.path(), "bench.json", &document(1.0));
    let path = path.to_str().unwrap();
    let text = bench(&["page", path]).expect_code(0);
    let markdown = bench(&["page", path, "--markdown"]).expect_code(0);
    assert!(markdown.stdout.contains('|'), "{markdown:?}");
    for shown in [&text, &markdown] {
        assert!(shown.stdout.contains("a cold cache: this needs root"));
        assert!(shown.stdout.contains("70"), "{shown:?}");
    }
    let html = dir.path().join("bench.html");
    let html = html.to_str().unwrap();
    let _ = bench(&["page", path, "--html", html]).expect_code(0);
    let page = fs::read_to_string(html).unwrap();
    assert!(page.contains("&lt;script&gt;alert(1)"), "{page}");
    let mode = fs::metadata(html).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let again = bench(&["page", path, "--html", html]);
    again
        .expect_code(74)
        .assert_one_sentence("is there already");
    let _ = bench(&["page", path, "--html", html, "--replace"]).expect_code(0);
    assert_eq!(fs::read_to_string(html).unwrap(), page);
}

#[test]
fn the_figures_of_the_documentation_are_those_of_the_run_that_lies_beside_it() {
    const PARTS: &str = "fleet,whole_job";
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let page = fs::read_to_string(docs.join("benchmarks.md")).unwrap();
    let command = format!("controller bench page --markdown --only {PARTS} docs/benchmarks.json");
    let marker = format!("<!-- What `{command}` prints: -->\n\n");
    let (_, rest) = page.split_once(&marker).unwrap();
    let (figures, _) = rest.split_once("\n<!-- and no more. -->").unwrap();
    let json = docs.join("benchmarks.json");
    let json = json.to_str().unwrap();
    let printed = bench(&["page", json, "--markdown", "--only", PARTS]).expect_code(0);
    assert_eq!(
        figures, printed.stdout,
        "docs/benchmarks.md needs what `{command}` prints"
    );
    let whole = bench(&["page", json, "--markdown"]).expect_code(0).stdout;
    assert!(figures.lines().count() < whole.lines().count());
}

#[test]
#[ignore = "needs a Chromium"]
fn a_browser_shows_the_page_of_a_bench_and_has_nothing_to_complain_of() {
    let dir = tempfile::tempdir().unwrap();
    browser::assert_it_complains(dir.path());
    let html = dir.path().join("real.html");
    let real = bench(&[
        "--quiet",
        "--mailboxes=4",
        "--messages=2",
        "--runs=2",
        "--parallel=1,4",
        "--only=precompute,fleet,cost",
        "--html",
        html.to_str().unwrap(),
    ]);
    let _ = real.expect_code(0);
    let path = written(dir.path(), "bench.json", &document(1.0));
    let made = dir.path().join("made.html");
    let [path, page] = [&path, &made].map(|path| path.to_str().unwrap());
    let _ = bench(&["page", path, "--html", page]).expect_code(0);
    for (page, name) in [(&html, "bench"), (&made, "bench-made")] {
        let shown = browser::shown(dir.path(), page, &["--dump-dom"]);
        assert_eq!(browser::console(&shown), Vec::<&str>::new());
        let dom = &shown.stdout;
        assert_eq!(dom.matches("<script").count(), 0, "{dom}");
        // Each chart is there in two widths.
        let charts = dom.matches("<svg").count();
        assert!(charts >= 2 && charts.is_multiple_of(2), "{charts} charts");
        assert!(dom.contains("<table"), "{dom}");
        browser::pictures(dir.path(), page, name, [6000, 4000]);
    }
}
