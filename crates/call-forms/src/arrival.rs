//! Import sites by address, and how a walk that arrives at one goes on in each form.

use std::collections::{HashMap, HashSet};

use intel_pt::flow::{Blocks, Code, Walker};

use crate::decision::{Junction, Routes};
use crate::input::{Importer, Input, Site};

/// Length of the site's first instruction: `call [slot]` as linked, or the load of r10 when rewritten.
pub(crate) const FIRST_LENGTH: u64 = 7;
/// Length of the whole site.
pub(crate) const SITE_LENGTH: u64 = 12;

/// The form of an import site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Through the slot, or with retpoline through the stub.
    Slot,
    /// A direct branch to the imported function.
    Direct,
}

/// The place in a site that a walk has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Before the site's first instruction.
    Start,
    /// After the first instruction.
    Middle,
}

/// All import sites and junctions by address.
pub(crate) struct SiteMap {
    /// Site address to importer and site.
    sites: HashMap<u64, (usize, usize)>,
    /// What the slots point at.
    targets: HashSet<u64>,
    /// Where indirect calls return to.
    after_indirect: HashMap<u64, IndirectForm>,
    /// Junctions by address.
    junctions: HashMap<u64, Junction>,
    /// How many ways each decision has.
    ways: Vec<usize>,
}

/// Where a walk has stopped.
#[derive(Clone, Copy)]
pub(crate) enum Met<'a> {
    /// At an import site.
    Site(Arrival),
    /// At a junction, with its ways: one at least.
    Junction(Junction, &'a Routes),
}

/// The form of an indirect call, as the address after it shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndirectForm {
    Linked,
    Rewritten,
}

impl SiteMap {
    pub fn new<C: ?Sized>(input: &Input<'_, C>) -> Self {
        let importers = &input.importers;
        let all = importers
            .iter()
            .enumerate()
            .flat_map(|(m, importer)| importer.sites.iter().enumerate().map(move |(s, site)| (site.va, (m, s))));
        let sites = importers.iter().flat_map(|importer| &importer.sites);
        let after_indirect = input
            .indirect_returns
            .iter()
            .flat_map(|call| [(call.linked, IndirectForm::Linked), (call.rewritten, IndirectForm::Rewritten)]);
        let mut ways = Vec::new();
        for routes in &input.routes {
            if ways.len() <= routes.decision {
                ways.resize(routes.decision + 1, 0);
            }
            if ways[routes.decision] == 0 {
                ways[routes.decision] = routes.ways.len();
            }
        }
        let fits = |routes: &Routes| !routes.ways.is_empty() && routes.ways.len() == ways[routes.decision];
        let junctions = input.junctions.iter().filter(|junction| input.routes.get(junction.routes).is_some_and(fits));
        Self {
            sites: all.collect(),
            targets: sites.filter_map(|site| site.target).collect(),
            after_indirect: after_indirect.collect(),
            junctions: junctions.map(|junction| (junction.va, *junction)).collect(),
            ways,
        }
    }

    /// How many ways each decision has.
    pub fn ways(&self) -> &[usize] {
        &self.ways
    }

    /// A cache of code in which walks stop at both parts of each site, and at junctions.
    pub fn blocks<C: Code>(&self, code: C) -> Blocks<C> {
        let mut blocks = Blocks::new(code);
        let sites = self.sites.keys().flat_map(|va| [*va, va.wrapping_add(FIRST_LENGTH)]);
        blocks.break_at(sites.chain(self.junctions.keys().copied()));
        blocks
    }

    /// What a walk has come to when it stops at `ip`.
    pub fn met<'i, C: ?Sized>(&self, input: &'i Input<'_, C>, ip: u64) -> Option<Met<'i>> {
        match self.arrival(&input.importers, ip) {
            Some(arrival) => Some(Met::Site(arrival)),
            None => {
                let junction = *self.junctions.get(&ip)?;
                Some(Met::Junction(junction, &input.routes[junction.routes]))
            }
        }
    }

    /// The site that begins at `va`, with the index of its importer.
    pub fn at(&self, importers: &[Importer], va: u64) -> Option<(usize, Site)> {
        let (importer, site) = *self.sites.get(&va)?;
        Some((importer, importers[importer].sites[site]))
    }

    /// Whether an import slot points at `address`.
    pub fn is_target(&self, address: u64) -> bool {
        self.targets.contains(&address)
    }

    /// The form of the indirect call that returns to `address`.
    pub fn indirect_before(&self, address: u64) -> Option<IndirectForm> {
        self.after_indirect.get(&address).copied()
    }

    /// The site that a walk has come to when it stops at `ip`.
    fn arrival(&self, importers: &[Importer], ip: u64) -> Option<Arrival> {
        let (part, (importer, site)) = match self.at(importers, ip) {
            Some(found) => (Part::Start, found),
            None => (Part::Middle, self.at(importers, ip.wrapping_sub(FIRST_LENGTH))?),
        };
        Some(Arrival { importer, stub: importers[importer].stub, site, part })
    }
}

/// A walk that has come to an import site.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Arrival {
    /// Index of the module.
    pub importer: usize,
    /// The module's stub for import calls, with retpoline on.
    pub stub: Option<u64>,
    pub site: Site,
    pub part: Part,
}

impl Arrival {
    /// Enters the imported function at `target` in the given form. False when the packets do not allow it.
    pub fn enter(&self, walker: &mut Walker<'_>, target: u64, form: Form) -> bool {
        match form {
            // The linked form has a nop after the call and nothing after the jump; the others have their branch there.
            Form::Slot if self.part == Part::Middle && self.stub.is_none() => {
                walker.jump(self.site.va.wrapping_add(SITE_LENGTH));
                self.site.call
            }
            Form::Slot if self.stub.is_none() => match walker.take_tip() {
                Ok((_, to)) if to == target => {
                    self.follow(walker, to, form);
                    true
                }
                _ => false,
            },
            Form::Slot | Form::Direct => {
                let middle = self.site.va.wrapping_add(FIRST_LENGTH);
                if self.part == Part::Start && walker.event_due() == Some(middle) {
                    // The event came between the load of r10 and the branch. The walk comes to the branch again after it.
                    walker.jump(middle);
                } else {
                    self.follow(walker, target, form);
                }
                true
            }
        }
    }

    /// Takes the site's branch to `target`.
    pub fn follow(&self, walker: &mut Walker<'_>, target: u64, form: Form) {
        let (to, length) = match (form, self.stub) {
            (Form::Direct, _) => (target, SITE_LENGTH),
            (Form::Slot, None) => (target, FIRST_LENGTH),
            (Form::Slot, Some(stub)) => (stub, SITE_LENGTH),
        };
        if self.site.call {
            walker.call(to, self.site.va.wrapping_add(length));
        } else {
            walker.jump(to);
        }
    }
}
