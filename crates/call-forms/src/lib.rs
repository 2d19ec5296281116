//! Which form of import calls and indirect branches the Windows kernel ran, as Intel PT packets show it.
//!
#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod arrival;
mod decision;
mod detect;
mod enough;
mod hypothesis;
mod input;
mod pieces;
mod tally;
mod turn;
mod votes;
mod witness;

pub use decision::{Decided, DecisionVotes, FirstJump, Junction, Leads, MAX_WAYS, Routes, Way, WayEvidence};
pub use detect::{ENOUGH_BYTES, LEAST_BYTES, detect};
pub use enough::{ENOUGH_VOTES, MAX_EVIDENCE, MIN_AGREEMENT, MIN_VOTES};
pub use input::{FunctionStarts, Importer, IndirectReturn, Input, Site};
pub use votes::{Answer, Evidence, GivenUp, How, ModuleVerdict, RetpolineVotes, Says, Verdict, Votes};
pub use witness::MOST_TRIES;
