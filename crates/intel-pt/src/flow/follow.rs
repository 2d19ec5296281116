//! Following code: branches, and the packets that they take.

use super::blocks::Blocks;
use super::circle::Circle;
use super::code::Code;
use super::error::{ErrorKind, Found, Need, Stop};
use super::events::Item;
use super::state::{Origin, Place, State};
use super::table::{Block, BlockId, Exit};
use super::visit::{Branch, BranchKind, Visitor};

impl State<'_> {
    /// One item, with tracing on.
    #[inline]
    pub(super) fn on<C: Code, V: Visitor>(
        &mut self,
        place: Place,
        blocks: &mut Blocks<C>,
        visitor: &mut V,
    ) -> Result<(), Stop> {
        if self.bits.is_empty() {
            if self.feed.offset() >= self.options.limit {
                return Err(Stop::Limit);
            }
            if let Some(payload) = self.feed.short_tnt() {
                self.bits.load_short(payload);
            } else {
                let offset = self.feed.offset();
                match self.feed.peek() {
                    Item::Tnt(tnt) => {
                        self.take(visitor, offset);
                        self.bits.load(tnt.bits(), tnt.len());
                    }
                    Item::Tip(Some(_)) | Item::Off(_) => {}
                    item => return self.event(place, blocks, visitor, offset, item),
                }
            }
        }
        self.follow(place, blocks, visitor)
    }

    /// Follows code up to the branch that takes the last TNT bit, or the next TIP.
    #[inline]
    fn follow<C: Code, V: Visitor>(
        &mut self,
        place: Place,
        blocks: &mut Blocks<C>,
        visitor: &mut V,
    ) -> Result<(), Stop> {
        let context = self.context(blocks);
        let mut id = blocks.at_hint(place.hint, place.ip, context);
        let mut origin = place.origin;
        let mut circle = Circle::new(self.options.budget);
        loop {
            if !self.bits.is_empty() {
                let (bits, n) = self.bits.next();
                if let Some((table, ids, end)) = blocks.path(id, bits) {
                    visitor.blocks(table, ids);
                    self.ask(visitor);
                    self.bits.skip(n);
                    circle = Circle::new(self.options.budget);
                    (id, origin) = (end, Origin::Code);
                    if self.stopping || self.bits.is_empty() && !self.run_paths(blocks, visitor, &mut id) {
                        self.stand_at(blocks, id, origin);
                        return Ok(());
                    }
                    continue;
                }
            }
            let block = *blocks.table().block(id);
            if block.is_direct() {
                let Some(next) = self.direct(blocks, visitor, id, &block, &mut circle)? else { return Ok(()) };
                (id, origin) = (next, Origin::Code);
                if self.stopping {
                    self.stand_at(blocks, id, origin);
                    return Ok(());
                }
                continue;
            }
            circle = Circle::new(self.options.budget);
            (id, origin) = match block.exit {
                Exit::Cond(target) if !self.bits.is_empty() => {
                    self.visit(visitor, blocks, id, &block);
                    let (side, to) = if self.bits.take() { (0, target) } else { (1, block.end) };
                    (blocks.successor(id, side, to), Origin::Code)
                }
                Exit::Return if !self.bits.is_empty() => {
                    (self.compressed_return(blocks, visitor, id, &block)?, Origin::Code)
                }
                Exit::Missing | Exit::Invalid | Exit::Break => {
                    if block.instructions > 0 {
                        origin = Origin::Code;
                    }
                    return self.dead_end(blocks, visitor, id, &block, origin);
                }
                _ => match self.indirect(blocks, visitor, id, &block)? {
                    Some(next) => (next, Origin::Target),
                    None => return Ok(()),
                },
            };
            if self.bits.is_empty() || self.stopping {
                self.stand_at(blocks, id, origin);
                return Ok(());
            }
        }
    }

    /// Takes short TNTs for as long as paths are known for them: the loop that hot code is decoded by. True when a TNT
    /// is left over that needs the long way.
    #[inline]
    fn run_paths<C: Code, V: Visitor>(&mut self, blocks: &mut Blocks<C>, visitor: &mut V, id: &mut BlockId) -> bool {
        while self.feed.offset() < self.options.limit && !self.stopping {
            let Some(payload) = self.feed.short_tnt() else { return false };
            let Some((table, ids, end)) = blocks.path(*id, payload) else {
                self.bits.load_short(payload);
                return true;
            };
            visitor.blocks(table, ids);
            self.ask(visitor);
            *id = end;
        }
        false
    }

    /// A block whose successor needs no packet. Returns `None` when tracing ends with it.
    fn direct<C: Code, V: Visitor>(
        &mut self,
        blocks: &mut Blocks<C>,
        visitor: &mut V,
        id: BlockId,
        block: &Block,
        circle: &mut Circle,
    ) -> Result<Option<BlockId>, Stop> {
        let offset = self.feed.offset();
        if let Err(kind) = circle.step(id, block.instructions).and_then(|()| self.work.step(offset)) {
            return self.fail(Some(block.start), kind);
        }
        self.visit(visitor, blocks, id, block);
        let to = self.pass(block);
        if self.bits.is_empty()
            && let Item::Off(ip) = self.feed.peek()
        {
            // With an address, a direct branch there is where it ended; without, a change of address space.
            let ends = match ip {
                Some(ip) => ip == to && matches!(block.exit, Exit::Jump(_) | Exit::Call(_)),
                None => block.exit == Exit::Cr3,
            };
            if ends {
                self.end(visitor, None, ip);
                return Ok(None);
            }
        }
        Ok(Some(blocks.successor(id, 0, to)))
    }

    /// A return that takes the next TNT bit, which must be 1.
    fn compressed_return<C: Code, V: Visitor>(
        &mut self,
        blocks: &mut Blocks<C>,
        visitor: &mut V,
        id: BlockId,
        block: &Block,
    ) -> Result<BlockId, Stop> {
        let last = block.last(blocks.table());
        if !self.bits.take() {
            return self.fail(Some(last), ErrorKind::BadReturn);
        }
        self.visit(visitor, blocks, id, block);
        let Some(to) = self.stack.pop() else { return self.fail(Some(last), ErrorKind::ReturnStackEmpty) };
        self.evidence.returns += 1;
        let context = self.context(blocks);
        Ok(blocks.indirect_successor(id, to, context))
    }

    /// A block after which nothing can be followed.
    fn dead_end<C: Code, V: Visitor>(
        &mut self,
        blocks: &mut Blocks<C>,
        visitor: &mut V,
        id: BlockId,
        block: &Block,
        origin: Origin,
    ) -> Result<(), Stop> {
        self.visit(visitor, blocks, id, block);
        self.jump(block.end, origin);
        match block.exit {
            Exit::Break => {
                // Whoever stops here may lead the walk on without a packet, so this is work too.
                let offset = self.feed.offset();
                match self.work.step(offset) {
                    Ok(()) => Err(Stop::Break { ip: block.end }),
                    Err(kind) => self.fail(Some(block.end), kind),
                }
            }
            Exit::Missing => self.fail(Some(block.end), ErrorKind::NoMemory),
            _ => self.fail(Some(block.end), ErrorKind::BadInstruction),
        }
    }

    /// A block whose last instruction takes a TIP. Returns `None` when tracing ends with it.
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
        let last = block.last(blocks.table());
        if let Item::Off(ip) = item
            && self.bits.is_empty()
        {
            self.visit(visitor, blocks, id, block);
            self.end(visitor, None, ip);
            return Ok(None);
        }
        let (kind, needs) = match block.exit {
            Exit::IndirectCall => (BranchKind::Call, Need::Tip),
            Exit::IndirectJump => (BranchKind::Jump, Need::Tip),
            Exit::Far(_) => (BranchKind::Far, Need::Tip),
            Exit::Return => (BranchKind::Return { expected: self.stack.peek() }, Need::TntOrTip),
            _ => return self.fail(Some(last), ErrorKind::Mismatch { needs: Need::Tnt, found: found(item) }),
        };
        let Item::Tip(Some(to)) = item else {
            return self.fail(Some(last), ErrorKind::Mismatch { needs, found: found(item) });
        };
        self.visit(visitor, blocks, id, block);
        match block.exit {
            Exit::IndirectCall => self.stack.push(block.end),
            Exit::Return => {
                self.stack.pop();
            }
            _ => {}
        }
        self.deferral_seen |= !self.bits.is_empty();
        self.evidence.branches += 1;
        visitor.branch(&Branch { offset, from: last, to, kind });
        self.take(visitor, offset);
        self.ask(visitor);
        // A far transfer may have changed the width of code or the address space.
        let context = self.context(blocks);
        Ok(Some(blocks.indirect_successor(id, to, context)))
    }
}

/// An item by the name of its packet.
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
