//! Mailbox names, the configuration that says where they lie, and `cyrus.header`.
//!
//! A name is checked once, when it becomes a [`MailboxName`]; a path is made in one place,
//! [`ImapdConf::dirs`].

mod admin_name;
mod conf_file;
mod dirs;
mod header_file;
mod imapd_conf;
pub mod list;
mod name;
mod seen_path;
mod uuid_dir;
mod walk;

pub use crate::kind::MetaFile;
pub use admin_name::Naming;
pub use conf_file::ConfError;
pub use dirs::{Location, MailboxDirs};
pub use header_file::{HeaderError, HeaderFile, HeaderForm, MAGIC as HEADER_MAGIC};
pub use imapd_conf::{ImapdConf, Partition, VirtDomains};
pub use name::{MailboxName, NameError};
pub use uuid_dir::{is_uuid_dir, uuid_dir};
pub use walk::name_of_dir;
