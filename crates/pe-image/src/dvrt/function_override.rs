//! Symbol 7: function override. Calls of one function go to another one, chosen at boot by CPU and features.
//!
//! ```text
//! header:    u32 FuncOverrideSize | overrides | BDD
//! override:  u32 OriginalRva | u32 BDDOffset | u32 RvaSize | u32 BaseRelocSize | u32 Rva[RvaSize / 4] | blocks
//! record:    type:4 | offset in the page:12
//! ```
//!
//! Which of the alternatives a kernel takes follows from a walk through the BDD ([`Bdd`]). Reading gives what a table
//! says; [`FunctionOverrides::check`] applies the kernel's rules for it. A kernel does not load an image that breaks one,
//! so a table that does is a sign of the wrong file.

use std::collections::HashMap;

use crate::addr::{PAGE_SIZE, Rva};
use crate::bytes;
use crate::dvrt::decision::Bdd;
use crate::error::{Error, Place, Result};
use crate::header::Headers;
use crate::relocate::{Block, Blocks};

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
    /// Where the header starts.
    rva: Rva,
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
    /// Where the structure starts.
    rva: Rva,
    /// BaseRelocSize bytes of page blocks.
    blocks: &'a [u8],
}

/// The kind of an override's site: IMAGE_FUNCTION_OVERRIDE_* of winnt.h.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct OverrideSiteKind(pub u8);

impl OverrideSiteKind {
    /// X64_REL32: the 32-bit distance of a call or jump.
    pub const X64_REL32: Self = Self(1);
    /// ARM64_BRANCH26: an ARM64 b or bl.
    pub const ARM64_BRANCH26: Self = Self(2);
    /// ARM64_THUNK: the adrp and add of a thunk.
    pub const ARM64_THUNK: Self = Self(3);

    /// The bytes of such a site; `None` for kinds that kernels refuse.
    pub fn size(self) -> Option<u32> {
        match self {
            Self::X64_REL32 | Self::ARM64_BRANCH26 => Some(4),
            Self::ARM64_THUNK => Some(8),
            _ => None,
        }
    }
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
    /// The places that name the function, in table order. A record with offset 0 that is not the first of its block is
    /// padding.
    pub fn sites(&self) -> impl Iterator<Item = Result<OverrideSite>> + use<'a> {
        self.page_blocks().flat_map(|block| {
            let (block, error) = match block {
                Ok(block) => (Some(block), None),
                Err(error) => (None, Some(Err(error))),
            };
            let sites = block.into_iter().flat_map(|block| {
                let records = records(&block).enumerate();
                records.filter(|&(number, raw)| number == 0 || raw & 0xfff != 0).filter_map(move |(_, raw)| {
                    let rva = Rva(block.page.0.checked_add(u32::from(raw & 0xfff))?);
                    Some(OverrideSite { rva, kind: OverrideSiteKind((raw >> 12) as u8) })
                })
            });
            sites.map(Ok).chain(error)
        })
    }

    fn page_blocks(&self) -> Blocks<'a> {
        let front = HEADER + 4 * self.alternatives.len() as u32;
        Blocks::new(self.blocks, Rva(self.rva.0.wrapping_add(front)))
    }

    /// The kernel's rules for an override, apart from its diagram.
    fn check(&self, headers: &Headers) -> Result<()> {
        let fault = |field, found: u32, allowed: String| {
            Err(Error::field(Place::Rva(self.rva), STRUCTURE, field, found, allowed))
        };
        let (first, end) = (headers.mapped_header_size(), headers.size_of_image);
        // 4 bytes have to fit.
        let inside = |rva: Rva, size: u32| rva.0 >= first && rva.0 < end.saturating_sub(size);
        let range = |size: u32| format!("{first:#x} to {:#x}", end.saturating_sub(size + 1));
        if !inside(self.original, 4) {
            return fault("OriginalRva", self.original.0, range(4));
        }
        if self.alternatives.is_empty() {
            return fault("RvaSize", 0, "at least 4".to_owned());
        }
        if let Some(&outside) = self.alternatives.iter().find(|&&rva| !inside(rva, 4)) {
            return fault("Rva", outside.0, range(4));
        }
        if self.blocks.is_empty() || !self.blocks.len().is_multiple_of(4) {
            return fault("BaseRelocSize", self.blocks.len() as u32, "a multiple of 4, not 0".to_owned());
        }
        let mut left = self.blocks.len();
        for block in self.page_blocks() {
            let block = block?;
            check_block(&block, inside)?;
            left -= BLOCK_HEADER + block.records.len();
        }
        // The blocks fill the table: zeros at its end are not padding here.
        if left != 0 {
            return fault(
                "BaseRelocSize",
                self.blocks.len() as u32,
                format!("{:#x}, what its blocks take", self.blocks.len() - left),
            );
        }
        Ok(())
    }
}

/// Bytes of an override in front of its alternatives.
const HEADER: u32 = 16;
/// Bytes of a page block in front of its records.
const BLOCK_HEADER: usize = 8;

fn records<'a>(block: &Block<'a>) -> impl Iterator<Item = u16> + use<'a> {
    block.records.chunks_exact(2).filter_map(|raw| bytes::u16_at(raw, 0))
}

/// The kernel's rules for a page block of sites: `inside` says whether that many bytes exist at an RVA.
fn check_block(block: &Block<'_>, inside: impl Fn(Rva, u32) -> bool) -> Result<()> {
    const STRUCTURE: &str = "IMAGE_BASE_RELOCATION of a function override";
    let fault = |field, found: u32, allowed: &str| Err(Error::field(block.place, STRUCTURE, field, found, allowed));
    let size = (BLOCK_HEADER + block.records.len()) as u32;
    if !block.page.0.is_multiple_of(PAGE_SIZE) {
        return fault("VirtualAddress", block.page.0, "the start of a page");
    }
    if block.records.is_empty() || !size.is_multiple_of(4) {
        return fault("SizeOfBlock", size, "a multiple of 4, more than 8");
    }
    // The first offset that does not overlap the site before.
    let mut free = 0;
    let mut padding = false;
    for (number, raw) in records(block).enumerate() {
        let (kind, offset) = (OverrideSiteKind((raw >> 12) as u8), u32::from(raw & 0xfff));
        padding |= number > 0 && offset == 0;
        if padding {
            if offset != 0 {
                return fault("record", raw.into(), "padding, as the record in front of it");
            }
            continue;
        }
        let Some(size) = kind.size() else { return fault("record's type", (raw >> 12).into(), "1, 2 or 3") };
        if kind != OverrideSiteKind::X64_REL32 && offset % 4 != 0 {
            return fault("record's offset", offset, "a multiple of 4 on ARM64");
        }
        if offset < free {
            return fault("record's offset", offset, "an offset after the site in front of it");
        }
        if !block.page.checked_add(offset).is_some_and(|site| inside(site, size)) {
            return fault("record's offset", offset, "an offset inside the image");
        }
        free = offset + size;
    }
    Ok(())
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
            rva,
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
        let bytes = self.bdd_bytes.get(item.bdd_offset as usize..).unwrap_or_default();
        Bdd::parse(bytes, Rva(self.bdd_rva.0.wrapping_add(item.bdd_offset)))
    }

    /// The kernel's rules for the table of an image with these headers.
    ///
    /// # Errors
    /// The first rule that is broken. No kernel loads an image with such a table.
    pub fn check(&self, headers: &Headers) -> Result<()> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let left = self.bdd_bytes.len();
        if self.overrides.is_empty() || left == 0 {
            const STRUCTURE: &str = "IMAGE_FUNCTION_OVERRIDE_HEADER";
            let size = self.bdd_rva.0.wrapping_sub(self.rva.0).wrapping_sub(4);
            let allowed = "not 0, and less than what is left of the entry";
            return Err(Error::field(Place::Rva(self.rva), STRUCTURE, "FuncOverrideSize", size, allowed));
        }
        // Overrides may share a diagram: each is looked at once, and the outcomes that it can have are kept.
        let mut diagrams = HashMap::new();
        for item in &self.overrides {
            item.check(headers)?;
            let outcome = match diagrams.get(&item.bdd_offset) {
                Some(&outcome) => outcome,
                None => {
                    let outcome = self.bdd(item)?.check()?;
                    diagrams.insert(item.bdd_offset, outcome);
                    outcome
                }
            };
            let alternatives = item.alternatives.len();
            if let Some(outcome) = outcome.filter(|&outcome| outcome as usize >= alternatives) {
                let place = Place::Rva(Rva(self.bdd_rva.0.wrapping_add(item.bdd_offset)));
                let allowed = format!("less than {alternatives}");
                return Err(Error::field(place, "IMAGE_BDD_INFO", "Value of an outcome", outcome, allowed));
            }
        }
        Ok(())
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
        rva,
        blocks,
    };
    Ok((item, 16 + rvas.len() + blocks.len()))
}
