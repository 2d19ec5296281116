//! The walk itself: packets on one side, code on the other.

use super::code::{Block, BlockId, Blocks, Code, Exit};
use super::error::{Error, ErrorKind, Found, Need};
use super::events::{Event, Feed, Item, width_of};
use super::reach::Circle;
use super::stack::ReturnStack;
use super::visit::{Branch, BranchKind, Nothing, Visitor};
use crate::{CodeWidth, Exec, Tnt};

/// How a walk behaves.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Instructions followed without a packet before the walk gives up. Loops are noticed anyway; this bounds straight
    /// code.
    pub budget: u32,
    /// Where the walk goes on after an error.
    pub resume: Resume,
    /// The walk stops ([`Stop::Limit`]) before the first packet at or after this offset.
    pub limit: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { budget: 1 << 20, resume: Resume::default(), limit: usize::MAX }
    }
}

/// Where a walk goes on after an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Resume {
    /// At the next packet with an address. A TIP behind TNT packets may be a deferred one, after which some of the bits
    /// were consumed; it is trusted as long as the trace has shown no deferred TIP.
    #[default]
    Address,
    /// As [`Resume::Address`], but never at a TIP that could be deferred.
    SafeAddress,
    /// At the next PSB.
    Psb,
}

/// Why a run of the walk ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The end of the trace.
    End,
    /// [`Options::limit`] is reached.
    Limit,
    /// The walk is at one of the addresses of [`Blocks::break_at`], before the instruction there. The next run goes on
    /// where [`Walker::jump`] or [`Walker::call`] say. Neither takes a packet, so that code may lead back to the same
    /// address for ever: who goes on by them counts, and gives up by [`Walker::lose`].
    Break {
        /// The address.
        ip: u64,
    },
    /// Packets and code do not fit. The next run resynchronises.
    Error(Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Before the first PSB.
    Start,
    /// After an error.
    Lost,
    Off,
    On,
}

/// A walk over one trace: a position in its packets and one in the code.
///
/// It is a plain value of some 700 bytes. To try an assumption, clone it and run the clone.
#[derive(Clone, Debug)]
pub struct Walker<'a> {
    pub(super) feed: Feed<'a>,
    pub(super) options: Options,
    pub(super) phase: Phase,
    pub(super) ip: u64,
    /// A guess at the block that starts at `ip`.
    pub(super) hint: u32,
    pub(super) width: CodeWidth,
    exec: Option<Exec>,
    /// TNT bits not yet consumed, the oldest highest.
    pub(super) tnt: u64,
    pub(super) tnt_len: u8,
    pub(super) stack: ReturnStack,
    /// A PSB or overflow said that tracing is on, and nothing was executed since. Some processors say so wrongly just
    /// before a TIP.PGE (errata BDM70, APL12), so then it is not an error.
    pub(super) fresh: bool,
    pub(super) off_at: Option<u64>,
    pub(super) deferral_seen: bool,
    pub(super) after_gap: bool,
    pub(super) before_sync: usize,
}

impl<'a> Walker<'a> {
    /// A walk over `trace` (a ring must be put in order first), which begins at its first PSB.
    pub fn new(trace: &'a [u8]) -> Self {
        Self::with_options(trace, Options::default())
    }

    /// As [`Walker::new`], with options.
    pub fn with_options(trace: &'a [u8], options: Options) -> Self {
        let (feed, before_sync) = Feed::new(trace);
        Self {
            feed,
            options,
            phase: Phase::Start,
            ip: 0,
            hint: u32::MAX,
            width: CodeWidth::Bits64,
            exec: None,
            tnt: 0,
            tnt_len: 0,
            stack: ReturnStack::new(),
            fresh: false,
            off_at: None,
            deferral_seen: false,
            after_gap: false,
            before_sync,
        }
    }

    /// Offset of the next packet that matters.
    pub fn offset(&self) -> usize {
        self.feed.offset()
    }

    /// Address of the next instruction, while tracing is on and in step.
    pub fn ip(&self) -> Option<u64> {
        (self.phase == Phase::On).then_some(self.ip)
    }

    /// TNT bits taken from the trace and not yet consumed.
    pub fn bits_left(&self) -> u8 {
        self.tnt_len
    }

    /// The stack that compressed returns refer to.
    pub fn stack(&self) -> &ReturnStack {
        &self.stack
    }

    /// Changes where the walk stops by [`Stop::Limit`].
    pub fn set_limit(&mut self, offset: usize) {
        self.options.limit = offset;
    }

    /// Goes on at `ip`, as after a direct jump.
    pub fn jump(&mut self, ip: u64) {
        self.ip = ip;
        self.hint = u32::MAX;
    }

    /// Goes on at `ip`, as after a direct call that returns to `back`.
    pub fn call(&mut self, ip: u64, back: u64) {
        self.stack.push(back);
        self.jump(ip);
    }

    /// Gives up the position: the next run resynchronises, as after an error.
    pub fn lose(&mut self) {
        self.phase = Phase::Lost;
    }

    /// Takes the TIP that an indirect branch at the current address would take: the next one, behind at most one TNT.
    /// Events that come with the packets are dropped.
    ///
    /// # Errors
    ///
    /// What is there instead.
    pub fn take_tip(&mut self) -> Result<(usize, u64), Found> {
        loop {
            let offset = self.feed.offset();
            match self.feed.peek() {
                Item::Status => self.take(&mut Nothing, offset),
                Item::Tnt(tnt) if self.tnt_len == 0 => {
                    self.take(&mut Nothing, offset);
                    self.load(tnt.bits(), tnt.len());
                }
                Item::Tip(Some(ip)) => {
                    self.take(&mut Nothing, offset);
                    self.deferral_seen |= self.tnt_len > 0;
                    return Ok((offset, ip));
                }
                item => return Err(found(item)),
            }
        }
    }

    /// The address of the TIP that is the very next packet of flow, with no TNT bits left before it.
    pub fn tip_is_next(&mut self) -> Option<u64> {
        match self.feed.peek() {
            Item::Tip(ip) if self.tnt_len == 0 => ip,
            _ => None,
        }
    }

    /// The address at which an asynchronous event is due next, when that is what the next packet says and no TNT bits
    /// are left before it.
    pub fn event_due(&mut self) -> Option<u64> {
        match self.feed.peek() {
            _ if self.tnt_len > 0 => None,
            Item::Async { at, .. } => at,
            Item::At(at) | Item::Psb(Some(at)) => Some(at),
            _ => None,
        }
    }

    /// Walks on until something stops it. Call it again after an error; it always comes nearer to [`Stop::End`].
    pub fn run<C: Code, V: Visitor>(&mut self, blocks: &mut Blocks<C>, visitor: &mut V) -> Stop {
        loop {
            let step = match self.phase {
                Phase::On => self.on(blocks, visitor),
                Phase::Off => self.off(visitor),
                Phase::Start | Phase::Lost => self.recover(visitor),
            };
            if let Err(stop) = step {
                return stop;
            }
        }
    }

    /// One item, with tracing on.
    #[inline]
    fn on<C: Code, V: Visitor>(&mut self, blocks: &mut Blocks<C>, visitor: &mut V) -> Result<(), Stop> {
        if self.tnt_len == 0 {
            if self.feed.offset() >= self.options.limit {
                return Err(Stop::Limit);
            }
            if let Some(payload) = self.feed.short_tnt() {
                self.load(u64::from(payload), payload.ilog2() as u8);
            } else {
                let offset = self.feed.offset();
                match self.feed.peek() {
                    Item::Tnt(tnt) => {
                        self.take(visitor, offset);
                        self.load(tnt.bits(), tnt.len());
                    }
                    Item::Tip(Some(_)) | Item::Off(_) => {}
                    item => return self.event(blocks, visitor, offset, item),
                }
            }
        }
        self.follow(blocks, visitor)
    }

    /// Follows code up to the branch that takes the last TNT bit, or the next TIP.
    #[inline]
    fn follow<C: Code, V: Visitor>(&mut self, blocks: &mut Blocks<C>, visitor: &mut V) -> Result<(), Stop> {
        let mut id = blocks.at_hint(self.hint, self.ip, self.width);
        let mut circle = Circle::new(self.options.budget);
        loop {
            if self.tnt_len > 0 {
                let n = self.tnt_len.min(6);
                let bits = 1 << n | (self.tnt >> (self.tnt_len - n)) as u8 & ((1 << n) - 1);
                if let Some((table, ids, end)) = blocks.path(id, bits) {
                    visitor.blocks(table, ids);
                    self.tnt_len -= n;
                    self.fresh = false;
                    circle = Circle::new(self.options.budget);
                    id = end;
                    if self.tnt_len == 0 && !self.run_paths(blocks, visitor, &mut id) {
                        self.stand_at(blocks, id);
                        return Ok(());
                    }
                    continue;
                }
            }
            let block = *blocks.table.block(id);
            let next = match block.exit {
                Exit::Fall | Exit::Cr3 | Exit::Jump(_) | Exit::Call(_) => {
                    self.direct(blocks, visitor, id, &block, &mut circle)?
                }
                Exit::Cond(target) if self.tnt_len > 0 => {
                    self.visit(visitor, blocks, id, &block);
                    circle = Circle::new(self.options.budget);
                    if self.bit() { blocks.successor(id, 0, target) } else { blocks.successor(id, 1, block.end) }
                }
                Exit::Return if self.tnt_len > 0 => {
                    let last = block.last(&blocks.table);
                    if !self.bit() {
                        return self.fail(last, ErrorKind::BadReturn);
                    }
                    let Some(to) = self.stack.pop() else {
                        self.visit(visitor, blocks, id, &block);
                        return self.fail(last, ErrorKind::ReturnStackEmpty);
                    };
                    self.visit(visitor, blocks, id, &block);
                    circle = Circle::new(self.options.budget);
                    blocks.indirect_successor(id, to)
                }
                Exit::Cond(_) | Exit::Return | Exit::IndirectJump | Exit::IndirectCall | Exit::Far => {
                    circle = Circle::new(self.options.budget);
                    match self.indirect(blocks, visitor, id, &block)? {
                        Some(next) => next,
                        None => return Ok(()),
                    }
                }
                Exit::Missing | Exit::Invalid | Exit::Break => {
                    self.visit(visitor, blocks, id, &block);
                    self.jump(block.end);
                    return match block.exit {
                        Exit::Break => Err(Stop::Break { ip: block.end }),
                        Exit::Missing => self.fail(block.end, ErrorKind::NoMemory),
                        _ => self.fail(block.end, ErrorKind::BadInstruction),
                    };
                }
            };
            id = next;
            if self.tnt_len == 0 && !matches!(block.exit, Exit::Fall | Exit::Cr3 | Exit::Jump(_) | Exit::Call(_)) {
                self.stand_at(blocks, id);
                return Ok(());
            }
            if self.phase != Phase::On {
                return Ok(());
            }
        }
    }

    /// Takes short TNTs for as long as paths are known for them: the loop that hot code is decoded by. True when a TNT
    /// is left over that needs the long way.
    #[inline]
    fn run_paths<C: Code, V: Visitor>(&mut self, blocks: &mut Blocks<C>, visitor: &mut V, id: &mut BlockId) -> bool {
        while self.feed.offset() < self.options.limit {
            let Some(payload) = self.feed.short_tnt() else { return false };
            let Some((table, ids, end)) = blocks.path(*id, payload) else {
                self.load(u64::from(payload), payload.ilog2() as u8);
                return true;
            };
            visitor.blocks(table, ids);
            *id = end;
        }
        false
    }

    /// A block whose successor needs no packet. Tracing may end with it all the same.
    fn direct<C: Code, V: Visitor>(
        &mut self,
        blocks: &mut Blocks<C>,
        visitor: &mut V,
        id: BlockId,
        block: &Block,
        circle: &mut Circle,
    ) -> Result<BlockId, Stop> {
        if let Err(kind) = circle.step(id, block.instructions) {
            return self.fail(block.start, kind).map(|()| id);
        }
        self.visit(visitor, blocks, id, block);
        let to = match block.exit {
            Exit::Jump(to) => to,
            Exit::Call(to) => {
                self.stack.push(block.end);
                to
            }
            _ => block.end,
        };
        if self.tnt_len == 0
            && let Item::Off(ip) = self.feed.peek()
        {
            // With an address, a direct branch there is where it ended; without, a change of address space.
            let ends = match ip {
                Some(ip) => ip == to && matches!(block.exit, Exit::Jump(_) | Exit::Call(_)),
                None => block.exit == Exit::Cr3,
            };
            if ends {
                self.end(visitor, None, ip);
                return Ok(id);
            }
        }
        Ok(blocks.successor(id, 0, to))
    }

    /// A block whose last instruction takes a TIP, or with which tracing ends (then nothing comes back).
    fn indirect<C: Code, V: Visitor>(
        &mut self,
        blocks: &mut Blocks<C>,
        visitor: &mut V,
        id: BlockId,
        block: &Block,
    ) -> Result<Option<BlockId>, Stop> {
        let mut item = self.feed.peek();
        while item == Item::Status {
            self.take(visitor, self.feed.offset());
            item = self.feed.peek();
        }
        let offset = self.feed.offset();
        let last = block.last(&blocks.table);
        if let Item::Off(ip) = item
            && self.tnt_len == 0
        {
            self.visit(visitor, blocks, id, block);
            self.end(visitor, None, ip);
            return Ok(None);
        }
        let kind = match block.exit {
            Exit::IndirectCall => BranchKind::Call,
            Exit::IndirectJump => BranchKind::Jump,
            Exit::Far => BranchKind::Far,
            Exit::Return => BranchKind::Return { expected: self.stack.peek() },
            _ => return self.fail(last, ErrorKind::Mismatch { needs: Need::Tnt, found: found(item) }).map(|()| None),
        };
        let Item::Tip(Some(to)) = item else {
            let needs = if block.exit == Exit::Return { Need::TntOrTip } else { Need::Tip };
            return self.fail(last, ErrorKind::Mismatch { needs, found: found(item) }).map(|()| None);
        };
        self.visit(visitor, blocks, id, block);
        match block.exit {
            Exit::IndirectCall => self.stack.push(block.end),
            Exit::Return => {
                self.stack.pop();
            }
            _ => {}
        }
        self.deferral_seen |= self.tnt_len > 0;
        visitor.branch(&Branch { offset, from: last, to, kind });
        let width = self.width;
        self.take(visitor, offset);
        // A far transfer may change the width of code, of which the block's memory of its successor knows nothing.
        let next = if self.width == width { blocks.indirect_successor(id, to) } else { blocks.at(to, self.width) };
        Ok(Some(next))
    }

    /// Takes the item that was peeked at, and reports what is attached to it.
    pub(super) fn take<V: Visitor>(&mut self, visitor: &mut V, offset: usize) {
        let psb = matches!(self.feed.peek(), Item::Psb(_));
        self.feed.take();
        if let Some(exec) = self.feed.exec() {
            self.width = width_of(Some(exec));
        }
        if self.feed.has_attached() {
            for event in self.feed.attached() {
                if let Event::Exec(exec) = event {
                    let known = self.exec.replace(exec);
                    // PSB+ repeats the mode; that is no change.
                    if psb || known == Some(exec) {
                        continue;
                    }
                }
                visitor.event(offset, &event);
            }
        }
    }

    /// Tracing ends.
    pub(super) fn end<V: Visitor>(&mut self, visitor: &mut V, at: Option<u64>, to: Option<u64>) {
        let offset = self.feed.offset();
        visitor.event(offset, &Event::Disabled { at, to });
        self.take(visitor, offset);
        self.phase = Phase::Off;
        self.off_at = at;
        self.stack.clear();
    }

    pub(super) fn visit<C, V: Visitor>(&mut self, visitor: &mut V, blocks: &Blocks<C>, id: BlockId, block: &Block) {
        if block.instructions > 0 {
            visitor.blocks(&blocks.table, &[id]);
            self.fresh = false;
        }
    }

    pub(super) fn stand_at<C>(&mut self, blocks: &Blocks<C>, id: BlockId) {
        self.ip = blocks.table.block(id).start;
        self.hint = id.0;
    }

    /// The mode is unknown: packets were lost.
    pub(super) fn forget_mode(&mut self) {
        self.exec = None;
    }

    #[inline]
    pub(super) fn load(&mut self, bits: u64, len: u8) {
        self.tnt = bits;
        self.tnt_len = len.min(Tnt::MAX);
    }

    #[inline]
    fn bit(&mut self) -> bool {
        self.tnt_len -= 1;
        self.tnt >> self.tnt_len & 1 == 1
    }

    #[cold]
    pub(super) fn fail(&mut self, ip: u64, kind: ErrorKind) -> Result<(), Stop> {
        let ip = (self.phase == Phase::On).then_some(ip);
        let error = Error { offset: self.feed.offset(), ip, kind, after_gap: self.after_gap };
        self.phase = Phase::Lost;
        Err(Stop::Error(error))
    }
}

pub(super) fn found(item: Item) -> Found {
    match item {
        Item::Tnt(_) => Found::Tnt,
        Item::Tip(_) => Found::Tip,
        Item::Async { .. } | Item::At(_) => Found::Fup,
        Item::On(_) => Found::TipPge,
        Item::Psb(_) => Found::Psb,
        Item::Overflow(_) => Found::Ovf,
        Item::End => Found::End,
        _ => Found::Other,
    }
}
