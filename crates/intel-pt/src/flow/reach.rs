//! Events: walking to the address where one happened, and what it changes.

use super::code::{BlockId, Blocks, Code, Exit};
use super::error::ErrorKind;
use super::events::{Event, Item};
use super::visit::Visitor;
use super::walk::{Phase, Stop, Walker};

/// Notices code that runs in a circle without a packet. Such a walk follows from the block alone, so a block met again
/// means that it never ends. Brent's method: one block is remembered, and replaced after 1, 2, 4, … steps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circle {
    mark: Option<BlockId>,
    steps: u32,
    power: u32,
    instructions: u32,
    budget: u32,
}

impl Circle {
    #[inline]
    pub fn new(budget: u32) -> Self {
        Self { mark: None, steps: 0, power: 1, instructions: 0, budget }
    }

    #[inline]
    pub fn step(&mut self, id: BlockId, instructions: u32) -> Result<(), ErrorKind> {
        if self.mark == Some(id) {
            return Err(ErrorKind::EndlessLoop);
        }
        self.steps += 1;
        self.instructions = self.instructions.saturating_add(instructions);
        if self.instructions > self.budget || self.steps > self.budget {
            return Err(ErrorKind::Budget { instructions: self.budget });
        }
        if self.steps == self.power {
            self.mark = Some(id);
            self.power = self.power.saturating_mul(2);
        }
        Ok(())
    }
}

/// What a walk without packets is to find.
#[derive(Clone, Copy, Debug)]
enum Goal {
    /// The instruction at this address, before it is executed.
    Address(u64),
    /// So many instructions further on.
    Instructions(u32),
    /// After the next MOV CR3.
    Cr3,
}

/// A way found: so many whole blocks, then so many instructions of the next.
#[derive(Clone, Copy, Debug)]
struct Way {
    blocks: u32,
    instructions: u32,
}

impl Walker<'_> {
    /// An item that is no branch packet, with tracing on and no TNT bits left.
    pub(super) fn event<C: Code, V: Visitor>(
        &mut self,
        blocks: &mut Blocks<C>,
        visitor: &mut V,
        offset: usize,
        item: Item,
    ) -> Result<(), Stop> {
        match item {
            Item::Async { at, to, off } => {
                let aborted = self.feed.aborted();
                if let Some(at) = at {
                    match self.walk(blocks, visitor, Goal::Address(at)) {
                        // The branches of an aborted transaction may be missing (erratum BDM64).
                        Err(Stop::Error(_)) if aborted => self.phase = Phase::On,
                        other => other?,
                    }
                }
                let from = at.unwrap_or(self.ip);
                if off {
                    self.end(visitor, Some(from), to);
                    return Ok(());
                }
                let Some(to) = to else {
                    self.take(visitor, offset);
                    return self.fail(from, ErrorKind::NoAddress);
                };
                if aborted {
                    visitor.event(offset, &Event::Aborted);
                }
                visitor.event(offset, &Event::Interrupt { from, to });
                self.take(visitor, offset);
                self.jump(to);
            }
            Item::At(at) => {
                self.walk(blocks, visitor, Goal::Address(at))?;
                self.take(visitor, offset);
            }
            Item::After(instructions) => {
                self.walk(blocks, visitor, Goal::Instructions(instructions.into())).or_else(|stop| self.shrug(stop))?;
                self.take(visitor, offset);
            }
            Item::Paging(pip) => {
                // A PIP without a MOV CR3 comes with a far transfer, which is next.
                self.walk(blocks, visitor, Goal::Cr3).or_else(|stop| self.shrug(stop))?;
                visitor.event(offset, &Event::Paging(pip));
                self.take(visitor, offset);
            }
            Item::Psb(Some(at)) => {
                self.walk(blocks, visitor, Goal::Address(at))?;
                self.synchronised(visitor, offset, Some(at));
            }
            Item::Psb(None) => self.synchronised(visitor, offset, None),
            Item::Overflow(ip) => self.overflow(visitor, offset, ip),
            Item::On(_) if self.fresh => self.phase = Phase::Off,
            Item::On(_) => return self.fail(self.ip, ErrorKind::AlreadyEnabled),
            Item::Status => self.take(visitor, offset),
            Item::Gap(gap) => {
                self.take(visitor, offset);
                return self.fail(self.ip, ErrorKind::Packet(gap.reason()));
            }
            Item::End => {
                self.take(visitor, offset);
                return Err(Stop::End);
            }
            Item::Tip(_) => {
                self.take(visitor, offset);
                return self.fail(self.ip, ErrorKind::NoAddress);
            }
            Item::Tnt(_) | Item::Off(_) => {}
        }
        Ok(())
    }

    /// An error that says only that a place was not found is none where the place is a guess.
    fn shrug(&mut self, stop: Stop) -> Result<(), Stop> {
        match stop {
            Stop::Error(_) => {
                self.phase = Phase::On;
                Ok(())
            }
            other => Err(other),
        }
    }

    pub(super) fn synchronised<V: Visitor>(&mut self, visitor: &mut V, offset: usize, ip: Option<u64>) {
        self.stack.clear();
        self.after_gap = false;
        self.tnt_len = 0;
        visitor.event(offset, &Event::Psb { ip });
        self.take(visitor, offset);
        self.stand(ip);
    }

    pub(super) fn overflow<V: Visitor>(&mut self, visitor: &mut V, offset: usize, ip: Option<u64>) {
        self.stack.clear();
        self.tnt_len = 0;
        self.forget_mode();
        visitor.event(offset, &Event::Overflow { ip });
        self.take(visitor, offset);
        self.stand(ip);
    }

    /// A PSB or overflow says where execution is, or that tracing is off.
    fn stand(&mut self, ip: Option<u64>) {
        match ip {
            Some(ip) => {
                self.phase = Phase::On;
                self.fresh = true;
                self.jump(ip);
            }
            None => {
                self.phase = Phase::Off;
                self.off_at = None;
            }
        }
    }

    /// Walks to the goal without a packet. Nothing is visited unless the goal, or an address to stop at, is reached.
    fn walk<C: Code, V: Visitor>(&mut self, blocks: &mut Blocks<C>, visitor: &mut V, goal: Goal) -> Result<(), Stop> {
        if let Goal::Address(at) = goal
            && at == self.ip
        {
            return Ok(());
        }
        let (way, stop) = match self.find(blocks, goal) {
            Ok(found) => found,
            Err((ip, kind)) => return self.fail(ip, kind),
        };
        let mut id = blocks.at_hint(self.hint, self.ip, self.width);
        for _ in 0..way.blocks {
            let block = *blocks.table.block(id);
            self.visit(visitor, blocks, id, &block);
            let to = match block.exit {
                Exit::Jump(to) => to,
                Exit::Call(to) => {
                    self.stack.push(block.end);
                    to
                }
                _ => block.end,
            };
            id = blocks.successor(id, 0, to);
        }
        self.stand_at(blocks, id);
        if way.instructions > 0 {
            let block = *blocks.table.block(id);
            if way.instructions == block.instructions {
                self.visit(visitor, blocks, id, &block);
            } else {
                visitor.part(&blocks.table, id, way.instructions);
                self.fresh = false;
            }
            self.jump(blocks.table.address_after(id, way.instructions));
        }
        match stop {
            Some(ip) => Err(Stop::Break { ip }),
            None => Ok(()),
        }
    }

    /// The way to the goal, or to an address to stop at, which is then given too.
    fn find<C: Code>(&mut self, blocks: &mut Blocks<C>, goal: Goal) -> Result<(Way, Option<u64>), (u64, ErrorKind)> {
        let mut id = blocks.at_hint(self.hint, self.ip, self.width);
        let mut circle = Circle::new(self.options.budget);
        let mut way = Way { blocks: 0, instructions: 0 };
        let mut left = match goal {
            Goal::Instructions(n) => n,
            _ => 0,
        };
        let not_reached = ErrorKind::NotReached {
            event: match goal {
                Goal::Address(at) => at,
                _ => self.ip,
            },
        };
        loop {
            let block = *blocks.table.block(id);
            let sequential = matches!(block.exit, Exit::Missing | Exit::Invalid | Exit::Break);
            match goal {
                Goal::Address(at) => {
                    if let Some(instructions) = blocks.table.instructions_before(id, at)
                        && (instructions < block.instructions || sequential)
                    {
                        return Ok((Way { instructions, ..way }, None));
                    }
                }
                Goal::Instructions(_) if left < block.instructions || left == block.instructions && sequential => {
                    return Ok((Way { instructions: left, ..way }, None));
                }
                Goal::Instructions(_) => left -= block.instructions,
                Goal::Cr3 if block.exit == Exit::Cr3 => {
                    return Ok((Way { blocks: way.blocks + 1, ..way }, None));
                }
                Goal::Cr3 => {}
            }
            let to = match block.exit {
                Exit::Fall | Exit::Cr3 => block.end,
                Exit::Jump(to) | Exit::Call(to) => to,
                Exit::Missing => return Err((block.end, ErrorKind::NoMemory)),
                Exit::Invalid => return Err((block.end, ErrorKind::BadInstruction)),
                Exit::Break => {
                    return Ok((Way { instructions: block.instructions, ..way }, Some(block.end)));
                }
                _ => return Err((block.last(&blocks.table), not_reached)),
            };
            circle.step(id, block.instructions.max(1)).map_err(|_| (block.start, not_reached))?;
            way.blocks += 1;
            id = blocks.successor(id, 0, to);
        }
    }
}
