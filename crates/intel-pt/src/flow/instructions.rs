//! A walk as an iterator over single instructions.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use super::blocks::Blocks;
use super::code::{Code, Space, Window};
use super::error::Stop;
use super::events::Event;
use super::table::{BlockId, Table};
use super::visit::{Branch, Visitor};
use super::walk::Walker;

/// An executed instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Instruction {
    /// Its address.
    pub address: u64,
    /// The address space that it was read from.
    pub space: Space,
    bytes: [u8; Window::LONGEST],
    len: u8,
}

impl Instruction {
    /// Its bytes, 1 to 15, as the [`Code`] has them.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// What an iterator over a walk gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// An instruction was executed.
    Instruction(Instruction),
    /// The instruction before was a branch whose target a TIP gave.
    Branch(Branch),
    /// Something else happened.
    Event {
        /// Offset of its packet.
        offset: usize,
        /// What happened.
        event: Event,
    },
    /// The walk stopped because of an error or at an address of [`Blocks::break_at`]. The next step resynchronises. The end
    /// of the trace is not a step.
    Stopped(Stop),
}

/// The steps of a walk, one by one.
///
/// This takes several times as long as a [`Visitor`], because the bytes of every instruction are read from the code. It
/// holds the steps of a stretch of code without a packet, some thousand as a rule.
///
/// ```
/// use intel_pt::flow::{Blocks, Instructions, Step, Walker};
///
/// // 1000: jz +1; 1002: nop; 1003: jmp rax
/// let code: &[(u64, &[u8])] = &[(0x1000, &[0x74, 0x01, 0x90, 0xff, 0xe0])];
/// let mut trace = [0x02, 0x82].repeat(8); // PSB
/// trace.extend([0x7d, 0x00, 0x10, 0, 0, 0, 0]); // FUP 0x1000
/// trace.extend([0x02, 0x23]); // PSBEND
/// trace.extend([0x04]); // TNT: one branch, not taken
/// trace.extend([0x2d, 0x00, 0x10]); // TIP 0x1000
///
/// let mut blocks = Blocks::new(code);
/// let mut walker = Walker::new(&trace);
/// let mut found = Vec::new();
/// for step in Instructions::new(&mut walker, &mut blocks) {
///     if let Step::Instruction(instruction) = step {
///         found.push((instruction.address, instruction.bytes().to_vec()));
///     }
/// }
/// assert_eq!(found, [(0x1000, vec![0x74, 0x01]), (0x1002, vec![0x90]), (0x1003, vec![0xff, 0xe0])]);
/// ```
#[derive(Debug)]
pub struct Instructions<'w, 't, C> {
    walker: &'w mut Walker<'t>,
    blocks: &'w mut Blocks<C>,
    queue: Queue,
    ended: bool,
}

impl<'w, 't, C: Code> Instructions<'w, 't, C> {
    /// The steps from the walker's position on. Dropping the iterator early loses steps that the walker has already made.
    pub fn new(walker: &'w mut Walker<'t>, blocks: &'w mut Blocks<C>) -> Self {
        Self { walker, blocks, queue: Queue::default(), ended: false }
    }

    fn instruction(&self, space: Space, address: u64, len: u8) -> Instruction {
        let mut bytes = [0; Window::LONGEST];
        let read = self.blocks.code().read(space, address, &mut bytes[..usize::from(len)]);
        Instruction { address, space, bytes, len: len.min(read as u8) }
    }
}

impl<C: Code> Iterator for Instructions<'_, '_, C> {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        loop {
            match self.queue.0.pop_front() {
                Some(Queued::Instruction { space, address, len }) => {
                    return Some(Step::Instruction(self.instruction(space, address, len)));
                }
                Some(Queued::Branch(branch)) => return Some(Step::Branch(branch)),
                Some(Queued::Event { offset, event }) => return Some(Step::Event { offset, event }),
                Some(Queued::Stopped(stop)) => return Some(Step::Stopped(stop)),
                None if self.ended => return None,
                None => match self.walker.run(self.blocks, &mut self.queue) {
                    Stop::Visitor => {}
                    Stop::End | Stop::Limit => self.ended = true,
                    stop => {
                        self.walker.lose();
                        self.queue.0.push_back(Queued::Stopped(stop));
                    }
                },
            }
        }
    }
}

/// Steps made and not yet given out.
#[derive(Debug, Default)]
struct Queue(VecDeque<Queued>);

#[derive(Debug)]
enum Queued {
    Instruction { space: Space, address: u64, len: u8 },
    Branch(Branch),
    Event { offset: usize, event: Event },
    Stopped(Stop),
}

impl Queue {
    fn push(&mut self, table: &Table, id: BlockId, instructions: u32) {
        let space = table.block(id).space;
        let executed = table.instructions(id).take(instructions as usize);
        self.0.extend(executed.map(|(address, len)| Queued::Instruction { space, address, len }));
    }
}

impl Visitor for Queue {
    fn blocks(&mut self, table: &Table, ids: &[BlockId]) {
        for id in ids {
            self.push(table, *id, u32::MAX);
        }
    }

    fn part(&mut self, table: &Table, id: BlockId, instructions: u32) {
        self.push(table, id, instructions);
    }

    fn branch(&mut self, branch: &Branch) {
        self.0.push_back(Queued::Branch(*branch));
    }

    fn event(&mut self, offset: usize, event: &Event) {
        self.0.push_back(Queued::Event { offset, event: *event });
    }

    fn control(&mut self) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}
