//! What lies on a Cyrus disk: index and expunge files, GUIDs, cyrus.header, imapd.conf, mailbox directories.
