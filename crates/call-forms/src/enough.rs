//! How many votes are enough.

/// Votes that a verdict needs at least. Each vote is a refutation of the other form, so few are enough; more than one
/// because a walk may be out of step.
pub const MIN_VOTES: u32 = 4;

/// Of 100 votes, how many must agree.
pub const MIN_AGREEMENT: u32 = 95;

/// Votes of one module after which its sites are no longer tried.
pub const ENOUGH_VOTES: u32 = 64;

/// Entries of a module's evidence list.
pub const MAX_EVIDENCE: usize = 64;
