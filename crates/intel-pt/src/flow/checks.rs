//! Whether branches make sense: four checks that catch wrong code which decodes without an error.
//!
//! Return compression and deferred TIPs can hide a wrong image from a decoder. A call that the image has in another form
//! than the processor ran may cost one packet more or less, and the next packets happen to fit. The meaning of the
//! addresses does not fit then.

use std::ops::ControlFlow;

use iced_x86::{Decoder, DecoderOptions, Instruction};

use super::code::{Code, Space};
use super::events::Event;
use super::table::{BlockId, Table};
use super::visit::{Branch, BranchKind, Visitor};

/// What a check found against a branch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Finding {
    /// C1: the call or jump through an import slot did not go where the slot points.
    NotTheImport {
        /// Where the slot points.
        expected: u64,
    },
    /// C2: the return went to an address that no call precedes. The first run of a thread begins that way too.
    NotAfterCall,
    /// C3: the return was not compressed although a call is remembered, and went elsewhere. Thread switches and
    /// retpolines do that too, so it says little by itself.
    NotTheCaller {
        /// The address after the remembered call.
        expected: u64,
    },
    /// C4: the call went to an address where no function starts.
    NotAFunction,
}

/// What is known about addresses. Every method may answer `None` for "not known".
pub trait Knowledge {
    /// Where the import slot that the branch at `from` goes through points.
    fn import(&self, from: u64) -> Option<u64> {
        let _ = from;
        None
    }

    /// Whether a function starts at `address` (from `.pdata`, exports or the CFG table).
    fn function(&self, address: u64) -> Option<bool> {
        let _ = address;
        None
    }

    /// Whether a call ends right before `address`, where that is known better than the image says.
    fn after_call(&self, address: u64) -> Option<bool> {
        let _ = address;
        None
    }
}

/// Knows nothing, so that only C2 and C3 are checked.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoKnowledge;

impl Knowledge for NoKnowledge {}

/// A visitor that checks each branch and passes everything on to another visitor.
#[derive(Debug)]
pub struct Checks<'a, C, K, V> {
    code: &'a C,
    knowledge: K,
    /// The visitor that everything is passed on to.
    pub inner: V,
    /// The address space of the last block.
    space: Space,
    findings: Vec<(Branch, Finding)>,
    checked: usize,
}

/// The list of findings does not grow beyond this.
const MAX_FINDINGS: usize = 4096;

impl<'a, C: Code, K: Knowledge, V: Visitor> Checks<'a, C, K, V> {
    /// Checks branches over `code`.
    pub fn new(code: &'a C, knowledge: K, inner: V) -> Self {
        Self { code, knowledge, inner, space: Space::default(), findings: Vec::new(), checked: 0 }
    }

    /// What was found, in the order of execution; the first 4096.
    pub fn findings(&self) -> &[(Branch, Finding)] {
        &self.findings
    }

    /// Branches that were checked and found good.
    pub fn good(&self) -> usize {
        self.checked - self.findings.len().min(self.checked)
    }

    fn check(&self, branch: &Branch) -> Option<Finding> {
        if let Some(expected) = self.knowledge.import(branch.from)
            && expected != branch.to
        {
            return Some(Finding::NotTheImport { expected });
        }
        match branch.kind {
            BranchKind::Return { expected } => {
                let after_call =
                    self.knowledge.after_call(branch.to).or_else(|| follows_call(self.code, self.space, branch.to));
                if after_call == Some(false) {
                    return Some(Finding::NotAfterCall);
                }
                expected.filter(|expected| *expected != branch.to).map(|expected| Finding::NotTheCaller { expected })
            }
            BranchKind::Call => (self.knowledge.function(branch.to) == Some(false)).then_some(Finding::NotAFunction),
            BranchKind::Jump | BranchKind::Far => None,
        }
    }
}

impl<C: Code, K: Knowledge, V: Visitor> Visitor for Checks<'_, C, K, V> {
    fn blocks(&mut self, table: &Table, ids: &[BlockId]) {
        self.space = ids.last().map_or(self.space, |id| table.block(*id).space);
        self.inner.blocks(table, ids);
    }

    fn part(&mut self, table: &Table, id: BlockId, instructions: u32) {
        self.inner.part(table, id, instructions);
    }

    fn branch(&mut self, branch: &Branch) {
        self.checked += 1;
        if self.findings.len() < MAX_FINDINGS
            && let Some(finding) = self.check(branch)
        {
            self.findings.push((*branch, finding));
        }
        self.inner.branch(branch);
    }

    fn event(&mut self, offset: usize, event: &Event) {
        self.inner.event(offset, event);
    }

    fn control(&mut self) -> ControlFlow<()> {
        self.inner.control()
    }
}

/// Whether the bytes before `address` can be read as a near call that ends there (64-bit code). `None` when they are not
/// known.
///
/// It reads backwards, so other instructions may look like a call: "true" is weak, "false" is certain for this image.
pub fn follows_call<C: Code + ?Sized>(code: &C, space: Space, address: u64) -> Option<bool> {
    let mut known = false;
    // FF /2 has 2 to 7 bytes without and 3 to 8 with a prefix; E8 has 5.
    for length in 2..=8_usize {
        let mut bytes = [0; 8];
        let start = address.checked_sub(length as u64)?;
        if code.read(space, start, &mut bytes[..length]) != length {
            continue;
        }
        known = true;
        let mut decoder = Decoder::with_ip(64, &bytes[..length], start, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        decoder.decode_out(&mut instruction);
        if instruction.len() == length && (instruction.is_call_near() || instruction.is_call_near_indirect()) {
            return Some(true);
        }
    }
    known.then_some(false)
}

#[cfg(test)]
mod tests {
    use super::{Space, follows_call};

    #[test]
    fn calls_of_every_length_are_seen() {
        for (bytes, expected) in [
            (&[0xff, 0xd0][..], true),
            (&[0xff, 0x54, 0x24, 0x20], true),
            (&[0xe8, 1, 2, 3, 4], true),
            (&[0xff, 0x15, 1, 2, 3, 4], true),
            (&[0x48, 0xff, 0x15, 1, 2, 3, 4], true),
            (&[0x41, 0xff, 0x94, 0x24, 1, 2, 3, 4], true),
            (&[0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90], false),
            (&[0xff, 0xe0], false),
            (&[0xc3, 0xcc], false),
        ] {
            let code: &[(u64, &[u8])] = &[(0x1000, bytes)];
            assert_eq!(follows_call(code, Space(0), 0x1000 + bytes.len() as u64), Some(expected), "{bytes:x?}");
            assert_eq!(follows_call(code, Space(0), 0x9000), None);
        }
    }
}
