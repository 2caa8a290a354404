//! `cyrus.header` in the text form of every release up to 3.4.

use indexfile::mailbox::HEADER_MAGIC;

/// The file's bytes. The quota root may be empty.
pub(super) fn bytes(quota_root: &str, uniqueid: &str, flags: &[String], acl: &str) -> Vec<u8> {
    let mut out = HEADER_MAGIC.to_vec();
    out.extend_from_slice(quota_root.as_bytes());
    out.push(b'\t');
    out.extend_from_slice(uniqueid.as_bytes());
    out.push(b'\n');
    for flag in flags {
        out.extend_from_slice(flag.as_bytes());
        out.push(b' ');
    }
    out.push(b'\n');
    out.extend_from_slice(acl.as_bytes());
    out.push(b'\n');
    out
}

/// The name of user flag number `k`: what mail programs use first, then keywords of one's own.
pub(super) fn flag_name(k: usize) -> String {
    const USUAL: [&str; 5] = ["$Label1", "NonJunk", "$Forwarded", "$MDNSent", "todo"];
    USUAL
        .get(k)
        .map_or_else(|| format!("kw{k:03}"), |&name| name.to_owned())
}

#[cfg(test)]
mod tests {
    use indexfile::mailbox::{HeaderFile, HeaderForm};

    use super::*;

    #[test]
    fn the_reader_of_real_headers_reads_ours() {
        let flags: Vec<String> = (0..128).map(flag_name).collect();
        let header = HeaderFile::parse(&bytes(
            "user.alice",
            "1a6fe2876b022b0b",
            &flags,
            "alice\tlrs\t",
        ))
        .expect("a good header");
        assert_eq!(header.form, HeaderForm::Text);
        assert_eq!(header.uniqueid, "1a6fe2876b022b0b");
        assert_eq!(header.quota_root.as_deref(), Some("user.alice"));
        assert_eq!(header.user_flags.iter().flatten().count(), 128);
    }
}
