//! What becomes of each site, and the counts.

use crate::addr::{IatIndex, Rva};
use crate::bind::Target;
use crate::dvrt::{ImportTransfer, IndirectTransfer, SITE_SIZE, SwitchBranch, block_records};
use crate::fixup::{LinkedImport, SLOT_INSTRUCTION, StubBlock, StubBranch, indirect_rewrite, switch_rewrite};
use crate::image::{IndexedSlot, MappedImage, NO_SLOT};
use crate::policy::ImportCalls;
use crate::site::{Counts, Outcome, Reason, Site, SiteKind};

/// Sections of the kernel that the retpoline pass does not enter.
const NOT_RETPOLINED: [&[u8; 8]; 2] = [b"INITKDBG", b"MINIEX\0\0"];

/// An import site that bears a linker's bytes, and its direct target or the reason why it has none.
pub(super) struct JudgedImport<'i> {
    pub(super) linked: LinkedImport,
    pub(super) target: Result<(i32, &'i Target), Reason>,
}

impl MappedImage<'_> {
    /// Looks at an import site: `Err` when its bytes are not a linker's. The policy has no say here.
    #[inline]
    pub(super) fn judge_import(
        &self,
        site: &ImportTransfer,
        bytes: &[u8; SITE_SIZE],
    ) -> Result<JudgedImport<'_>, Reason> {
        let linked = LinkedImport::parse(bytes).filter(|linked| linked.call == site.call);
        let linked = linked.ok_or(Reason::UnexpectedBytes)?;
        let Some(index) = site.index() else { return Ok(JudgedImport { linked, target: Err(Reason::NoIndex) }) };
        // The displacement names the slot as well; a file in which the two differ is not what its table says it is.
        let slot = self.file.iat_slot(index);
        if slot.is_none() || slot != linked.slot(site.rva) {
            return Err(Reason::UnexpectedBytes);
        }
        Ok(JudgedImport { linked, target: self.direct_target(site.rva, index) })
    }

    #[inline]
    fn direct_target(&self, site: Rva, index: IatIndex) -> Result<(i32, &Target), Reason> {
        let indexed = self.slots.get(index.0 as usize).filter(|slot| slot.number != NO_SLOT);
        let slot = self.binding.as_ref().zip(indexed).map(|(binding, slot)| &binding.slots()[slot.number as usize]);
        let target = slot.and_then(|slot| slot.result.as_ref().ok()).ok_or(Reason::Unbound)?;
        // The kernel stores each slot as a 32-bit distance from the image base before it looks at the sites. So this
        // test decides at the upper edge, and the one from the site's end at the lower.
        self.base.rel32_to(target.address).ok_or(Reason::OutOfRange)?;
        let end = self.base.wrapping_add(u64::from(site.0) + SITE_SIZE as u64);
        let distance = end.rel32_to(target.address).ok_or(Reason::OutOfRange)?;
        if self.retpolines().is_some() && !target.retpolined {
            return Err(Reason::TargetNotRetpolined);
        }
        Ok((distance, target))
    }

    /// What the policy makes of an import site that was looked at.
    #[inline]
    fn import_outcome<'i>(&self, site: Rva, judged: &JudgedImport<'i>) -> ImportOutcome<'i> {
        let stays = |reason| match self.import_stub_distance(site) {
            Some((distance, stub)) if !self.is_skipped(site) => ImportOutcome::Stub(distance, stub),
            _ => ImportOutcome::Stays(reason),
        };
        if self.table_ignored {
            return ImportOutcome::Stays(Reason::Policy);
        }
        match (self.policy.import_calls, &judged.target) {
            (ImportCalls::DriverVerifier, _) => ImportOutcome::Register,
            (ImportCalls::AsLinked, _) => stays(Reason::Policy),
            (ImportCalls::Optimized, _) if self.policy.second_mapping => stays(Reason::SecondMapping),
            (ImportCalls::Optimized, Ok((distance, target))) => ImportOutcome::Direct(*distance, target),
            (ImportCalls::Optimized, Err(reason)) => stays(*reason),
        }
    }

    /// The 12 bytes that an import site becomes; `None` when it stays.
    #[inline]
    pub(super) fn import_bytes(&self, site: &ImportTransfer, bytes: &[u8; SITE_SIZE]) -> Option<[u8; SITE_SIZE]> {
        let judged = self.judge_import(site, bytes).ok()?;
        match self.import_outcome(site.rva, &judged) {
            ImportOutcome::Direct(distance, _) => Some(judged.linked.direct(distance)),
            ImportOutcome::Stub(distance, _) => Some(judged.linked.direct(distance)),
            ImportOutcome::Register => Some(judged.linked.through_register()),
            ImportOutcome::Stays(_) => None,
        }
    }

    /// What is asked of sites that may become direct; `None` when the policy makes none direct.
    pub(super) fn direct_sites(&self) -> Option<DirectSites<'_>> {
        let policy = self.policy;
        let makes_direct =
            policy.import_calls == ImportCalls::Optimized && !policy.second_mapping && !self.table_ignored;
        makes_direct.then(|| DirectSites {
            slots: &self.slots,
            iat: self.file.iat().map_or(0, |iat| iat.rva.0.into()),
            width: self.file.headers().pointer_size().into(),
            asks_retpolined: self.retpolines().is_some(),
        })
    }

    /// With retpoline: the distance from an import site's end to the import stub, and the stub.
    fn import_stub_distance(&self, site: Rva) -> Option<(i32, Rva)> {
        let stub = self.stub_rva().checked_add(self.retpolines()?.offsets().import)?;
        let distance = i64::from(stub.0) - i64::from(site.0) - SITE_SIZE as i64;
        Some((i32::try_from(distance).ok()?, stub))
    }

    fn is_skipped(&self, site: Rva) -> bool {
        let section = self.file.headers().section_at(site);
        section.is_some_and(|section| NOT_RETPOLINED.contains(&&section.name))
    }

    /// The distance from a site's first byte to the stub block.
    fn to_block(&self, site: Rva) -> i64 {
        i64::from(self.stub_rva().0) - i64::from(site.0)
    }

    pub(super) fn judge_indirect(
        &self,
        site: &IndirectTransfer,
        bytes: &[u8; SITE_SIZE],
        stubs: &StubBlock,
    ) -> Result<StubBranch, Reason> {
        let offsets = stubs.offsets();
        let rewrite = indirect_rewrite(site, bytes, self.cfg_pointer, &offsets, self.to_block(site.rva));
        if self.is_skipped(site.rva) {
            return Err(Reason::SkippedSection);
        }
        rewrite.ok_or(Reason::UnexpectedBytes)
    }

    pub(super) fn judge_switch(
        &self,
        site: &SwitchBranch,
        bytes: &[u8; SITE_SIZE],
        stubs: &StubBlock,
    ) -> Result<StubBranch, Reason> {
        let rewrite = switch_rewrite(site, bytes, &stubs.offsets(), self.to_block(site.rva));
        if self.is_skipped(site.rva) {
            return Err(Reason::SkippedSection);
        }
        rewrite.ok_or(Reason::UnexpectedBytes)
    }

    /// The bytes of a site as linked; zeros where the image has none.
    pub(super) fn linked_bytes(&self, site: Rva) -> [u8; SITE_SIZE] {
        let mut bytes = [0; SITE_SIZE];
        self.file.read(site, &mut bytes);
        bytes
    }

    /// Every site of symbols 3, 4, 5 and 7, ascending by page within each symbol, and what becomes of it.
    pub fn sites(&self) -> impl Iterator<Item = Site> {
        let imports = self.imports.blocks().iter().flat_map(block_records::<ImportTransfer>).map(|site| {
            let outcome = match self.judge_import(&site, &self.linked_bytes(site.rva)) {
                Err(reason) => Outcome::AsLinked(reason),
                Ok(judged) => match self.import_outcome(site.rva, &judged) {
                    ImportOutcome::Direct(_, target) => Outcome::Direct(*target),
                    ImportOutcome::Stub(_, stub) => Outcome::ViaStub(stub),
                    ImportOutcome::Register => Outcome::DriverVerifier,
                    ImportOutcome::Stays(reason) => Outcome::AsLinked(reason),
                },
            };
            let index = site.index();
            let slot = index.and_then(|index| self.file.iat_slot(index));
            Site { rva: site.rva, kind: SiteKind::Import { call: site.call, index }, slot, outcome }
        });
        let indirect = self.indirect.blocks().iter().flat_map(block_records::<IndirectTransfer>).map(|site| {
            let stub = |stubs: &StubBlock| {
                if site.cfg { stubs.offsets().indirect_cfg } else { stubs.offsets().indirect }
            };
            let outcome = self.rewrite_outcome(site.rva, stub, |bytes, stubs| self.judge_indirect(&site, bytes, stubs));
            let kind = SiteKind::Indirect { call: site.call, rex: site.rex, cfg: site.cfg };
            Site { rva: site.rva, kind, slot: None, outcome }
        });
        let switches = self.switches.blocks().iter().flat_map(block_records::<SwitchBranch>).map(|site| {
            let stub = |stubs: &StubBlock| stubs.offsets().switch[usize::from(site.register)];
            let outcome = self.rewrite_outcome(site.rva, stub, |bytes, stubs| self.judge_switch(&site, bytes, stubs));
            Site { rva: site.rva, kind: SiteKind::Switch { register: site.register }, slot: None, outcome }
        });
        imports.chain(indirect).chain(switches).chain(self.overridden_calls())
    }

    fn rewrite_outcome(
        &self,
        site: Rva,
        stub: impl Fn(&StubBlock) -> u32,
        judge: impl Fn(&[u8; SITE_SIZE], &StubBlock) -> Result<StubBranch, Reason>,
    ) -> Outcome {
        let Some(stubs) = self.retpolines() else { return Outcome::AsLinked(Reason::Policy) };
        match judge(&self.linked_bytes(site), stubs) {
            Ok(_) => Outcome::ViaStub(Rva(self.stub_rva().0.saturating_add(stub(stubs)))),
            Err(reason) => Outcome::AsLinked(reason),
        }
    }

    /// Counts all sites. Reads the code that they lie in.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            relocations: self.count_relocations(),
            overrides: self.override_counts(),
            arm64_imports: self.arm64_imports,
            address_constants: self.address_constants,
            ..Counts::default()
        };
        for site in self.imports.blocks().iter().flat_map(block_records::<ImportTransfer>) {
            let import = &mut counts.import;
            import.listed += 1;
            match self.judge_import(&site, &self.linked_bytes(site.rva)) {
                Err(_) => import.unexpected_bytes += 1,
                Ok(judged) => match judged.target {
                    Ok(_) => {
                        let outcome = self.import_outcome(site.rva, &judged);
                        import.optimized += u64::from(matches!(outcome, ImportOutcome::Direct(..)));
                    }
                    Err(Reason::NoIndex) => import.no_index += 1,
                    Err(Reason::OutOfRange) => import.out_of_range += 1,
                    Err(Reason::TargetNotRetpolined) => import.not_retpolined += 1,
                    Err(_) => import.unbound += 1,
                },
            }
        }
        for site in self.sites() {
            let count = match site.kind {
                SiteKind::Import { .. } | SiteKind::Override { .. } => continue,
                SiteKind::Indirect { .. } => &mut counts.indirect,
                SiteKind::Switch { .. } => &mut counts.switch,
            };
            count.listed += 1;
            match site.outcome {
                Outcome::ViaStub(_) => count.rewritten += 1,
                Outcome::AsLinked(Reason::UnexpectedBytes) => count.unexpected_bytes += 1,
                _ => {}
            }
        }
        counts
    }
}

/// The short way for what most sites of most images are: as linked, bound, and in reach.
pub(super) struct DirectSites<'i> {
    slots: &'i [IndexedSlot],
    iat: i64,
    width: i64,
    asks_retpolined: bool,
}

impl DirectSites<'_> {
    /// The 12 bytes of a site that becomes direct; `None` when it does not. It comes to what
    /// [`MappedImage::import_bytes`] does, by one look at the slot and no other.
    #[inline]
    pub(super) fn bytes(&self, site: &ImportTransfer, bytes: &[u8; SITE_SIZE]) -> Option<[u8; SITE_SIZE]> {
        let slot = self.slots.get(site.raw_index as usize)?;
        let linked = LinkedImport::parse(bytes).filter(|linked| linked.call == site.call)?;
        let named = i64::from(site.rva.0) + i64::from(SLOT_INSTRUCTION) + i64::from(linked.displacement);
        let names_slot = self.iat + self.width * i64::from(site.raw_index) == named;
        let distance = slot.from_base - i64::from(site.rva.0) - SITE_SIZE as i64;
        let distance =
            i32::try_from(distance).ok().filter(|_| names_slot && (slot.retpolined || !self.asks_retpolined))?;
        Some(linked.direct(distance))
    }
}

/// What becomes of an import site.
enum ImportOutcome<'i> {
    Direct(i32, &'i Target),
    Stub(i32, Rva),
    Register,
    Stays(Reason),
}
