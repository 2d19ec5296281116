//! The walk: packets on one side, code on the other.

use super::blocks::Blocks;
use super::code::Code;
use super::error::{Found, Stop};
use super::events::Item;
use super::follow::found;
use super::options::Options;
use super::quality::{Evidence, Quality};
use super::stack::ReturnStack;
use super::state::{Origin, Phase, State};
use super::table::BlockId;
use super::visit::{Nothing, Visitor};
use super::work::Work;
use crate::Pip;

/// A walk over one trace: a position in its packets and one in the code.
///
/// It is a plain value of some 800 bytes. To try an assumption, clone it and run the clone.
#[derive(Clone, Debug)]
pub struct Walker<'a> {
    state: State<'a>,
}

impl<'a> Walker<'a> {
    /// A walk over `trace`, which begins at its first PSB. A ring must be put in order first.
    pub fn new(trace: &'a [u8]) -> Self {
        Self::with_options(trace, Options::default())
    }

    /// As [`Walker::new`], with options.
    pub fn with_options(trace: &'a [u8], options: Options) -> Self {
        Self { state: State::new(trace, options) }
    }

    /// Blocks that every walk may pass without a packet. Blocks have at most 64 instructions.
    pub const FIRST_STEPS: u64 = Work::FIRST;

    /// Blocks that a walk may pass without a packet besides, for each byte of packets read so far. Code that people run stays
    /// far below: even a hash function without a loop inside has some 50 blocks for each TNT bit, 300 for a byte.
    pub const STEPS_PER_BYTE: u64 = Work::PER_BYTE;

    /// Offset of the next packet that matters.
    pub fn offset(&self) -> usize {
        self.state.feed.offset()
    }

    /// Address of the next instruction, while tracing is on and the walk knows its place.
    pub fn ip(&self) -> Option<u64> {
        match self.state.phase {
            Phase::On(place) => Some(place.ip),
            _ => None,
        }
    }

    /// What CR3 holds, from the last PIP packet or [`Options::paging`]. After an overflow it may have changed unseen, until
    /// the next PIP.
    pub fn paging(&self) -> Option<Pip> {
        self.state.paging()
    }

    /// TNT bits taken from the trace and not yet consumed.
    pub fn bits_left(&self) -> u8 {
        self.state.bits.len()
    }

    /// The stack that compressed returns refer to.
    pub fn stack(&self) -> &ReturnStack {
        &self.state.stack
    }

    /// How much of the trace was followed so far.
    pub fn quality(&self) -> Quality {
        self.state.quality()
    }

    /// What confirmed the walk since its place was last in doubt. After an error these are the numbers of the stretch that
    /// ended there; counting starts over where the walk goes on.
    pub fn evidence(&self) -> Evidence {
        self.state.evidence
    }

    /// Blocks passed without a packet so far, and stops at breaks: the part of the work that the packets do not bound by themselves. It is at most
    /// [`Walker::FIRST_STEPS`] and [`Walker::STEPS_PER_BYTE`] for each byte read.
    pub fn steps(&self) -> u64 {
        self.state.work.steps()
    }

    /// Allows so many more steps, instead of what the bytes read would allow: for a clone that tries something.
    pub fn limit_steps(&mut self, more: u64) {
        self.state.work.limit(more);
    }

    /// Changes [`Options::limit`].
    pub fn set_limit(&mut self, offset: usize) {
        self.state.options.limit = offset;
    }

    /// Goes on at `ip`, as after a direct jump. Without effect while the walk has no place.
    pub fn jump(&mut self, ip: u64) {
        if let Phase::On(place) = &mut self.state.phase {
            (place.ip, place.hint, place.origin) = (ip, BlockId::NONE, Origin::Code);
        }
    }

    /// Goes on at `ip`, as after a direct call that returns to `back`. Without effect while the walk has no place.
    pub fn call(&mut self, ip: u64, back: u64) {
        if let Phase::On(_) = self.state.phase {
            self.state.stack.push(back);
        }
        self.jump(ip);
    }

    /// Gives up the position: the next run resynchronises, as after an error.
    pub fn lose(&mut self) {
        self.state.lose(self.state.feed.offset(), true);
    }

    /// Takes the TIP that an indirect branch at the current address would take: the next one, after at most one TNT.
    /// Events that come with the packets are dropped.
    ///
    /// # Errors
    ///
    /// What is there instead.
    pub fn take_tip(&mut self) -> Result<(usize, u64), Found> {
        let state = &mut self.state;
        loop {
            let offset = state.feed.offset();
            match state.feed.peek() {
                Item::Status => state.take(&mut Nothing, offset),
                Item::Tnt(tnt) if state.bits.is_empty() => {
                    state.take(&mut Nothing, offset);
                    state.bits.load(tnt.bits(), tnt.len());
                }
                Item::Tip(Some(ip)) => {
                    state.take(&mut Nothing, offset);
                    state.deferral_seen |= !state.bits.is_empty();
                    return Ok((offset, ip));
                }
                item => return Err(found(item)),
            }
        }
    }

    /// The address of the TIP that is the very next packet of flow, with no TNT bits left before it.
    pub fn tip_is_next(&mut self) -> Option<u64> {
        match self.state.feed.peek() {
            Item::Tip(ip) if self.state.bits.is_empty() => ip,
            _ => None,
        }
    }

    /// The address at which an asynchronous event is due next, when that is what the next packet says and no TNT bits
    /// are left before it.
    pub fn event_due(&mut self) -> Option<u64> {
        match self.state.feed.peek() {
            _ if !self.state.bits.is_empty() => None,
            Item::Async { at, .. } => at,
            Item::At(at) | Item::Psb(Some(at)) => Some(at),
            _ => None,
        }
    }

    /// Walks on until something stops it. Call it again after an error: every run comes nearer to [`Stop::End`].
    pub fn run<C: Code, V: Visitor>(&mut self, blocks: &mut Blocks<C>, visitor: &mut V) -> Stop {
        let state = &mut self.state;
        state.begin();
        loop {
            let step = match state.phase {
                Phase::On(place) => state.on(place, blocks, visitor),
                Phase::Off { left_at } => state.off(left_at, visitor),
                Phase::Start { before_sync } => state.start(before_sync, visitor),
                Phase::Lost { since } => state.lost(since, visitor),
            };
            if let Err(stop) = step {
                return stop;
            }
            if state.stopping {
                return Stop::Visitor;
            }
        }
    }
}
