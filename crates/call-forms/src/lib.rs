//! Which form of import calls and indirect branches the Windows kernel ran, as Intel PT packets show it.
//!
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod arrival;
mod decision;
mod detect;
mod hypothesis;
mod input;
mod pieces;
mod tally;
mod turn;
mod votes;
mod witness;

pub use decision::{Decided, DecisionVotes, FirstJump, Junction, Leads, MAX_WAYS, Routes, Way, WayEvidence};
pub use detect::{ENOUGH_BYTES, LEAST_BYTES, detect};
pub use input::{FunctionStarts, Importer, IndirectReturn, Input, Site};
pub use votes::{
    Answer, ENOUGH_VOTES, Evidence, GivenUp, How, MAX_EVIDENCE, MIN_AGREEMENT, MIN_VOTES, ModuleVerdict,
    RetpolineVotes, Says, Verdict, Votes,
};
pub use witness::MOST_TRIES;
