//! ModuleList (stream 4), `MINIDUMP_MODULE` of 108 bytes, and the CodeView records that name PDBs.

use super::streams::{self, Stream, StreamType};
use super::string;
use crate::{AddressRange, Blob, BlobId, Error, Layout};

/// A loaded image.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Module {
    /// Path or file name. Debuggers name the module after the last part without its extension, other characters than
    /// letters, digits and `_` replaced; a module called `nt` or `nt.exe` makes `nt!` work in a user dump (measured).
    pub name: String,
    /// Load address; x86 ones sign-extended.
    pub base: u64,
    /// `SizeOfImage` of the PE header: half of the key under which symbol servers keep the image.
    pub size: u32,
    /// `CheckSum` of the PE header; only shown.
    pub checksum: u32,
    /// `TimeDateStamp` of the PE header, hash or not: the other half of the key.
    pub timestamp: u32,
    /// Version resource; `None` writes zeros, which is fine.
    pub version: Option<FixedFileInfo>,
    /// The PDB's identity. With it alone dbgeng finds symbols: no image and no header bytes needed (measured).
    pub codeview: Option<CodeView>,
}

impl Module {
    /// A module with only its name and addresses known.
    pub fn new(name: impl Into<String>, base: u64, size: u32) -> Module {
        Module { name: name.into(), base, size, checksum: 0, timestamp: 0, version: None, codeview: None }
    }

    /// The addresses of the image; `None` when they run past the last one.
    pub fn range(&self) -> Option<AddressRange> {
        AddressRange::new(self.base, self.size.into())
    }
}

/// `VS_FIXEDFILEINFO` (verrsrc.h) without signature and structure version, which are constant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FixedFileInfo {
    /// Major, minor, build, revision.
    pub file_version: [u16; 4],
    /// Major, minor, build, revision.
    pub product_version: [u16; 4],
    /// Valid bits of `flags`.
    pub flags_mask: u32,
    /// `VS_FF_*`.
    pub flags: u32,
    /// `VOS_*`.
    pub os: u32,
    /// `VFT_*`.
    pub file_type: u32,
    /// `VFT2_*`.
    pub file_subtype: u32,
    /// FILETIME, usually 0.
    pub date: u64,
}

/// The CodeView record of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum CodeView {
    /// PDB 7.0.
    Rsds {
        /// The GUID as the file stores it: its first three fields little-endian.
        guid: [u8; 16],
        /// Age of the PDB, as the image says it.
        age: u32,
        /// Path or name of the PDB.
        pdb: String,
    },
    /// PDB 2.0, in images of the last century.
    Nb10 {
        /// Seconds since 1970: the PDB's identity.
        signature: u32,
        /// Age of the PDB.
        age: u32,
        /// Path or name of the PDB.
        pdb: String,
    },
    /// The record as the image has it, copied verbatim.
    Raw(Vec<u8>),
}

impl CodeView {
    fn place(&self, layout: &mut Layout<'_>) -> Result<BlobId, Error> {
        if let CodeView::Rsds { pdb, .. } | CodeView::Nb10 { pdb, .. } = self
            && pdb.contains('\0')
        {
            return Err(Error::rule(
                "CodeView record: PDB name",
                format!("{pdb:?}"),
                "text without NUL",
                "all readers",
            ));
        }
        let mut blob = Blob::new("module: CodeView record");
        match self {
            CodeView::Rsds { guid, age, pdb } => {
                blob.bytes(b"RSDS").bytes(guid).u32(*age).bytes(pdb.as_bytes()).u8(0);
            }
            CodeView::Nb10 { signature, age, pdb } => {
                blob.bytes(b"NB10").u32(0).u32(*signature).u32(*age).bytes(pdb.as_bytes()).u8(0);
            }
            CodeView::Raw(bytes) => {
                blob.bytes(bytes);
            }
        }
        Ok(layout.push(blob))
    }
}

impl<'a> Stream<'a> for [Module] {
    fn stream_type(&self) -> StreamType {
        StreamType::MODULE_LIST
    }

    fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error> {
        let id = layout.reserve();
        let mut list = streams::blob(self.stream_type());
        list.u32(streams::count32("ModuleList", self.len())?);
        for module in self {
            if module.size == 0 || module.range().is_none() {
                let structure = format!("module {:?}: SizeOfImage", module.name);
                let found = format!("{:#x} at base {:#x}", module.size, module.base);
                return Err(Error::rule(structure, found, "1 to the end of the address space", "rust-minidump"));
            }
            let name = string::place(layout, "module: name", &module.name)?;
            list.u64(module.base).u32(module.size).u32(module.checksum).u32(module.timestamp).rva32(name);
            version(&mut list, module.version);
            match &module.codeview {
                Some(codeview) => list.location32(codeview.place(layout)?),
                None => list.zeros(8),
            };
            // MiscRecord (IMAGE_DEBUG_MISC) and the reserved fields: no reader wants them.
            list.zeros(8 + 16);
        }
        layout.place(id, list);
        Ok(id)
    }
}

fn version(list: &mut Blob, version: Option<FixedFileInfo>) {
    let Some(version) = version else {
        list.zeros(52);
        return;
    };
    list.u32(0xfeef_04bd).u32(0x1_0000);
    for [major, minor, build, revision] in [version.file_version, version.product_version] {
        list.u16(minor).u16(major).u16(revision).u16(build);
    }
    list.u32(version.flags_mask).u32(version.flags).u32(version.os).u32(version.file_type).u32(version.file_subtype);
    list.u32((version.date >> 32) as u32).u32(version.date as u32);
}
