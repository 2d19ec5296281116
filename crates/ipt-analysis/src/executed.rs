//! How much code the instruction flow executes, module by module, and where it breaks off: sums, not the flow itself.

use std::collections::BTreeMap;

use address_map::ModuleId;
use intel_pt::flow::{BlockId, Blocks, Code, Error, ErrorKind, Event, Options, Quality, Stop, Table, Visitor, Walker};
use rayon::prelude::*;

use crate::flow::{self, Layout};

/// The sums of one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Executed {
    /// Instructions, by the number of the module.
    pub modules: Vec<u64>,
    /// Instructions in no module.
    pub elsewhere: u64,
    /// Interrupts and exceptions.
    pub interrupts: u64,
    /// Where the walk fell out of step, other than at bytes that are not packets and at missing code: the first
    /// [`Executed::ERRORS`] of them.
    pub errors: Vec<Error>,
    /// How many there are of them.
    pub error_count: u64,
    /// Addresses at which code is missing, with the number of times.
    pub missing: BTreeMap<u64, u64>,
    /// Calls that could not be followed, with the number of times.
    pub unknown_calls: BTreeMap<u64, u64>,
    /// How much of the packets was followed.
    pub quality: Quality,
}

impl Executed {
    /// Errors that are kept for each snapshot.
    pub const ERRORS: usize = 64;
}

/// Follows `snapshots` (rings in order) over `code`, in parallel; as in [`flow::follow`], `unknown_calls` are direct calls
/// whose targets are not known. `done` is called with the length of each when it is finished.
///
/// Takes memory for the blocks of code decoded by each thread, and for the addresses at which code is missing.
pub fn executed<C: Code + Sync + ?Sized>(
    code: &C,
    layout: &Layout,
    unknown_calls: &[u64],
    snapshots: &[&[u8]],
    done: &(dyn Fn(u64) + Sync),
) -> Vec<Executed> {
    let follow = |blocks: &mut Blocks<&C>, snapshot: &&[u8]| {
        let mut sums = Sums {
            layout,
            found: Executed { modules: vec![0; layout.module_count()], ..Executed::default() },
            near: vec![Near::default(); Near::COUNT],
        };
        let mut walker = Walker::with_options(snapshot, Options::default());
        loop {
            match walker.run(blocks, &mut sums) {
                Stop::Error(error) => sums.error(error),
                Stop::Break { ip } => {
                    *sums.found.unknown_calls.entry(ip).or_insert(0) += 1;
                    walker.lose();
                }
                // The end: nothing else was asked for.
                _ => break,
            }
        }
        sums.found.quality = walker.quality();
        done(snapshot.len() as u64);
        sums.found
    };
    // What one walk decoded serves the next one of the same thread.
    snapshots.par_iter().map_init(|| flow::blocks(code, unknown_calls), follow).collect()
}

/// The module of a block's address that was asked for lately.
#[derive(Clone, Copy)]
struct Near {
    start: u64,
    module: Option<ModuleId>,
}

impl Near {
    const COUNT: usize = 4096;
}

impl Default for Near {
    fn default() -> Self {
        // No block starts at the last address: it would have to have a byte at least.
        Self { start: u64::MAX, module: None }
    }
}

struct Sums<'a> {
    layout: &'a Layout,
    found: Executed,
    near: Vec<Near>,
}

impl Sums<'_> {
    fn add(&mut self, start: u64, instructions: u32) {
        // Fibonacci hashing: the upper bits of the product depend on all bits of the address.
        let slot = (start.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize % Near::COUNT;
        let near = &mut self.near[slot];
        if near.start != start {
            *near = Near { start, module: self.layout.place(start).module };
        }
        match near.module {
            Some(ModuleId(module)) => self.found.modules[module] += u64::from(instructions),
            None => self.found.elsewhere += u64::from(instructions),
        }
    }

    fn error(&mut self, error: Error) {
        match (error.kind(), error.ip()) {
            // The scan reports these.
            (ErrorKind::Packet(_), _) => {}
            (ErrorKind::NoMemory, Some(ip)) => *self.found.missing.entry(ip).or_insert(0) += 1,
            _ => {
                self.found.error_count += 1;
                if self.found.errors.len() < Executed::ERRORS {
                    self.found.errors.push(error);
                }
            }
        }
    }
}

impl Visitor for Sums<'_> {
    fn blocks(&mut self, table: &Table, ids: &[BlockId]) {
        for id in ids {
            let block = table.block(*id);
            self.add(block.start, block.instructions);
        }
    }

    fn part(&mut self, table: &Table, id: BlockId, instructions: u32) {
        self.add(table.block(id).start, instructions);
    }

    fn event(&mut self, _: usize, event: &Event) {
        if let Event::Interrupt { .. } = event {
            self.found.interrupts += 1;
        }
    }
}
