//! A real store, a slotd that serves it in this process, and a client.
#![allow(dead_code)] // each test binary uses its part

pub mod died;
pub mod fenced;

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use indexfile::mailbox::{ImapdConf, MailboxName};
use indexfile::{FileKind, Guid, IndexFile};
use sha1::{Digest, Sha1};
use slotd::client::{Addr, Client, Timeouts};
use slotd::host::{Host, HostError, Options};
use slotd::intent::recovery::{self, Attempt, Report};
use slotd::lease::LeaseError;
use slotd::protocol::{Lock, Named};
use slotd::server::{self, Listener};
use stores::genuine;
use stores::judge::snapshot;
use tokio::sync::watch;

const ROOT: &str = "cyrus-2.3.9";

/// The store that a genuine Cyrus 2.3.9 wrote, unpacked into a directory of its own.
pub struct Store {
    pub tmp: tempfile::TempDir,
    pub conf: ImapdConf,
}

impl Store {
    fn of(tmp: tempfile::TempDir, host: &stores::Host) -> Store {
        let conf = ImapdConf::load(&host.conf).unwrap();
        Store { tmp, conf }
    }

    pub fn cyrus_2_3_9() -> Store {
        let tmp = tempfile::tempdir().unwrap();
        let host = genuine::unpack_239(&tmp.path().join(ROOT)).unwrap();
        Store::of(tmp, &host)
    }

    /// The same store with these mailboxes only: for tests that need many.
    pub fn small(mailboxes: &[&str]) -> Store {
        static TEMPLATE: OnceLock<(Store, stores::Host)> = OnceLock::new();
        let (_, template) = TEMPLATE.get_or_init(|| {
            let store = Store::cyrus_2_3_9();
            let host = stores::Host::from_conf(&store.root().join("imapd.conf")).unwrap();
            (store, host)
        });
        let tmp = tempfile::tempdir().unwrap();
        let host = genuine::copy_mailboxes(template, &tmp.path().join(ROOT), mailboxes).unwrap();
        Store::of(tmp, &host)
    }

    pub fn root(&self) -> PathBuf {
        self.tmp.path().join(ROOT)
    }

    pub fn meta(&self, mailbox: &str) -> PathBuf {
        self.root().join("meta").join(mailbox.replace('.', "/"))
    }

    pub fn spool(&self, mailbox: &str) -> PathBuf {
        self.root().join("spool").join(mailbox.replace('.', "/"))
    }

    pub fn state(&self) -> PathBuf {
        self.tmp.path().join("state")
    }

    pub fn index(&self, mailbox: &str) -> IndexFile {
        IndexFile::open(&self.meta(mailbox).join("cyrus.index"), FileKind::Index).unwrap()
    }

    pub fn expunge(&self, mailbox: &str) -> Option<IndexFile> {
        let path = self.meta(mailbox).join("cyrus.expunge");
        path.exists()
            .then(|| IndexFile::open(&path, FileKind::Expunge).unwrap())
    }

    /// Everything beside the messages: path, inode, bytes.
    pub fn meta_files(&self) -> Vec<(PathBuf, u64, Vec<u8>)> {
        let meta = self.root().join("meta");
        let tree = snapshot::take(&meta).unwrap().into_iter();
        tree.filter(|(_, entry)| !entry.is_dir())
            .map(|(path, entry)| {
                let path = meta.join(path);
                let bytes = std::fs::read(&path).unwrap();
                (path, entry.ino, bytes)
            })
            .collect()
    }

    #[allow(clippy::needless_pass_by_value)] // callers make one for it
    pub fn host(&self, options: Options) -> Arc<Host> {
        // Another test that starts a process keeps a copy of every descriptor, and with it the lock
        // of the state directory, for the moment between fork and exec.
        for _ in 0..500 {
            match Host::open(self.conf.clone(), &self.state(), options.clone()) {
                Err(HostError::Busy { .. } | HostError::Lease(LeaseError::Held { .. })) => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                host => return Arc::new(host.unwrap()),
            }
        }
        panic!("the state directory stays busy");
    }

    pub async fn serve(&self) -> Served {
        self.serve_with(Options::default()).await
    }

    pub async fn serve_with(&self, options: Options) -> Served {
        let host = self.host(options);
        let addr = Addr::Unix(self.tmp.path().join("s"));
        let listener = Listener::bind(&addr, false).await.unwrap();
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(server::serve(Arc::clone(&host), listener, stopped));
        Served {
            addr,
            stop,
            task,
            host,
        }
    }
}

pub struct Served {
    pub addr: Addr,
    pub stop: watch::Sender<bool>,
    pub task: tokio::task::JoinHandle<()>,
    pub host: Arc<Host>,
}

impl Served {
    pub async fn client(&self) -> Client {
        Client::connect(&self.addr, Timeouts::default())
            .await
            .unwrap()
    }

    pub async fn stop(self) {
        self.stop.send(true).unwrap();
        self.task.await.unwrap();
    }
}

pub fn name(text: &str) -> MailboxName {
    MailboxName::parse(text).unwrap()
}

pub fn named(text: &str) -> Named {
    Named::new(name(text))
}

pub fn lock(text: &str) -> Lock {
    Lock {
        of: named(text),
        wait: None,
        now: false,
        ahead: true,
        epoch: None,
    }
}

/// What a test may wait for locks, and read before them, while it settles something.
pub fn attempt() -> Attempt<'static> {
    static NEVER: AtomicBool = AtomicBool::new(false);
    Attempt {
        wait: Duration::from_secs(5),
        read: None,
        cancel: &NEVER,
    }
}

/// Settles what a crash left.
pub fn recover(host: &Host) -> Report {
    recovery::recover(host, attempt())
}

/// Makes the message of the record at a position of the index this long, in bytes: nearly all of
/// it a hole.
pub fn lengthen(store: &Store, mailbox: &str, at: u32, size: u32) {
    let uid = store.index(mailbox).record(at).unwrap().unwrap().uid();
    let message = store.spool(mailbox).join(format!("{uid}."));
    let write = |path: &Path| std::fs::File::options().write(true).open(path).unwrap();
    write(&message).set_len(u64::from(size)).unwrap();
    let index = write(&store.meta(mailbox).join("cyrus.index"));
    let place = 96 + u64::from(at) * 80 + 12;
    index.write_all_at(&size.to_be_bytes(), place).unwrap();
}

pub fn sha1_of(path: &Path) -> Guid {
    Guid::from_bytes(Sha1::digest(std::fs::read(path).unwrap()).into())
}

/// What a 2.3.16 with `guid_mode off` does: a message whose GUID is NULL, at version 10. Gives its
/// UID.
pub fn append_with_null_guid(store: &Store, mailbox: &str) -> u32 {
    let path = store.meta(mailbox).join("cyrus.index");
    let mut bytes = std::fs::read(&path).unwrap();
    assert_eq!(bytes[11], 10);
    let word = |bytes: &[u8], at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
    let (exists, uid) = (word(&bytes, 20) + 1, word(&bytes, 28) + 1);
    let mut record = bytes[bytes.len() - 88..].to_vec();
    record[..4].copy_from_slice(&uid.to_be_bytes());
    let message = format!("Subject: {uid}\r\n\r\nnew\r\n");
    let size = u32::try_from(message.len()).unwrap();
    record[12..16].copy_from_slice(&size.to_be_bytes());
    record[60..80].fill(0);
    bytes.extend_from_slice(&record);
    bytes[20..24].copy_from_slice(&exists.to_be_bytes());
    bytes[28..32].copy_from_slice(&uid.to_be_bytes());
    std::fs::write(store.spool(mailbox).join(format!("{uid}.")), message).unwrap();
    // In place, as Cyrus appends.
    let index = std::fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&index, &bytes, 0).unwrap();
    uid
}
