//! Code as the flow sees it: basic blocks, decoded once and linked to their successors.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use iced_x86::{Code as Opcode, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, Register};

use crate::CodeWidth;

/// Where instruction bytes come from: an image of memory, as the processor saw it.
pub trait Code {
    /// Copies the bytes from `address` on into `out` and says how many: all of them, or those up to the first that is
    /// not known. 0 means that nothing is known at `address`.
    fn read(&self, address: u64, out: &mut [u8]) -> usize;
}

impl<C: Code + ?Sized> Code for &C {
    fn read(&self, address: u64, out: &mut [u8]) -> usize {
        (**self).read(address, out)
    }
}

/// Ranges of bytes at addresses, the first that holds an address wins.
impl Code for [(u64, &[u8])] {
    fn read(&self, address: u64, out: &mut [u8]) -> usize {
        let mut done = 0;
        while done < out.len() {
            let found = self.iter().find_map(|(base, bytes)| {
                let offset = usize::try_from(address.checked_add(done as u64)?.checked_sub(*base)?).ok()?;
                bytes.get(offset..).filter(|rest| !rest.is_empty())
            });
            let Some(rest) = found else { break };
            let n = rest.len().min(out.len() - done);
            out[done..done + n].copy_from_slice(&rest[..n]);
            done += n;
        }
        done
    }
}

/// A block of a [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub(super) u32);

const NONE: u32 = u32::MAX;

/// Instructions that are executed one after another: only the last one may branch.
#[derive(Clone, Copy, Debug)]
pub struct Block {
    /// Address of the first instruction.
    pub start: u64,
    /// Address after the last instruction.
    pub end: u64,
    /// Number of instructions, 0 when there is nothing to execute at `start` (see `exit`).
    pub instructions: u32,
    /// How execution goes on.
    pub exit: Exit,
    /// How often a path was wanted from here before one was built.
    pub(super) heat: u8,
    width: CodeWidth,
    /// First of `instructions` entries of the length table.
    lengths: u32,
    /// Successors: taken (or the only one), not taken. A cache: checked by address where it may be stale.
    next: [u32; 2],
}

impl Block {
    /// Address of the last instruction; `start` when there is none.
    pub fn last(&self, table: &Table) -> u64 {
        let lengths = table.lengths(self);
        lengths.last().map_or(self.start, |last| self.end.wrapping_sub(u64::from(*last)))
    }
}

/// How execution goes on after a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// To the address after it.
    Fall,
    /// As [`Exit::Fall`]; the last instruction loads CR3.
    Cr3,
    /// To an address, by a direct jump (or `call $+5`, which is none for return compression).
    Jump(u64),
    /// To an address, by a direct call.
    Call(u64),
    /// To an address or the one after it: one TNT bit decides.
    Cond(u64),
    /// By a near indirect jump: a TIP says where to.
    IndirectJump,
    /// By a near indirect call: a TIP says where to.
    IndirectCall,
    /// By a near return: one TNT bit when compressed, otherwise a TIP.
    Return,
    /// By a far transfer, system call or interrupt return: a TIP says where to, unless tracing ends there.
    Far,
    /// Nothing is known of the memory at `end`.
    Missing,
    /// The bytes at `end` are no instruction.
    Invalid,
    /// `end` is one of the addresses at which the walk shall stop.
    Break,
}

/// The blocks decoded so far.
#[derive(Clone, Debug, Default)]
pub struct Table {
    blocks: Vec<Block>,
    lengths: Vec<u8>,
}

impl Table {
    /// A block. Ids stay valid while the walk that gave them is in the visitor's method.
    #[inline]
    pub fn block(&self, id: BlockId) -> &Block {
        &self.blocks[id.0 as usize]
    }

    /// Addresses of the block's instructions.
    pub fn addresses(&self, id: BlockId) -> impl Iterator<Item = u64> + '_ {
        let block = self.block(id);
        self.lengths(block).iter().scan(block.start, |at, length| {
            let address = *at;
            *at = at.wrapping_add(u64::from(*length));
            Some(address)
        })
    }

    fn lengths(&self, block: &Block) -> &[u8] {
        &self.lengths[block.lengths as usize..(block.lengths + block.instructions) as usize]
    }

    /// How many of the block's instructions lie before `address`, if one of them (or the block's end) is there.
    pub(super) fn instructions_before(&self, id: BlockId, address: u64) -> Option<u32> {
        let block = self.block(id);
        if address.wrapping_sub(block.start) > block.end.wrapping_sub(block.start) {
            return None;
        }
        if address == block.end {
            return Some(block.instructions);
        }
        self.addresses(id).position(|at| at == address).map(|n| n as u32)
    }

    /// Address after the first `instructions` instructions of the block.
    pub(super) fn address_after(&self, id: BlockId, instructions: u32) -> u64 {
        let block = self.block(id);
        let lengths = &self.lengths(block)[..instructions as usize];
        block.start.wrapping_add(lengths.iter().map(|l| u64::from(*l)).sum())
    }
}

/// A cache of decoded code over an image. Several walks may share it, one after another.
///
/// It holds at most [`Blocks::MAX_BLOCKS`] blocks (some 160 bytes each) and begins anew beyond.
#[derive(Clone, Debug)]
pub struct Blocks<C> {
    code: C,
    pub(super) table: Table,
    by_address: [HashMap<u64, u32, BuildHasherDefault<AddressHasher>>; 3],
    breaks: HashSet<u64, BuildHasherDefault<AddressHasher>>,
    window: Vec<u8>,
    window_start: u64,
    window_len: usize,
    pub(super) paths: Paths,
}

/// Instructions per block. Long straight code makes several blocks.
const MAX_INSTRUCTIONS: u32 = 64;
const WINDOW: usize = 1024;
/// The longest x86 instruction.
const LONGEST: usize = 15;

impl<C: Code> Blocks<C> {
    /// The cache's limit.
    pub const MAX_BLOCKS: usize = 1 << 22;

    /// An empty cache over `code`.
    pub fn new(code: C) -> Self {
        Self {
            code,
            table: Table::default(),
            by_address: Default::default(),
            breaks: HashSet::default(),
            window: vec![0; WINDOW],
            window_start: 0,
            window_len: 0,
            paths: Paths::default(),
        }
    }

    /// The code that blocks are decoded from.
    pub fn code(&self) -> &C {
        &self.code
    }

    /// Makes walks stop before the instruction at each of `addresses`. Forgets what was decoded.
    pub fn break_at(&mut self, addresses: impl IntoIterator<Item = u64>) {
        self.breaks.extend(addresses);
        self.clear();
    }

    /// The blocks decoded so far.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The block that starts at `address`, decoded if it is new.
    #[inline]
    pub fn at(&mut self, address: u64, width: CodeWidth) -> BlockId {
        match self.by_address[width_index(width)].get(&address) {
            Some(id) => BlockId(*id),
            None => self.decode(address, width),
        }
    }

    /// As [`Blocks::at`], with a guess that is often right.
    #[inline]
    pub(super) fn at_hint(&mut self, hint: u32, address: u64, width: CodeWidth) -> BlockId {
        match self.table.blocks.get(hint as usize) {
            Some(block) if block.start == address && block.width == width => BlockId(hint),
            _ => self.at(address, width),
        }
    }

    /// The successor of `id` at `address`; `side` 0 is taken or only, 1 is not taken.
    #[inline]
    pub(super) fn successor(&mut self, id: BlockId, side: usize, address: u64) -> BlockId {
        let block = &self.table.blocks[id.0 as usize];
        let hint = block.next[side];
        if hint != NONE {
            // Direct successors never change while their block lives.
            return BlockId(hint);
        }
        let width = block.width;
        let next = self.at(address, width);
        // Decoding may have emptied the table.
        if let Some(block) = self.table.blocks.get_mut(id.0 as usize) {
            block.next[side] = next.0;
        }
        next
    }

    /// The successor of `id` by an indirect branch to `address`, guessed from the last time.
    #[inline]
    pub(super) fn indirect_successor(&mut self, id: BlockId, address: u64) -> BlockId {
        let block = &self.table.blocks[id.0 as usize];
        let (hint, width) = (block.next[0], block.width);
        let next = self.at_hint(hint, address, width);
        if next.0 != hint
            && let Some(block) = self.table.blocks.get_mut(id.0 as usize)
        {
            block.next[0] = next.0;
        }
        next
    }

    fn clear(&mut self) {
        self.table.blocks.clear();
        self.table.lengths.clear();
        self.by_address.iter_mut().for_each(HashMap::clear);
        self.paths.clear();
    }

    #[cold]
    fn decode(&mut self, start: u64, width: CodeWidth) -> BlockId {
        if self.table.blocks.len() >= Self::MAX_BLOCKS {
            self.clear();
        }
        let lengths = self.table.lengths.len() as u32;
        let mut at = start;
        let mut instructions = 0;
        let mut instruction = Instruction::default();
        let exit = 'block: loop {
            let have = self.fill(at);
            if have == 0 {
                break Exit::Missing;
            }
            let from = at.wrapping_sub(self.window_start) as usize;
            let bytes = &self.window[from..from + have];
            // A short read means that nothing is known after it.
            let last_bytes = self.window_len < WINDOW;
            let mut decoder = Decoder::with_ip(width_bits(width), bytes, at, DecoderOptions::NONE);
            // Decode within the window until the block ends or a whole instruction may no longer fit.
            loop {
                if !self.breaks.is_empty() && self.breaks.contains(&at) {
                    break 'block Exit::Break;
                }
                if instructions == MAX_INSTRUCTIONS {
                    break 'block Exit::Fall;
                }
                if !last_bytes && decoder.position() > 0 && bytes.len() - decoder.position() < LONGEST {
                    break;
                }
                decoder.decode_out(&mut instruction);
                if instruction.is_invalid() {
                    // At the end of what is known, a truncated instruction misses memory.
                    let cut = decoder.last_error() == iced_x86::DecoderError::NoMoreBytes;
                    break 'block if cut { Exit::Missing } else { Exit::Invalid };
                }
                self.table.lengths.push(instruction.len() as u8);
                instructions += 1;
                at = instruction.next_ip();
                if let Some(exit) = exit_of(&instruction) {
                    break 'block exit;
                }
                if decoder.position() == bytes.len() {
                    break;
                }
            }
        };
        let id = self.table.blocks.len() as u32;
        self.table.blocks.push(Block { start, end: at, instructions, exit, heat: 0, width, lengths, next: [NONE; 2] });
        self.by_address[width_index(width)].insert(start, id);
        BlockId(id)
    }

    /// Makes the window hold `address` and, where memory has them, a longest instruction more. Bytes known there.
    fn fill(&mut self, address: u64) -> usize {
        let offset = address.wrapping_sub(self.window_start);
        let inside = usize::try_from(offset).ok().and_then(|offset| self.window_len.checked_sub(offset));
        match inside {
            Some(have) if have >= LONGEST || have > 0 && self.window_len < WINDOW => have,
            _ => {
                self.window_start = address;
                self.window_len = self.code.read(address, &mut self.window).min(WINDOW);
                self.window_len
            }
        }
    }
}

/// How a block with this last instruction goes on; none when the instruction does not end a block.
fn exit_of(instruction: &Instruction) -> Option<Exit> {
    let target = instruction.near_branch_target();
    match instruction.flow_control() {
        FlowControl::Next => {
            let loads = matches!(instruction.code(), Opcode::Mov_cr_r64 | Opcode::Mov_cr_r32);
            (loads && instruction.op0_register() == Register::CR3).then_some(Exit::Cr3)
        }
        // XBEGIN and its kin change flow only by an abort, and UD2 by an exception: both announce themselves by FUP.
        FlowControl::XbeginXabortXend | FlowControl::Exception => None,
        FlowControl::ConditionalBranch => Some(Exit::Cond(target)),
        FlowControl::UnconditionalBranch if instruction.is_jmp_short_or_near() => Some(Exit::Jump(target)),
        FlowControl::Call if instruction.is_call_near() => {
            // A call of the next instruction only pushes its address: return compression does not count it (SDM).
            Some(if target == instruction.next_ip() { Exit::Jump(target) } else { Exit::Call(target) })
        }
        FlowControl::IndirectBranch if instruction.is_jmp_near_indirect() => Some(Exit::IndirectJump),
        FlowControl::IndirectCall if instruction.is_call_near_indirect() => Some(Exit::IndirectCall),
        FlowControl::Return if instruction.mnemonic() == Mnemonic::Ret => Some(Exit::Return),
        _ => Some(Exit::Far),
    }
}

fn width_index(width: CodeWidth) -> usize {
    match width {
        CodeWidth::Bits16 => 0,
        CodeWidth::Bits32 => 1,
        CodeWidth::Bits64 => 2,
    }
}

fn width_bits(width: CodeWidth) -> u32 {
    [16, 32, 64][width_index(width)]
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

/// Paths: what up to six TNT bits do from a block, when they meet nothing but conditional branches and direct jumps.
///
/// ```text
/// block 7, bits TTNT  ->  7 9 9 12 3, then at 15
/// ```
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    /// Direct-mapped by block and bits.
    slots: Vec<Path>,
    ids: Vec<BlockId>,
}

#[derive(Clone, Copy, Debug)]
struct Path {
    key: u64,
    start: u32,
    len: u32,
    end: BlockId,
}

const PATH_SLOTS: usize = 1 << 14;
/// When the id lists hold more, all paths are forgotten: 4 MiB.
const PATH_IDS: usize = 1 << 20;
/// Paths longer than this are not worth it (packet-free loops do not end at all).
const PATH_LEN: usize = 48;
const HOT: u8 = 4;

impl Paths {
    fn clear(&mut self) {
        self.slots.clear();
        self.ids.clear();
    }
}

impl<C: Code> Blocks<C> {
    /// The blocks that `bits` (1 to 6 of them, oldest highest, below a stop bit) lead through from `id`, and the block
    /// after them; nothing when they lead through calls or returns, or the block is not hot.
    #[inline]
    pub(super) fn path(&mut self, id: BlockId, bits: u8) -> Option<(&Table, &[BlockId], BlockId)> {
        let key = u64::from(id.0) << 8 | u64::from(bits);
        let slot = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - PATH_SLOTS.ilog2())) as usize;
        let found = match self.paths.slots.get(slot) {
            Some(path) if path.key == key => *path,
            _ => self.build(id, bits, key, slot)?,
        };
        let ids = self.paths.ids.get(found.start as usize..(found.start + found.len) as usize)?;
        (found.len > 0).then_some((&self.table, ids, found.end))
    }

    #[cold]
    fn build(&mut self, id: BlockId, bits: u8, key: u64, slot: usize) -> Option<Path> {
        let block = self.table.blocks.get_mut(id.0 as usize)?;
        if block.heat < HOT {
            block.heat += 1;
            return None;
        }
        if self.paths.slots.is_empty() || self.paths.ids.len() > PATH_IDS {
            self.paths.ids.clear();
            self.paths.slots.clear();
            self.paths.slots.resize(PATH_SLOTS, Path { key: u64::MAX, start: 0, len: 0, end: BlockId(NONE) });
        }
        let start = self.paths.ids.len();
        let mut left = bits.ilog2();
        let mut at = id;
        let mut whole = true;
        while left > 0 {
            let block = *self.table.block(at);
            let (side, target) = match block.exit {
                Exit::Cond(target) => {
                    left -= 1;
                    if bits >> left & 1 == 1 { (0, target) } else { (1, block.end) }
                }
                Exit::Jump(target) => (0, target),
                Exit::Fall => (0, block.end),
                _ => {
                    whole = false;
                    break;
                }
            };
            if self.paths.ids.len() - start == PATH_LEN {
                whole = false;
                break;
            }
            self.paths.ids.push(at);
            let blocks = self.table.blocks.len();
            at = self.successor(at, side, target);
            if self.table.blocks.len() < blocks {
                // The cache began anew: the ids just collected mean nothing.
                return None;
            }
        }
        if !whole {
            self.paths.ids.truncate(start);
        }
        let len = (self.paths.ids.len() - start) as u32;
        let path = Path { key, start: start as u32, len, end: at };
        *self.paths.slots.get_mut(slot)? = path;
        Some(path)
    }
}
