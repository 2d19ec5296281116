//! An image at its base: the bytes as the kernel has them, produced on demand.

mod index;
mod judge;
mod override_ways;
mod overrides;
mod patch;
mod ranges;
mod stubs;

use std::borrow::Cow;

use crate::addr::{Rva, Va};
use crate::bind::Binding;
use crate::capabilities::Capabilities;
use crate::dvrt::{Fixups, Symbol};
use crate::error::{Diagnostic, DiagnosticKind, Error, Place};
use crate::file::PeFile;
use crate::fixup::StubBlock;
use crate::policy::Policy;
use index::PageIndex;
pub use override_ways::{OverrideCall, OverrideWays};
pub use overrides::AppliedOverride;
use overrides::Overrides;
pub use ranges::{ImageRange, Piece, Pieces, RangeKind, Selection};

/// A file mapped at a base address, with the load-time changes of a policy.
///
/// Nothing is copied: bytes are made when they are read, from the file and the tables in it. An image takes memory for
/// an index of its tables' page blocks (40 bytes per 4 KiB of code that has fixups) and its import slots.
#[derive(Clone, Debug)]
pub struct MappedImage<'a> {
    file: PeFile<'a>,
    base: Va,
    policy: Policy,
    /// Load base less the file's base.
    delta: u64,
    /// Without a binding import slots keep what the file has.
    binding: Option<Binding<'a>>,
    /// What the slot of each index in the IAT directory holds.
    slots: Vec<IndexedSlot>,
    cfg_pointer: Option<Rva>,
    stubs: Option<StubBlock>,
    relocations: PageIndex<'a>,
    imports: PageIndex<'a>,
    indirect: PageIndex<'a>,
    switches: PageIndex<'a>,
    overrides: Overrides<'a>,
    /// Address constants by the address that the file's constants are made for.
    constants: Vec<(Symbol, PageIndex<'a>)>,
    /// Symbols of `constants` whose address in the running kernel is known: what is added to each constant.
    known_constants: Vec<(Symbol, u64)>,
    /// The table is of a version that kernels do not apply.
    table_ignored: bool,
    arm64_imports: u64,
    address_constants: u64,
    warnings: Vec<Diagnostic>,
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
    /// A file at a base, by itself: import slots keep the file's contents, and no call becomes direct. For an image whose
    /// imports are bound see [`Modules::image`](crate::Modules::image). On x86 the base may be given with or without its
    /// upper half.
    ///
    /// Tables that are wrong do not stop the mapping: what they list is left alone, and [`warnings`](Self::warnings)
    /// says which they are.
    pub fn new(file: PeFile<'a>, base: impl Into<Va>, policy: Policy) -> Self {
        Self::with_binding(file, base.into(), None, policy)
    }

    /// A file at its base with its imports bound.
    pub(crate) fn bound(file: PeFile<'a>, base: Va, binding: Binding<'a>, policy: Policy) -> Self {
        Self::with_binding(file, base, Some(binding), policy)
    }

    fn with_binding(file: PeFile<'a>, base: Va, binding: Option<Binding<'a>>, policy: Policy) -> Self {
        let headers = file.headers();
        let base = if headers.is_64 { base } else { Va::from_x86(base.0 as u32) };
        let delta = base.0.wrapping_sub(headers.image_base);
        let mut image = Self {
            policy,
            base,
            delta: if headers.is_64 { delta } else { u64::from(delta as u32) },
            file,
            binding,
            slots: Vec::new(),
            cfg_pointer: None,
            stubs: None,
            relocations: PageIndex::default(),
            imports: PageIndex::default(),
            indirect: PageIndex::default(),
            switches: PageIndex::default(),
            overrides: Overrides::default(),
            constants: Vec::new(),
            known_constants: Vec::new(),
            table_ignored: false,
            arm64_imports: 0,
            address_constants: 0,
            warnings: Vec::new(),
        };
        image.number_slots();
        match image.file.relocation_blocks() {
            Ok(blocks) => image.relocations.add(blocks, &mut image.warnings),
            Err(error) => image.warnings.push(error.into()),
        }
        image.read_dvrt();
        for index in [&mut image.relocations, &mut image.imports, &mut image.indirect, &mut image.switches] {
            index.sort();
        }
        image.check_relocations();
        image.check_iat();
        image.check_sites();
        image.choose_overrides();
        image
    }

    /// Gives the image the kernel's retpoline stubs and shared code, without which a retpoline policy changes nothing, and
    /// calls of overridden functions lead to functions of this image alone.
    pub fn with_stubs(mut self, stubs: &StubBlock) -> Self {
        self.stubs = Some(stubs.clone());
        self.choose_overrides();
        self
    }

    /// Says what the machine can do, by which function overrides are decided. Without this, it is a machine of which nothing
    /// is known.
    pub fn with_capabilities(mut self, capabilities: &Capabilities) -> Self {
        self.overrides.capabilities = Some(capabilities.clone());
        self.choose_overrides();
        self
    }

    /// Says where the running kernel has what the file's table calls `symbol`, an address such as 0xFFFFF68000000000 (the
    /// page tables): the constants listed there are moved. Those of other symbols stay as linked.
    pub fn with_address(mut self, symbol: Symbol, address: impl Into<Va>) -> Self {
        self.known_constants.push((symbol, address.into().0.wrapping_sub(symbol.0)));
        self
    }

    /// The same image under another policy.
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The file.
    pub fn file(&self) -> &PeFile<'a> {
        &self.file
    }

    /// Where its imports lead; `None` for an image that was mapped by itself.
    pub fn binding(&self) -> Option<&Binding<'a>> {
        self.binding.as_ref()
    }

    /// The load address, sign-extended on x86.
    pub fn base(&self) -> Va {
        self.base
    }

    /// The policy.
    pub fn policy(&self) -> Policy {
        self.policy
    }

    /// The address of an RVA, sign-extended on x86.
    pub fn address(&self, rva: Rva) -> Va {
        let address = self.base.wrapping_add(rva.0.into());
        if self.file.headers().is_64 { address } else { Va::from_x86(address.0 as u32) }
    }

    /// Tables that could not be read in whole, records that lie outside the image, and changes that are not made because
    /// what a kernel writes there is not known.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// True when retpoline sites are rewritten: by the policy, with stubs at hand, on x64.
    pub(crate) fn retpolines(&self) -> Option<&StubBlock> {
        self.stubs.as_ref().filter(|_| self.policy.retpoline && !self.table_ignored)
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

    /// Numbers the slots of the IAT directory, as the records of symbol 3 do.
    fn number_slots(&mut self) {
        let (Some(iat), Some(binding)) = (self.file.iat(), &self.binding) else { return };
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
            let from_base =
                target.and_then(|target| self.base.rel32_to(target.address)).map_or(NOT_IN_REACH, i64::from);
            let retpolined = target.is_some_and(|target| target.retpolined);
            self.slots[index] = IndexedSlot { number: number as u32, from_base, retpolined };
        }
    }

    fn read_dvrt(&mut self) {
        match self.file.load_config() {
            Ok(config) => self.cfg_pointer = config.and_then(|config| config.guard_cf_dispatch_pointer),
            Err(error) => return self.warnings.push(error.into()),
        }
        let table = match self.file.dvrt() {
            Ok(Some(table)) => table,
            Ok(None) => return,
            Err(error) => return self.warnings.push(error.into()),
        };
        self.warnings.extend(table.error.clone().map(Diagnostic::from));
        if table.version != 1 {
            self.table_ignored = true;
            let message = format!("kernels apply version 1 only, this is {}: its sites stay as linked", table.version);
            self.remark(Place::Rva(table.rva), "IMAGE_DYNAMIC_RELOCATION_TABLE", message);
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
                    self.remark(place, "ARM64 kernel import call transfer", message);
                }
                Fixups::FunctionOverrides(Ok(table)) => self.read_overrides(table, place),
                Fixups::FunctionOverrides(Err(error)) => self.warnings.push(error.into()),
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
                    self.remark(place, "IMAGE_DYNAMIC_RELOCATION", message);
                }
            }
        }
    }

    /// Warns of a change that is not made.
    fn remark(&mut self, place: Place, structure: &'static str, message: impl Into<String>) {
        self.warnings.push(Diagnostic::new(DiagnosticKind::NotApplied, place, structure, message));
    }

    /// Keeps the value of a result and the error as a warning.
    fn note<T>(&mut self, result: Result<T, Error>) -> Option<T> {
        result.map_err(|error| self.warnings.push(error.into())).ok()
    }
}
