//! Receivers of what a walk finds.

use std::ops::ControlFlow;

use super::events::Event;
use super::table::{BlockId, Table};

/// Gets what a walk finds, in the order of execution.
pub trait Visitor {
    /// These blocks were executed, each whole, one after another.
    fn blocks(&mut self, table: &Table, ids: &[BlockId]);

    /// The first `instructions` (1 or more, less than all) of a block were executed.
    fn part(&mut self, table: &Table, id: BlockId, instructions: u32);

    /// A branch whose target a TIP gave. The block that ends with it was visited just before.
    fn branch(&mut self, branch: &Branch) {
        let _ = branch;
    }

    /// Something else happened; `offset` is that of its packet.
    fn event(&mut self, offset: usize, event: &Event) {
        let _ = (offset, event);
    }

    /// Asked after every call of the other methods: [`ControlFlow::Break`] ends the run with
    /// [`Stop::Visitor`](super::Stop::Visitor).
    ///
    /// The run ends where the walk can go on later, so other methods may be called a few more times before: for the
    /// branch after a block, for the events that come with one packet.
    #[inline]
    fn control(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// A branch whose target a TIP gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Branch {
    /// Offset of the TIP.
    pub offset: usize,
    /// Address of the branching instruction.
    pub from: u64,
    /// Where it went.
    pub to: u64,
    /// Its kind.
    pub kind: BranchKind,
}

/// Kinds of branches that take a TIP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum BranchKind {
    /// Near indirect call.
    Call,
    /// Near indirect jump.
    Jump,
    /// Near return that was not compressed.
    Return {
        /// Where a compressed one would have gone, if a call is known.
        expected: Option<u64>,
    },
    /// Far transfer.
    Far,
}

/// A visitor that ignores everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nothing;

impl Visitor for Nothing {
    fn blocks(&mut self, _: &Table, _: &[BlockId]) {}

    fn part(&mut self, _: &Table, _: BlockId, _: u32) {}
}

/// A visitor that collects executed ranges `start..end`. Neighbours are joined, repetitions are kept.
///
/// Memory grows with the trace (16 bytes for each jump taken).
#[derive(Clone, Debug, Default)]
pub struct Ranges {
    list: Vec<(u64, u64)>,
}

impl Ranges {
    /// The ranges, in the order of execution.
    pub fn list(&self) -> &[(u64, u64)] {
        &self.list
    }

    /// The ranges, in the order of execution.
    pub fn into_list(self) -> Vec<(u64, u64)> {
        self.list
    }

    fn push(&mut self, start: u64, end: u64) {
        match self.list.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => self.list.push((start, end)),
        }
    }
}

impl Visitor for Ranges {
    fn blocks(&mut self, table: &Table, ids: &[BlockId]) {
        for id in ids {
            let block = table.block(*id);
            self.push(block.start, block.end);
        }
    }

    fn part(&mut self, table: &Table, id: BlockId, instructions: u32) {
        self.push(table.block(id).start, table.address_after(id, instructions));
    }
}
