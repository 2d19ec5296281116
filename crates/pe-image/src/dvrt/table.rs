//! The table and its entries.

use std::fmt;

use crate::addr::Rva;
use crate::bytes;
use crate::dvrt::{
    AddressConstants, Arm64ImportTransfer, Arm64xFixups, FunctionOverrides, ImportTransfer, IndirectTransfer, Records,
    SwitchBranch,
};
use crate::error::{Error, Place, Result};
use crate::file::PeFile;
use crate::relocate::Blocks;

/// What an entry's records are about: IMAGE_DYNAMIC_RELOCATION_* of winnt.h, or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Symbol(pub u64);

impl Symbol {
    /// GUARD_RF_PROLOGUE: return flow guard, withdrawn; the bytes are left alone.
    pub const RETURN_FLOW_PROLOGUE: Self = Self(1);
    /// GUARD_RF_EPILOGUE: as above.
    pub const RETURN_FLOW_EPILOGUE: Self = Self(2);
    /// GUARD_IMPORT_CONTROL_TRANSFER: calls through the import address table. Import optimization.
    pub const IMPORT_TRANSFER: Self = Self(3);
    /// GUARD_INDIR_CONTROL_TRANSFER: other indirect calls. Retpoline.
    pub const INDIRECT_TRANSFER: Self = Self(4);
    /// GUARD_SWITCHTABLE_BRANCH: jumps of switch tables. Retpoline.
    pub const SWITCH_BRANCH: Self = Self(5);
    /// ARM64X: turns the ARM64 view of a hybrid image into its EC view.
    pub const ARM64X: Self = Self(6);
    /// FUNCTION_OVERRIDE: calls that are re-pointed by CPU and feature.
    pub const FUNCTION_OVERRIDE: Self = Self(7);
    /// ARM64_KERNEL_IMPORT_CALL_TRANSFER: import calls of ARM64 kernel images.
    pub const ARM64_IMPORT_TRANSFER: Self = Self(8);

    /// True for a symbol that is an address: a randomised base of the kernel (page tables, PFN database, …), whose
    /// uses in code and data the entry lists.
    pub fn is_address(self) -> bool {
        self.0 >= 0xffff_0000_0000_0000 || (0x8000_0000..=0xffff_ffff).contains(&self.0)
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::RETURN_FLOW_PROLOGUE => f.write_str("return flow guard prologue"),
            Self::RETURN_FLOW_EPILOGUE => f.write_str("return flow guard epilogue"),
            Self::IMPORT_TRANSFER => f.write_str("import control transfer"),
            Self::INDIRECT_TRANSFER => f.write_str("indirect control transfer"),
            Self::SWITCH_BRANCH => f.write_str("switch table branch"),
            Self::ARM64X => f.write_str("ARM64X"),
            Self::FUNCTION_OVERRIDE => f.write_str("function override"),
            Self::ARM64_IMPORT_TRANSFER => f.write_str("ARM64 kernel import call transfer"),
            Self(value) if self.is_address() => write!(f, "address {value:#x}"),
            Self(value) => write!(f, "symbol {value:#x}"),
        }
    }
}

/// One entry: a symbol and its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DvrtEntry<'a> {
    /// What the records are about.
    pub symbol: Symbol,
    /// SymbolGroup of a version 2 entry; 0 in version 1.
    pub group: u32,
    /// Flags of a version 2 entry; 0 in version 1.
    pub flags: u32,
    /// The records' bytes.
    pub payload: &'a [u8],
    /// Where the records lie.
    pub rva: Rva,
}

/// An entry's records, read by its symbol.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Fixups<'a> {
    /// Symbol 3.
    ImportTransfers(Records<'a, ImportTransfer>),
    /// Symbol 4.
    IndirectTransfers(Records<'a, IndirectTransfer>),
    /// Symbol 5.
    SwitchBranches(Records<'a, SwitchBranch>),
    /// Symbol 6.
    Arm64x(Arm64xFixups<'a>),
    /// Symbol 7. An error when its header is wrong.
    FunctionOverrides(Result<FunctionOverrides<'a>>),
    /// Symbol 8.
    Arm64ImportTransfers(Records<'a, Arm64ImportTransfer>),
    /// A symbol that is an address.
    Address(AddressConstants<'a>),
    /// Symbols 1 and 2: the payload of the withdrawn return flow guard, undecoded.
    ReturnFlow(&'a [u8]),
    /// A symbol that is not known.
    Unknown(&'a [u8]),
}

impl<'a> DvrtEntry<'a> {
    /// The records, read by the symbol.
    pub fn fixups(&self) -> Fixups<'a> {
        let blocks = || Blocks::new(self.payload, self.rva);
        match self.symbol {
            Symbol::RETURN_FLOW_PROLOGUE | Symbol::RETURN_FLOW_EPILOGUE => Fixups::ReturnFlow(self.payload),
            Symbol::IMPORT_TRANSFER => Fixups::ImportTransfers(Records::new(blocks())),
            Symbol::INDIRECT_TRANSFER => Fixups::IndirectTransfers(Records::new(blocks())),
            Symbol::SWITCH_BRANCH => Fixups::SwitchBranches(Records::new(blocks())),
            Symbol::ARM64X => Fixups::Arm64x(Arm64xFixups::new(blocks())),
            Symbol::FUNCTION_OVERRIDE => Fixups::FunctionOverrides(FunctionOverrides::parse(self.payload, self.rva)),
            Symbol::ARM64_IMPORT_TRANSFER => Fixups::Arm64ImportTransfers(Records::new(blocks())),
            symbol if symbol.is_address() => Fixups::Address(AddressConstants::new(blocks())),
            _ => Fixups::Unknown(self.payload),
        }
    }
}

/// A file's dynamic value relocation table.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dvrt<'a> {
    /// Where the table lies.
    pub rva: Rva,
    /// 1 or 2. Kernels take version 1 only, and only that was ever seen.
    pub version: u32,
    /// The entries in table order, up to the first one that cannot be read.
    pub entries: Vec<DvrtEntry<'a>>,
    /// Why reading ended early, if it did.
    pub error: Option<Error>,
}

impl<'a> Dvrt<'a> {
    /// The entries of one symbol.
    pub fn entries_of(&self, symbol: Symbol) -> impl Iterator<Item = &DvrtEntry<'a>> {
        self.entries.iter().filter(move |entry| entry.symbol == symbol)
    }
}

impl<'a> PeFile<'a> {
    /// The dynamic value relocation table; `None` when the file has none.
    ///
    /// # Errors
    /// When the load configuration is malformed, or the table's version or size cannot be. An entry that is wrong ends
    /// the table, and the entries before it stand: see [`Dvrt::error`].
    pub fn dvrt(&self) -> Result<Option<Dvrt<'a>>> {
        const STRUCTURE: &str = "IMAGE_DYNAMIC_RELOCATION_TABLE";
        let Some(rva) = self.load_config()?.and_then(|config| config.dvrt) else { return Ok(None) };
        let place = Place::Rva(rva);
        let bytes = self.bytes_from(rva);
        let (Some(version), Some(size)) = (bytes::u32_at(bytes, 0), bytes::u32_at(bytes, 4)) else {
            return Err(Error::truncated(place, STRUCTURE, 8, bytes.len() as u64));
        };
        let Some(body) = bytes.get(8..).and_then(|rest| rest.get(..size as usize)) else {
            let allowed = format!("at most {:#x}, the bytes after it in the section", bytes.len() - 8);
            return Err(Error::field(place, STRUCTURE, "Size", size, allowed));
        };
        let is_64 = self.headers().is_64;
        let entry = match version {
            1 => entry_v1,
            2 => entry_v2,
            other => return Err(Error::field(place, STRUCTURE, "Version", other, "1 or 2")),
        };
        let mut table = Dvrt { rva, version, entries: Vec::new(), error: None };
        let mut at = 0;
        while at < body.len() {
            let here = Rva(rva.0.wrapping_add(8 + at as u32));
            match entry(&body[at..], here, is_64) {
                Ok((entry, size)) => {
                    table.entries.push(entry);
                    at += size;
                }
                Err(error) => {
                    table.error = Some(error);
                    break;
                }
            }
        }
        Ok(Some(table))
    }
}

/// Reads the entry at the start of `bytes`, which lie at `rva`; gives its size too.
fn entry_v1(bytes: &[u8], rva: Rva, is_64: bool) -> Result<(DvrtEntry<'_>, usize)> {
    const STRUCTURE: &str = "IMAGE_DYNAMIC_RELOCATION";
    let header = if is_64 { 12 } else { 8 };
    if bytes.len() < header {
        return Err(Error::truncated(Place::Rva(rva), STRUCTURE, header as u64, bytes.len() as u64));
    }
    let size = bytes::u32_at(bytes, header - 4).expect("checked above");
    let payload = bytes[header..].get(..size as usize).ok_or_else(|| {
        let allowed = format!("at most {:#x}, what is left of the table", bytes.len() - header);
        Error::field(Place::Rva(rva), STRUCTURE, "BaseRelocSize", size, allowed)
    })?;
    let symbol = symbol(bytes, 0, is_64);
    let rva = Rva(rva.0.wrapping_add(header as u32));
    Ok((DvrtEntry { symbol, group: 0, flags: 0, payload, rva }, header + payload.len()))
}

/// As [`entry_v1`], for version 2, whose header says its own size.
fn entry_v2(bytes: &[u8], rva: Rva, is_64: bool) -> Result<(DvrtEntry<'_>, usize)> {
    const STRUCTURE: &str = "IMAGE_DYNAMIC_RELOCATION_V2";
    let least = if is_64 { 24 } else { 20 };
    if bytes.len() < least {
        return Err(Error::truncated(Place::Rva(rva), STRUCTURE, least as u64, bytes.len() as u64));
    }
    let field = |at| bytes::u32_at(bytes, at).expect("checked above");
    let (header, size) = (field(0), field(4));
    if (header as usize) < least || header as usize > bytes.len() {
        let allowed = format!("{least:#x} to {:#x}", bytes.len());
        return Err(Error::field(Place::Rva(rva), STRUCTURE, "HeaderSize", header, allowed));
    }
    let payload = bytes[header as usize..].get(..size as usize).ok_or_else(|| {
        let allowed = format!("at most {:#x}, what is left of the table", bytes.len() - header as usize);
        Error::field(Place::Rva(rva), STRUCTURE, "FixupInfoSize", size, allowed)
    })?;
    let symbol = symbol(bytes, 8, is_64);
    let entry = DvrtEntry {
        symbol,
        group: field(least - 8),
        flags: field(least - 4),
        payload,
        rva: Rva(rva.0.wrapping_add(header)),
    };
    Ok((entry, header as usize + payload.len()))
}

/// The symbol at `at`. Addresses in 32-bit images are kept as they are, not sign-extended.
fn symbol(bytes: &[u8], at: usize, is_64: bool) -> Symbol {
    let value = if is_64 { bytes::u64_at(bytes, at) } else { bytes::u32_at(bytes, at).map(u64::from) };
    Symbol(value.expect("the caller has checked the header's size"))
}

#[cfg(test)]
mod tests;
