//! Loops that no packet leaves.

use super::error::ErrorKind;
use super::table::BlockId;

/// Notices code that runs in a loop without a packet. What such a walk does next follows from the block alone, so a block
/// met again means that it never ends. Brent's method: one block is remembered, and replaced after 1, 2, 4, … steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circle {
    mark: BlockId,
    steps: u32,
    power: u32,
    instructions: u32,
    budget: u32,
}

impl Circle {
    #[inline]
    pub fn new(budget: u32) -> Self {
        Self { mark: BlockId::NONE, steps: 0, power: 1, instructions: 0, budget }
    }

    /// Another block is entered without a packet.
    #[inline]
    pub fn step(&mut self, id: BlockId, instructions: u32) -> Result<(), ErrorKind> {
        if self.mark == id {
            return Err(ErrorKind::EndlessLoop);
        }
        self.steps += 1;
        self.instructions = self.instructions.saturating_add(instructions);
        if self.instructions > self.budget || self.steps > self.budget {
            return Err(ErrorKind::Budget { instructions: self.budget });
        }
        if self.steps == self.power {
            self.mark = id;
            self.power = self.power.saturating_mul(2);
        }
        Ok(())
    }
}
