//! In the place of configuration, of lists, and of slotd's own files; and what these are made as.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use stores::genuine::unpack_239;
use stores::judge::snapshot;
use tests::fleet::program;
use tests::process::{Guard, Slotd};
use tests::wire::Wire;

use crate::attacked::{Attacked, MAILBOX, PATIENCE, assert_memory};
use crate::odd::{ALL, Odd};

/// `imapd.conf`, a file that it includes, and a list of mailboxes: every program that reads one.
#[test]
fn in_the_place_of_configuration_and_lists() {
    let it = Attacked::new();
    let conf = it.dir.path().join("imapd.conf");
    let list = it.dir.path().join("names");
    for odd in ALL {
        // These are named by a person, through links if it comes to that; and a list may come from
        // a pipe, which is read to its end.
        if matches!(odd, Odd::LinkOut) {
            continue;
        }
        for path in [&conf, &list] {
            if path == &list && matches!(odd, Odd::Fifo | Odd::Sparse | Odd::LinkToDevice) {
                continue;
            }
            let what = format!("{} is {odd:?}", path.display());
            fs::copy(&it.host.conf, &conf).unwrap();
            fs::write(&list, format!("{MAILBOX}\n")).unwrap();
            let placed = odd.put(path, &it.elsewhere());
            for (name, verb) in [("precompute", "run"), ("precompute", "scrub")] {
                let mut command = Command::new(program(name));
                command.arg(verb).arg("--imapd-conf").arg(&conf);
                command.arg("--mailboxes").arg(&list);
                let ended = Guard::spawn(&mut command).finish_within(PATIENCE);
                // What is there is text then, and what it says is named.
                let text = matches!(odd, Odd::Empty | Odd::Truncated | Odd::Growing);
                let named = path.file_name().unwrap().to_str().unwrap();
                Attacked::judge(&what, &ended, if text { "" } else { named });
            }
            if path == &conf {
                for verb in ["serve", "recover"] {
                    let mut command = Command::new(program("slotd"));
                    command.arg(verb).arg("--imapd-conf").arg(&conf);
                    command.arg("--state").arg(it.dir.path().join("state"));
                    if verb == "serve" {
                        let socket = it.dir.path().join("sock");
                        command.arg("--listen");
                        command.arg(format!("unix:{}", socket.display()));
                        if !matches!(odd, Odd::Fifo | Odd::Socket | Odd::Directory | Odd::Loop) {
                            continue;
                        }
                    } else {
                        fs::create_dir_all(it.dir.path().join("state")).unwrap();
                    }
                    let ended = Guard::spawn(&mut command).finish_within(PATIENCE);
                    let text = matches!(odd, Odd::Empty | Odd::Truncated | Odd::Growing);
                    Attacked::judge(&what, &ended, if text { "" } else { "imapd.conf" });
                }
            }
            drop(placed);
            let _ = fs::remove_file(path);
            let _ = fs::remove_dir_all(path);
        }
    }
    assert_memory();
}

/// A fleet file, and a file of options, which a person names.
#[test]
fn in_the_place_of_a_fleet_file_and_of_options() {
    let it = Attacked::new();
    let fleet = it.dir.path().join("fleet.toml");
    let options = it.dir.path().join("options.toml");
    for (path, option) in [(&fleet, "--fleet"), (&options, "--config")] {
        for odd in ALL {
            let what = format!("{} is {odd:?}", path.display());
            fs::write(path, "[pairs.be1]\nmaster = \"unix:/nonexistent/m\"\n").unwrap();
            fs::copy(path, it.elsewhere().join("sound")).unwrap();
            let placed = odd.put(path, &it.elsewhere());
            let args = ["plan", option, path.to_str().unwrap()];
            let ended = it.run("controller", &args, false);
            let code = ended.code.unwrap_or(-1);
            assert!(code != 0, "{what}: {ended:?}");
            // Through a link the same file is read.
            let linked = matches!(odd, Odd::LinkOut | Odd::Empty);
            Attacked::judge(
                &what,
                &ended,
                if linked { "" } else { path.to_str().unwrap() },
            );
            drop(placed);
            let _ = fs::remove_file(path);
            let _ = fs::remove_dir_all(path);
        }
    }
    assert_memory();
}

/// slotd's own files, in its state directory and in the configdirectory: it starts or says why not,
/// and writes nothing elsewhere.
#[test]
fn in_the_place_of_slotds_own_files() {
    let it = Attacked::new();
    let state = it.dir.path().join("state");
    fs::create_dir(&state).unwrap();
    let recover = || {
        let mut command = Command::new(program("slotd"));
        command
            .arg("recover")
            .arg("--imapd-conf")
            .arg(&it.host.conf);
        command.arg("--state").arg(&state);
        Guard::spawn(&mut command).finish_within(PATIENCE)
    };
    let _ = recover().expect_code(0);
    let conf = fs::read_to_string(&it.host.conf).unwrap();
    let configdirectory = conf
        .lines()
        .find_map(|line| line.strip_prefix("configdirectory:"))
        .map(|dir| PathBuf::from(dir.trim()))
        .unwrap();
    let mut own: Vec<PathBuf> = Vec::new();
    for dir in [&state, &configdirectory] {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let name = entry.file_name();
            let ours = dir == &state || name.as_bytes().starts_with(b"reguid.");
            if ours && entry.file_type().unwrap().is_file() {
                own.push(entry.path());
            }
        }
    }
    for more in [
        "served.json",
        "coordinators",
        "epoch",
        "mounts.json",
        "intents",
    ] {
        if !own.iter().any(|path| path.ends_with(more)) {
            own.push(state.join(more));
        }
    }
    eprintln!("{own:?}");
    assert!(own.len() >= 7, "{own:?}");
    for path in &own {
        let sound = fs::read(path).ok();
        for odd in ALL {
            let what = format!("{} is {odd:?}", path.display());
            fs::write(
                it.elsewhere().join("sound"),
                sound.as_deref().unwrap_or(b"x\n"),
            )
            .unwrap();
            let before = snapshot::take(&it.elsewhere()).unwrap();
            let placed = odd.put(path, &it.elsewhere());
            let ended = recover();
            Attacked::judge(&what, &ended, path.file_name().unwrap().to_str().unwrap());
            drop(placed);
            let after = snapshot::take(&it.elsewhere()).unwrap();
            let differences = snapshot::differences(&before, &after);
            assert!(differences.is_empty(), "{what}: {differences:?}");
            let _ = fs::remove_file(path);
            let _ = fs::remove_dir_all(path);
            if let Some(sound) = &sound {
                fs::write(path, sound).unwrap();
            }
            for left in fs::read_dir(&state).unwrap().map(Result::unwrap) {
                if left.file_name().to_string_lossy().contains(".damaged-") {
                    fs::remove_file(left.path()).unwrap();
                }
            }
        }
    }
    assert_memory();
}

/// The directory in which Cyrus's processes say who they serve, and a file in it: `HOST` answers,
/// or refuses what it cannot look at by name.
#[test]
fn in_the_place_of_the_directory_of_sessions_and_of_what_is_in_it() {
    let it = Attacked::new();
    let conf = fs::read_to_string(&it.host.conf).unwrap();
    let configdirectory = conf
        .lines()
        .find_map(|l| l.strip_prefix("configdirectory:"));
    let proc = Path::new(configdirectory.unwrap().trim()).join("proc");
    let session = "client.example.com [10.0.0.9]\tjoe\tuser.joe\n";
    fs::write(it.elsewhere().join("sound"), session).unwrap();
    let before = snapshot::take(&it.elsewhere()).unwrap();
    let slotd = Slotd::start(&program("slotd"), &it.host, &[]);
    let mut answered = 0;
    // Of this process, which is there.
    for at in [proc.clone(), proc.join(std::process::id().to_string())] {
        for odd in ALL {
            let what = format!("{} is {odd:?}", at.display());
            let _ = fs::remove_file(&proc);
            let _ = fs::remove_dir_all(&proc);
            if at != proc {
                fs::create_dir(&proc).unwrap();
                fs::write(&at, session).unwrap();
            }
            let placed = odd.put(&at, &it.elsewhere());
            let reply = Wire::connect(&slotd.addr).unwrap().ask("HOST");
            assert!(
                reply.starts_with("OK") || reply.contains(proc.to_str().unwrap()),
                "{what}: {reply}"
            );
            answered += usize::from(reply.starts_with("OK"));
            drop(placed);
            let after = snapshot::take(&it.elsewhere()).unwrap();
            let differences = snapshot::differences(&before, &after);
            assert!(differences.is_empty(), "{what}: {differences:?}");
        }
    }
    assert!(answered > 0, "it never answers");
    assert_eq!(slotd.stop().code, Some(0));
    assert_memory();
}

/// Whatever the umask is, what is made has its final owner and mode: that of the file that it
/// replaces, or its owner's alone.
#[test]
fn a_umask_changes_the_mode_of_nothing_that_is_made() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    let mut caches = Vec::new();
    for umask in ["0", "0777"] {
        let dir = tempfile::tempdir().unwrap();
        let host = unpack_239(&dir.path().join("host")).unwrap();
        let meta = host.dirs(MAILBOX).meta;
        let list = dir.path().join("list");
        fs::write(&list, format!("{MAILBOX}\n")).unwrap();
        let files = ["cyrus.index", "cyrus.expunge"].map(|name| meta.join(name));
        fs::set_permissions(&files[0], fs::Permissions::from_mode(0o640)).unwrap();
        let before = files.each_ref().map(|path| mode(path));
        let under = format!("umask {umask}; exec \"$@\"");
        let wrapper = ["sh", "-c", &under, "sh"].map(ToOwned::to_owned);
        let mut command = Command::new("sh");
        command
            .args(&wrapper[1..])
            .arg(program("precompute"))
            .arg("run");
        command.arg("--imapd-conf").arg(&host.conf);
        command.arg("--mailboxes").arg(&list);
        let _ = Guard::spawn(&mut command).finish().expect_code(0);
        caches.push(mode(&meta.join("cyrus.sha1s")));
        host.state_dir().unwrap();
        let slotd = Slotd::start_under(&wrapper, &program("slotd"), &host, &[]);
        let mut wire = Wire::connect(&slotd.addr).unwrap();
        for command in ["LOCK", "UPGRADE", "COMMIT"] {
            let name = if command == "LOCK" { MAILBOX } else { "" };
            wire.must(format!("{command} {name}").trim_end());
        }
        drop(wire);
        assert_eq!(slotd.stop().code, Some(0));
        assert_eq!(files.each_ref().map(|path| mode(path)), before, "{umask}");
        for entry in fs::read_dir(host.state_dir().unwrap()).unwrap() {
            let path = entry.unwrap().path();
            let mode = mode(&path);
            // What another process could read or write then.
            assert_eq!(
                mode & 0o077,
                0,
                "umask {umask}: {} is {mode:o}",
                path.display()
            );
        }
    }
    assert_eq!(caches[0], caches[1]);
}
