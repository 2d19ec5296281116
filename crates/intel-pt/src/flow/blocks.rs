//! The cache of decoded code.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::{Bound, RangeBounds};

use iced_x86::{Decoder, DecoderError, DecoderOptions, Instruction};

use super::code::{Code, Context, ContextId, Space, Window};
use super::paths::{Path, Paths};
use super::table::{Block, BlockId, Exit, Table};
use crate::{CodeWidth, Pip};

/// A cache of decoded code over an image. Several walks may share it, one after another.
///
/// It holds at most [`Blocks::MAX_BLOCKS`] blocks (some 160 bytes each) and starts over when it is full.
#[derive(Clone, Debug)]
pub struct Blocks<C> {
    code: C,
    table: Table,
    contexts: HashMap<Context, ContextId>,
    /// By the number of the context.
    maps: Vec<(Context, Map)>,
    breaks: HashSet<u64, BuildHasherDefault<AddressHasher>>,
    window: Window,
    paths: Paths,
}

/// Blocks by the address where they start.
type Map = HashMap<u64, BlockId, BuildHasherDefault<AddressHasher>>;

/// Instructions per block. Long straight code makes several blocks.
const MAX_INSTRUCTIONS: u32 = 64;
/// Times that a path is asked for before it is built.
const HOT: u8 = 4;

impl<C: Code> Blocks<C> {
    /// The cache's limit.
    pub const MAX_BLOCKS: usize = 1 << 22;

    /// An empty cache over `code`.
    pub fn new(code: C) -> Self {
        Self {
            code,
            table: Table::default(),
            contexts: HashMap::default(),
            maps: Vec::new(),
            breaks: HashSet::default(),
            window: Window::new(),
            paths: Paths::default(),
        }
    }

    /// The code that blocks are decoded from.
    pub fn code(&self) -> &C {
        &self.code
    }

    /// The blocks decoded so far.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Makes walks stop before the instruction at each of `addresses`, in every space. Forgets what was decoded.
    pub fn break_at(&mut self, addresses: impl IntoIterator<Item = u64>) {
        self.breaks.extend(addresses);
        self.clear();
    }

    /// Forgets what was decoded from `addresses`, in every space, because the code there has changed. Walks go on over
    /// the new code from their next step on.
    ///
    /// Takes time in proportion to the blocks decoded so far, and does not give their memory back.
    pub fn invalidate(&mut self, addresses: impl RangeBounds<u64>) {
        let first = match addresses.start_bound() {
            Bound::Included(first) => Some(*first),
            Bound::Excluded(before) => before.checked_add(1),
            Bound::Unbounded => Some(0),
        };
        let last = match addresses.end_bound() {
            Bound::Included(last) => Some(*last),
            Bound::Excluded(after) => after.checked_sub(1),
            Bound::Unbounded => Some(u64::MAX),
        };
        let (Some(first), Some(last)) = (first, last) else { return };
        let stale = |block: &Block| {
            // What stopped the decoder lies in the longest instruction after the end.
            let after = if matches!(block.exit, Exit::Missing | Exit::Invalid) { Window::LONGEST as u64 } else { 0 };
            let len = block.end.wrapping_sub(block.start).saturating_add(after);
            first <= last && (first.wrapping_sub(block.start) < len || block.start.wrapping_sub(first) <= last - first)
        };
        let mut dead = vec![false; self.table.blocks.len()];
        for (block, dead) in self.table.blocks.iter_mut().zip(&mut dead) {
            if block.context != ContextId::NONE && stale(block) {
                *dead = true;
                block.context = ContextId::NONE;
            }
        }
        let is_dead = |id: BlockId| dead.get(id.0 as usize).is_some_and(|dead| *dead);
        self.maps.iter_mut().for_each(|(_, map)| map.retain(|_, id| !is_dead(*id)));
        for next in self.table.blocks.iter_mut().flat_map(|block| &mut block.next) {
            if is_dead(*next) {
                *next = BlockId::NONE;
            }
        }
        self.paths.clear();
        self.window.clear();
    }

    /// The block that starts at `address`, decoded if it is new.
    pub fn at(&mut self, space: Space, address: u64, width: CodeWidth) -> BlockId {
        let context = self.number(Context { space, width });
        self.in_context(address, context)
    }

    /// What addresses mean under `paging`.
    pub(super) fn context(&mut self, paging: Option<Pip>, width: CodeWidth) -> ContextId {
        self.number(Context { space: self.code.space(paging), width })
    }

    fn number(&mut self, context: Context) -> ContextId {
        *self.contexts.entry(context).or_insert_with(|| {
            self.maps.push((context, Map::default()));
            ContextId(self.maps.len() as u32 - 1)
        })
    }

    #[inline]
    pub(super) fn in_context(&mut self, address: u64, context: ContextId) -> BlockId {
        match self.known(address, context) {
            Some(id) => id,
            None => self.decode(address, context),
        }
    }

    #[inline]
    fn known(&self, address: u64, context: ContextId) -> Option<BlockId> {
        self.maps.get(context.0 as usize)?.1.get(&address).copied()
    }

    /// As [`Blocks::in_context`], with a guess that is often right.
    #[inline]
    pub(super) fn at_hint(&mut self, hint: BlockId, address: u64, context: ContextId) -> BlockId {
        match self.table.blocks.get(hint.0 as usize) {
            Some(block) if block.start == address && block.context == context => hint,
            _ => self.in_context(address, context),
        }
    }

    /// The successor of `id` at `address`; `side` 0 is taken or the only one, 1 is not taken.
    #[inline]
    pub(super) fn successor(&mut self, id: BlockId, side: usize, address: u64) -> BlockId {
        let block = &self.table.blocks[id.0 as usize];
        let known = block.next[side];
        // Direct successors never change while their block lives.
        if known != BlockId::NONE {
            return known;
        }
        let context = block.context;
        let next = self.in_context(address, context);
        // Decoding may have emptied the table.
        if let Some(block) = self.table.blocks.get_mut(id.0 as usize) {
            block.next[side] = next;
        }
        next
    }

    /// As [`Blocks::successor`], if that block was decoded before.
    fn known_successor(&self, id: BlockId, side: usize, address: u64) -> Option<BlockId> {
        let block = self.table.block(id);
        match block.next[side] {
            BlockId::NONE => self.known(address, block.context),
            known => Some(known),
        }
    }

    /// The successor of `id` by an indirect branch to `address`, guessed from the last time.
    #[inline]
    pub(super) fn indirect_successor(&mut self, id: BlockId, address: u64, context: ContextId) -> BlockId {
        let guess = self.table.blocks[id.0 as usize].next[0];
        let next = self.at_hint(guess, address, context);
        if next != guess
            && let Some(block) = self.table.blocks.get_mut(id.0 as usize)
        {
            block.next[0] = next;
        }
        next
    }

    fn clear(&mut self) {
        self.table.clear();
        self.maps.iter_mut().for_each(|(_, map)| map.clear());
        self.paths.clear();
    }

    #[cold]
    fn decode(&mut self, start: u64, id: ContextId) -> BlockId {
        // Every number was given out by this cache.
        let context = self.maps[id.0 as usize].0;
        if self.table.blocks.len() >= Self::MAX_BLOCKS {
            self.clear();
        }
        let lengths = self.table.lengths.len() as u32;
        let (mut at, mut instructions) = (start, 0);
        let exit = loop {
            if let Some(exit) = self.decode_window(&mut at, &mut instructions, context) {
                break exit;
            }
        };
        let block = BlockId(self.table.blocks.len() as u32);
        let (space, next) = (context.space, [BlockId::NONE; 2]);
        let heat = 0;
        self.table.blocks.push(Block { start, end: at, instructions, exit, heat, space, context: id, lengths, next });
        self.maps[id.0 as usize].1.insert(start, block);
        block
    }

    #[inline]
    /// Decodes within the window until the block ends, or (then without a result) a whole instruction may no longer fit.
    fn decode_window(&mut self, at: &mut u64, instructions: &mut u32, context: Context) -> Option<Exit> {
        let (bytes, more) = self.window.at(&self.code, context.space, *at);
        if bytes.is_empty() {
            return Some(Exit::Missing);
        }
        let bits = match context.width {
            CodeWidth::Bits16 => 16,
            CodeWidth::Bits32 => 32,
            CodeWidth::Bits64 => 64,
        };
        let mut decoder = Decoder::with_ip(bits, bytes, *at, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        loop {
            if !self.breaks.is_empty() && self.breaks.contains(at) {
                return Some(Exit::Break);
            }
            if *instructions == MAX_INSTRUCTIONS {
                return Some(Exit::Fall);
            }
            if more && decoder.position() > 0 && bytes.len() - decoder.position() < Window::LONGEST {
                return None;
            }
            decoder.decode_out(&mut instruction);
            if instruction.is_invalid() {
                // An instruction that the end of what is known cuts off misses memory.
                let cut = decoder.last_error() == DecoderError::NoMoreBytes;
                return Some(if cut { Exit::Missing } else { Exit::Invalid });
            }
            self.table.lengths.push(instruction.len() as u8);
            *instructions += 1;
            *at = instruction.next_ip();
            if let Some(exit) = Exit::of(&instruction) {
                return Some(exit);
            }
            if decoder.position() == bytes.len() {
                return None;
            }
        }
    }

    /// The blocks that `bits` (1 to 6 of them, the oldest highest, below a stop bit) lead through from `id`, and the block
    /// after them. `None` when they lead through calls or returns, or the block is not hot.
    #[inline]
    pub(super) fn path(&mut self, id: BlockId, bits: u8) -> Option<(&Table, &[BlockId], BlockId)> {
        let found = match self.paths.get(id, bits) {
            Some(path) => path,
            None => self.build_path(id, bits)?,
        };
        let ids = self.paths.blocks(&found)?;
        (!found.is_empty()).then_some((&self.table, ids, found.end))
    }

    #[cold]
    fn build_path(&mut self, id: BlockId, bits: u8) -> Option<Path> {
        let block = self.table.blocks.get_mut(id.0 as usize)?;
        if block.heat < HOT {
            block.heat += 1;
            return None;
        }
        let start = self.paths.begin();
        let mut left = bits.ilog2();
        let mut at = id;
        while left > 0 {
            let block = *self.table.block(at);
            let (side, target) = match block.exit {
                Exit::Cond(target) => {
                    left -= 1;
                    if bits >> left & 1 == 1 { (0, target) } else { (1, block.end) }
                }
                Exit::Jump(target) => (0, target),
                Exit::Fall => (0, block.end),
                _ => return self.paths.finish(start, id, bits, None),
            };
            if !self.paths.push(start, at) {
                return self.paths.finish(start, id, bits, None);
            }
            // Nothing is decoded here, because a full cache would start over. The walk decodes what is missing.
            match self.known_successor(at, side, target) {
                Some(next) => at = next,
                None => {
                    self.paths.abandon(start);
                    return None;
                }
            }
        }
        self.paths.finish(start, id, bits, Some(at))
    }
}

/// Addresses are well spread already; one multiplication mixes them.
#[derive(Clone, Copy, Debug, Default)]
struct AddressHasher(u64);

impl Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}
