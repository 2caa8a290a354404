//! A browser without a screen, which shows pages that the programs wrote.

use std::path::Path;
use std::process::Command;

use crate::process::{Ended, Guard};

/// Shows a page. `dir` holds the browser's profile; `extra` are further arguments, such as
/// `--dump-dom`.
///
/// # Panics
/// If there is no Chromium in `/usr/bin`, or it fails.
#[must_use]
pub fn shown(dir: &Path, page: &Path, extra: &[&str]) -> Ended {
    let there = |name: &&&str| Path::new("/usr/bin").join(name).exists();
    let names = ["chromium-headless-shell", "chromium"];
    let name = names.iter().find(there).expect("a Chromium in /usr/bin");
    let mut command = Command::new(name);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
    ]);
    command.args(["--enable-logging=stderr", "--virtual-time-budget=2000"]);
    command.arg(format!("--user-data-dir={}", dir.join("profile").display()));
    command.args(extra);
    command.arg(format!("file://{}", page.display()));
    Guard::spawn(&mut command).finish().expect_code(0)
}

/// What the page's console has to say: of a page that breaks its own policy, something.
#[must_use]
pub fn console(done: &Ended) -> Vec<&str> {
    let lines = done.stderr.lines();
    lines.filter(|line| line.contains("CONSOLE")).collect()
}

/// Fails the test unless the browser says so when a page breaks its policy: otherwise a silent
/// console would prove nothing.
///
/// # Panics
/// If it does not.
pub fn assert_it_complains(dir: &Path) {
    let bad = dir.join("bad.html");
    let policy = "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'\">";
    std::fs::write(&bad, format!("{policy}<script>alert(1)</script>")).expect("write bad.html");
    let said = shown(dir, &bad, &["--dump-dom"]);
    assert!(!console(&said).is_empty(), "{said:?}");
}

/// Leaves pictures of a page in the directory that `REGUID_PICTURES` names, if it names one: `high`
/// pixels high at two widths, in dark and in light.
pub fn pictures(dir: &Path, page: &Path, name: &str, high: [u32; 2]) {
    let Ok(pictures) = std::env::var("REGUID_PICTURES") else {
        return;
    };
    for (scheme, number) in [("dark", 0), ("light", 1)] {
        for (wide, high) in [400, 1200].into_iter().zip(high) {
            let picture = Path::new(&pictures).join(format!("{name}-{wide}-{scheme}.png"));
            let args = [
                format!("--screenshot={}", picture.display()),
                format!("--window-size={wide},{high}"),
                format!("--blink-settings=preferredColorScheme={number}"),
            ];
            let _ = shown(dir, page, &args.each_ref().map(String::as_str));
        }
    }
}
