//! Symbol 7: function override. Calls of one function go to another one, chosen at boot by CPU and features.
//!
//! ```text
//! header:    u32 FuncOverrideSize | overrides | BDD
//! override:  u32 OriginalRva | u32 BDDOffset | u32 RvaSize | u32 BaseRelocSize | u32 Rva[RvaSize / 4] | blocks
//! record:    type:4 | offset in the page:12
//! BDD:       u32 Version (1) | u32 Size | nodes { u16 Left | u16 Right | u32 Value }
//! ```
//!
//! Which of the alternatives a kernel takes follows from walking the BDD (binary decision diagram) over CPU and feature
//! numbers that are not public; so the sites are listed and their bytes stay as linked.

use crate::addr::Rva;
use crate::bytes;
use crate::error::{Error, Place, Result};
use crate::relocate::{Blocks, Relocation};

/// IMAGE_FUNCTION_OVERRIDE_HEADER, its overrides and its decision diagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionOverrides<'a> {
    /// The overrides that could be read.
    pub overrides: Vec<FunctionOverride<'a>>,
    /// Why reading the overrides ended early, if it did.
    pub error: Option<Error>,
    /// The bytes of the decision diagrams, which each override's `bdd_offset` counts into.
    bdd_bytes: &'a [u8],
    bdd_rva: Rva,
}

/// IMAGE_FUNCTION_OVERRIDE_DYNAMIC_RELOCATION.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionOverride<'a> {
    /// OriginalRva: the function that the file calls.
    pub original: Rva,
    /// BDDOffset: which diagram decides, in bytes.
    pub bdd_offset: u32,
    /// The alternatives.
    pub alternatives: Vec<Rva>,
    blocks: Blocks<'a>,
}

impl PartialEq for Blocks<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.clone().eq(other.clone())
    }
}

impl Eq for Blocks<'_> {}

/// The kind of an override's site: IMAGE_FUNCTION_OVERRIDE_* of winnt.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct OverrideSiteKind(pub u8);

impl OverrideSiteKind {
    /// X64_REL32: a 32-bit distance of a call, jump or lea.
    pub const X64_REL32: Self = Self(1);
    /// ARM64_BRANCH26: an ARM64 b or bl.
    pub const ARM64_BRANCH26: Self = Self(2);
    /// ARM64_THUNK.
    pub const ARM64_THUNK: Self = Self(3);
}

/// A place that names an overridden function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct OverrideSite {
    /// First byte of the distance (x64) or of the instruction (ARM64): 4 bytes.
    pub rva: Rva,
    /// How the function is named there.
    pub kind: OverrideSiteKind,
}

impl<'a> FunctionOverride<'a> {
    /// The places that name the function, in table order.
    pub fn sites(&self) -> impl Iterator<Item = Result<OverrideSite>> + use<'a> {
        self.blocks.clone().flat_map(|block| {
            // The records have the form of base relocations: a type and an offset, and type 0 is padding.
            let (records, error) = match block {
                Ok(block) => (Some(block.relocations()), None),
                Err(error) => (None, Some(Err(error))),
            };
            let site = |record: Relocation| Ok(OverrideSite { rva: record.rva, kind: OverrideSiteKind(record.kind.0) });
            records.into_iter().flatten().map(site).chain(error)
        })
    }
}

const STRUCTURE: &str = "IMAGE_FUNCTION_OVERRIDE_DYNAMIC_RELOCATION";

impl<'a> FunctionOverrides<'a> {
    pub(crate) fn parse(payload: &'a [u8], rva: Rva) -> Result<Self> {
        let place = Place::Rva(rva);
        let Some(size) = bytes::u32_at(payload, 0) else {
            return Err(Error::truncated(place, "IMAGE_FUNCTION_OVERRIDE_HEADER", 4, payload.len() as u64));
        };
        let Some(mut rest) = payload[4..].get(..size as usize) else {
            let allowed = format!("at most {:#x}, what is left of the entry", payload.len() - 4);
            return Err(Error::field(place, "IMAGE_FUNCTION_OVERRIDE_HEADER", "FuncOverrideSize", size, allowed));
        };
        let mut out = Self {
            overrides: Vec::new(),
            error: None,
            bdd_bytes: &payload[4 + size as usize..],
            bdd_rva: Rva(rva.0.wrapping_add(4).wrapping_add(size)),
        };
        let mut here = Rva(rva.0.wrapping_add(4));
        while !rest.is_empty() {
            match one_override(rest, here) {
                Ok((item, size)) => {
                    out.overrides.push(item);
                    rest = &rest[size..];
                    here = Rva(here.0.wrapping_add(size as u32));
                }
                Err(error) => {
                    out.error = Some(error);
                    break;
                }
            }
        }
        Ok(out)
    }

    /// The diagram that decides about an override.
    ///
    /// # Errors
    /// When it does not lie in the entry.
    pub fn bdd(&self, item: &FunctionOverride<'_>) -> Result<Bdd> {
        const STRUCTURE: &str = "IMAGE_BDD_INFO";
        let place = Place::Rva(Rva(self.bdd_rva.0.wrapping_add(item.bdd_offset)));
        let bytes = self.bdd_bytes.get(item.bdd_offset as usize..).unwrap_or_default();
        let (Some(version), Some(size)) = (bytes::u32_at(bytes, 0), bytes::u32_at(bytes, 4)) else {
            return Err(Error::truncated(place, STRUCTURE, 8, bytes.len() as u64));
        };
        let Some(nodes) = bytes[8..].get(..size as usize) else {
            let allowed = format!("at most {:#x}, what is left of the entry", bytes.len() - 8);
            return Err(Error::field(place, STRUCTURE, "BDDSize", size, allowed));
        };
        let node = |raw: &[u8]| {
            let (left, right) = (bytes::u16_at(raw, 0)?, bytes::u16_at(raw, 2)?);
            Some(BddNode { left, right, value: bytes::u32_at(raw, 4)? })
        };
        Ok(Bdd { version, nodes: nodes.chunks_exact(8).filter_map(node).collect() })
    }
}

fn one_override(bytes: &[u8], rva: Rva) -> Result<(FunctionOverride<'_>, usize)> {
    let place = Place::Rva(rva);
    if bytes.len() < 16 {
        return Err(Error::truncated(place, STRUCTURE, 16, bytes.len() as u64));
    }
    let field = |at| bytes::u32_at(bytes, at).expect("checked above");
    let (rva_size, reloc_size) = (field(8), field(12));
    if rva_size % 4 != 0 {
        return Err(Error::field(place, STRUCTURE, "RvaSize", rva_size, "a multiple of 4"));
    }
    let left = bytes.len() - 16;
    let (Some(rvas), Some(after_rvas)) = (bytes[16..].get(..rva_size as usize), bytes[16..].get(rva_size as usize..))
    else {
        return Err(Error::field(place, STRUCTURE, "RvaSize", rva_size, format!("at most {left:#x}")));
    };
    let Some(blocks) = after_rvas.get(..reloc_size as usize) else {
        return Err(Error::field(
            place,
            STRUCTURE,
            "BaseRelocSize",
            reloc_size,
            format!("at most {:#x}", after_rvas.len()),
        ));
    };
    let item = FunctionOverride {
        original: Rva(field(0)),
        bdd_offset: field(4),
        alternatives: rvas.chunks_exact(4).filter_map(|raw| bytes::u32_at(raw, 0).map(Rva)).collect(),
        blocks: Blocks::new(blocks, Rva(rva.0.wrapping_add(16).wrapping_add(rva_size))),
    };
    Ok((item, 16 + rvas.len() + blocks.len()))
}

/// IMAGE_BDD_INFO: a binary decision diagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bdd {
    /// 1 in all known files.
    pub version: u32,
    /// The nodes.
    pub nodes: Vec<BddNode>,
}

/// IMAGE_BDD_DYNAMIC_RELOCATION: a decision, or an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BddNode {
    /// Number of the node for "no".
    pub left: u16,
    /// Number of the node for "yes".
    pub right: u16,
    /// CPU or feature number of a decision; number of the alternative of an outcome.
    pub value: u32,
}
