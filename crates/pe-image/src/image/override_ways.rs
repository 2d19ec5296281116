//! Function overrides as a question: to which functions each listed call may lead, for those who find out.

use crate::addr::{Rva, Va};
use crate::dvrt::{Bdd, OverrideTarget};
use crate::fixup::LinkedBranch;
use crate::header::Machine;
use crate::image::MappedImage;

/// An overridden function, and where its calls may lead.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OverrideWays {
    /// What decides.
    pub diagram: Bdd,
    /// The original, then the alternatives that are other functions, then the kernel's own function, if it has one for the
    /// capability that the diagram asks for first. Of an alternative that is also an earlier one, or the original, the first
    /// counts.
    pub targets: Vec<OverrideTarget>,
    /// What of the alternatives is the same function: for each of them, which of `targets` it is.
    pub alternatives: Vec<usize>,
    /// The calls and jumps, ascending. Those with other bytes than a linker writes are left out.
    pub calls: Vec<OverrideCall>,
}

/// A call of an overridden function.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OverrideCall {
    /// Where the instruction begins.
    pub address: Va,
    /// True for a call, false for a jump.
    pub call: bool,
    /// Where it leads for each of [`OverrideWays::targets`]. `None` when the kernel's page is out of reach, and its copy has no
    /// room after the image.
    pub leads: Vec<Option<Va>>,
    /// The kernel's function is that of the copy after the image.
    pub is_copy: bool,
}

impl MappedImage<'_> {
    /// Where the calls of overridden functions may lead, in table order, whatever the policy says. Empty without a table or
    /// with a damaged one.
    pub fn override_ways(&self) -> Vec<OverrideWays> {
        let Some(table) = &self.overrides.table else { return Vec::new() };
        if self.overrides.is_damaged
            || self.table_ignored
            || self.policy.second_mapping
            || self.file.headers().machine != Machine::X64
        {
            return Vec::new();
        }
        let mut out: Vec<OverrideWays> = Vec::with_capacity(table.overrides.len());
        let mut functions = Vec::with_capacity(table.overrides.len());
        for item in &table.overrides {
            let Ok(diagram) = table.bdd(item) else { return Vec::new() };
            let (mut targets, mut rvas) = (vec![OverrideTarget::Original], vec![item.original]);
            let mut alternatives = Vec::with_capacity(item.alternatives.len());
            for (number, &rva) in (0..).zip(&item.alternatives) {
                let same = rvas.iter().position(|&known| known == rva);
                alternatives.push(same.unwrap_or_else(|| {
                    targets.push(OverrideTarget::Alternative(number));
                    rvas.push(rva);
                    rvas.len() - 1
                }));
            }
            let first = diagram.nodes.first().map(|node| node.value);
            let system = first.and_then(|value| Some((value, self.stubs.as_ref()?.system_function(value)?)));
            targets.extend(system.map(|(capability, _)| OverrideTarget::System(capability)));
            functions.push((rvas, system));
            out.push(OverrideWays { diagram, targets, alternatives, calls: Vec::new() });
        }
        for &(site, number) in &self.overrides.sites {
            let number = number as usize;
            let (Some(ways), Some((rvas, system))) = (out.get_mut(number), functions.get(number)) else { continue };
            let Some(branch) = self.linked_branch(site).filter(|branch| branch.target(site) == Some(rvas[0])) else {
                continue;
            };
            let mut leads: Vec<Option<Va>> = rvas.iter().map(|&rva| Some(self.address(rva))).collect();
            let system = system.map(|(_, offset)| self.system_destination(site, offset).ok());
            leads.extend(system.as_ref().map(|found| found.as_ref().map(|found| found.address)));
            ways.calls.push(OverrideCall {
                address: self.address(Rva(site.0 - LinkedBranch::OPCODE)),
                call: branch.is_call(),
                leads,
                is_copy: system.flatten().is_some_and(|found| found.is_copy),
            });
        }
        out
    }
}
