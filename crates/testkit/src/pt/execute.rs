//! The interpreter: runs a program by its operations and drives the trace unit.

use super::body::Odds;
use super::emit::{Hardware, Unit};
use super::lower::{Act, Op};
use super::program::Program;
use super::rng::Rng;

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
enum Frame {
    Return(u64),
    /// The interrupted address and the register that the stubs jump through.
    Interrupt(u64, u64),
}

#[derive(Clone, Debug, Default)]
struct Thread {
    frames: Vec<Frame>,
    /// The register that the retpoline stubs jump through.
    register: u64,
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
                frames: if i == 0 { Vec::new() } else { vec![Frame::Return(program.entry)] },
                register: 0,
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
        run
    }
}

impl Cpu<'_> {
    fn run(&mut self, instructions: usize) {
        let traced_at_start = self.rng.chance(70);
        self.unit.psb(traced_at_start.then_some(self.ip));
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
        }
        self.unit.flush();
        self.executed.truncate(self.known);
    }

    /// What may happen between two instructions.
    fn between(&mut self) {
        if let Some((why, left)) = &mut self.unseen {
            *left = left.saturating_sub(1);
            if *left == 0 {
                match why {
                    Unseen::Overflow => self.unit.overflow_ends(self.ip),
                    Unseen::Paused => self.unit.enable(self.ip),
                }
                self.unseen = None;
            }
        } else {
            if self.unit.wants_psb() {
                self.unit.psb(Some(self.ip));
                self.known = self.executed.len();
            }
            if self.happens(self.machine.overflows) {
                self.unit.flush();
                self.executed.truncate(self.known);
                self.unit.overflow();
                self.counts.overflows += 1;
                self.unseen = Some((Unseen::Overflow, self.rng.between(1, 60)));
            } else if self.happens(self.machine.pauses) {
                self.unit.asynchronous_end(self.ip);
                self.known = self.executed.len();
                self.counts.disabled += 1;
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
        self.threads[self.current].frames.iter().filter(|f| matches!(f, Frame::Interrupt(..))).count()
    }

    fn interrupt(&mut self, handler: u64, back: u64) {
        if self.unseen.is_none() {
            self.unit.interrupt(self.ip, handler);
            self.known = self.executed.len();
            self.counts.interrupts += 1;
        }
        let thread = &mut self.threads[self.current];
        thread.frames.push(Frame::Interrupt(back, thread.register));
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
            Act::Jcc { to, odds } => {
                let taken = match odds {
                    Odds::Of256(odds) => self.rng.below(256) < usize::from(*odds),
                    Odds::WhenDeep => self.threads[self.current].frames.len() > self.deep || self.rng.chance(40),
                };
                self.shown(|unit| unit.conditional(taken));
                if taken { *to } else { next }
            }
            Act::Jump { to, load } => {
                self.load(load);
                *to
            }
            Act::Call { to, load } => {
                self.load(load);
                self.push(next, true);
                *to
            }
            Act::CallNext => {
                self.push(next, false);
                next
            }
            Act::Drop => {
                self.thread().frames.pop();
                next
            }
            Act::JumpIndirect(targets) => self.indirect(targets),
            Act::CallIndirect(targets) => {
                self.push(next, true);
                self.indirect(targets)
            }
            Act::JumpRegister => {
                let to = self.thread().register;
                self.indirect(&[to])
            }
            Act::SetTop => {
                let to = self.thread().register;
                *self.thread().frames.last_mut().expect("a stub was called") = Frame::Return(to);
                next
            }
            Act::Ret => {
                let Some(Frame::Return(to)) = self.thread().frames.pop() else {
                    panic!("the return at {ip:#x} finds no return address");
                };
                self.shown(|unit| unit.ret(to));
                to
            }
            Act::Iret => {
                let Some(Frame::Interrupt(to, register)) = self.thread().frames.pop() else {
                    panic!("the IRETQ at {ip:#x} finds no interrupt frame");
                };
                self.thread().register = register;
                self.shown(|unit| unit.far(to));
                to
            }
            Act::FarJump(to) => {
                self.shown(|unit| unit.far(*to));
                *to
            }
            Act::Sysret => {
                // User mode is not traced. The next thing seen is the system call entry.
                if self.unseen.is_none() {
                    self.unit.disable();
                    self.known = self.executed.len();
                    self.counts.disabled += 1;
                    self.unit.enable(program.entry);
                } else {
                    self.unit.enable(program.entry);
                    self.unseen = None;
                }
                program.entry
            }
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

    fn thread(&mut self) -> &mut Thread {
        &mut self.threads[self.current]
    }

    fn load(&mut self, targets: &[u64]) {
        if !targets.is_empty() {
            let to = *self.rng.pick(targets);
            self.thread().register = to;
        }
    }

    fn push(&mut self, next: u64, counts: bool) {
        self.thread().frames.push(Frame::Return(next));
        if counts {
            self.unit.call(next);
        }
    }

    fn indirect(&mut self, targets: &[u64]) -> u64 {
        let to = *self.rng.pick(targets);
        self.shown(|unit| unit.indirect(to));
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
