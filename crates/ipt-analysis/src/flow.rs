//! Executed code: what instruction flow over snapshots gives, as ranges of modules.
//!
//! Snapshots are independent, so they are followed in parallel; the result is in the order in which they were given.

use std::collections::BTreeMap;

use address_map::ModuleId;
use intel_pt::flow::{Blocks, Code, ErrorKind, Event, Options, Quality, Ranges, Stop, Table, Visitor, Walker};
use rayon::prelude::*;

/// A module in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// The module.
    pub module: ModuleId,
    /// Load address.
    pub base: u64,
    /// Bytes that the image takes, stub pages after it included.
    pub size: u64,
}

/// The modules of an address space, by address.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    placed: Vec<Placed>,
}

impl Layout {
    /// Sorts modules by address. They are those that have their places at one moment, so that none overlaps another.
    pub fn new(mut placed: Vec<Placed>) -> Self {
        placed.sort_by_key(|module| module.base);
        Self { placed }
    }

    /// A number greater than those of all modules in it.
    pub fn module_count(&self) -> usize {
        self.placed.iter().map(|placed| placed.module.0 + 1).max().unwrap_or(0)
    }

    /// Where an address lies.
    pub fn place(&self, address: u64) -> Place {
        let after = self.placed.partition_point(|placed| placed.base <= address);
        let found = self.placed[..after].last().filter(|placed| address - placed.base < placed.size);
        match found {
            Some(placed) => Place { module: Some(placed.module), offset: address - placed.base },
            None => Place { module: None, offset: address },
        }
    }
}

/// An address as module and offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The module; nothing for an address in no module.
    pub module: Option<ModuleId>,
    /// RVA in the module, or the address itself.
    pub offset: u64,
}

/// Code that was executed without a jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Where it begins.
    pub start: Place,
    /// Bytes.
    pub len: u64,
}

/// What happened in a snapshot, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Code was executed.
    Executed(Range),
    /// An interrupt or exception.
    Interrupt {
        /// The instruction that was not executed any more.
        from: Place,
        /// The handler.
        to: Place,
    },
    /// Packets were lost.
    Overflow,
    /// Tracing began.
    Enabled,
    /// Tracing ended.
    Disabled,
    /// Another address space.
    Paging {
        /// CR3.
        cr3: u64,
    },
    /// The walk reached code that is missing. It continues where packets name the next address.
    Missing {
        /// Offset in the snapshot.
        offset: usize,
        /// Where the code would be.
        at: Place,
    },
    /// A direct call to an import whose module's file is missing: where it leads is not known.
    UnknownCall {
        /// Offset in the snapshot.
        offset: usize,
        /// The call.
        at: Place,
    },
    /// The walk lost its way here and continues after it.
    Gap {
        /// Offset in the snapshot.
        offset: usize,
        /// Where the walk was.
        at: Option<Place>,
        /// What is wrong, with libipt's name for it first.
        what: String,
        /// The usual cause.
        likely: &'static str,
    },
}

/// The flow of one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// What happened.
    pub entries: Vec<Entry>,
    /// True when [`Limits::entries`] cut the list.
    pub cut: bool,
    /// Addresses that the code does not know, with the number of times.
    pub missing: BTreeMap<u64, u32>,
    /// Calls that the walk could not follow, by address, with the number of times.
    pub unknown_calls: BTreeMap<u64, u32>,
    /// How much of the packets was followed.
    pub quality: Quality,
}

/// Bounds of the result.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Entries of one snapshot: 16 million by default, about 1 GiB.
    pub entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { entries: 16 << 20 }
    }
}

/// Follows `snapshots` (rings in order) over `code`. At `unknown_calls`, direct calls whose targets are not known, the
/// walk stops and continues where packets name an address.
pub fn follow<C: Code + Sync + ?Sized>(
    code: &C,
    layout: &Layout,
    unknown_calls: &[u64],
    snapshots: &[&[u8]],
    limits: Limits,
) -> Vec<Trace> {
    let follow = |blocks: &mut Blocks<&C>, snapshot: &&[u8]| follow_one(blocks, layout, snapshot, limits);
    // What one walk decoded serves the next one of the same thread.
    snapshots.par_iter().map_init(|| blocks(code, unknown_calls), follow).collect()
}

/// An empty cache that stops walks at `breaks`.
pub(crate) fn blocks<C: Code>(code: C, breaks: &[u64]) -> Blocks<C> {
    let mut blocks = Blocks::new(code);
    if !breaks.is_empty() {
        blocks.break_at(breaks.iter().copied());
    }
    blocks
}

fn follow_one<C: Code>(blocks: &mut Blocks<C>, layout: &Layout, snapshot: &[u8], limits: Limits) -> Trace {
    let mut recorder = Recorder { layout, ranges: Ranges::default(), trace: Trace::default(), limits };
    let mut walker = Walker::with_options(snapshot, Options::default());
    loop {
        let error = match walker.run(blocks, &mut recorder) {
            Stop::Error(error) => error,
            Stop::Break { ip } => {
                *recorder.trace.unknown_calls.entry(ip).or_insert(0) += 1;
                recorder.push(Entry::UnknownCall { offset: walker.offset(), at: layout.place(ip) });
                walker.lose();
                continue;
            }
            // The end: nothing else was asked for.
            _ => break,
        };
        if error.kind() == ErrorKind::NoMemory
            && let Some(ip) = error.ip()
        {
            *recorder.trace.missing.entry(ip).or_insert(0) += 1;
            recorder.push(Entry::Missing { offset: error.offset(), at: layout.place(ip) });
            continue;
        }
        let at = error.ip().map(|ip| layout.place(ip));
        let what = format!("{}: {}", error.kind().libipt_name(), error.kind());
        recorder.push(Entry::Gap { offset: error.offset(), at, what, likely: error.kind().likely_cause() });
    }
    recorder.settle();
    recorder.trace.quality = walker.quality();
    recorder.trace
}

struct Recorder<'a> {
    layout: &'a Layout,
    /// Executed since the last entry.
    ranges: Ranges,
    trace: Trace,
    limits: Limits,
}

/// Ranges gathered before they become entries.
const PENDING: usize = 4096;

impl Recorder<'_> {
    /// Makes entries of what was executed so far.
    fn settle(&mut self) {
        for (start, end) in std::mem::take(&mut self.ranges).into_list() {
            let range = Range { start: self.layout.place(start), len: end.wrapping_sub(start) };
            self.append(Entry::Executed(range));
        }
    }

    fn push(&mut self, entry: Entry) {
        self.settle();
        self.append(entry);
    }

    fn append(&mut self, entry: Entry) {
        if self.trace.entries.len() < self.limits.entries {
            self.trace.entries.push(entry);
        } else {
            self.trace.cut = true;
        }
    }
}

impl Visitor for Recorder<'_> {
    fn blocks(&mut self, table: &Table, ids: &[intel_pt::flow::BlockId]) {
        self.ranges.blocks(table, ids);
        if self.ranges.list().len() > PENDING {
            self.settle();
        }
    }

    fn part(&mut self, table: &Table, id: intel_pt::flow::BlockId, instructions: u32) {
        self.ranges.part(table, id, instructions);
    }

    fn event(&mut self, _: usize, event: &Event) {
        let entry = match *event {
            Event::Interrupt { from, to } => {
                Entry::Interrupt { from: self.layout.place(from), to: self.layout.place(to) }
            }
            Event::Overflow { .. } => Entry::Overflow,
            Event::Enabled { .. } => Entry::Enabled,
            Event::Disabled { .. } => Entry::Disabled,
            Event::Paging(pip) => Entry::Paging { cr3: pip.cr3 },
            _ => return,
        };
        self.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use testkit::pt::{Compression, PacketWriter};

    use super::{Entry, Layout, Limits, Place, Placed, Range, follow};
    use address_map::ModuleId;

    #[test]
    fn snapshots_are_followed_each_for_itself() {
        // 1000: jmp rax · 2000: nop; jmp rax · 3000 is not in the image
        let code: &[(u64, &[u8])] = &[(0x1000, &[0xff, 0xe0]), (0x2000, &[0x90, 0xff, 0xe0])];
        let placed = |module, base| Placed { module: ModuleId(module), base, size: 0x100 };
        let layout = Layout::new(vec![placed(2, 0x3000), placed(0, 0x1000), placed(1, 0x2000)]);
        let trace = |targets: &[u64]| {
            let mut writer = PacketWriter::new();
            writer.psb().mode(0, 1).fup(0x1000, Compression::Signed48).psbend();
            for target in targets {
                writer.tip(*target, Compression::Shortest);
            }
            writer.finish()
        };
        let (here, away) = (trace(&[0x2000, 0x1000]), trace(&[0x2000, 0x3010, 0x2001]));
        let traces = follow(code, &layout, &[], &[&here, &away], Limits::default());
        let executed = |module, offset, len| {
            Entry::Executed(Range { start: Place { module: Some(ModuleId(module)), offset }, len })
        };
        assert_eq!(traces[0].entries, [executed(0, 0, 2), executed(1, 0, 3)]);
        assert_eq!(traces[1].entries[..2], [executed(0, 0, 2), executed(1, 0, 3)]);
        let Entry::Missing { at, .. } = traces[1].entries[2] else { panic!("{:?}", traces[1].entries) };
        assert_eq!(at, Place { module: Some(ModuleId(2)), offset: 0x10 });
        assert_eq!(traces[1].missing, [(0x3010, 1)].into());
        let quality = [0, 1].map(|at: usize| (traces[at].quality.lost, traces[at].quality.out_of_step()));
        assert_eq!(quality, [(0, 0), (1, 0)], "missing code does not contradict the packets");
    }

    #[test]
    fn the_list_is_bounded() {
        let code: &[(u64, &[u8])] = &[(0x1000, &[0xff, 0xe0])];
        let mut writer = PacketWriter::new();
        writer.psb().mode(0, 1).fup(0x1000, Compression::Signed48).psbend();
        for _ in 0..50 {
            writer.tip(0x1000, Compression::Shortest);
        }
        let trace = writer.finish();
        let traces = follow(code, &Layout::default(), &[], &[&trace], Limits { entries: 10 });
        assert_eq!((traces[0].entries.len(), traces[0].cut), (10, true));
    }
}
