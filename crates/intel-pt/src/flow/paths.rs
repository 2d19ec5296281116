//! Paths: what up to six TNT bits do from a block, when they meet only conditional branches and direct jumps.
//!
//! ```text
//! block 7, bits TTNT  ->  7 9 9 12 3, then at 15
//! ```

use super::table::BlockId;

/// The paths built so far. Direct-mapped by block and bits: a new path replaces an old one in the same slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Paths {
    slots: Vec<Path>,
    ids: Vec<BlockId>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Path {
    key: u64,
    start: u32,
    len: u32,
    /// The block after the path.
    pub end: BlockId,
}

impl Path {
    const EMPTY: Self = Self { key: u64::MAX, start: 0, len: 0, end: BlockId::NONE };

    /// True when the bits lead through something other than conditional branches and direct jumps.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl Paths {
    const SLOTS: usize = 1 << 14;
    /// When the id lists hold more, all paths are forgotten: 4 MiB.
    const MOST_IDS: usize = 1 << 20;
    /// Paths longer than this are not worth it (loops without a branch do not end at all).
    const LONGEST: usize = 48;

    #[inline]
    fn key(id: BlockId, bits: u8) -> u64 {
        u64::from(id.0) << 8 | u64::from(bits)
    }

    /// Fibonacci hashing: the upper bits of the product depend on all bits of the key.
    #[inline]
    fn slot(key: u64) -> usize {
        (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - Self::SLOTS.ilog2())) as usize
    }

    /// The path of `bits` (1 to 6 of them, the oldest highest, below a stop bit) from `id`, if it was built.
    #[inline]
    pub fn get(&self, id: BlockId, bits: u8) -> Option<Path> {
        let key = Self::key(id, bits);
        self.slots.get(Self::slot(key)).filter(|path| path.key == key).copied()
    }

    /// The blocks of a path that was just built or looked up.
    #[inline]
    pub fn blocks(&self, path: &Path) -> Option<&[BlockId]> {
        self.ids.get(path.start as usize..(path.start + path.len) as usize)
    }

    pub fn clear(&mut self) {
        self.slots.clear();
        self.ids.clear();
    }

    /// Makes room, and says where the ids of a new path begin.
    pub fn begin(&mut self) -> usize {
        if self.slots.is_empty() || self.ids.len() > Self::MOST_IDS {
            self.clear();
            self.slots.resize(Self::SLOTS, Path::EMPTY);
        }
        self.ids.len()
    }

    /// Adds a block to the path that began at `start`. False when the path is too long.
    pub fn push(&mut self, start: usize, id: BlockId) -> bool {
        let room = self.ids.len().saturating_sub(start) < Self::LONGEST;
        if room {
            self.ids.push(id);
        }
        room
    }

    /// Drops the path that began at `start`: it may be built another time.
    pub fn abandon(&mut self, start: usize) {
        self.ids.truncate(start);
    }

    /// Makes the ids from `start` on the path of `bits` from `id`. Without an `end`, it remembers that no such path exists.
    pub fn finish(&mut self, start: usize, id: BlockId, bits: u8, end: Option<BlockId>) -> Option<Path> {
        if end.is_none() {
            self.ids.truncate(start);
        }
        let len = self.ids.len().saturating_sub(start) as u32;
        let key = Self::key(id, bits);
        let path = Path { key, start: start as u32, len, end: end.unwrap_or(id) };
        *self.slots.get_mut(Self::slot(key))? = path;
        Some(path)
    }
}
