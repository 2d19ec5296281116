//! The image of memory that a walk follows code in.

use crate::{CodeWidth, Pip};

/// An address space, by a number that the [`Code`] gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Space(pub u32);

/// Where instruction bytes come from: an image of memory, as the processor saw it.
pub trait Code {
    /// Copies the bytes from `address` on into `out` and says how many: all of them, or those up to the first that is
    /// not known. 0 means that nothing is known at `address`.
    fn read(&self, space: Space, address: u64, out: &mut [u8]) -> usize;

    /// The address space that CR3 selects. `paging` is what the last PIP packet said (CR3 includes the PCID), or nothing
    /// before the first one.
    ///
    /// Unless an implementation says otherwise, all of them are one space. That is right for kernel code, which is the
    /// same in each: what was decoded once is then known in all.
    fn space(&self, paging: Option<Pip>) -> Space {
        let _ = paging;
        Space::default()
    }
}

impl<C: Code + ?Sized> Code for &C {
    fn read(&self, space: Space, address: u64, out: &mut [u8]) -> usize {
        (**self).read(space, address, out)
    }

    fn space(&self, paging: Option<Pip>) -> Space {
        (**self).space(paging)
    }
}

/// Ranges of bytes at addresses, the same in every space. The first range that holds an address wins.
impl Code for [(u64, &[u8])] {
    fn read(&self, _: Space, address: u64, out: &mut [u8]) -> usize {
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

/// What the meaning of an address depends on besides the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Context {
    pub space: Space,
    pub width: CodeWidth,
}

/// The number of a [`Context`] in one cache of blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContextId(pub u32);

impl ContextId {
    /// That of blocks that are not valid any more.
    pub const NONE: Self = Self(u32::MAX);
}

/// Bytes read from the code lately: instructions are decoded from here.
#[derive(Clone, Debug)]
pub(super) struct Window {
    bytes: Vec<u8>,
    space: Space,
    start: u64,
    len: usize,
}

impl Window {
    const SIZE: usize = 1024;
    /// The longest x86 instruction.
    pub const LONGEST: usize = 15;

    pub fn new() -> Self {
        Self { bytes: vec![0; Self::SIZE], space: Space::default(), start: 0, len: 0 }
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The bytes from `address` on, where memory has them at least a longest instruction, and whether memory may have more
    /// after them.
    pub fn at<C: Code>(&mut self, code: &C, space: Space, address: u64) -> (&[u8], bool) {
        let offset = usize::try_from(address.wrapping_sub(self.start)).ok();
        let inside = offset.filter(|_| self.space == space).and_then(|offset| self.len.checked_sub(offset));
        // A short read means that nothing is known after it.
        let have = inside.filter(|have| *have >= Self::LONGEST || *have > 0 && self.len < Self::SIZE);
        let have = have.unwrap_or_else(|| {
            (self.space, self.start) = (space, address);
            self.len = code.read(space, address, &mut self.bytes).min(Self::SIZE);
            self.len
        });
        (&self.bytes[self.len - have..self.len], self.len == Self::SIZE)
    }
}
