//! The snapshots of a reading and of saved files, and the choice among them.

use ipt_analysis::choose::{Facts, SnapshotChoice};
use ipt_analysis::snapshot::Snapshot;
use ipt_analysis::touched::Stream;
use kernel_snapshot::Reading;

use crate::error::Result;
use crate::ipt::{Saved, facts, snapshots};

/// All snapshots that there are, and those that are chosen.
#[derive(Debug)]
pub(crate) struct Chosen<'a> {
    /// All of them.
    pub all: Vec<Snapshot<'a>>,
    /// What is known about each.
    pub facts: Vec<Facts>,
    /// The numbers of the chosen ones, ascending.
    pub numbers: Vec<usize>,
}

impl<'a> Chosen<'a> {
    /// Chooses among the snapshots of `reading` and `saved`.
    ///
    /// # Errors
    /// When the choice leaves nothing.
    pub fn new(reading: &'a Reading<'_>, saved: &'a Saved, choice: &SnapshotChoice) -> Result<Self> {
        let all = snapshots(reading, saved);
        let facts: Vec<Facts> = all.iter().map(|snapshot| facts(reading, snapshot)).collect();
        let numbers = choice.apply(&facts)?;
        Ok(Self { all, facts, numbers })
    }

    /// The chosen snapshots.
    pub fn snapshots(&self) -> impl ExactSizeIterator<Item = &Snapshot<'a>> {
        self.numbers.iter().map(|&number| &self.all[number])
    }

    /// Their packets.
    pub fn packets(&self) -> Vec<&[u8]> {
        self.snapshots().map(|snapshot| &*snapshot.bytes).collect()
    }

    /// Their packets with threads and times.
    pub fn streams(&self) -> Vec<Stream<'_>> {
        self.snapshots().map(Snapshot::stream).collect()
    }

    /// When they were taken, as far as that is known.
    pub fn times(&self) -> impl Iterator<Item = f64> + '_ {
        self.numbers.iter().filter_map(|&number| self.facts[number].time)
    }

    /// The moment whose address space they are followed over. Snapshots end with the event that triggered them, so the
    /// last one's time is the latest that matters.
    pub fn moment(&self) -> Option<f64> {
        self.times().max_by(f64::total_cmp)
    }
}
