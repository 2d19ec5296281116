//! Where a walk stands: a position in the packets, one in the code, and what each step does to both.

use super::bits::Bits;
use super::blocks::Blocks;
use super::code::{Code, ContextId};
use super::error::{Error, ErrorKind, Stop};
use super::events::{Event, Feed, Item, width_of};
use super::options::Options;
use super::quality::{Evidence, Quality};
use super::stack::ReturnStack;
use super::table::{Block, BlockId};
use super::visit::Visitor;
use super::way::Rest;
use super::work::Work;
use crate::{CodeWidth, Exec, Pip};

/// What the walk knows about the place of execution.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// It is not known yet: the first PSB comes after this many bytes.
    Start { before_sync: usize },
    /// It has not been known since an error at this offset.
    Lost { since: usize },
    /// Tracing is off. If it was turned off by something other than the code: at this address.
    Off { left_at: Option<u64> },
    /// Tracing is on.
    On(Place),
}

/// The next instruction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub ip: u64,
    /// A guess at the block that starts at `ip`.
    pub hint: BlockId,
    pub origin: Origin,
}

/// How the address of a place became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// A PSB or overflow said so, and nothing was executed since. Some processors say so wrongly just before a TIP.PGE
    /// (errata BDM70, APL12).
    Status,
    /// The packet of a branch, or TIP.PGE, said so, and nothing was executed since.
    Target,
    /// By following code.
    Code,
}

impl Place {
    pub fn new(ip: u64, origin: Origin) -> Self {
        Self { ip, hint: BlockId::NONE, origin }
    }
}

/// The mode of execution, as far as packets gave it.
#[derive(Clone, Copy, Debug)]
struct Mode {
    /// What was reported last. `None` when packets were lost since.
    exec: Option<Exec>,
    width: CodeWidth,
    paging: Option<Pip>,
    /// CR3 from the next branch on.
    after_branch: Option<Pip>,
    /// What follows from the rest in the cache of this run. None when it changed since it was asked for.
    context: ContextId,
}

#[derive(Clone, Debug)]
pub(super) struct State<'a> {
    pub feed: Feed<'a>,
    pub options: Options,
    pub phase: Phase,
    pub bits: Bits,
    pub stack: ReturnStack,
    mode: Mode,
    /// The trace showed a TIP that was written after TNT bits younger than it.
    pub deferral_seen: bool,
    /// The walk went on in mid-stream since the last PSB, so the call stack is incomplete.
    pub after_gap: bool,
    /// The visitor wants to stop.
    pub stopping: bool,
    pub evidence: Evidence,
    /// That of the stretches before this one.
    confirmed: Evidence,
    /// Blocks passed without a packet, and how many may be.
    pub work: Work,
    /// The rest of a way that the visitor stopped on.
    pub way: Option<Rest>,
    before_sync: usize,
    skipped: usize,
    lost: u64,
    missing: u64,
}

impl<'a> State<'a> {
    pub fn new(trace: &'a [u8], options: Options) -> Self {
        let (feed, before_sync) = Feed::new(trace);
        let (width, paging) = (CodeWidth::Bits64, options.paging);
        Self {
            feed,
            options,
            phase: Phase::Start { before_sync },
            bits: Bits::default(),
            stack: ReturnStack::new(),
            mode: Mode { exec: None, width, paging, after_branch: None, context: ContextId::NONE },
            deferral_seen: false,
            after_gap: false,
            stopping: false,
            evidence: Evidence::default(),
            confirmed: Evidence::default(),
            work: Work::new(),
            way: None,
            before_sync,
            skipped: 0,
            lost: 0,
            missing: 0,
        }
    }

    pub fn quality(&self) -> Quality {
        let offset = self.feed.offset();
        let open = match self.phase {
            Phase::Lost { since } => offset.saturating_sub(since),
            _ => 0,
        };
        Quality {
            bytes: offset as u64,
            before_sync: self.before_sync as u64,
            skipped: (self.skipped + open) as u64,
            lost: self.lost,
            missing: self.missing,
            confirmed: self.confirmed + self.evidence,
        }
    }

    /// What addresses mean here.
    #[inline]
    pub fn context<C: Code>(&mut self, blocks: &mut Blocks<C>) -> ContextId {
        if self.mode.context == ContextId::NONE {
            self.mode.context = blocks.context(self.mode.paging, self.mode.width);
        }
        self.mode.context
    }

    /// A run begins, perhaps with another cache than the last one.
    pub fn begin(&mut self) {
        self.stopping = false;
        self.mode.context = ContextId::NONE;
    }

    pub fn paging(&self) -> Option<Pip> {
        self.mode.paging
    }

    /// CR3 was loaded. Code up to the next branch that takes a packet belongs to the old address space if the load is part
    /// of that branch.
    pub fn load_cr3(&mut self, pip: Pip, by_branch: bool) {
        if by_branch {
            self.mode.after_branch = Some(pip);
        } else if self.mode.paging != Some(pip) {
            self.mode.paging = Some(pip);
            self.mode.context = ContextId::NONE;
        }
    }

    /// The mode is unknown, because packets were lost. What was known is the best guess until a packet says otherwise.
    pub fn forget_mode(&mut self) {
        self.mode.exec = None;
    }

    /// Takes the item that was peeked at, and reports what is attached to it.
    pub fn take<V: Visitor>(&mut self, visitor: &mut V, offset: usize) {
        let item = self.feed.peek();
        self.feed.take();
        if item != Item::Status
            && let Some(pip) = self.mode.after_branch.take()
        {
            self.load_cr3(pip, false);
        }
        if let Some(exec) = self.feed.exec() {
            let width = width_of(Some(exec));
            if self.mode.width != width {
                self.mode.width = width;
                self.mode.context = ContextId::NONE;
            }
        }
        if self.feed.has_attached() {
            for event in self.feed.attached() {
                match event {
                    Event::Exec(exec) => {
                        let known = self.mode.exec.replace(exec);
                        // PSB+ repeats the mode; that is not a change.
                        if matches!(item, Item::Psb(_)) || known == Some(exec) {
                            continue;
                        }
                    }
                    Event::Paging(pip) => self.load_cr3(pip, false),
                    _ => {}
                }
                self.report(visitor, offset, &event);
            }
        }
    }

    /// Reports something that is not executed code.
    pub fn report<V: Visitor>(&mut self, visitor: &mut V, offset: usize, event: &Event) {
        visitor.event(offset, event);
        self.ask(visitor);
    }

    /// Asks the visitor whether to stop.
    #[inline]
    pub fn ask<V: Visitor>(&mut self, visitor: &mut V) {
        self.stopping |= visitor.control().is_break();
    }

    /// A whole block was executed.
    #[inline]
    pub fn visit<C: Code, V: Visitor>(&mut self, visitor: &mut V, blocks: &Blocks<C>, id: BlockId, block: &Block) {
        if block.instructions > 0 {
            visitor.blocks(blocks.table(), &[id]);
            self.ask(visitor);
        }
    }

    /// Execution goes on at `ip`.
    pub fn jump(&mut self, ip: u64, origin: Origin) {
        self.phase = Phase::On(Place::new(ip, origin));
    }

    /// Execution goes on at the start of a block.
    pub fn stand_at<C: Code>(&mut self, blocks: &Blocks<C>, id: BlockId, origin: Origin) {
        self.phase = Phase::On(Place { ip: blocks.table().block(id).start, hint: id, origin });
    }

    /// Tracing ends.
    pub fn end<V: Visitor>(&mut self, visitor: &mut V, at: Option<u64>, to: Option<u64>) {
        let offset = self.feed.offset();
        self.report(visitor, offset, &Event::Disabled { at, to });
        self.take(visitor, offset);
        self.phase = Phase::Off { left_at: at };
        self.stack.clear();
    }

    /// A PSB says where execution is.
    pub fn synchronised<V: Visitor>(&mut self, visitor: &mut V, offset: usize, ip: Option<u64>) {
        self.stack.clear();
        self.after_gap = false;
        self.bits.clear();
        self.report(visitor, offset, &Event::Psb { ip });
        self.take(visitor, offset);
        self.status(ip);
    }

    /// Packets were lost; the last one says where execution is.
    pub fn overflow<V: Visitor>(&mut self, visitor: &mut V, offset: usize, ip: Option<u64>) {
        self.stack.clear();
        self.bits.clear();
        self.forget_mode();
        self.begin_evidence();
        self.report(visitor, offset, &Event::Overflow { ip });
        self.take(visitor, offset);
        self.status(ip);
    }

    /// A PSB or overflow says where execution is, or that tracing is off.
    fn status(&mut self, ip: Option<u64>) {
        match ip {
            Some(ip) => self.jump(ip, Origin::Status),
            None => self.phase = Phase::Off { left_at: None },
        }
    }

    /// The walk loses its place at `offset`; `missing` says that this is for want of code.
    pub fn lose(&mut self, offset: usize, missing: bool) {
        if !matches!(self.phase, Phase::Lost { .. }) {
            self.lost += 1;
            self.missing += u64::from(missing);
            self.phase = Phase::Lost { since: offset };
        }
    }

    /// What confirms the walk is counted anew from here.
    pub fn begin_evidence(&mut self) {
        self.confirmed = self.confirmed + std::mem::take(&mut self.evidence);
    }

    /// The walk found its place again, or gave up looking for it, at `offset`.
    pub fn found_at(&mut self, offset: usize, since: usize) {
        self.skipped += offset.saturating_sub(since);
        self.begin_evidence();
    }

    /// An error at the next packet, and at an address if the walk has one.
    #[cold]
    pub fn fail<T>(&mut self, ip: Option<u64>, kind: ErrorKind) -> Result<T, Stop> {
        self.fail_at(self.feed.offset(), ip, kind)
    }

    /// Bytes that are not a packet, and that were just taken.
    #[cold]
    pub fn damaged<T>(&mut self, ip: Option<u64>, gap: &crate::Error) -> Result<T, Stop> {
        self.fail_at(gap.offset(), ip, ErrorKind::Packet(gap.reason()))
    }

    fn fail_at<T>(&mut self, offset: usize, ip: Option<u64>, kind: ErrorKind) -> Result<T, Stop> {
        let error = Error { offset, ip, kind, after_gap: self.after_gap };
        self.lose(offset, kind == ErrorKind::NoMemory);
        Err(Stop::Error(error))
    }
}
