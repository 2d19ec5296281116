//! Which code ran: basic blocks, each once, and files of them that coverage tools read.
//!
//! | file | is |
//! | --- | --- |
//! | `drcov` | the format of DynamoRIO's drcov, which Lighthouse, bncov, Cartographer and others read |
//! | `offsets` | a line of text for each block: module and offset |

mod drcov;
mod offsets;

use std::collections::{BTreeMap, HashMap};

use intel_pt::flow::{BlockId, Blocks, Code, ErrorKind, Options, Quality, Stop, Table, Visitor, Walker};
use rayon::prelude::*;

pub use drcov::write_drcov;
pub use offsets::write_offsets;

use crate::flow;

/// What ran in one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Covered {
    /// Basic blocks: the address of each, and the address after it. A block that an interrupt cut short and that also ran
    /// whole is there whole.
    pub blocks: BTreeMap<u64, u64>,
    /// Addresses at which code is missing, with the number of times.
    pub missing: BTreeMap<u64, u64>,
    /// Calls that could not be followed, with the number of times.
    pub unknown_calls: BTreeMap<u64, u64>,
    /// How much of the packets was followed.
    pub quality: Quality,
}

/// A module with code that ran, for a coverage file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoveredModule {
    /// File name.
    pub name: String,
    /// Where the file was on the traced machine.
    pub path: String,
    /// First address.
    pub base: u64,
    /// SizeOfImage.
    pub size: u64,
    /// CheckSum of its header; 0 when not known.
    pub checksum: u32,
    /// TimeDateStamp of its header; 0 when not known.
    pub timestamp: u32,
    /// Blocks in ascending order: offset from `base`, and size in bytes.
    pub blocks: Vec<(u32, u16)>,
}

/// The blocks of each of `snapshots` (rings in order) over `code`, in parallel. At `unknown_calls`, direct calls whose targets
/// are not known, the flow goes on where packets name an address.
///
/// Takes memory for the blocks that ran, and for the blocks of code decoded by each thread.
pub fn coverage<C: Code + Sync + ?Sized>(code: &C, unknown_calls: &[u64], snapshots: &[&[u8]]) -> Vec<Covered> {
    let one = |cache: &mut Blocks<&C>, snapshot: &&[u8]| {
        let mut ran = Ran::default();
        let mut found = Covered::default();
        let mut walker = Walker::with_options(snapshot, Options::default());
        loop {
            match walker.run(cache, &mut ran) {
                Stop::Error(error) => {
                    if let (ErrorKind::NoMemory, Some(ip)) = (error.kind(), error.ip()) {
                        *found.missing.entry(ip).or_insert(0) += 1;
                    }
                }
                Stop::Break { ip } => {
                    *found.unknown_calls.entry(ip).or_insert(0) += 1;
                    walker.lose();
                }
                // The end: nothing else was asked for.
                _ => break,
            }
        }
        found.quality = walker.quality();
        found.blocks = ran.blocks.into_iter().collect();
        found
    };
    // What one walk decoded serves the next one of the same thread.
    snapshots.par_iter().map_init(|| flow::blocks(code, unknown_calls), one).collect()
}

/// Adds the blocks of one snapshot to those of others.
pub fn join(all: &mut BTreeMap<u64, u64>, more: BTreeMap<u64, u64>) {
    for (start, end) in more {
        let known = all.entry(start).or_insert(end);
        *known = end.max(*known);
    }
}

/// What ran, collected while the flow runs.
#[derive(Default)]
struct Ran {
    blocks: HashMap<u64, u64>,
}

impl Ran {
    fn add(&mut self, start: u64, end: u64) {
        let known = self.blocks.entry(start).or_insert(end);
        *known = end.max(*known);
    }
}

impl Visitor for Ran {
    fn blocks(&mut self, table: &Table, ids: &[BlockId]) {
        for id in ids {
            let block = table.block(*id);
            self.add(block.start, block.end);
        }
    }

    fn part(&mut self, table: &Table, id: BlockId, instructions: u32) {
        let start = table.block(id).start;
        let end = table.address_after(id, instructions);
        if end != start {
            self.add(start, end);
        }
    }
}
