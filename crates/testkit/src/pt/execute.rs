//! The interpreter: runs a program by its operations and drives the trace unit.

use super::body::Odds;
use super::emit::{Hardware, Unit};
use super::lower::{Act, Op};
use super::program::Program;
use super::rng::Rng;
use super::transfer::{Transfer, What};

/// How a program is run.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The trace unit.
    pub hardware: Hardware,
    /// Interrupts among 10,000 instructions.
    pub interrupts: u32,
    /// Buffer overflows among 10,000 instructions.
    pub overflows: u32,
    /// Asynchronous ends of packet generation among 10,000 instructions; it begins again there or further on.
    pub pauses: u32,
    /// Threads that the thread switch chooses from.
    pub threads: usize,
    /// True ends the trace by FUP and TIP.PGD; false cuts it after some packet.
    pub orderly_end: bool,
}

impl Default for Machine {
    fn default() -> Self {
        Self { hardware: Hardware::default(), interrupts: 30, overflows: 0, pauses: 0, threads: 3, orderly_end: true }
    }
}

/// What a run left behind.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// The packets.
    pub packets: Vec<u8>,
    /// Address of every instruction that the packets show, in order. An INT n that was taken is not among them: its
    /// FUP names its own address. Neither are the instructions that a decoder cannot know of: those between the last
    /// packet and an overflow or the cut end.
    pub executed: Vec<u64>,
    /// Calls, returns, jumps and the like that the packets show, in order.
    pub transfers: Vec<Transfer>,
    /// Interrupts and exceptions taken.
    pub interrupts: usize,
    /// Overflow packets written.
    pub overflows: usize,
    /// Times that packet generation ended.
    pub disabled: usize,
    /// CR3 changes.
    pub paging: usize,
    /// TIPs that were written after TNT bits younger than they.
    pub deferred: usize,
    /// Returns that cost one TNT bit.
    pub compressed: usize,
}

/// An entry of a thread's stack.
#[derive(Clone, Copy, Debug)]
struct Frame {
    number: u64,
    kind: FrameKind,
    replaced: bool,
}

#[derive(Clone, Copy, Debug)]
enum FrameKind {
    Return(u64),
    /// The interrupted address, the register that the stubs jump through, and memset's size.
    Interrupt(u64, u64, u32),
}

#[derive(Clone, Debug, Default)]
struct Thread {
    frames: Vec<Frame>,
    /// The register that the retpoline stubs jump through.
    register: u64,
    /// The size that memset is called with, less what it has done.
    size: u32,
}

struct Cpu<'a> {
    program: &'a Program,
    machine: &'a Machine,
    rng: Rng,
    unit: Unit,
    ip: u64,
    threads: Vec<Thread>,
    current: usize,
    /// Frames beyond which guarded calls are skipped.
    deep: usize,
    executed: Vec<u64>,
    transfers: Vec<Transfer>,
    /// Frames pushed so far.
    frames: u64,
    /// How many of `executed` a decoder can know from the packets so far.
    known: usize,
    /// Instructions still to run unseen, after which tracing resumes.
    unseen: Option<(Unseen, usize)>,
    counts: Run,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unseen {
    Overflow,
    Paused,
}

impl Machine {
    /// Runs `program` until `instructions` were executed; `seed` decides branches, targets and interrupts.
    pub fn run(&self, program: &Program, instructions: usize, seed: u64) -> Run {
        let mut rng = Rng::new(seed.rotate_left(17));
        let threads = (0..self.threads.max(1))
            .map(|i| Thread {
                frames: match i {
                    0 => Vec::new(),
                    _ => vec![Frame { number: 0, kind: FrameKind::Return(program.entry), replaced: false }],
                },
                register: 0,
                size: 0,
            })
            .collect();
        let deep = *rng.pick(&[4, 10, 30, 90]);
        let unit = Unit::new(self.hardware.clone(), rng.bits());
        let mut cpu = Cpu {
            program,
            machine: self,
            rng,
            unit,
            ip: program.entry,
            threads,
            current: 0,
            deep,
            executed: Vec::new(),
            transfers: Vec::new(),
            frames: 0,
            known: 0,
            unseen: None,
            counts: Run::default(),
        };
        cpu.run(instructions);
        let mut run = cpu.counts;
        run.deferred = cpu.unit.deferred;
        run.compressed = cpu.unit.compressed;
        run.packets = cpu.unit.finish();
        run.executed = cpu.executed;
        run.transfers = cpu.transfers;
        run
    }
}

impl Cpu<'_> {
    fn run(&mut self, instructions: usize) {
        let traced_at_start = self.rng.chance(70);
        self.unit.psb(traced_at_start.then_some(self.ip));
        self.transfer(What::Resumed { to: self.ip, was_off: !traced_at_start });
        if !traced_at_start {
            self.unit.enable(self.ip);
        }
        // Instructions that leave no trace count too, or a program that pauses could run for ever.
        for _ in 0..2 * instructions {
            if self.executed.len() >= instructions {
                break;
            }
            self.between();
            self.step();
        }
        if self.unseen.is_none() && self.machine.orderly_end {
            self.unit.asynchronous_end(self.ip);
            self.counts.disabled += 1;
            self.known = self.executed.len();
            self.transfer(What::Left { lost: false });
        }
        self.unit.flush();
        self.forget();
    }

    /// Forgets what no packet shows.
    fn forget(&mut self) {
        self.executed.truncate(self.known);
        let shown = self.transfers.partition_point(|transfer| transfer.after <= self.known);
        self.transfers.truncate(shown);
    }

    /// A transfer just happened, or is about to without an instruction.
    fn transfer(&mut self, what: What) {
        if self.unseen.is_none() {
            self.transfers.push(Transfer { after: self.executed.len(), what });
        }
    }

    /// What may happen between two instructions.
    fn between(&mut self) {
        if let Some((why, left)) = &mut self.unseen {
            *left = left.saturating_sub(1);
            if *left == 0 {
                let was_off = *why == Unseen::Paused;
                match why {
                    Unseen::Overflow => self.unit.overflow_ends(self.ip),
                    Unseen::Paused => self.unit.enable(self.ip),
                }
                self.unseen = None;
                self.transfer(What::Resumed { to: self.ip, was_off });
            }
        } else {
            if self.unit.wants_psb() {
                self.unit.psb(Some(self.ip));
                self.known = self.executed.len();
            }
            if self.happens(self.machine.overflows) {
                self.unit.flush();
                self.forget();
                self.unit.overflow();
                self.counts.overflows += 1;
                self.transfer(What::Left { lost: true });
                self.unseen = Some((Unseen::Overflow, self.rng.between(1, 60)));
            } else if self.happens(self.machine.pauses) {
                self.unit.asynchronous_end(self.ip);
                self.known = self.executed.len();
                self.counts.disabled += 1;
                self.transfer(What::Left { lost: false });
                self.unseen = Some((Unseen::Paused, self.rng.between(1, 40)));
            }
        }
        if self.happens(self.machine.interrupts) && self.interrupted() < 2 {
            let handler = *self.rng.pick(&self.program.interrupt_handlers);
            self.interrupt(handler, self.ip);
        }
    }

    fn happens(&mut self, of_ten_thousand: u32) -> bool {
        self.rng.below(10_000) < of_ten_thousand as usize
    }

    fn interrupted(&self) -> usize {
        self.threads[self.current].frames.iter().filter(|f| matches!(f.kind, FrameKind::Interrupt(..))).count()
    }

    fn interrupt(&mut self, handler: u64, back: u64) {
        if self.unseen.is_none() {
            self.unit.interrupt(self.ip, handler);
            self.known = self.executed.len();
            self.counts.interrupts += 1;
        }
        let Thread { register, size, .. } = *self.thread();
        let frame = self.push_frame(FrameKind::Interrupt(back, register, size));
        self.transfer(What::Interrupt { from: self.ip, to: handler, frame });
        self.ip = handler;
    }

    fn step(&mut self) {
        let ip = self.ip;
        let program = self.program;
        let Op { len, act } = program.ops.get(&ip).unwrap_or_else(|| panic!("executed {ip:#x}, where nothing is"));
        let next = ip + len;
        if matches!(act, Act::SoftwareInterrupt) {
            let handler = program.interrupt_handlers[0];
            self.interrupt(handler, next);
            return;
        }
        if self.unseen.is_none() {
            self.executed.push(ip);
        }
        self.ip = match act {
            Act::Straight => next,
            Act::Load(value) => {
                self.thread().register = *value;
                next
            }
            Act::LoadSize(sizes) => {
                let size = *self.rng.pick(sizes);
                self.thread().size = size;
                next
            }
            Act::Jcc { to, odds } => {
                let taken = self.is_taken(odds);
                self.shown(|unit| unit.conditional(taken));
                if taken { *to } else { next }
            }
            Act::Jump { to, load } => {
                self.load(load);
                self.transfer(What::Jump { to: *to });
                *to
            }
            Act::Call { to, load } => {
                self.load(load);
                self.call(next, *to);
                *to
            }
            Act::CallNext => {
                self.push_frame(FrameKind::Return(next));
                next
            }
            Act::Drop => {
                self.thread().frames.pop();
                next
            }
            Act::JumpIndirect(targets) => self.jump_indirect(targets),
            Act::CallIndirect(targets) => {
                let to = *self.rng.pick(targets);
                self.call(next, to);
                self.shown(|unit| unit.indirect(to));
                to
            }
            Act::JumpRegister => {
                let to = self.thread().register;
                self.jump_indirect(&[to])
            }
            Act::SetTop => {
                let to = self.thread().register;
                let top = self.thread().frames.last_mut().expect("a stub was called");
                (top.kind, top.replaced) = (FrameKind::Return(to), true);
                next
            }
            Act::Ret => {
                let Some(Frame { number, kind: FrameKind::Return(to), replaced }) = self.thread().frames.pop() else {
                    panic!("the return at {ip:#x} finds no return address");
                };
                self.shown(|unit| unit.ret(to));
                self.transfer(What::Return { to, frame: number, replaced });
                to
            }
            Act::Iret => {
                let Some(Frame { number, kind: FrameKind::Interrupt(to, register, size), .. }) =
                    self.thread().frames.pop()
                else {
                    panic!("the IRETQ at {ip:#x} finds no interrupt frame");
                };
                (self.thread().register, self.thread().size) = (register, size);
                self.shown(|unit| unit.far(to));
                self.transfer(What::InterruptReturn { to, frame: number });
                to
            }
            Act::FarJump(to) => {
                self.shown(|unit| unit.far(*to));
                self.transfer(What::Jump { to: *to });
                *to
            }
            Act::Sysret => self.sysret(),
            Act::MovCr3 => {
                let cr3 = 0x1000 * self.rng.between(1, 0xf_ffff) as u64;
                self.shown(|unit| unit.paging(cr3));
                self.counts.paging += usize::from(self.unseen.is_none());
                next
            }
            Act::SoftwareInterrupt => unreachable!("taken before"),
            Act::SwitchStack => {
                self.current = self.rng.below(self.threads.len());
                next
            }
        };
    }

    fn is_taken(&mut self, odds: &Odds) -> bool {
        let size = &mut self.threads[self.current].size;
        match *odds {
            Odds::Of256(odds) => self.rng.below(256) < usize::from(odds),
            Odds::WhenDeep => self.threads[self.current].frames.len() > self.deep || self.rng.chance(40),
            Odds::Known(taken) => taken,
            Odds::Below(limit) => *size < limit,
            Odds::AtLeast(limit) => *size >= limit,
            Odds::Without(bit) => *size & bit == 0,
            Odds::NextBlock => {
                *size = size.saturating_sub(64);
                *size >= 64
            }
        }
    }

    /// User mode is not traced. The next thing seen is the system call entry.
    fn sysret(&mut self) -> u64 {
        let to = self.program.entry;
        if self.unseen.is_none() {
            self.unit.disable();
            self.known = self.executed.len();
            self.counts.disabled += 1;
            self.transfer(What::Left { lost: false });
        }
        self.unit.enable(to);
        self.unseen = None;
        self.transfer(What::Resumed { to, was_off: true });
        to
    }

    fn thread(&mut self) -> &mut Thread {
        &mut self.threads[self.current]
    }

    fn load(&mut self, targets: &[u64]) {
        if !targets.is_empty() {
            let to = *self.rng.pick(targets);
            self.thread().register = to;
        }
    }

    fn push_frame(&mut self, kind: FrameKind) -> u64 {
        self.frames += 1;
        let number = self.frames;
        self.thread().frames.push(Frame { number, kind, replaced: false });
        number
    }

    fn call(&mut self, next: u64, to: u64) {
        let frame = self.push_frame(FrameKind::Return(next));
        self.unit.call(next);
        self.transfer(What::Call { to, frame });
    }

    fn jump_indirect(&mut self, targets: &[u64]) -> u64 {
        let to = *self.rng.pick(targets);
        self.shown(|unit| unit.indirect(to));
        self.transfer(What::Jump { to });
        to
    }

    /// Lets the trace unit write, unless tracing is off or packets are being lost.
    fn shown(&mut self, write: impl FnOnce(&mut Unit)) {
        if self.unseen.is_none() {
            write(&mut self.unit);
            self.known = self.executed.len();
        }
    }
}
