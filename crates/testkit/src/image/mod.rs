//! Kernel-mode PE images: drivers with import call sites, a kernel with retpoline stubs, an API set schema.
//!
//! A [`Driver`] says what is where; [`Driver::build`] lays it out as a linker would: headers, code sections, `.rdata`
//! (load configuration, debug directory, exports, imports), `.data`, `.rsrc`, `.reloc` (with the dynamic relocation
//! table behind the base relocations). All numbers here come from the PE specification and winnt.h, written out once
//! more.

mod api_set;
mod dynamic;
mod kernel;
mod layout;
mod placed;
mod rdata;
mod resource;
mod sites;

pub use api_set::{Contract, api_set_schema, api_set_schema_with_aliases};
pub use dynamic::{Entry, GUARD, MEMSET, OverrideSpec, padded_u16s, page_blocks, u32s};
pub use kernel::{KERNEL_STUBS, SHARED_CODE, SharedCode, Stubs, kernel, kernel_24h2};
pub use layout::Built;
pub use placed::{Placed, PlacedSite};

/// IMAGE_FILE_MACHINE_AMD64.
pub const X64: u16 = 0x8664;
/// IMAGE_FILE_MACHINE_ARM64.
pub const ARM64: u16 = 0xaa64;
/// IMAGE_FILE_MACHINE_I386.
pub const X86: u16 = 0x14c;
/// IMAGE_FILE_MACHINE_ARMNT.
pub const ARM: u16 = 0x1c4;

/// Sections begin on multiples of this in memory.
const PAGE: u32 = 0x1000;
/// Sections begin on multiples of this in the file.
const FILE_ALIGNMENT: usize = 0x200;
/// Bytes of the headers in the file.
const HEADER_SIZE: usize = 0x400;

/// A place in a section: the section's number in [`Driver::sections`], and bytes from its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At(pub usize, pub u32);

/// A section that a test fills.
#[derive(Clone, Debug)]
pub struct SectionSpec {
    /// Up to 8 bytes.
    pub name: String,
    /// Characteristics.
    pub flags: u32,
    /// Contents; sites are written over them.
    pub bytes: Vec<u8>,
    /// Bytes in memory; as many as `bytes` if not given.
    pub virtual_size: Option<u32>,
}

/// One import: by name, or by ordinal as `#123`.
#[derive(Clone, Debug)]
pub struct ImportSpec {
    /// `ntoskrnl.exe`
    pub dll: String,
    /// `ExFreePoolWithTag`, or `#17`
    pub name: String,
    /// In the delay import table.
    pub delayed: bool,
}

/// Where an export leads.
#[derive(Clone, Debug)]
pub enum ExportSpec {
    /// A place in a section.
    At(At),
    /// A forwarder's text.
    Forward(String),
}

/// A branch that the dynamic relocation table lists.
#[derive(Clone, Copy, Debug)]
pub enum SiteSpec {
    /// Symbol 3: through the import with this number.
    Import {
        /// Call or jump.
        call: bool,
        /// Number of the import in [`Driver::imports`].
        import: usize,
    },
    /// Symbol 3 without an index: through a pointer at the place.
    NoIndex {
        /// Call or jump.
        call: bool,
        /// Where the pointer lies.
        pointer: At,
    },
    /// Symbol 4.
    Indirect {
        /// Call or jump.
        call: bool,
        /// With a REX.W prefix.
        rex: bool,
        /// Through the CFG dispatch pointer.
        cfg: bool,
    },
    /// Symbol 5, through this register.
    Switch(u8),
}

/// A PDB reference in the debug directory.
#[derive(Clone, Debug)]
pub enum PdbSpec {
    /// RSDS.
    Rsds {
        /// Text form.
        guid: String,
        /// Age.
        age: u32,
        /// Path.
        path: String,
    },
    /// NB10.
    Nb10 {
        /// Signature.
        signature: u32,
        /// Age.
        age: u32,
        /// Path.
        path: String,
    },
}

/// A version resource.
#[derive(Clone, Debug)]
pub struct VersionSpec {
    /// The file's version, four numbers.
    pub file: [u16; 4],
    /// The product's version.
    pub product: [u16; 4],
    /// Strings such as OriginalFilename.
    pub strings: Vec<(String, String)>,
}

/// A kernel-mode image to be built.
#[derive(Clone, Debug)]
pub struct Driver {
    /// File name; also the name in the export directory.
    pub name: String,
    /// Machine; X86 and ARM make a PE32.
    pub machine: u16,
    /// ImageBase.
    pub image_base: u64,
    /// TimeDateStamp.
    pub timestamp: u32,
    /// CheckSum.
    pub checksum: u32,
    /// GuardFlags of the load configuration; 0x100000 says that the image is retpolined.
    pub guard_flags: u32,
    /// The load configuration's own Size; `None` leaves the directory out.
    pub load_config_size: Option<u32>,
    /// The sections that the test fills, in front of those that the builder makes.
    pub sections: Vec<SectionSpec>,
    /// Imports; those of one DLL need not follow each other.
    pub imports: Vec<ImportSpec>,
    /// Exports by name.
    pub exports: Vec<(String, ExportSpec)>,
    /// Exports by ordinal alone.
    pub ordinal_exports: Vec<(u16, ExportSpec)>,
    /// Listed branches.
    pub sites: Vec<(At, SiteSpec)>,
    /// Pointers: at the first place the address of the second, with a base relocation.
    pub pointers: Vec<(At, At)>,
    /// Places on ARM where MOVW and MOVT load the address of the second place into r1, with a base relocation.
    pub moves: Vec<(At, At)>,
    /// Further entries of the dynamic relocation table.
    pub entries: Vec<Entry>,
    /// Function overrides (symbol 7).
    pub overrides: Vec<OverrideSpec>,
    /// What the CFG dispatch pointer holds; it is 0 unless given.
    pub dispatch: Option<At>,
    /// Version of the dynamic relocation table: 1 or 2; `None` leaves the table out.
    pub dvrt_version: Option<u32>,
    /// Debug directory.
    pub pdb: Option<PdbSpec>,
    /// A PDB checksum entry: algorithm and bytes.
    pub pdb_checksum: Option<(String, Vec<u8>)>,
    /// Version resource.
    pub version: Option<VersionSpec>,
}

/// Section characteristics of code: CNT_CODE, MEM_EXECUTE, MEM_READ.
pub const CODE: u32 = 0x6000_0020;
/// Section characteristics of constant data: CNT_INITIALIZED_DATA, MEM_READ.
pub const RDATA: u32 = 0x4000_0040;
/// Section characteristics of data: CNT_INITIALIZED_DATA, MEM_READ, MEM_WRITE.
pub const DATA: u32 = 0xc000_0040;

impl Driver {
    /// An x64 driver without code, retpolined, with an empty dynamic relocation table of version 1.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            machine: X64,
            image_base: 0x1_4000_0000,
            timestamp: 0x5f00_1234,
            checksum: 0x1_2345,
            guard_flags: 0x10_4500,
            load_config_size: Some(0x118),
            sections: Vec::new(),
            imports: Vec::new(),
            exports: Vec::new(),
            ordinal_exports: Vec::new(),
            sites: Vec::new(),
            pointers: Vec::new(),
            moves: Vec::new(),
            entries: Vec::new(),
            overrides: Vec::new(),
            dispatch: None,
            dvrt_version: Some(1),
            pdb: None,
            pdb_checksum: None,
            version: None,
        }
    }

    /// The same, for 32-bit x86.
    pub fn new_x86(name: &str) -> Self {
        Self { machine: X86, image_base: 0x1_0000, load_config_size: Some(0xa4), ..Self::new(name) }
    }

    /// Adds a section and gives its number.
    pub fn section(&mut self, name: &str, flags: u32, bytes: Vec<u8>) -> usize {
        self.sections.push(SectionSpec { name: name.to_owned(), flags, bytes, virtual_size: None });
        self.sections.len() - 1
    }

    /// Adds a code section of `size` bytes, filled with a pattern that no site looks like, and gives its number.
    pub fn code(&mut self, name: &str, size: u32) -> usize {
        // 0x40 to 0x4F in turn, without 0x48, 0x4C and 0x41: prefixes alone never make a branch.
        let bytes = (0..size).map(|at| [0x40, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47][at as usize % 7]).collect();
        self.section(name, CODE, bytes)
    }

    /// Adds an import and gives its number.
    pub fn import(&mut self, dll: &str, name: &str) -> usize {
        self.imports.push(ImportSpec { dll: dll.to_owned(), name: name.to_owned(), delayed: false });
        self.imports.len() - 1
    }

    /// Adds a listed call through an import.
    pub fn call(&mut self, at: At, import: usize) -> &mut Self {
        self.site(at, SiteSpec::Import { call: true, import })
    }

    /// Adds a listed jump through an import.
    pub fn jump(&mut self, at: At, import: usize) -> &mut Self {
        self.site(at, SiteSpec::Import { call: false, import })
    }

    /// Adds a listed branch.
    pub fn site(&mut self, at: At, site: SiteSpec) -> &mut Self {
        self.sites.push((at, site));
        self
    }

    /// Adds an export by name.
    pub fn export(&mut self, name: &str, at: At) -> &mut Self {
        self.exports.push((name.to_owned(), ExportSpec::At(at)));
        self
    }

    /// Adds an export by name that is forwarded.
    pub fn forward(&mut self, name: &str, to: &str) -> &mut Self {
        self.exports.push((name.to_owned(), ExportSpec::Forward(to.to_owned())));
        self
    }

    /// Puts the address of `to` at `at`, with a base relocation.
    pub fn pointer(&mut self, at: At, to: At) -> &mut Self {
        self.pointers.push((at, to));
        self
    }

    /// The same for 32-bit ARM.
    pub fn new_arm(name: &str) -> Self {
        Self { machine: ARM, ..Self::new_x86(name) }
    }

    /// The bytes of an address: 8, or 4 on x86 and ARM.
    pub fn pointer_size(&self) -> u32 {
        if matches!(self.machine, X86 | ARM) { 4 } else { 8 }
    }

    /// Lays the image out.
    ///
    /// # Panics
    /// When what was asked for is impossible, such as a site outside its section: the test is wrong then.
    pub fn build(&self) -> Built {
        layout::build(self)
    }
}
