//! Events: walking to the address where one happened, and what it changes.

use super::blocks::Blocks;
use super::circle::Circle;
use super::code::{Code, ContextId};
use super::error::{ErrorKind, Stop};
use super::events::{Event, Item};
use super::state::{Origin, Phase, Place, State};
use super::table::{Block, BlockId, Exit};
use super::visit::Visitor;
use super::way::{Rest, Way};

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

/// Why a walk ended before the goal.
enum Short {
    /// The address cannot be reached: this is what is wrong there. Nothing was visited.
    NoWay(u64, ErrorKind),
    /// Something else ends the run on the way.
    Stop(Stop),
}

impl State<'_> {
    /// An item other than a branch packet, with tracing on and no TNT bits left.
    pub(super) fn event<C: Code, V: Visitor>(
        &mut self,
        place: Place,
        blocks: &mut Blocks<C>,
        visitor: &mut V,
        offset: usize,
        item: Item,
    ) -> Result<(), Stop> {
        match item {
            Item::Async { at, to, off } => return self.interrupt(place, blocks, visitor, (at, to, off)),
            Item::At(at) => {
                self.reach(place, blocks, visitor, Goal::Address(at))?;
                self.take(visitor, offset);
            }
            Item::After(instructions) => {
                self.guess(place, blocks, visitor, Goal::Instructions(instructions.into()))?;
                self.take(visitor, offset);
            }
            Item::Paging(pip) => {
                // A PIP without a MOV CR3 comes with a far transfer, which is next.
                let loaded = self.guess(place, blocks, visitor, Goal::Cr3)?;
                self.report(visitor, offset, &Event::Paging(pip));
                self.take(visitor, offset);
                self.load_cr3(pip, !loaded);
            }
            Item::Psb(Some(at)) => {
                self.reach(place, blocks, visitor, Goal::Address(at))?;
                self.synchronised(visitor, offset, Some(at));
            }
            Item::Psb(None) => self.synchronised(visitor, offset, None),
            Item::Overflow(ip) => self.overflow(visitor, offset, ip),
            Item::On(_) if place.origin == Origin::Status => self.phase = Phase::Off { left_at: None },
            Item::On(_) => return self.fail(Some(place.ip), ErrorKind::AlreadyEnabled),
            Item::Status => self.take(visitor, offset),
            Item::Gap(gap) => {
                self.take(visitor, offset);
                return self.damaged(Some(place.ip), &gap);
            }
            Item::End => {
                self.take(visitor, offset);
                return Err(Stop::End);
            }
            Item::Tip(_) => {
                self.take(visitor, offset);
                return self.fail(Some(place.ip), ErrorKind::NoAddress);
            }
            Item::Tnt(_) | Item::Off(_) => {}
        }
        Ok(())
    }

    /// An asynchronous branch: from one address to another, or to where nothing is traced.
    fn interrupt<C: Code, V: Visitor>(
        &mut self,
        place: Place,
        blocks: &mut Blocks<C>,
        visitor: &mut V,
        (at, to, off): (Option<u64>, Option<u64>, bool),
    ) -> Result<(), Stop> {
        let offset = self.feed.offset();
        let aborted = self.feed.aborted();
        if let Some(at) = at {
            // The branches of an aborted transaction may be missing (erratum BDM64).
            if aborted {
                self.guess(place, blocks, visitor, Goal::Address(at))?;
            } else {
                self.reach(place, blocks, visitor, Goal::Address(at))?;
            }
        }
        let from = at.unwrap_or(place.ip);
        if off {
            self.end(visitor, Some(from), to);
            return Ok(());
        }
        let Some(to) = to else {
            self.take(visitor, offset);
            return self.fail(Some(from), ErrorKind::NoAddress);
        };
        if aborted {
            self.report(visitor, offset, &Event::Aborted);
        }
        self.report(visitor, offset, &Event::Interrupt { from, to });
        self.take(visitor, offset);
        self.jump(to, Origin::Target);
        Ok(())
    }

    /// Walks to the goal, which must be there.
    fn reach<C: Code, V: Visitor>(
        &mut self,
        place: Place,
        blocks: &mut Blocks<C>,
        visitor: &mut V,
        goal: Goal,
    ) -> Result<(), Stop> {
        self.walk(place, blocks, visitor, goal).or_else(|short| match short {
            Short::NoWay(ip, kind) => self.fail(Some(ip), kind),
            Short::Stop(stop) => Err(stop),
        })
    }

    /// Walks to the goal if there is a way, and says whether there was.
    fn guess<C: Code, V: Visitor>(
        &mut self,
        place: Place,
        blocks: &mut Blocks<C>,
        visitor: &mut V,
        goal: Goal,
    ) -> Result<bool, Stop> {
        match self.walk(place, blocks, visitor, goal) {
            Ok(()) => Ok(true),
            Err(Short::NoWay(ip, kind @ ErrorKind::TooFewPackets { .. })) => self.fail(Some(ip), kind),
            Err(Short::NoWay(..)) => Ok(false),
            Err(Short::Stop(stop)) => Err(stop),
        }
    }

    /// Walks to the goal without a packet. Nothing is visited unless there is a way to the goal, or to an address to stop
    /// at before it.
    fn walk<C: Code, V: Visitor>(
        &mut self,
        place: Place,
        blocks: &mut Blocks<C>,
        visitor: &mut V,
        goal: Goal,
    ) -> Result<(), Short> {
        if let Goal::Address(at) = goal
            && at == place.ip
        {
            self.evidence.addresses += u64::from(place.origin == Origin::Code);
            return Ok(());
        }
        let context = self.context(blocks);
        let way = match self.rest(place, context, goal) {
            Some(rest) => rest,
            None => self.find(place, blocks, goal).map_err(|(ip, kind)| Short::NoWay(ip, kind))?,
        };
        let mut id = blocks.at_hint(place.hint, place.ip, context);
        for passed in 1..=way.blocks {
            let block = *blocks.table().block(id);
            if !block.is_direct() {
                return self.walk_anew(id, blocks, visitor, goal);
            }
            self.visit(visitor, blocks, id, &block);
            let to = self.pass(&block);
            id = blocks.successor(id, 0, to);
            if self.stopping
                && let Goal::Address(goal) = goal
            {
                // What is counted from the place here cannot be taken up later; the way to an address can.
                self.stand_at(blocks, id, Origin::Code);
                let (ip, way) = (blocks.table().block(id).start, Way { blocks: way.blocks - passed, ..way });
                self.way = Some(Rest { ip, context, goal, way });
                return Err(Short::Stop(Stop::Visitor));
            }
        }
        let last = *blocks.table().block(id);
        let fits = match (way.stop, goal) {
            (Some(stop), _) => last.exit == Exit::Break && last.end == stop,
            (None, Goal::Address(at)) => blocks.table().instructions_before(id, at) == Some(way.instructions),
            (None, Goal::Instructions(_) | Goal::Cr3) => true,
        };
        if !fits {
            return self.walk_anew(id, blocks, visitor, goal);
        }
        let origin = if way.blocks > 0 { Origin::Code } else { place.origin };
        self.stand_at(blocks, id, origin);
        if way.instructions > 0 {
            let block = *blocks.table().block(id);
            if way.instructions == block.instructions {
                self.visit(visitor, blocks, id, &block);
            } else {
                visitor.part(blocks.table(), id, way.instructions);
                self.ask(visitor);
            }
            self.jump(blocks.table().address_after(id, way.instructions), Origin::Code);
        }
        if let Some(ip) = way.stop {
            return Err(Short::Stop(Stop::Break { ip }));
        }
        self.evidence.addresses += u64::from(matches!(goal, Goal::Address(_)));
        Ok(())
    }

    /// The code has changed since the way was found: it is looked for again, from the start of a block on.
    fn walk_anew<C: Code, V: Visitor>(
        &mut self,
        id: BlockId,
        blocks: &mut Blocks<C>,
        visitor: &mut V,
        goal: Goal,
    ) -> Result<(), Short> {
        let place = Place { ip: blocks.table().block(id).start, hint: id, origin: Origin::Code };
        self.walk(place, blocks, visitor, goal)
    }

    /// The way to the goal, when it was found before and the visitor stopped on it.
    fn rest(&mut self, place: Place, context: ContextId, goal: Goal) -> Option<Way> {
        let rest = self.way.take()?;
        let is_this = matches!(goal, Goal::Address(at) if (rest.ip, rest.goal) == (place.ip, at));
        (is_this && rest.context == context).then_some(rest.way)
    }

    /// Passes a block that needs no packet, and says where to.
    pub(super) fn pass(&mut self, block: &Block) -> u64 {
        match block.exit {
            Exit::Jump(to) => to,
            Exit::Call(to) => {
                self.stack.push(block.end);
                to
            }
            _ => block.end,
        }
    }

    /// The way to the goal, or to an address to stop at; else what is in the way, and where.
    fn find<C: Code>(&mut self, place: Place, blocks: &mut Blocks<C>, goal: Goal) -> Result<Way, (u64, ErrorKind)> {
        let context = self.context(blocks);
        let mut id = blocks.at_hint(place.hint, place.ip, context);
        let mut circle = Circle::new(self.options.budget);
        let mut way = Way { blocks: 0, instructions: 0, stop: None };
        let (mut left, event) = match goal {
            Goal::Address(at) => (0, at),
            Goal::Instructions(n) => (n, place.ip),
            Goal::Cr3 => (0, place.ip),
        };
        let not_reached = ErrorKind::NotReached { event };
        loop {
            let block = *blocks.table().block(id);
            let sequential = matches!(block.exit, Exit::Missing | Exit::Invalid | Exit::Break);
            match goal {
                Goal::Address(at) => {
                    if let Some(instructions) = blocks.table().instructions_before(id, at)
                        && (instructions < block.instructions || sequential)
                    {
                        return Ok(Way { instructions, ..way });
                    }
                }
                Goal::Instructions(_) if left < block.instructions || left == block.instructions && sequential => {
                    return Ok(Way { instructions: left, ..way });
                }
                Goal::Instructions(_) => left -= block.instructions,
                Goal::Cr3 if block.exit == Exit::Cr3 => return Ok(Way { blocks: way.blocks + 1, ..way }),
                Goal::Cr3 => {}
            }
            let to = match block.exit {
                Exit::Fall | Exit::Cr3 => block.end,
                Exit::Jump(to) | Exit::Call(to) => to,
                Exit::Missing => return Err((block.end, ErrorKind::NoMemory)),
                Exit::Invalid => return Err((block.end, ErrorKind::BadInstruction)),
                Exit::Break => return Ok(Way { instructions: block.instructions, stop: Some(block.end), ..way }),
                _ => return Err((block.last(blocks.table()), not_reached)),
            };
            circle.step(id, block.instructions.max(1)).map_err(|_| (block.start, not_reached))?;
            let offset = self.feed.offset();
            self.work.step(offset).map_err(|kind| (block.start, kind))?;
            way.blocks += 1;
            id = blocks.successor(id, 0, to);
        }
    }
}
