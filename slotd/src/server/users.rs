//! The users who may order something through the Unix socket, as the list is now.
//!
//! The list may be replaced while connections are open. New ones meet the new list; an open one of
//! a user who is on it no more ends at once, as one whose certificate is revoked. Nothing is kept,
//! so a crash leaves nothing.

use std::sync::Arc;

use tokio::sync::watch;

/// The list; its copies are the same list.
#[derive(Clone, Debug)]
pub struct Users(Arc<watch::Sender<Vec<u32>>>);

/// A user who was on the list.
#[derive(Clone, Debug)]
pub(super) struct Listed {
    uid: u32,
    list: watch::Receiver<Vec<u32>>,
}

impl Users {
    /// Root, the user that this process runs as, and these.
    #[must_use]
    pub fn new(named: &[u32]) -> Users {
        Users::only(&with_our_own(named))
    }

    /// These and nobody else.
    pub(super) fn only(uids: &[u32]) -> Users {
        Users(Arc::new(watch::Sender::new(uids.to_vec())))
    }

    /// Root, the user that this process runs as, and these from now on.
    pub fn replace(&self, named: &[u32]) {
        self.replace_all(with_our_own(named));
    }

    /// These and nobody else from now on.
    pub(super) fn replace_all(&self, uids: Vec<u32>) {
        self.0.send_replace(uids);
    }

    /// Whether a user is on the list, and when no more.
    pub(super) fn listed(&self, uid: u32) -> Option<Listed> {
        let list = self.0.subscribe();
        let listed = Listed { uid, list };
        (!listed.is_out()).then_some(listed)
    }
}

/// Root and our own user alone.
impl Default for Users {
    fn default() -> Users {
        Users::new(&[])
    }
}

impl Listed {
    /// Whether it is on the list no more.
    pub(super) fn is_out(&self) -> bool {
        !self.list.borrow().contains(&self.uid)
    }

    /// Returns once it is not.
    pub(super) async fn until_out(mut self) {
        let uid = self.uid;
        let is_gone = self
            .list
            .wait_for(|list| !list.contains(&uid))
            .await
            .is_ok();
        if !is_gone {
            // The server goes; it ends its connections itself.
            std::future::pending::<()>().await;
        }
    }
}

fn with_our_own(named: &[u32]) -> Vec<u32> {
    let own = [0, rustix::process::geteuid().as_raw()];
    named.iter().copied().chain(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_taken_off_the_list_is_out_and_who_stays_on_it_is_not() {
        let own = rustix::process::geteuid().as_raw();
        let (named, other) = (own + 1, own + 2);
        let users = Users::new(&[named, other]);
        let listed = [own, 0, named, other].map(|uid| users.listed(uid).unwrap());
        assert!(users.listed(own + 3).is_none());
        users.replace(&[other]);
        let out = listed.each_ref().map(Listed::is_out);
        assert_eq!(out, [false, false, true, false]);
        listed[2].clone().until_out().await;
        assert!(users.listed(named).is_none());
        // And is let in again once it is named again.
        users.replace(&[named]);
        assert!(users.listed(named).is_some() && users.listed(other).is_none());
    }
}
