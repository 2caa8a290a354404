//! What is reported and left, while the rest is done.

use super::*;

#[test]
fn what_is_no_message_is_reported_with_its_path_and_the_rest_is_done() {
    let store = store();
    let dir = store.mailbox("user.joe");
    let path = |uid: u32| dir.join(format!("{uid}."));
    for uid in [10, 20, 30, 40, 50] {
        fs::remove_file(path(uid)).expect("unlink");
    }
    fs::create_dir(path(10)).expect("mkdir");
    symlink("20.", path(20)).expect("a loop");
    symlink("/etc/passwd", path(30)).expect("a way out");
    nix::unistd::mkfifo(&path(40), nix::sys::stat::Mode::S_IRWXU).expect("fifo");
    let summary = store.summary(65, &[]);
    assert_eq!(
        (&summary["hashed"], &summary["errors"]),
        (&703.into(), &5.into()),
        "{summary}"
    );
    let findings = summary["findings"].as_array().expect("list");
    let mut seen: Vec<(String, String)> = findings
        .iter()
        .map(|f| {
            (
                f["path"].as_str().expect("path").to_owned(),
                f["code"].as_str().expect("code").to_owned(),
            )
        })
        .collect();
    seen.sort();
    let want = [
        (10, "not-regular"),
        (20, "not-regular"),
        (30, "not-regular"),
        (40, "not-regular"),
        (50, "missing"),
    ];
    let want: Vec<_> = want
        .map(|(uid, code)| (path(uid).display().to_string(), code.to_owned()))
        .into();
    assert_eq!(seen, want);
    assert_eq!(cache(&store, "user.joe").len(), 695);
    assert_eq!(store.believed_and_right(), 703);
}

#[test]
fn damaged_mailboxes_are_refused_and_the_rest_is_done() {
    let store = store();
    store.make("user.torn", &[1, 2, 3], &[]);
    store.make("user.headless", &[1], &[]);
    store.make("user.expunge", &[1, 2], &[3]);
    let cut = |name: &str, file: &str, len: usize| {
        let path = store.mailbox(name).join(file);
        let bytes = fs::read(&path).expect("read");
        fs::write(&path, &bytes[..len]).expect("cut");
    };
    cut("user.torn", "cyrus.index", 200);
    cut("user.expunge", "cyrus.expunge", 0);
    fs::remove_file(store.mailbox("user.headless").join("cyrus.header")).expect("unlink");
    let summary = store.summary(65, &[]);
    assert_eq!(
        (&summary["hashed"], &summary["errors"]),
        (&710.into(), &3.into()),
        "{summary}"
    );
    let mut codes: Vec<&str> = summary["findings"]
        .as_array()
        .expect("list")
        .iter()
        .map(|f| f["code"].as_str().expect("code"))
        .collect();
    codes.sort_unstable();
    assert_eq!(codes, ["expunge", "header", "index"]);
}

#[test]
fn a_linked_directory_is_reported_and_not_followed() {
    let store = store();
    symlink("joe", store.spool().join("user/alias")).expect("link");
    symlink("..", store.spool().join("user/loop")).expect("loop");
    let summary = store.summary(65, &[]);
    assert_eq!(
        (&summary["mailboxes"], &summary["errors"]),
        (&4.into(), &2.into()),
        "{summary}"
    );
}

#[test]
fn what_is_no_file_and_is_named_cyrus_sha1s_is_reported_and_left_and_the_rest_is_done() {
    let store = store();
    let directory = store.mailbox("user.joe.Old").join("cyrus.sha1s");
    fs::create_dir(&directory).expect("mkdir");
    let socket = store.mailbox("user.expunged").join("cyrus.sha1s");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("socket");
    let reported = |command: &str| -> BTreeMap<String, String> {
        let output = store.run(command, &["--json"]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(65), "{command}: {errors}");
        let summary: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let findings = summary["findings"].as_array().expect("findings");
        let word = |f: &serde_json::Value, key: &str| f[key].as_str().expect("text").to_owned();
        findings
            .iter()
            .map(|f| (word(f, "path"), word(f, "code")))
            .collect()
    };
    let both: BTreeMap<String, String> = [&directory, &socket]
        .into_iter()
        .map(|path| (path.display().to_string(), "not-regular".to_owned()))
        .collect();
    assert_eq!(reported("run"), both);
    assert_eq!(cache(&store, "user.joe").len(), 700);
    assert_eq!(reported("verify"), both);
    assert_eq!(reported("clean"), both);
    assert!(!store.mailbox("user.joe").join("cyrus.sha1s").exists());
    assert!(directory.is_dir() && socket.exists());
}
