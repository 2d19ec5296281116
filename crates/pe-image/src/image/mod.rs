//! An image at its base: the bytes as the kernel has them, produced on demand.

mod index;
mod judge;
mod patch;
mod ranges;

use std::borrow::Cow;

use crate::addr::{PAGE_SIZE, Rva, rel32, sign_extend};
use crate::bind::Binding;
use crate::dvrt::{Fixups, FunctionOverride, OverrideSite, Symbol};
use crate::error::{Error, Place};
use crate::file::PeFile;
use crate::fixup::StubBlock;
use crate::header::Section;
use crate::policy::Policy;
use index::PageIndex;
pub use ranges::{ImageRange, Piece, Pieces, RangeKind, Selection};

/// A file mapped at a base address, with the load-time changes of a policy.
///
/// Nothing is copied: bytes are made when they are read, from the file and the tables in it. An image takes memory for
/// an index of its tables' page blocks (40 bytes per 4 KiB of code that has fixups) and its import slots.
#[derive(Clone, Debug)]
pub struct MappedImage<'a> {
    file: &'a PeFile<'a>,
    base: u64,
    policy: Policy,
    /// Load base less the file's base.
    delta: u64,
    binding: Option<&'a Binding<'a>>,
    /// What the slot of each index in the IAT directory holds.
    slots: Vec<IndexedSlot>,
    cfg_pointer: Option<Rva>,
    stubs: Option<&'a StubBlock>,
    relocations: PageIndex<'a>,
    imports: PageIndex<'a>,
    indirect: PageIndex<'a>,
    switches: PageIndex<'a>,
    /// Address constants by the address that the file's constants are made for.
    constants: Vec<(Symbol, PageIndex<'a>)>,
    /// Symbols of `constants` whose address in the running kernel is known: what is added to each constant.
    known_constants: Vec<(Symbol, u64)>,
    /// The table is of a version that kernels do not apply.
    table_ignored: bool,
    function_overrides: u64,
    arm64_imports: u64,
    address_constants: u64,
    warnings: Vec<Error>,
}

/// A slot of the IAT directory, as far as sites want to know it.
#[derive(Clone, Copy, Debug)]
struct IndexedSlot {
    /// Its number in the binding; `NO_SLOT` where there is none.
    number: u32,
    /// The distance from the image base to the bound target, as the kernel stores it; `NOT_IN_REACH` where nothing is
    /// bound or it is too far.
    from_base: i64,
    /// The target's module is fully retpolined.
    retpolined: bool,
}

const NO_SLOT: u32 = u32::MAX;
/// No sum with a distance of 32 bits is again one.
const NOT_IN_REACH: i64 = i64::MIN / 2;

impl IndexedSlot {
    const NONE: Self = Self { number: NO_SLOT, from_base: NOT_IN_REACH, retpolined: false };
}

impl<'a> MappedImage<'a> {
    /// A file at a base. On x86 the base may be given with or without its upper half.
    ///
    /// Without a binding import slots keep the file's contents and no call becomes direct.
    ///
    /// Tables that are wrong do not stop the mapping: what they list is left alone, and [`warnings`](Self::warnings)
    /// says which they are.
    pub fn new(file: &'a PeFile<'a>, base: u64, binding: Option<&'a Binding<'a>>, policy: Policy) -> Self {
        let headers = file.headers();
        let base = if headers.is_64 { base } else { sign_extend(base as u32) };
        let delta = base.wrapping_sub(headers.image_base);
        let mut image = Self {
            file,
            base,
            policy,
            delta: if headers.is_64 { delta } else { u64::from(delta as u32) },
            binding,
            slots: Vec::new(),
            cfg_pointer: None,
            stubs: None,
            relocations: PageIndex::default(),
            imports: PageIndex::default(),
            indirect: PageIndex::default(),
            switches: PageIndex::default(),
            constants: Vec::new(),
            known_constants: Vec::new(),
            table_ignored: false,
            function_overrides: 0,
            arm64_imports: 0,
            address_constants: 0,
            warnings: Vec::new(),
        };
        image.number_slots();
        match file.relocation_blocks() {
            Ok(blocks) => image.relocations.add(blocks, &mut image.warnings),
            Err(error) => image.warnings.push(error),
        }
        image.read_dvrt();
        for index in [&mut image.relocations, &mut image.imports, &mut image.indirect, &mut image.switches] {
            index.sort();
        }
        image.check_relocations();
        image.check_iat();
        image.check_sites();
        image
    }

    /// Gives the image the kernel's retpoline stubs, without which a retpoline policy changes nothing.
    pub fn with_stubs(mut self, stubs: &'a StubBlock) -> Self {
        self.stubs = Some(stubs);
        self
    }

    /// Says where the running kernel has what the file's table calls `symbol`, an address such as 0xFFFFF68000000000 (the
    /// page tables): the constants listed there are moved. Those of other symbols stay as linked.
    pub fn with_address(mut self, symbol: Symbol, address: u64) -> Self {
        self.known_constants.push((symbol, address.wrapping_sub(symbol.0)));
        self
    }

    /// The file.
    pub fn file(&self) -> &'a PeFile<'a> {
        self.file
    }

    /// The load address, sign-extended on x86.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// The policy.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The address of an RVA, sign-extended on x86.
    pub fn address(&self, rva: Rva) -> u64 {
        let address = self.base.wrapping_add(rva.0.into());
        if self.file.headers().is_64 { address } else { sign_extend(address as u32) }
    }

    /// Tables that could not be read in whole, records that lie outside the image, and changes that are not made because
    /// nobody can know them.
    pub fn warnings(&self) -> &[Error] {
        &self.warnings
    }

    /// Where the retpoline stubs are, for this image: in its own section RETPOL (the kernel), or on the first page behind
    /// it.
    pub fn stub_rva(&self) -> Rva {
        match self.file.retpoline_section() {
            Some(section) => section.rva,
            None => Rva(self.file.headers().size_of_image.next_multiple_of(PAGE_SIZE)),
        }
    }

    /// True when retpoline sites are rewritten: by the policy, with stubs at hand, on x64.
    pub(crate) fn retpolines(&self) -> Option<&'a StubBlock> {
        self.stubs.filter(|_| self.policy.retpoline && !self.table_ignored)
    }

    /// The bytes `rva .. rva + size`: borrowed from the file where they are the file's, else made.
    ///
    /// What lies outside the image is zero. Takes at most `size` bytes of memory.
    pub fn bytes(&self, rva: Rva, size: u32) -> Cow<'a, [u8]> {
        let file = self.file.bytes_from(rva);
        match file.get(..size as usize) {
            Some(bytes) if !self.may_change(rva, size) => Cow::Borrowed(bytes),
            _ => {
                let mut out = vec![0; size as usize];
                self.read(rva, &mut out);
                Cow::Owned(out)
            }
        }
    }

    /// The places where calls and jumps name a function that a kernel may override (symbol 7), with that override.
    pub fn override_sites(&self) -> Vec<(FunctionOverride<'a>, Vec<OverrideSite>)> {
        let table = self.file.dvrt().ok().flatten();
        let entries = table.iter().flat_map(|table| table.entries_of(Symbol::FUNCTION_OVERRIDE));
        let parsed = entries.filter_map(|entry| match entry.fixups() {
            Fixups::FunctionOverrides(Ok(overrides)) => Some(overrides.overrides),
            _ => None,
        });
        parsed.flatten().map(|item| (item.clone(), item.sites().flatten().collect())).collect()
    }

    /// Numbers the slots of the IAT directory, as the records of symbol 3 do.
    fn number_slots(&mut self) {
        let (Some(iat), Some(binding)) = (self.file.iat(), self.binding) else { return };
        let width = self.file.headers().pointer_size();
        for (number, slot) in binding.slots().iter().enumerate() {
            let Some(offset) = slot.rva.0.checked_sub(iat.rva.0) else { continue };
            let index = (offset / width) as usize;
            // An index has 19 bits, so that a directory of a hostile size costs 12 MiB at most.
            if slot.delayed || offset % width != 0 || offset >= iat.size || index >= 0x7_ffff {
                continue;
            }
            if self.slots.len() <= index {
                self.slots.resize(index + 1, IndexedSlot::NONE);
            }
            let target = slot.result.as_ref().ok();
            let from_base = target.and_then(|target| rel32(self.base, target.address)).map_or(NOT_IN_REACH, i64::from);
            let retpolined = target.is_some_and(|target| target.retpolined);
            self.slots[index] = IndexedSlot { number: number as u32, from_base, retpolined };
        }
    }

    fn read_dvrt(&mut self) {
        match self.file.load_config() {
            Ok(config) => self.cfg_pointer = config.and_then(|config| config.guard_cf_dispatch_pointer),
            Err(error) => return self.warnings.push(error),
        }
        let table = match self.file.dvrt() {
            Ok(Some(table)) => table,
            Ok(None) => return,
            Err(error) => return self.warnings.push(error),
        };
        self.warnings.extend(table.error.clone());
        if table.version != 1 {
            self.table_ignored = true;
            let message = format!("kernels apply version 1 only, this is {}: its sites stay as linked", table.version);
            self.warnings.push(Error::other(Place::Rva(table.rva), "IMAGE_DYNAMIC_RELOCATION_TABLE", message));
        }
        for entry in &table.entries {
            let place = Place::Rva(entry.rva);
            match entry.fixups() {
                Fixups::ImportTransfers(records) => self.imports.add(records.blocks(), &mut self.warnings),
                Fixups::IndirectTransfers(records) => self.indirect.add(records.blocks(), &mut self.warnings),
                Fixups::SwitchBranches(records) => self.switches.add(records.blocks(), &mut self.warnings),
                Fixups::Arm64ImportTransfers(records) => {
                    self.arm64_imports += records.filter_map(|record| self.note(record)).count() as u64;
                    let message = "import calls of ARM64 images stay as linked: what a kernel writes is not known";
                    self.warnings.push(Error::other(place, "ARM64 kernel import call transfer", message));
                }
                Fixups::FunctionOverrides(Ok(overrides)) => {
                    self.warnings.extend(overrides.error.clone());
                    let sites = overrides.overrides.iter().flat_map(FunctionOverride::sites);
                    let sites = sites.filter_map(|site| self.note(site)).count() as u64;
                    self.function_overrides += sites;
                    let stay = if sites == 1 { "1 call stays".to_owned() } else { format!("{sites} calls stay") };
                    let message = format!(
                        "{stay} as linked; a kernel that knows function override (22H2 and later) may have \
                         them lead to another function, by CPU"
                    );
                    self.warnings.push(Error::other(place, "function override", message));
                }
                Fixups::FunctionOverrides(Err(error)) => self.warnings.push(error),
                Fixups::Address(constants) => {
                    self.address_constants += constants.iter().flatten().count() as u64;
                    let mut index = PageIndex::default();
                    index.add(constants.blocks(), &mut self.warnings);
                    index.sort();
                    self.constants.push((entry.symbol, index));
                }
                Fixups::Arm64x(_) | Fixups::ReturnFlow(_) => {}
                Fixups::Unknown(_) => {
                    let message = format!("{} is not known, its records are left alone", entry.symbol);
                    self.warnings.push(Error::other(place, "IMAGE_DYNAMIC_RELOCATION", message));
                }
            }
        }
    }

    /// Keeps the value of a result and the error as a warning.
    fn note<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.warnings.push(error)).ok()
    }
}

impl PeFile<'_> {
    /// The kernel's section that holds the retpoline stubs.
    pub(crate) fn retpoline_section(&self) -> Option<&Section> {
        self.headers().sections.iter().find(|section| &section.name == b"RETPOL\0\0")
    }
}
