//! The places in a module's file that a loader may change, and which they are.

use std::collections::HashMap;

use pe_image::{Binding, Fixups, IndirectTransfer, LoadConfig, PageRecord, PeFile, Rva, SiteKind, SwitchBranch};

/// A place that a loader may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// First byte.
    pub(super) rva: u32,
    /// Bytes, at most [`PLACE`](captured_code::memory::PLACE).
    pub(super) size: u32,
    pub(super) kind: UnitKind,
}

impl Unit {
    pub(super) fn end(&self) -> u32 {
        self.rva.saturating_add(self.size)
    }

    /// Offsets in the unit at which an instruction starts in one of its forms.
    pub(super) fn is_start(&self, at: usize) -> bool {
        match self.kind {
            UnitKind::Import => matches!(at, 0 | 7),
            UnitKind::Branch(_) => at == 0,
            _ => false,
        }
    }
}

/// What a unit is. Of two that begin at one place the first in this order counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum UnitKind {
    /// DVRT symbol 3.
    Import,
    /// DVRT symbols 4 and 5: a branch that can lead through a retpoline stub.
    Branch(SiteKind),
    /// A distance of DVRT symbol 7, by the number of the override.
    Override(u32),
    /// An import slot.
    Slot,
    /// A pointer that the load configuration names.
    Guard,
    /// The header's ImageBase.
    ImageBase,
    /// An address constant of a DVRT symbol that is an address, by the number of the symbol.
    Constant(u32),
    /// A base relocation.
    Relocation,
}

/// The units of a file.
#[derive(Debug)]
pub(super) struct Units {
    /// Ascending, none inside another.
    all: Vec<Unit>,
    /// Units of one override or one symbol: those that are asked for a majority.
    members: HashMap<UnitKind, Vec<Unit>>,
    /// By number: the alternatives of each override.
    overrides: Vec<Vec<Rva>>,
}

impl Units {
    pub(super) fn list(file: &PeFile<'_>, binding: &Binding<'_>) -> Self {
        let (mut all, mut overrides, mut symbols) = (Vec::new(), Vec::new(), 0..);
        let mut add = |rva: Rva, size: u32, kind| all.push(Unit { rva: rva.0, size, kind });
        let (headers, width) = (file.headers(), file.headers().pointer_size());
        add(Rva(headers.image_base_offset), width, UnitKind::ImageBase);
        for slot in binding.slots() {
            add(slot.rva, width, UnitKind::Slot);
        }
        let config = file.load_config().ok().flatten();
        for rva in config.iter().flat_map(LoadConfig::guard_pointers) {
            add(rva, width, UnitKind::Guard);
        }
        let blocks = file.relocation_blocks().ok().into_iter().flatten().map_while(Result::ok);
        for relocation in blocks.flat_map(|block| block.relocations().collect::<Vec<_>>()) {
            if let Some(size) = relocation.kind.size(headers.machine).filter(|&size| size > 0) {
                add(relocation.rva, size, UnitKind::Relocation);
            }
        }
        // A table that no kernel applies changes nothing.
        let table = file.dvrt().ok().flatten().filter(|table| table.version == 1);
        for entry in table.iter().flat_map(|table| &table.entries) {
            match entry.fixups() {
                Fixups::ImportTransfers(sites) => {
                    sites.flatten().for_each(|site| add(site.rva, site.size(), UnitKind::Import));
                }
                Fixups::IndirectTransfers(sites) => {
                    sites.flatten().for_each(|IndirectTransfer { rva, call, rex, cfg, .. }| {
                        let kind = SiteKind::Indirect { call, rex, cfg };
                        add(rva, kind.size(), UnitKind::Branch(kind));
                    });
                }
                Fixups::SwitchBranches(sites) => {
                    sites.flatten().for_each(|SwitchBranch { rva, register, .. }| {
                        let kind = SiteKind::Switch { register };
                        add(rva, kind.size(), UnitKind::Branch(kind));
                    });
                }
                Fixups::FunctionOverrides(Ok(table)) => {
                    for item in &table.overrides {
                        let number = overrides.len() as u32;
                        overrides.push(item.alternatives.clone());
                        let sites = item.sites().flatten();
                        let sites = sites.filter(|site| site.kind == pe_image::OverrideSiteKind::X64_REL32);
                        sites.for_each(|site| add(site.rva, 4, UnitKind::Override(number)));
                    }
                }
                Fixups::Address(constants) => {
                    let number = symbols.next().unwrap_or(u32::MAX);
                    for constant in constants.iter().flatten() {
                        if let Some(size) = constant.kind.size(headers.machine).filter(|&size| size >= 4) {
                            add(constant.rva, size, UnitKind::Constant(number));
                        }
                    }
                }
                _ => {}
            }
        }
        all.sort_unstable_by_key(|unit| (unit.rva, unit.kind));
        let mut free = 0;
        all.retain(|unit| {
            let keep = unit.rva >= free;
            if keep {
                free = unit.end();
            }
            keep
        });
        let mut members = HashMap::<_, Vec<_>>::new();
        for unit in all.iter().filter(|unit| matches!(unit.kind, UnitKind::Override(_) | UnitKind::Constant(_))) {
            let members = members.entry(unit.kind).or_default();
            if members.len() < MOST_ASKED {
                members.push(*unit);
            }
        }
        Self { all, members, overrides }
    }

    /// The unit that holds `rva`, or the RVA at which the next one begins.
    pub(super) fn at(&self, rva: u32) -> Result<Unit, u32> {
        let after = self.all.partition_point(|unit| unit.rva <= rva);
        match after.checked_sub(1).map(|before| self.all[before]) {
            Some(unit) if rva < unit.end() => Ok(unit),
            _ => Err(self.all.get(after).map_or(u32::MAX, |unit| unit.rva)),
        }
    }

    /// Units of one override or one symbol, so many as are asked.
    pub(super) fn members(&self, kind: UnitKind) -> &[Unit] {
        self.members.get(&kind).map_or(&[], Vec::as_slice)
    }

    /// The alternatives of an override.
    pub(super) fn alternatives(&self, number: u32) -> &[Rva] {
        self.overrides.get(number as usize).map_or(&[], Vec::as_slice)
    }
}

/// Places that are asked for a majority.
const MOST_ASKED: usize = 4096;
