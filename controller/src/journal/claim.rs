//! Which controller works on which pair, where several can have the journal open.

/// A claim to a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The pair's name.
    pub pair: String,
    /// Higher than that of every earlier claim to it.
    pub epoch: u64,
}

/// Who works on a pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// The pair's name.
    pub pair: String,
    /// The epoch of the last claim; 0 if there was none.
    pub epoch: u64,
    /// The controller's host and process; `None` if nobody has a claim.
    pub by: Option<(String, i64)>,
    /// Milliseconds until the claim ends if it is not renewed; negative: since it ended.
    pub left_ms: Option<i64>,
}
