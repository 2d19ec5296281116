//! Function overrides: which function each listed call leads to, and its bytes.

use std::collections::HashMap;

use crate::addr::{PAGE_SIZE, Rva, Va};
use crate::capabilities::{Capabilities, Processor};
use crate::dvrt::{
    FunctionOverride, FunctionOverrides, OverrideChoice, OverrideSite, OverrideSiteKind, OverrideTarget,
};
use crate::error::{Diagnostic, Place};
use crate::fixup::{CHECKED_CALL, GUARDED_CALL, LinkedBranch, StubBlock};
use crate::header::Machine;
use crate::image::MappedImage;
use crate::image::patch::Window;
use crate::site::{Outcome, OverrideCounts, Reason, Site, SiteKind};

/// The function overrides of an image.
#[derive(Clone, Debug, Default)]
pub(super) struct Overrides<'a> {
    /// The table; `None` when the image has none.
    pub(super) table: Option<FunctionOverrides<'a>>,
    /// The table breaks a rule of the kernel.
    pub(super) is_damaged: bool,
    /// The RVA of each call's distance and the number of its override, ascending.
    pub(super) sites: Vec<(Rva, u32)>,
    /// What is known of the machine; nothing when not given.
    pub(super) capabilities: Option<Capabilities>,
    /// The choice of each diagram, and which of them is each override's.
    choices: Vec<OverrideChoice>,
    choice_of: Vec<Option<usize>>,
    /// Some call leads to the copy of the kernel's shared code after the image.
    uses_copy: bool,
}

impl Overrides<'_> {
    fn choice(&self, number: u32) -> Option<&OverrideChoice> {
        self.choices.get((*self.choice_of.get(number as usize)?)?)
    }

    /// The sites whose distance has a byte in `start..end`.
    fn touching(&self, start: u64, end: u64) -> &[(Rva, u32)] {
        let from = self.sites.partition_point(|(site, _)| u64::from(site.0) + 4 <= start);
        let to = self.sites.partition_point(|(site, _)| u64::from(site.0) < end);
        &self.sites[from..to.max(from)]
    }
}

/// A function override, and what becomes of the calls of its function.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AppliedOverride {
    /// The function that the file calls.
    pub original: Rva,
    /// What the kernel chooses in its place, and what of the choice is assumed. A damaged table chooses the original.
    pub choice: OverrideChoice,
    /// Its calls.
    pub counts: OverrideCounts,
}

/// Where a call leads instead of to the original.
pub(super) struct Destination {
    /// From the end of the branch.
    distance: i32,
    pub(super) address: Va,
    /// It is the copy of the kernel's shared code after the image.
    pub(super) is_copy: bool,
}

impl<'a> MappedImage<'a> {
    /// Takes in the image's table. A kernel looks at one alone, the first.
    pub(super) fn read_overrides(&mut self, table: FunctionOverrides<'a>, place: Place) {
        if self.overrides.table.is_some() {
            let message = "a kernel looks at the first table of function overrides alone: this one is left alone";
            return self.remark(place, "function override", message);
        }
        if let Err(error) = table.check(self.file.headers()) {
            self.warnings.push(Diagnostic::from(error));
            self.overrides.is_damaged = true;
        }
        for (number, item) in (0..).zip(&table.overrides) {
            let sites = item.sites().flatten().filter(|site| site.kind == OverrideSiteKind::X64_REL32);
            self.overrides.sites.extend(sites.map(|site| (site.rva, number)));
        }
        self.overrides.sites.sort_unstable();
        self.overrides.sites.shrink_to_fit();
        if self.file.headers().machine != Machine::X64 {
            self.remark(place, "function override", "only x64 calls are re-pointed: these stay as linked");
        }
        self.overrides.table = Some(table);
    }

    /// The places where calls and jumps name a function that a kernel may override (symbol 7), with that override.
    pub fn override_sites(&self) -> Vec<(FunctionOverride<'a>, Vec<OverrideSite>)> {
        let table = self.overrides.table.iter().flat_map(|table| &table.overrides);
        table.map(|item| (item.clone(), item.sites().flatten().collect())).collect()
    }

    /// The function overrides, in table order: what is chosen, whether or not the policy has it applied, and what becomes of
    /// the calls.
    pub fn overrides(&self) -> Vec<AppliedOverride> {
        let items = self.overrides.table.iter().flat_map(|table| &table.overrides);
        let original = OverrideChoice { target: OverrideTarget::Original, assumed: Vec::new() };
        let mut out: Vec<AppliedOverride> = (0..)
            .zip(items)
            .map(|(number, item)| AppliedOverride {
                original: item.original,
                choice: self.overrides.choice(number).unwrap_or(&original).clone(),
                counts: OverrideCounts::default(),
            })
            .collect();
        for &(site, number) in &self.overrides.sites {
            if let Some(item) = out.get_mut(number as usize) {
                self.count_call(&mut item.counts, site, number);
            }
        }
        out
    }

    /// What is known of the machine, by which overrides are decided.
    pub fn capabilities(&self) -> Capabilities {
        let unknown = || Capabilities::of_kernel(&Processor::default());
        self.overrides.capabilities.clone().unwrap_or_else(unknown)
    }

    /// Walks the diagrams: to be called when what decides has changed.
    pub(super) fn choose_overrides(&mut self) {
        let Some(table) = &self.overrides.table else { return };
        let (mut choices, mut choice_of) = (Vec::new(), Vec::new());
        if !self.overrides.is_damaged {
            let capabilities = self.capabilities();
            // Without the kernel's file it is known that there is a function for guarded calls, and not where.
            let has_system = |capability| match &self.stubs {
                Some(stubs) => stubs.system_function(capability).is_some(),
                None => capability == GUARDED_CALL,
            };
            let mut by_diagram = HashMap::new();
            for item in &table.overrides {
                let number = *by_diagram.entry(item.bdd_offset).or_insert_with(|| {
                    choices.push(table.bdd(item).ok()?.choose(&capabilities, has_system));
                    Some(choices.len() - 1)
                });
                choice_of.push(number);
            }
        }
        (self.overrides.choices, self.overrides.choice_of) = (choices, choice_of);
        let mut sites = self.overrides.sites.iter();
        self.overrides.uses_copy =
            sites.any(|&(site, number)| self.destination(site, number).is_ok_and(|destination| destination.is_copy));
    }

    /// Whether calls of overridden functions are re-pointed in this image.
    fn overrides_apply(&self) -> bool {
        let policy = self.policy;
        policy.function_overrides
            && !policy.second_mapping
            && !self.table_ignored
            && !self.overrides.is_damaged
            && self.file.headers().machine == Machine::X64
    }

    pub(super) fn overrides_use_copy(&self) -> bool {
        self.overrides.uses_copy && self.overrides_apply()
    }

    /// Where the machine's kernel has a call lead, whatever the policy says.
    fn destination(&self, site: Rva, number: u32) -> Result<Destination, Reason> {
        let choice = self.overrides.choice(number).ok_or(Reason::DamagedTable)?;
        let table = self.overrides.table.as_ref().ok_or(Reason::DamagedTable)?;
        let item = table.overrides.get(number as usize).ok_or(Reason::DamagedTable)?;
        match choice.target {
            OverrideTarget::Original => Err(Reason::Original),
            OverrideTarget::Alternative(number) => {
                let target = *item.alternatives.get(number as usize).ok_or(Reason::DamagedTable)?;
                if target == item.original { Err(Reason::Original) } else { self.own_destination(site, target, false) }
            }
            OverrideTarget::System(capability) => {
                let stubs = self.stubs.as_ref().ok_or(Reason::NoSharedCode)?;
                self.system_destination(site, stubs.system_function(capability).ok_or(Reason::NoSharedCode)?)
            }
        }
    }

    /// A function in the image, or after it.
    fn own_destination(&self, site: Rva, target: Rva, is_copy: bool) -> Result<Destination, Reason> {
        let end = i64::from(site.0) + 4;
        let distance = i32::try_from(i64::from(target.0) - end).map_err(|_| Reason::OutOfRange)?;
        Ok(Destination { distance, address: self.address(target), is_copy })
    }

    /// A function of the kernel's shared code, `offset` bytes into it. One test of the range, from the end of the branch, for
    /// each call by itself.
    pub(super) fn system_destination(&self, site: Rva, offset: u32) -> Result<Destination, Reason> {
        let stubs = self.stubs.as_ref().ok_or(Reason::NoSharedCode)?;
        let kernel = stubs.address().map(|address| address.wrapping_add(offset.into()));
        let from = self.base.wrapping_add(u64::from(site.0) + 4);
        if let Some((address, distance)) = kernel.and_then(|address| Some((address, from.rel32_to(address)?))) {
            return Ok(Destination { distance, address, is_copy: false });
        }
        match self.stub_rva().checked_add(offset) {
            Some(target) if stubs.is_copied() => self.own_destination(site, target, true),
            _ => Err(Reason::NoSharedCode),
        }
    }

    /// The direct branch whose distance lies at `site`, as the file has it.
    pub(super) fn linked_branch(&self, site: Rva) -> Option<LinkedBranch> {
        let mut bytes = [0; LinkedBranch::SIZE as usize];
        self.file.read(Rva(site.0.checked_sub(LinkedBranch::OPCODE)?), &mut bytes);
        LinkedBranch::parse(bytes)
    }

    /// What becomes of a call.
    fn judge_call(&self, site: Rva, number: u32) -> Result<Destination, Reason> {
        let original = self.overrides.table.as_ref().and_then(|table| table.overrides.get(number as usize));
        let original = original.ok_or(Reason::DamagedTable)?.original;
        let branch = self.linked_branch(site).filter(|branch| branch.target(site) == Some(original));
        branch.ok_or(Reason::UnexpectedBytes)?;
        match self.overrides_apply() {
            true => self.destination(site, number),
            false if self.overrides.is_damaged => Err(Reason::DamagedTable),
            false if self.policy.second_mapping => Err(Reason::SecondMapping),
            false => Err(Reason::Policy),
        }
    }

    /// The calls as sites, ascending.
    pub(super) fn overridden_calls(&self) -> impl Iterator<Item = Site> {
        self.overrides.sites.iter().map(|&(site, number)| {
            let outcome = match self.judge_call(site, number) {
                Ok(destination) => Outcome::Overridden(destination.address),
                Err(reason) => Outcome::AsLinked(reason),
            };
            let rva = Rva(site.0.saturating_sub(LinkedBranch::OPCODE));
            Site { rva, kind: SiteKind::Override { number }, slot: None, outcome }
        })
    }

    /// Counts the calls of overridden functions: a part of [`counts`](Self::counts).
    pub fn override_counts(&self) -> OverrideCounts {
        let mut counts = OverrideCounts::default();
        for &(site, number) in &self.overrides.sites {
            self.count_call(&mut counts, site, number);
        }
        counts
    }

    fn count_call(&self, counts: &mut OverrideCounts, site: Rva, number: u32) {
        counts.listed += 1;
        match self.judge_call(site, number) {
            Err(Reason::UnexpectedBytes) => {
                counts.unexpected_bytes += 1;
                return;
            }
            Err(reason) => {
                counts.as_linked += 1;
                let differs = matches!(reason, Reason::NoSharedCode | Reason::DamagedTable | Reason::OutOfRange);
                counts.not_applied += u64::from(differs);
            }
            Ok(destination) => {
                counts.applied += 1;
                counts.out_of_reach += u64::from(destination.is_copy);
            }
        }
        let assumed = self.overrides.choice(number).is_some_and(|choice| !choice.assumed.is_empty());
        counts.assumed += u64::from(assumed && self.overrides_apply());
    }

    pub(super) fn may_override(&self, start: u64, end: u64) -> bool {
        self.overrides_apply() && !self.overrides.touching(start, end).is_empty()
    }

    pub(super) fn put_overrides(&self, window: &mut Window<'_>) {
        if !self.overrides_apply() {
            return;
        }
        for &(site, number) in self.overrides.touching(window.start, window.end()) {
            if let Ok(destination) = self.judge_call(site, number) {
                window.put(site, &destination.distance.to_le_bytes());
            }
        }
    }

    /// The functions for guarded calls, which retpoline and kernel CFG change: where the kernel's shared code is in this image
    /// or after it.
    fn dispatch(&self) -> Option<&StubBlock> {
        let is_kernel = self.file.headers().stub_section().is_some();
        let stubs = match self.policy.kernel_cfg && is_kernel && !self.table_ignored {
            true => self.stubs.as_ref(),
            false if self.policy.kernel_cfg => self.pages_after(),
            false => self.retpolines(),
        };
        stubs.filter(|stubs| !stubs.shared_functions().is_empty())
    }

    pub(super) fn may_dispatch(&self, start: u64, end: u64) -> bool {
        self.dispatch().is_some_and(|stubs| {
            let first = u64::from(self.stub_rva().0);
            let size = (stubs.bytes().len() as u64).max(PAGE_SIZE.into());
            start < first + size && end > first
        })
    }

    pub(super) fn put_dispatch(&self, window: &mut Window<'_>) {
        let Some(stubs) = self.dispatch() else { return };
        let start = self.stub_rva();
        if self.retpolines().is_some() {
            for (offset, bytes) in stubs.guarded_calls_with_retpoline() {
                if let Some(rva) = start.checked_add(offset) {
                    window.put(rva, &bytes);
                }
            }
        } else {
            for rva in stubs.guarded_calls().filter_map(|offset| start.checked_add(offset)) {
                window.put(rva, &CHECKED_CALL);
            }
        }
    }
}
