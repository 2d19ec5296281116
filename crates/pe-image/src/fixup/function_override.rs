//! Function overrides: what a direct branch becomes.
//!
//! ```text
//! as linked:   E8 rel32 or E9 rel32      to the function that the file calls
//! overridden:  E8 rel32 or E9 rel32      to the one that the kernel chose; nothing but the distance changes
//! ```

use crate::addr::Rva;
use crate::fixup::import_optimization::{CALL, JUMP};

/// A direct branch of 5 bytes as a linker writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkedBranch {
    is_call: bool,
    distance: i32,
}

impl LinkedBranch {
    /// Bytes of such a branch.
    pub(crate) const SIZE: u32 = 5;
    /// Bytes of the opcode, in front of the distance.
    pub(crate) const OPCODE: u32 = 1;

    /// Reads opcode and distance; `None` for any other instruction.
    pub(crate) fn parse(bytes: [u8; 5]) -> Option<Self> {
        let [opcode, distance @ ..] = bytes;
        matches!(opcode, CALL | JUMP)
            .then_some(Self { is_call: opcode == CALL, distance: i32::from_le_bytes(distance) })
    }

    /// True for a call, false for a jump.
    pub(crate) fn is_call(self) -> bool {
        self.is_call
    }

    /// Where the branch leads when its distance lies at `distance_rva`.
    pub(crate) fn target(self, distance_rva: Rva) -> Option<Rva> {
        let target = i64::from(distance_rva.0) + 4 + i64::from(self.distance);
        u32::try_from(target).ok().map(Rva)
    }
}
