//! Ways through code that need no packet.

use super::code::ContextId;

/// A way found: so many whole blocks, then so many instructions of the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Way {
    pub blocks: u32,
    pub instructions: u32,
    /// An address to stop at, which the way ends at instead of the goal.
    pub stop: Option<u64>,
}

/// A way to an address that the visitor stopped on: the next run goes on from `ip` without looking for it again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rest {
    pub ip: u64,
    pub context: ContextId,
    pub goal: u64,
    pub way: Way,
}
