//! The commands as calls: each is sent, and its answer read into what it says.

use super::{Client, ClientError};
use crate::protocol::{
    Clean, Cleaned, Command, Commit, Committed, Complete, Completed, Confirmed, DigestRange,
    Digests, DrainRequest, FieldError, Fields, Greeting, GuidEntry, GuidPage, GuidRange, HostDrain,
    HostFacts, HostStatus, Kicked, ListRange, Listed, Lock, MailboxFacts, Named, Prepare, Prepared,
    Revoked, Sha1sChunk, Sha1sRange, Status, Undrained, Upgrade, Upgraded, Verified, Verify,
};

impl Client {
    async fn typed<T>(
        &mut self,
        command: Command,
        read: impl Fn(&Fields) -> Result<T, FieldError>,
    ) -> Result<T, ClientError> {
        let fields = self.ask(&command).await?;
        read(&fields).map_err(|source| ClientError::Field {
            addr: self.addr.clone(),
            command: command.name(),
            source,
        })
    }

    /// `HELLO`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn hello(&mut self) -> Result<Greeting, ClientError> {
        self.typed(Command::Hello, Greeting::from_fields).await
    }

    /// `PREFLIGHT`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn preflight(&mut self) -> Result<HostFacts, ClientError> {
        self.typed(Command::Preflight, HostFacts::from_fields).await
    }

    /// `REGISTER`: this connection is one of the coordinator with that journal, and with that
    /// epoch if there is one.
    ///
    /// # Errors
    /// As [`Client::ask`]; [`crate::protocol::Code::Busy`] if another one is at work,
    /// [`crate::protocol::Code::Fenced`] if one has taken over.
    pub async fn register(
        &mut self,
        journal: &str,
        epoch: Option<u64>,
    ) -> Result<Greeting, ClientError> {
        let journal = journal.to_owned();
        let register = Command::Register { journal, epoch };
        self.typed(register, Greeting::from_fields).await
    }

    /// `LOCK`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn lock(&mut self, lock: Lock) -> Result<MailboxFacts, ClientError> {
        self.typed(Command::Lock(lock), MailboxFacts::from_fields)
            .await
    }

    /// `UPGRADE`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn upgrade(&mut self, upgrade: Upgrade) -> Result<Upgraded, ClientError> {
        self.typed(Command::Upgrade(upgrade), Upgraded::from_fields)
            .await
    }

    /// `GUIDS`, one page.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn guids(&mut self, range: GuidRange) -> Result<GuidPage, ClientError> {
        self.typed(Command::Guids(range), GuidPage::from_fields)
            .await
    }

    /// `GUIDS`, all pages.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn all_guids(&mut self) -> Result<Vec<GuidEntry>, ClientError> {
        let mut all = Vec::new();
        let mut from = 0;
        loop {
            let page = self
                .guids(GuidRange {
                    from,
                    ..GuidRange::default()
                })
                .await?;
            all.extend_from_slice(&page.entries);
            match page.next {
                // A server that does not move on would keep us here for ever.
                Some(next) if next > from => from = next,
                _ => return Ok(all),
            }
        }
    }

    /// `COMMIT`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn commit(&mut self, commit: Commit) -> Result<Committed, ClientError> {
        self.typed(Command::Commit(commit), Committed::from_fields)
            .await
    }

    /// `RELEASE`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn release(&mut self, drop_old: bool) -> Result<Committed, ClientError> {
        self.typed(Command::Release { drop_old }, Committed::from_fields)
            .await
    }

    /// `DIGESTS`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn digests(&mut self, range: DigestRange) -> Result<Digests, ClientError> {
        self.typed(Command::Digests(range), Digests::from_fields)
            .await
    }

    /// `CONFIRM`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn confirm(&mut self) -> Result<Confirmed, ClientError> {
        self.typed(Command::Confirm, Confirmed::from_fields).await
    }

    /// `ROLLBACK`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn rollback(&mut self) -> Result<(), ClientError> {
        self.typed(Command::Rollback, |_| Ok(())).await
    }

    /// `PREPARE`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn prepare(&mut self, prepare: Prepare) -> Result<Prepared, ClientError> {
        self.typed(Command::Prepare(prepare), Prepared::from_fields)
            .await
    }

    /// `LIST`, one page.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn list(&mut self, range: ListRange) -> Result<Listed, ClientError> {
        self.typed(Command::List(range), Listed::from_fields).await
    }

    /// `SHA1S`, one piece.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn sha1s(&mut self, range: Sha1sRange) -> Result<Sha1sChunk, ClientError> {
        self.typed(Command::Sha1s(range), Sha1sChunk::from_fields)
            .await
    }

    /// `STATUS`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn status(&mut self, of: Named) -> Result<Status, ClientError> {
        self.typed(Command::Status(of), Status::from_fields).await
    }

    /// `STATUS` without a mailbox
    ///
    /// # Errors
    /// As [`Client::ask`]; a server of a release that does not know it answers BAD.
    pub async fn host_status(&mut self) -> Result<HostStatus, ClientError> {
        self.typed(Command::HostStatus, HostStatus::from_fields)
            .await
    }

    /// `VERIFY`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn verify(&mut self, verify: Verify) -> Result<Verified, ClientError> {
        self.typed(Command::Verify(verify), Verified::from_fields)
            .await
    }

    /// `COMPLETE`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn complete(&mut self, complete: Complete) -> Result<Completed, ClientError> {
        self.typed(Command::Complete(complete), Completed::from_fields)
            .await
    }

    /// `REVOKE`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn revoke(&mut self) -> Result<Revoked, ClientError> {
        self.typed(Command::Revoke, Revoked::from_fields).await
    }

    /// `HOST`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn host(&mut self) -> Result<HostDrain, ClientError> {
        self.typed(Command::Host, HostDrain::from_fields).await
    }

    /// `DRAIN`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn drain(&mut self, drain: DrainRequest) -> Result<HostDrain, ClientError> {
        self.typed(Command::Drain(drain), HostDrain::from_fields)
            .await
    }

    /// `KICK`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn kick(&mut self) -> Result<Kicked, ClientError> {
        self.typed(Command::Kick, Kicked::from_fields).await
    }

    /// `UNDRAIN`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn undrain(&mut self) -> Result<Undrained, ClientError> {
        self.typed(Command::Undrain, Undrained::from_fields).await
    }

    /// `CLEAN`
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn clean(&mut self, clean: Clean) -> Result<Cleaned, ClientError> {
        self.typed(Command::Clean(clean), Cleaned::from_fields)
            .await
    }
}
