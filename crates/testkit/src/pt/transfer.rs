//! Calls, returns and other changes of flow, as the interpreter made them.

/// A change of flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// How many of [`Run::executed`](super::Run::executed) come before it, the instruction that makes it included.
    pub after: usize,
    /// What it is.
    pub what: What,
}

/// Kinds of transfers. Frames are numbered as they are pushed, over all threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A near call (not `call $+5`), which pushes this frame.
    Call {
        /// Where to.
        to: u64,
        /// The frame.
        frame: u64,
    },
    /// A near return, which pops this frame.
    Return {
        /// Where to.
        to: u64,
        /// The frame.
        frame: u64,
        /// The program had put another address in place of that of the call.
        replaced: bool,
    },
    /// A jump, near or far, direct or not; conditional ones are not among these.
    Jump {
        /// Where to.
        to: u64,
    },
    /// An interrupt or exception, which pushes this frame.
    Interrupt {
        /// The instruction that is interrupted.
        from: u64,
        /// The handler.
        to: u64,
        /// The frame.
        frame: u64,
    },
    /// An interrupt return, which pops this frame.
    InterruptReturn {
        /// Where to.
        to: u64,
        /// The frame.
        frame: u64,
    },
    /// Nothing is traced from here on.
    Left {
        /// Packets are lost, which is written only when packets are there again; else tracing is off.
        lost: bool,
    },
    /// Packets are there again.
    Resumed {
        /// Where.
        to: u64,
        /// Whether tracing was off, and not packets lost.
        was_off: bool,
    },
}
