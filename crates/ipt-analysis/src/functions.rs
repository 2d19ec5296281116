//! Functions: how often each was entered, and how many instructions were executed in it.

use std::collections::{BTreeMap, HashMap};

use intel_pt::flow::{Blocks, Code, Quality};
use rayon::prelude::*;

use crate::flow::blocks;
use crate::transfers::{Functions, How, Mark, Sink, follow};

/// What ran of one function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sums {
    /// Times that it was entered: by calls, jumps from other functions, interrupts, or from code that is not traced. One that
    /// was entered before the packets begin, or in a gap, was not entered by that.
    pub calls: u64,
    /// Instructions executed in the function itself.
    pub instructions: u64,
    /// Instructions executed while it was on the stack, once each when it called itself.
    pub total: u64,
    /// Direct calls in it whose targets are not known, by address, with the number of times.
    pub unknown_calls: BTreeMap<u64, u64>,
}

/// The functions of one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ran {
    /// By the address where each starts, or, if that is not known, where it was entered.
    pub functions: BTreeMap<u64, Sums>,
    /// Addresses at which code is missing, with the number of times.
    pub missing: BTreeMap<u64, u64>,
    /// How much of the packets was followed.
    pub quality: Quality,
}

/// The functions of each of `snapshots` (rings in order) over `code`. At `unknown_calls`, direct calls whose targets are
/// not known, the flow goes on where packets name an address.
///
/// Takes memory for the functions that ran, and for the blocks of code decoded by each thread.
pub fn functions<C: Code + Sync + ?Sized>(
    code: &C,
    starts: &Functions<'_>,
    unknown_calls: &[u64],
    snapshots: &[&[u8]],
) -> Vec<Ran> {
    let one = |cache: &mut Blocks<&C>, snapshot: &&[u8]| {
        let mut table = Table::default();
        let quality = follow(cache, starts, snapshot, &mut table);
        let functions = table.functions.into_iter().map(|(function, row)| (function, row.sums)).collect();
        Ran { functions, missing: table.missing, quality }
    };
    // What one walk decoded serves the next one of the same thread.
    snapshots.par_iter().map_init(|| blocks(code, unknown_calls), one).collect()
}

/// Adds up while the flow runs.
#[derive(Default)]
struct Table {
    functions: HashMap<u64, Row>,
    missing: BTreeMap<u64, u64>,
    /// Functions that have not ended, and the instructions executed in each with those below it.
    stack: Vec<(u64, u64)>,
    /// The same of what has ended in this stretch and has no caller yet.
    level: u64,
    stretch: u64,
}

#[derive(Default)]
struct Row {
    sums: Sums,
    /// Frames of it on the stack.
    active: u64,
    /// What was added to the total in this stretch.
    credited: u64,
    stretch: u64,
}

impl Table {
    fn row(&mut self, function: u64) -> &mut Row {
        let row = self.functions.entry(function).or_default();
        if row.stretch != self.stretch {
            (row.credited, row.stretch) = (0, self.stretch);
        }
        row
    }
}

impl Sink for Table {
    fn enter(&mut self, how: How, function: u64) {
        let row = self.row(function);
        row.active += 1;
        row.sums.calls += u64::from(how != How::Before);
        self.stack.push((function, 0));
    }

    fn leave(&mut self) {
        let Some((function, total)) = self.stack.pop() else { return };
        let row = self.row(function);
        row.active -= 1;
        // Within itself it is part of the outermost call.
        if row.active == 0 {
            row.sums.total += total;
            row.credited += total;
        }
        *self.stack.last_mut().map_or(&mut self.level, |(_, below)| below) += total;
    }

    fn uncover(&mut self, _: How, caller: u64) {
        self.leave();
        let below = std::mem::take(&mut self.level);
        let row = self.row(caller);
        row.active += 1;
        // All of the stretch ran below it, so what it did in calls of itself is counted with that.
        row.sums.total -= std::mem::take(&mut row.credited);
        self.stack.push((caller, below));
    }

    fn cut(&mut self) {
        while !self.stack.is_empty() {
            self.leave();
        }
        self.level = 0;
        self.stretch += 1;
    }

    fn ran(&mut self, _: u64, _: u64, instructions: u32) {
        if let Some((function, total)) = self.stack.last_mut() {
            *total += u64::from(instructions);
            let function = *function;
            self.row(function).sums.instructions += u64::from(instructions);
        }
    }

    fn mark(&mut self, mark: Mark) {
        match (mark, self.stack.last()) {
            (Mark::UnknownCall { at, .. }, Some((function, _))) => {
                let function = *function;
                *self.row(function).sums.unknown_calls.entry(at).or_insert(0) += 1;
            }
            (Mark::Missing { at, .. }, _) => *self.missing.entry(at).or_insert(0) += 1,
            _ => {}
        }
    }
}
