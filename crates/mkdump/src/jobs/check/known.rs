//! What a module's file says about the places that a loader may change: which bytes each can have.
//!
//! The forms are not written down here a second time: they are what `pe-image` makes of the file under each policy.

use std::collections::HashMap;
use std::ops::Range;

use kernel_snapshot::dump::{Dump, ReadMemory};
use pe_image::{
    Binding, ImportCalls, LinkedImport, MappedImage, PeFile, Policy, Rva, SLOT_INSTRUCTION, Section, SiteForm,
    SiteKind, StubBlock, StubBranch, recognise,
};

use super::difference::Class;
use super::instructions::Starts;
use super::units::{Unit, UnitKind, Units};
use captured_code::memory::{PLACE, PageBudget, Side};
use captured_code::{Reached, SiteScan};

/// What a form is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FormName {
    /// The file's bytes.
    AsFile,
    /// A direct import call.
    Direct,
    /// Through a stub.
    Stub,
    /// Through r10.
    Register,
    /// Relocated, bound, filled or re-pointed.
    Set,
}

/// Bytes that a unit can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Form {
    pub(super) name: FormName,
    pub(super) bytes: [u8; PLACE],
}

/// A module's file at its base.
#[derive(Debug)]
pub(super) struct Known<'a> {
    file: PeFile<'a>,
    base: u64,
    binding: Binding<'a>,
    relocated: MappedImage<'a>,
    bound: MappedImage<'a>,
    direct: MappedImage<'a>,
    register: MappedImage<'a>,
    /// With retpolines; `None` when the kernel's stubs are not known.
    stubbed: Option<MappedImage<'a>>,
    pub(super) units: Units,
    starts: Starts,
}

impl<'a> Known<'a> {
    /// What is known of the file of `linked`.
    pub(super) fn new(linked: MappedImage<'a>, stubs: Option<&StubBlock>) -> Self {
        let file = linked.file().clone();
        let binding = linked.binding().cloned().unwrap_or_default();
        let image = |policy| linked.clone().with_policy(policy);
        Self {
            base: linked.base().0,
            relocated: MappedImage::new(file.clone(), linked.base(), Policy::AS_LINKED),
            direct: image(Policy::default()),
            register: image(Policy::default().with_import_calls(ImportCalls::DriverVerifier)),
            stubbed: stubs.map(|stubs| image(Policy::AS_LINKED.with_retpoline(true)).with_stubs(stubs)),
            units: Units::list(&file, &binding),
            starts: Starts::new(&file),
            bound: linked,
            file,
            binding,
        }
    }

    /// The byte of the file at the load address, with nothing else changed.
    pub(super) fn byte(&self, rva: u32) -> u8 {
        let mut byte = [0];
        self.relocated.read(Rva(rva), &mut byte);
        byte[0]
    }

    /// True when an instruction starts there. To be asked in ascending order.
    pub(super) fn is_start(&mut self, rva: u32) -> bool {
        self.section(rva).is_some_and(is_code) && self.starts.is_start(&self.relocated, rva)
    }

    pub(super) fn section(&self, rva: u32) -> Option<&Section> {
        self.file.headers().section_at(Rva(rva))
    }

    /// Where the stub pages after this image end, when the kernel's are known.
    pub(super) fn stubs(&self) -> Option<Range<u64>> {
        let stubbed = self.stubbed.as_ref()?;
        let ranges = stubbed.ranges(pe_image::Selection::Code);
        let range = ranges.iter().find(|range| range.kind == pe_image::RangeKind::RetpolineStubs)?;
        Some(stubbed.addresses(range))
    }

    /// The forms that a unit can have in a dump whose bytes there are `side`. The first is the file's.
    pub(super) fn forms(&self, unit: &Unit, side: &Side, dump: &mut Witness<'_, '_, '_>) -> Vec<Form> {
        let mut raw = [0; PLACE];
        self.file.read(Rva(unit.rva), &mut raw[..unit.size as usize]);
        let mut forms = vec![Form { name: FormName::AsFile, bytes: raw }];
        let add = |forms: &mut Vec<Form>, name, bytes| {
            if forms.iter().all(|form| form.bytes != bytes) {
                forms.push(Form { name, bytes });
            }
        };
        let made = |image: &MappedImage<'_>| {
            let mut bytes = [0; PLACE];
            image.read(Rva(unit.rva), &mut bytes[..unit.size as usize]);
            bytes
        };
        let address = self.base.wrapping_add(unit.rva.into());
        match unit.kind {
            UnitKind::Import => {
                add(&mut forms, FormName::Direct, made(&self.direct));
                add(&mut forms, FormName::Register, made(&self.register));
                if let Some(stubbed) = &self.stubbed {
                    add(&mut forms, FormName::Stub, made(stubbed));
                }
                if let Some(linked) = LinkedImport::parse(&raw) {
                    forms.extend(self.free_import(unit, &linked, side, dump));
                }
            }
            UnitKind::Branch(kind) => match &self.stubbed {
                Some(stubbed) => add(&mut forms, FormName::Stub, made(stubbed)),
                None => forms.extend(free_stub(kind, side, address, dump)),
            },
            UnitKind::Slot | UnitKind::Guard => {
                add(&mut forms, FormName::Set, made(&self.relocated));
                add(&mut forms, FormName::Set, made(&self.bound));
                let slot = self.binding.slot_at(Rva(unit.rva));
                if slot.is_none_or(|slot| slot.delayed || slot.result.is_err())
                    && side.is_whole(unit.size as usize)
                    && matches!(dump.scan.reached(pointer(&side.bytes, unit.size)), Reached::Module(..))
                {
                    add(&mut forms, FormName::Set, side.bytes);
                }
            }
            UnitKind::ImageBase | UnitKind::Relocation => add(&mut forms, FormName::Set, made(&self.relocated)),
            UnitKind::Constant(number) => {
                if let Some(delta) = dump.constant_delta(self, number) {
                    let value = pointer(&raw, unit.size).wrapping_add(delta);
                    let mut bytes = [0; PLACE];
                    bytes[..unit.size as usize].copy_from_slice(&value.to_le_bytes()[..unit.size as usize]);
                    add(&mut forms, FormName::Set, bytes);
                }
            }
            UnitKind::Override(number) => {
                let end = unit.end();
                let listed = self.units.alternatives(number).iter().map(|rva| rva.0.wrapping_sub(end));
                let common = dump.override_target(self, number);
                let common = common.map(|target| target.wrapping_sub(self.base.wrapping_add(end.into())) as u32);
                for distance in listed.chain(common) {
                    let mut bytes = [0; PLACE];
                    bytes[..4].copy_from_slice(&distance.to_le_bytes());
                    add(&mut forms, FormName::Set, bytes);
                }
            }
        }
        forms
    }

    /// An import site's direct form, when its target is free within what the dump says: the exporter's file is not at
    /// hand. Its form through the stub, when the stubs are not known. `CC` at an instruction start is taken for a
    /// breakpoint on the form.
    fn free_import(
        &self,
        unit: &Unit,
        linked: &LinkedImport,
        side: &Side,
        dump: &mut Witness<'_, '_, '_>,
    ) -> Option<Form> {
        const CALL: usize = SLOT_INSTRUCTION as usize;
        let bytes = linked.direct(distance_at(side, LinkedImport::DIRECT_DISTANCE)?);
        let fits = |at: usize| !side.has(at) || side.bytes[at] == bytes[at] || at == CALL && side.bytes[at] == 0xcc;
        if !(1..=CALL).all(fits) {
            return None;
        }
        let address = self.base.wrapping_add(unit.rva.into());
        let Some(SiteForm::ImportDirect { slot, target, .. }) = recognise(&bytes, address) else { return None };
        match dump.scan.reached(target.0) {
            Reached::Module(..) if self.is_unbound(unit, linked) && dump.slot_agrees(slot.0, target.0) => {
                Some(Form { name: FormName::Direct, bytes })
            }
            Reached::Stubs(of, _) if self.stubbed.is_none() && of == dump.module => {
                Some(Form { name: FormName::Stub, bytes })
            }
            _ => None,
        }
    }

    /// True when it is not known where the import of a site leads, because the exporter's file is not at hand.
    fn is_unbound(&self, unit: &Unit, linked: &LinkedImport) -> bool {
        let slot = linked.slot(Rva(unit.rva)).and_then(|rva| self.binding.slot_at(rva));
        slot.is_some_and(|slot| slot.result.is_err())
    }
}

impl UnitKind {
    /// Why a unit of this kind differs, given the form that the other dump has.
    pub(super) fn class(self, other: FormName) -> Class {
        match (self, other) {
            (Self::Import, FormName::Direct) => Class::ImportOptimized,
            (Self::Import, FormName::Stub) => Class::ImportStub,
            (Self::Import, FormName::Register) => Class::ImportRegister,
            (Self::Import, _) => Class::ImportLinked,
            (Self::Branch(_), FormName::AsFile) => Class::RetpolineOff,
            (Self::Branch(_), _) => Class::RetpolineOn,
            (Self::Override(_), _) => Class::FunctionOverride,
            (Self::Slot | Self::Guard, _) => Class::LoaderData,
            (Self::ImageBase | Self::Constant(_) | Self::Relocation, _) => Class::Relocation,
        }
    }
}

pub(super) fn is_code(section: &Section) -> bool {
    section.flags & (Section::CODE | Section::EXECUTE) != 0
}

/// A branch to the stub pages after the image, when only their place is known: it is taken with whatever distance the dump
/// has. `CC` in its first byte is taken for a breakpoint on it.
fn free_stub(kind: SiteKind, side: &Side, address: u64, dump: &Witness<'_, '_, '_>) -> Option<Form> {
    let branch = kind.stub_branch(distance_at(side, StubBranch::DISTANCE)?)?;
    let fits = !side.has(0) || [branch.bytes()[0], 0xcc].contains(&side.bytes[0]);
    let is_own = matches!(dump.scan.reached(branch.target(address).0), Reached::Stubs(of, _) if of == dump.module);
    let mut bytes = [0; PLACE];
    bytes[..branch.bytes().len()].copy_from_slice(branch.bytes());
    (fits && is_own).then_some(Form { name: FormName::Stub, bytes })
}

/// The distance of a branch, when the dump holds all of its bytes.
fn distance_at(side: &Side, at: Range<usize>) -> Option<i32> {
    let held = at.clone().all(|at| side.has(at));
    held.then(|| i32::from_le_bytes(side.bytes[at].try_into().expect("4 bytes")))
}

/// The little-endian number of 4 or 8 bytes; 4 are sign-extended, as addresses of x86 dumps are.
fn pointer(bytes: &[u8; PLACE], size: u32) -> u64 {
    let value = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes"));
    if size == 4 { i64::from(value as u32 as i32) as u64 } else { value }
}

/// A dump as a witness of what its own machine had, for questions that a file alone does not answer.
#[derive(Debug)]
pub(super) struct Witness<'w, 'd, 'a> {
    pub(super) dump: &'d Dump<'a>,
    pub(super) scan: &'w SiteScan<'d, 'a>,
    /// The module in this dump's snapshot.
    pub(super) module: usize,
    /// Direct targets by slot, with the number of sites that go there.
    targets: Option<HashMap<u64, Vec<(u64, u32)>>>,
    deltas: HashMap<u32, Option<u64>>,
    overrides: HashMap<u32, Option<u64>>,
}

impl<'w, 'd, 'a> Witness<'w, 'd, 'a> {
    pub(super) fn new(dump: &'d Dump<'a>, scan: &'w SiteScan<'d, 'a>, module: usize) -> Self {
        let (deltas, overrides) = (HashMap::new(), HashMap::new());
        Self { dump, scan, module, targets: None, deltas, overrides }
    }

    /// Whether a direct target of a slot is what the slot itself holds or what most sites of the slot have. A site that
    /// is the only one of its slot, in a dump that does not hold the slot, has no other one to disagree with.
    pub(super) fn slot_agrees(&mut self, slot: u64, target: u64) -> bool {
        // Other values than addresses of modules are what the file has in the slot: it was not bound.
        let held = self.dump.pointer(slot).filter(|&value| matches!(self.scan.reached(value), Reached::Module(..)));
        if held == Some(target) {
            return true;
        }
        let (scan, module) = (self.scan, self.module);
        let targets = self.targets.get_or_insert_with(|| {
            let mut targets: HashMap<u64, Vec<(u64, u32)>> = HashMap::new();
            scan.in_module(module, &PageBudget::new(), &mut |site| {
                if let SiteForm::ImportDirect { slot, target, .. } = site.form
                    && matches!(site.target, Some(Reached::Module(..)))
                {
                    vote(targets.entry(slot.0).or_default(), target.0);
                }
            });
            targets
        });
        let votes = targets.get(&slot).map_or(&[][..], Vec::as_slice);
        winner(votes) == Some(target) || held.is_none() && votes.iter().all(|(other, _)| *other == target)
    }

    /// What the kernel added to the constants of a symbol: what most of them say.
    fn constant_delta(&mut self, known: &Known<'_>, number: u32) -> Option<u64> {
        if let Some(&delta) = self.deltas.get(&number) {
            return delta;
        }
        let mut votes = Vec::new();
        for unit in known.units.members(UnitKind::Constant(number)) {
            let mut raw = [0; PLACE];
            known.file.read(Rva(unit.rva), &mut raw[..unit.size as usize]);
            let side = Side::read(self.dump, known.base.wrapping_add(unit.rva.into()), unit.size as usize);
            if side.is_whole(unit.size as usize) {
                vote(&mut votes, pointer(&side.bytes, unit.size).wrapping_sub(pointer(&raw, unit.size)));
            }
        }
        let delta = winner(&votes);
        self.deltas.insert(number, delta);
        delta
    }

    /// The function to which most calls of an overridden one go: an alternative that is in no file, such as code that the
    /// kernel maps after the image.
    fn override_target(&mut self, known: &Known<'_>, number: u32) -> Option<u64> {
        if let Some(&target) = self.overrides.get(&number) {
            return target;
        }
        let mut votes = Vec::new();
        for unit in known.units.members(UnitKind::Override(number)) {
            let side = Side::read(self.dump, known.base.wrapping_add(unit.rva.into()), 4);
            if side.is_whole(4) {
                let distance = i32::from_le_bytes(side.bytes[..4].try_into().expect("4 bytes"));
                let end = known.base.wrapping_add(unit.end().into());
                vote(&mut votes, end.wrapping_add(i64::from(distance) as u64));
            }
        }
        let target = winner(&votes);
        self.overrides.insert(number, target);
        target
    }
}

/// Different answers that are counted; a majority is among the first of them.
const MOST_ANSWERS: usize = 64;

fn vote(votes: &mut Vec<(u64, u32)>, value: u64) {
    match votes.iter().position(|(known, _)| *known == value) {
        Some(index) => votes[index].1 += 1,
        None if votes.len() < MOST_ANSWERS => votes.push((value, 1)),
        None => {}
    }
}

/// The answer that more than half gave, and at least two.
fn winner(votes: &[(u64, u32)]) -> Option<u64> {
    let all: u32 = votes.iter().map(|(_, count)| count).sum();
    votes.iter().find(|(_, count)| *count >= 2 && *count * 2 > all).map(|(value, _)| *value)
}
