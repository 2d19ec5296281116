//! Calls and returns between functions, as the flow over packets shows them.
//!
//! The processor's own stack of return addresses forgets everything at a PSB, and more than 64 calls. [`follow`] keeps
//! a stack for as long as the flow is whole. Its rules:
//!
//! - A return goes to the frame whose call it answers. Where none fits, it is a jump if it goes to the start of a
//!   function (as in a retpoline), or goes back to the nearest caller whose code holds the address.
//! - A return from the outermost known frame uncovers that frame's caller.
//! - Any other return means that the stack was exchanged, and the stretch ends there. So does it at lost packets, at
//!   errors, and where tracing is off: nothing is known about the stack afterwards.
//! - Execution in another function without a call is a jump to it (a tail call): that function takes the frame.

use intel_pt::flow::{
    Block, BlockId, Blocks, Branch, BranchKind, Code, ErrorKind, Event, Exit, Far, Options, Quality, Stop, Table,
    Visitor, Walker,
};

/// How a function was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum How {
    /// By a call.
    Call,
    /// By a jump from the function whose frame it takes.
    Jump,
    /// By an interrupt or exception.
    Interrupt,
    /// By a system call.
    SystemCall,
    /// From code that is not traced.
    Untraced,
    /// Before the packets begin, or in a gap.
    Before,
}

/// What happened besides, at a place in the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mark {
    /// The processor lost packets.
    Overflow,
    /// Tracing ended.
    Off,
    /// A return fits no frame: the stack was exchanged, as by a thread switch.
    Switched,
    /// CR3 was loaded.
    Paging {
        /// Its value.
        cr3: u64,
    },
    /// The flow came to an address whose code is not known.
    Missing {
        /// Offset of the packet.
        offset: usize,
        /// The address.
        at: u64,
    },
    /// A direct call whose target is not known, because its module's file is missing.
    UnknownCall {
        /// Offset of the packet.
        offset: usize,
        /// The call.
        at: u64,
    },
    /// Packets and code contradict each other, or bytes are not packets.
    Lost {
        /// Offset of the packet.
        offset: usize,
        /// The address that the flow had reached, if it had one.
        at: Option<u64>,
        /// What is wrong.
        error: ErrorKind,
    },
    /// More calls are open than are kept.
    TooDeep,
}

impl Mark {
    /// Whether nothing is known about the stack afterwards.
    pub fn is_gap(&self) -> bool {
        !matches!(self, Self::Paging { .. })
    }
}

/// Gets what [`follow`] finds, in the order of execution.
pub trait Sink {
    /// A function is entered: a frame is pushed. Functions are named by the address where they start, or, when that is not
    /// known, by the address where they were entered.
    fn enter(&mut self, how: How, function: u64);

    /// The newest frame is left.
    fn leave(&mut self);

    /// The caller of the outermost frame becomes known: that frame had been entered in this way, it is left, and
    /// the caller's frame is the outermost one now. It spans the whole stretch since the last [`Sink::cut`].
    fn uncover(&mut self, how: How, caller: u64);

    /// The stretch ends: no frame is known any more. Those that are there have not been left.
    fn cut(&mut self);

    /// Instructions were executed in the newest frame, from `start` to the address after them.
    fn ran(&mut self, start: u64, end: u64, instructions: u32);

    /// Something else happened. A [`Sink::cut`] follows if it is a gap.
    fn mark(&mut self, mark: Mark);
}

/// Where functions start: the start of the function that an address lies in, if it is known.
pub type Functions<'f> = dyn Fn(u64) -> Option<u64> + Sync + 'f;

/// Follows `packets` (a ring in order) and hands calls and returns to `sink`. Where `blocks` stops walks
/// ([`Blocks::break_at`]), a direct call is taken to lead to code that is not known.
pub fn follow<C: Code, S: Sink>(
    blocks: &mut Blocks<C>,
    functions: &Functions<'_>,
    packets: &[u8],
    sink: &mut S,
) -> Quality {
    let mut walker = Walker::with_options(packets, Options::default());
    let mut follower = Follower::new(functions, sink);
    loop {
        match walker.run(blocks, &mut follower) {
            Stop::Error(error) => {
                let offset = error.offset();
                follower.gap(match (error.kind(), error.ip()) {
                    (ErrorKind::NoMemory, Some(at)) => Mark::Missing { offset, at },
                    (error, at) => Mark::Lost { offset, at, error },
                });
            }
            Stop::Break { ip } => {
                follower.arrive(ip);
                follower.gap(Mark::UnknownCall { offset: walker.offset(), at: ip });
                walker.lose();
            }
            _ => break,
        }
    }
    if let Some(ip) = walker.ip()
        && !follower.frames.is_empty()
    {
        follower.arrive(ip);
    }
    follower.cut();
    walker.quality()
}

/// Follows calls and returns: a visitor of a walk.
struct Follower<'a, S> {
    functions: &'a Functions<'a>,
    sink: &'a mut S,
    near: Vec<(u64, Option<u64>)>,
    /// The outermost one first: it is the only one without an address to go back to.
    frames: Vec<Frame>,
    /// What the last block ended with, until its target is known.
    pending: Pending,
    /// The address after the last block.
    next: u64,
    /// Tracing began here, with nothing executed since.
    enabled: bool,
    /// Where a system call goes on that was not traced.
    resume: Option<u64>,
    aborted: bool,
    cr3: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Frame {
    function: u64,
    back: Back,
    /// Entered by a call of code within a function.
    inner: bool,
}

/// Where a frame goes back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Back {
    Unknown,
    Return(u64),
    /// The interrupted instruction, which goes on there or after it.
    Interrupt(u64),
    System(u64),
}

#[derive(Clone, Copy, Debug)]
enum Pending {
    Nothing,
    Return,
    Far(Far),
}

/// Functions of addresses that were asked for lately.
const NEAR: usize = 4096;
/// Frames that are kept.
const FRAMES: usize = 1 << 16;
/// Frames that are searched for a return address, so that the work for each packet is bounded.
const SEARCHED: usize = 64;
/// The longest x86 instruction.
const LONGEST: u64 = 15;

impl<'a, S: Sink> Follower<'a, S> {
    fn new(functions: &'a Functions<'a>, sink: &'a mut S) -> Self {
        Self {
            functions,
            sink,
            // No function is asked for at the last address: code there has no end.
            near: vec![(u64::MAX, None); NEAR],
            frames: Vec::new(),
            pending: Pending::Nothing,
            next: 0,
            enabled: false,
            resume: None,
            aborted: false,
            cr3: None,
        }
    }

    #[inline]
    fn function_at(&mut self, address: u64) -> Option<u64> {
        // Fibonacci hashing: the upper bits of the product depend on all bits of the address.
        let slot = &mut self.near[(address.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as usize % NEAR];
        if slot.0 != address {
            *slot = (address, (self.functions)(address));
        }
        slot.1
    }

    fn push(&mut self, how: How, to: u64, back: Back) {
        let start = self.function_at(to);
        if self.frames.len() >= FRAMES {
            self.gap(Mark::TooDeep);
        }
        let back = if self.frames.is_empty() { Back::Unknown } else { back };
        let function = start.unwrap_or(to);
        self.frames.push(Frame { function, back, inner: function != to });
        self.sink.enter(how, function);
    }

    /// Pops all but the outermost `left` frames.
    fn pop_to(&mut self, left: usize) {
        for _ in left..self.frames.len() {
            self.sink.leave();
        }
        self.frames.truncate(left);
    }

    fn cut(&mut self) {
        self.frames.clear();
        (self.pending, self.enabled, self.resume, self.aborted) = (Pending::Nothing, false, None, false);
        self.sink.cut();
    }

    fn gap(&mut self, mark: Mark) {
        self.sink.mark(mark);
        self.cut();
    }

    /// Execution is at `address`.
    #[inline]
    fn arrive(&mut self, address: u64) {
        match std::mem::replace(&mut self.pending, Pending::Nothing) {
            Pending::Nothing => {}
            Pending::Return => self.returned(address),
            Pending::Far(far) => self.far(far, address),
        }
        let start = self.function_at(address);
        match self.frames.last_mut() {
            None => {
                let how = if self.enabled && start == Some(address) { How::Untraced } else { How::Before };
                self.enabled = false;
                self.push(how, address, Back::Unknown);
            }
            Some(top) => {
                if let Some(start) = start
                    && start != top.function
                {
                    (top.function, top.inner) = (start, false);
                    self.sink.leave();
                    self.sink.enter(How::Jump, start);
                }
            }
        }
    }

    fn far(&mut self, far: Far, to: u64) {
        let next = self.next;
        match far {
            Far::SystemCall => self.push(How::SystemCall, to, Back::System(next)),
            Far::Interrupt => self.push(How::Interrupt, to, Back::System(next)),
            Far::Call => self.push(How::Call, to, Back::Return(next)),
            Far::Return => self.returned(to),
            Far::InterruptReturn => self.resumed(How::Interrupt, to),
            Far::SystemReturn => self.resumed(How::SystemCall, to),
            _ => {}
        }
    }

    /// A near return.
    fn returned(&mut self, to: u64) {
        let Some(top) = self.frames.last().copied() else { return };
        let count = self.frames.len();
        if top.back == Back::Return(to) {
            return self.pop_to(count - 1);
        }
        let start = self.function_at(to);
        let callers = || self.frames.iter().enumerate().rev().take(SEARCHED);
        let of_this_kind = |(_, frame): &(usize, &Frame)| matches!(frame.back, Back::Return(_));
        let exact = callers().take_while(of_this_kind).find(|(_, frame)| frame.back == Back::Return(to));
        let exact = exact.map(|(at, _)| at).filter(|_| !top.inner);
        let holds = |&(at, _): &(usize, &Frame)| Some(self.frames[at - 1].function) == start;
        let holder = || callers().take_while(of_this_kind).find(holds).map(|(at, _)| at);
        if let Some(at) = exact {
            self.pop_to(at);
        } else if start == Some(to) {
            // The address was put in place of the one that the call had pushed.
            if matches!(top.back, Back::Return(_)) {
                self.pop_to(count - 1);
            }
        } else if let Some(at) = holder() {
            self.pop_to(at);
        } else {
            self.leave_stretch(How::Call, start.unwrap_or(to));
        }
    }

    /// A return from an interrupt or a system call.
    fn resumed(&mut self, how: How, to: u64) {
        if self.frames.is_empty() {
            return;
        }
        let fits = |frame: &Frame| match frame.back {
            Back::Interrupt(from) => to.wrapping_sub(from) <= LONGEST,
            Back::System(next) => to == next,
            _ => false,
        };
        match self.frames.iter().enumerate().rev().take(SEARCHED).find(|(_, frame)| fits(frame)) {
            Some((at, _)) => self.pop_to(at),
            None => {
                let start = self.function_at(to);
                self.leave_stretch(how, start.unwrap_or(to));
            }
        }
    }

    /// A return that fits no frame.
    fn leave_stretch(&mut self, how: How, caller: u64) {
        // Code that calls a place in itself takes the address off the stack, or puts another in its place.
        let inner = self.frames.iter().skip(1).rev().take_while(|frame| frame.inner).count();
        match &mut self.frames[..] {
            frames if inner > 0 && inner + 1 == frames.len() => {
                self.pop_to(1);
                self.leave_stretch(how, caller);
            }
            [outermost] => {
                (outermost.function, outermost.inner) = (caller, false);
                self.sink.uncover(how, caller);
            }
            _ => self.gap(Mark::Switched),
        }
    }

    /// A block whose last instruction was executed too.
    #[inline]
    fn whole(&mut self, block: &Block) {
        self.arrive(block.start);
        self.sink.ran(block.start, block.end, block.instructions);
        self.next = block.end;
        match block.exit {
            Exit::Call(to) => self.push(How::Call, to, Back::Return(block.end)),
            Exit::Return => self.pending = Pending::Return,
            Exit::Far(far) => self.pending = Pending::Far(far),
            _ => {}
        }
    }

    /// A compressed return goes to where the newest call came from: no packet says more.
    fn settle_return(&mut self) {
        if let (Pending::Return, Some(Frame { back: Back::Return(to), .. })) = (self.pending, self.frames.last()) {
            let to = *to;
            self.arrive(to);
        }
        self.pending = Pending::Nothing;
    }

    fn disabled(&mut self, at: Option<u64>) {
        match (at, self.pending) {
            (Some(at), _) if !self.frames.is_empty() => self.arrive(at),
            (None, Pending::Far(Far::SystemCall)) => self.resume = Some(self.next),
            _ => {}
        }
        self.pending = Pending::Nothing;
        self.sink.mark(Mark::Off);
        if self.resume.is_none() {
            self.cut();
        }
    }
}

impl<S: Sink> Visitor for Follower<'_, S> {
    fn blocks(&mut self, table: &Table, ids: &[BlockId]) {
        for id in ids {
            self.whole(table.block(*id));
        }
    }

    fn part(&mut self, table: &Table, id: BlockId, instructions: u32) {
        let block = table.block(id);
        self.arrive(block.start);
        self.sink.ran(block.start, table.address_after(id, instructions), instructions);
    }

    fn branch(&mut self, branch: &Branch) {
        match branch.kind {
            BranchKind::Call => self.push(How::Call, branch.to, Back::Return(self.next)),
            _ => self.arrive(branch.to),
        }
    }

    fn event(&mut self, _: usize, event: &Event) {
        match *event {
            Event::Interrupt { from, to } => {
                self.arrive(from);
                if std::mem::take(&mut self.aborted) {
                    // An aborted transaction goes on at its handler, which is in the same function.
                    self.arrive(to);
                } else {
                    self.push(How::Interrupt, to, Back::Interrupt(from));
                }
            }
            Event::Aborted => self.aborted = true,
            Event::Psb { ip: Some(ip) } if !self.frames.is_empty() => self.arrive(ip),
            Event::Psb { ip: None } if !self.frames.is_empty() => self.gap(Mark::Off),
            Event::Enabled { ip, .. } if self.resume.take() != Some(ip) => {
                self.cut();
                self.enabled = true;
            }
            Event::Disabled { at, .. } => self.disabled(at),
            Event::Overflow { .. } => {
                self.settle_return();
                self.gap(Mark::Overflow);
            }
            Event::Paging(pip) => {
                let is_new = self.cr3.replace(pip.cr3).is_some_and(|known| known != pip.cr3);
                if is_new && !self.frames.is_empty() {
                    self.sink.mark(Mark::Paging { cr3: pip.cr3 });
                }
            }
            _ => {}
        }
    }
}
