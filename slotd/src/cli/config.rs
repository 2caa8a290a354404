//! `--config FILE`: defaults for options, one `key: value` a line, as in imapd.conf.
//!
//! A key is an option's long name; what stands on the command line wins. Turned into arguments
//! before they are parsed, so that a file and a command line are checked by the same rules.

use std::ffi::OsString;
use std::path::Path;

use indexfile::dir::{limit, read_named};

/// Options that take no value.
const SWITCHES: [&str; 2] = ["insecure-tcp", "server-stopped"];

/// The arguments with those of the file, if one is named, behind them.
pub(super) fn expand(mut args: Vec<OsString>) -> Result<Vec<OsString>, String> {
    let Some(path) = value_of(&args, "config") else {
        return Ok(args);
    };
    let shown = Path::new(&path).display();
    let text = read_named(Path::new(&path), limit::CONF).map_err(|e| e.to_string())?;
    let text = String::from_utf8(text).map_err(|e| format!("{shown}: {e}"))?;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = |why: &str| format!("{shown} line {}: {why}", number + 1);
        let (key, value) = line
            .split_once(':')
            .ok_or_else(|| bad("expected `key: value`"))?;
        let (key, value) = (key.trim(), value.trim());
        if key == "config"
            || !key
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        {
            return Err(bad("no such key"));
        }
        if given(&args, key) {
            continue;
        }
        match (SWITCHES.contains(&key), value) {
            (false, value) => args.push(format!("--{key}={value}").into()),
            (true, "yes" | "on" | "true" | "1") => args.push(format!("--{key}").into()),
            (true, "no" | "off" | "false" | "0") => {}
            (true, _) => return Err(bad("expected yes or no")),
        }
    }
    Ok(args)
}

fn given(args: &[OsString], key: &str) -> bool {
    let (long, with_value) = (format!("--{key}"), format!("--{key}="));
    args.iter()
        .filter_map(|a| a.to_str())
        .any(|a| a == long || a.starts_with(&with_value))
}

fn value_of(args: &[OsString], key: &str) -> Option<OsString> {
    let (long, with_value) = (format!("--{key}"), format!("--{key}="));
    for (i, arg) in args.iter().enumerate() {
        if *arg == *long {
            return args.get(i + 1).cloned();
        }
        if let Some(value) = arg.to_str().and_then(|a| a.strip_prefix(&with_value)) {
            return Some(value.into());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str, more: &[&str]) -> Result<Vec<String>, String> {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("slotd.conf");
        std::fs::write(&path, text).unwrap();
        let args = ["slotd", "serve", "--config"]
            .into_iter()
            .map(OsString::from);
        let args = args
            .chain([path.into_os_string()])
            .chain(more.iter().map(OsString::from));
        Ok(expand(args.collect())?
            .into_iter()
            .skip(4)
            .map(|a| a.into_string().unwrap())
            .collect())
    }

    #[test]
    fn a_file_gives_defaults_and_the_command_line_wins() {
        let text = "# ours\nstate: /var/lib/slotd\nmax-lock: 2\ninsecure-tcp: no\n";
        assert_eq!(
            expanded(text, &[]).unwrap(),
            ["--state=/var/lib/slotd", "--max-lock=2"]
        );
        assert_eq!(
            expanded(text, &["--max-lock", "9"]).unwrap(),
            ["--max-lock", "9", "--state=/var/lib/slotd"]
        );
    }

    #[test]
    fn what_is_no_configuration_file_is_refused_by_name_and_never_waited_for() {
        let tmp = tempfile::tempdir().unwrap();
        let at = |name: &str| tmp.path().join(name);
        let fifo = at("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let huge = at("huge");
        let file = std::fs::File::create(&huge).unwrap();
        file.set_len(3 << 30).unwrap();
        let odd = [
            (fifo.clone(), "is a fifo, not a regular file"),
            (
                tmp.path().to_path_buf(),
                "is a directory, not a regular file",
            ),
            ("/dev/zero".into(), "is a device, not a regular file"),
            (huge, "has 3221225472 bytes or more"),
            (at("none"), "does not exist"),
        ];
        for (path, why) in odd {
            let args = ["slotd", "serve", "--config"].map(OsString::from);
            let args = args.into_iter().chain([path.clone().into_os_string()]);
            let error = expand(args.collect()).unwrap_err();
            assert!(error.contains(why), "{error}");
            assert!(error.contains(path.to_str().unwrap()), "{error}");
        }
    }

    #[test]
    fn a_line_that_is_none_is_refused_with_its_number() {
        for text in ["state", "Bad Key: x", "insecure-tcp: perhaps"] {
            let error = expanded(&format!("\n{text}\n"), &[]).unwrap_err();
            assert!(error.contains("line 2"), "{error}");
        }
    }
}
