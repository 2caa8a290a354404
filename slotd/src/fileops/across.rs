//! What is seen to of the whole store before a mailbox crosses version 12, either way.

/// One condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Guard {
    /// The fence stands: no server runs.
    Fence,
    /// The store is not called complete, on stable storage too.
    Revoke,
}

/// What is seen to before files are staged, and again before they are renamed, in this order.
/// Again, because both may have changed since: only now is it known that the intent is open, by
/// which a later `COMPLETE` sees that it has to refuse.
pub const CROSSING: [Guard; 2] = [Guard::Fence, Guard::Revoke];
