//! Lines of `sha1sum`: `HEX  PATH`, `HEX *PATH`, and its escaped form that begins with a backslash.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use indexfile::Guid;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The SHA-1.
    pub guid: Guid,
    /// The file.
    pub path: PathBuf,
}

/// Reads one line, without its line end; `None` if it is not of that form.
#[must_use]
pub fn parse_line(line: &[u8]) -> Option<Line> {
    let (escaped, line) = match line.strip_prefix(b"\\") {
        Some(rest) => (true, rest),
        None => (false, line),
    };
    let (hex, rest) = line.split_at_checked(40)?;
    let guid: Guid = std::str::from_utf8(hex).ok()?.parse().ok()?;
    let path = rest
        .strip_prefix(b"  ")
        .or_else(|| rest.strip_prefix(b" *"))?;
    let path = if escaped {
        unescape(path)?
    } else {
        path.to_vec()
    };
    if path.is_empty() || path.contains(&0) {
        return None;
    }
    Some(Line {
        guid,
        path: PathBuf::from(OsString::from_vec(path)),
    })
}

fn unescape(path: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.iter();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'\\' => match bytes.next()? {
                b'n' => b'\n',
                b'r' => b'\r',
                b'\\' => b'\\',
                _ => return None,
            },
            byte => *byte,
        });
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "a9993e364706816aba3e25717850c26c9cd0d89d";

    fn path(text: &str) -> Option<String> {
        parse_line(text.as_bytes()).map(|line| line.path.display().to_string())
    }

    #[test]
    fn all_forms_of_sha1sum_are_read() {
        assert_eq!(path(&format!("{HEX}  a/1.")).as_deref(), Some("a/1."));
        assert_eq!(path(&format!("{HEX} *a b/1.")).as_deref(), Some("a b/1."));
        assert_eq!(
            path(&format!("\\{HEX}  a\\\\b\\n/1.")).as_deref(),
            Some("a\\b\n/1.")
        );
        for bad in [
            "",
            HEX,
            &format!("{HEX} a"),
            &format!("{HEX}  "),
            &HEX[1..],
            &format!("\\{HEX}  a\\x"),
        ] {
            assert_eq!(path(bad), None, "{bad}");
        }
    }
}
