use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use indexfile::exit::Exit;
use slotd::protocol::Role;

use super::*;

fn wanted(role: Role, names: &[&str]) -> Wanted {
    Wanted {
        role,
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        days: 30,
        file: None,
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o777
}

fn authority(tmp: &tempfile::TempDir) -> Authority {
    Authority::init(&tmp.path().join("ca"), "test authority", 100).unwrap()
}

#[test]
fn keys_are_their_owners_alone_and_the_rest_is_no_secret() {
    let tmp = tempfile::tempdir().unwrap();
    let authority = authority(&tmp);
    let host = wanted(Role::Slotd, &["imap1.test", "::1"]);
    let issued = authority.issue(&host).unwrap();
    assert_eq!(mode(authority.dir()), 0o700);
    for key in [&authority.dir().join("ca.key"), &issued.key] {
        assert_eq!(mode(key), 0o600, "{}", key.display());
    }
    let open = [
        authority.certificate_path(),
        authority.list_path(),
        issued.certificate,
    ];
    for file in open {
        assert_eq!(mode(&file), 0o644, "{}", file.display());
    }
    assert_eq!(issued.facts.names, ["imap1.test", "::1"]);
    assert_eq!(issued.facts.role, Some(Role::Slotd));
    // What was only begun is gone.
    assert_eq!(fs::read_dir(authority.dir()).unwrap().count(), 5);
}

#[test]
fn a_directory_or_key_that_others_may_use_is_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = authority(&tmp).dir().to_owned();
    for (path, wide, narrow) in [
        (dir.clone(), 0o750, 0o700),
        (dir.join("ca.key"), 0o604, 0o600),
    ] {
        fs::set_permissions(&path, Permissions::from_mode(wide)).unwrap();
        let error = Authority::open(&dir).err().unwrap();
        assert!(matches!(error, CertsError::Wide { .. }), "{error}");
        assert_eq!(error.exit(), Exit::Config);
        fs::set_permissions(&path, Permissions::from_mode(narrow)).unwrap();
    }
    assert!(Authority::open(&dir).is_ok());
    let wide = tmp.path().join("wide");
    fs::create_dir(&wide).unwrap();
    fs::set_permissions(&wide, Permissions::from_mode(0o755)).unwrap();
    assert!(Authority::init(&wide, "x", 10).is_err());
    assert_eq!(fs::read_dir(&wide).unwrap().count(), 0);
}

#[test]
fn nothing_that_is_there_is_overwritten() {
    let tmp = tempfile::tempdir().unwrap();
    let authority = authority(&tmp);
    let viewer = wanted(Role::Viewer, &["night-watch"]);
    let first = authority.issue(&viewer).unwrap();
    let all = || -> Vec<_> {
        let entries = fs::read_dir(authority.dir()).unwrap();
        let mut all: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .map(|path| (fs::read(&path).unwrap(), path))
            .collect();
        all.sort();
        all
    };
    let before = all();
    let again = authority.issue(&viewer).unwrap_err();
    assert!(matches!(again, CertsError::Exists { .. }), "{again}");
    assert_eq!(again.exit(), Exit::Config);
    // With its certificate taken away, its key is not lost either.
    let key_left = Wanted {
        file: Some("k".to_owned()),
        ..viewer.clone()
    };
    fs::write(authority.dir().join("k.key"), "somebody's").unwrap();
    assert!(authority.issue(&key_left).is_err());
    fs::remove_file(authority.dir().join("k.key")).unwrap();
    let init = Authority::init(authority.dir(), "another", 10)
        .err()
        .unwrap();
    assert!(matches!(init, CertsError::Exists { .. }), "{init}");
    assert_eq!(all(), before);
    let other = Wanted {
        file: Some("night-watch-2".to_owned()),
        ..viewer
    };
    let second = authority.issue(&other).unwrap();
    assert_ne!(first.facts.serial, second.facts.serial);
}

#[test]
fn what_can_be_no_certificate_is_refused_before_anything_is_written() {
    let tmp = tempfile::tempdir().unwrap();
    let authority = authority(&tmp);
    let refused = [
        wanted(Role::Slotd, &[]),
        wanted(Role::Slotd, &["imap1.test", "*.test"]),
        wanted(Role::Controller, &["a", "b"]),
        wanted(Role::Controller, &["../ca"]),
        wanted(Role::Controller, &["ca"]),
        wanted(Role::Viewer, &[""]),
        Wanted {
            days: 101,
            ..wanted(Role::Viewer, &["v"])
        },
    ];
    for wanted in refused {
        let error = authority.issue(&wanted).unwrap_err();
        assert_eq!(error.exit(), Exit::Usage, "{wanted:?}: {error}");
    }
    assert_eq!(fs::read_dir(authority.dir()).unwrap().count(), 3);
}

#[test]
fn the_list_of_the_revoked_grows_and_knows_only_its_own() {
    let tmp = tempfile::tempdir().unwrap();
    let authority = authority(&tmp);
    let issue = |name: &str| {
        let issued = authority.issue(&wanted(Role::Controller, &[name]));
        issued.unwrap().certificate
    };
    let (one, two, three) = (issue("one"), issue("two"), issue("three"));
    let already = |files: &[&std::path::PathBuf]| -> Vec<bool> {
        let files: Vec<_> = files.iter().map(|file| (*file).clone()).collect();
        let done = authority.revoke(&files).unwrap();
        done.into_iter().map(|one| one.already).collect()
    };
    assert_eq!(already(&[&one]), [false]);
    assert_eq!(already(&[&one, &two]), [true, false]);
    let standing = |file: &Path| show(file, SystemTime::now()).unwrap()[0].standing;
    assert_eq!(standing(&one), Standing::Revoked);
    assert_eq!(standing(&two), Standing::Revoked);
    assert_eq!(standing(&three), Standing::Valid);
    // Another's, and the authority itself, are refused, and with them all that was asked for.
    let other_dir = tmp.path().join("other");
    let other = Authority::init(&other_dir, "test authority", 100).unwrap();
    let foreign = other.issue(&wanted(Role::Controller, &["x"])).unwrap();
    for file in [foreign.certificate, authority.certificate_path()] {
        let error = authority.revoke(&[three.clone(), file]).unwrap_err();
        assert_eq!(error.exit(), Exit::Data, "{error}");
    }
    assert_eq!(standing(&three), Standing::Valid);
    // A list of another authority in the place of ours is not extended.
    fs::copy(other.list_path(), authority.list_path()).unwrap();
    assert!(authority.revoke(&[three]).is_err());
}

#[test]
fn what_is_left_of_each_certificate_is_told() {
    let tmp = tempfile::tempdir().unwrap();
    let authority = authority(&tmp);
    authority
        .issue(&wanted(Role::Slotd, &["imap1.test"]))
        .unwrap();
    let at = |days: u64| {
        let now = SystemTime::now() + Duration::from_secs(days * 86_400 + 60);
        show(authority.dir(), now).unwrap()
    };
    let now = at(0);
    let roles: Vec<_> = now.iter().map(|one| one.role.as_deref().unwrap()).collect();
    assert_eq!(roles, ["authority", "slotd"]);
    assert_eq!((now[0].days_left, now[1].days_left), (99, 29));
    let later = at(31);
    assert_eq!(later[1].standing, Standing::Expired);
    assert_eq!(later[1].days_left, -2);
    assert_eq!(later[0].standing, Standing::Valid);
    let hour_ago = SystemTime::now() - Duration::from_secs(7200);
    let before = show(authority.dir(), hour_ago).unwrap();
    assert_eq!(before[1].standing, Standing::NotYet);
    let empty = tmp.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert_eq!(
        show(&empty, SystemTime::now()).unwrap_err().exit(),
        Exit::Data
    );
}
