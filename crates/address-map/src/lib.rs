//! Which module owns an address at a moment.
//!
//! A source lists modules over time, and several may have held the same addresses: a driver is unloaded and another one
//! takes its place, an unload event is lost, a damaged record claims half of the kernel's address space. At any one
//! moment an address has at most one owner. This module alone decides which:
//!
//! ```text
//!   address
//!      │   ┌───────────┐
//!      │   │           │     ┌─────────────────────┐
//!      │   │  old.sys  │     │       new.sys       │
//!      │   └───────────┘     └─────────────────────┘
//!      └───────┬──────────┬──────────────┬───────────► time
//!           old.sys    old.sys        new.sys         owner
//! ```
//!
//! Modules take their places in the order of their claims, each unless a stronger claim already holds some of its
//! addresses; a module that does not get its place owns nothing at that moment. The stronger claim is that of the module
//!
//! 1. that was loaded at the moment, else the one whose life was nearest to it;
//! 2. that was loaded later: an unload event may have been lost, while a load event is evidence;
//! 3. whose file is at hand, where nothing about time decides;
//! 4. that begins at the lower address; then the one that is listed first.

#![forbid(unsafe_code)]

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A module's number in the list that an [`AddressMap`] was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModuleId(pub usize);

/// A module's claim on addresses for a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Claim {
    /// First address.
    pub base: u64,
    /// Bytes. A module without a size still claims its first address.
    pub size: u64,
    /// When it was loaded, in seconds from the start of the trace; `None` when before.
    pub loaded: Option<f64>,
    /// When it was unloaded; `None` when it stayed.
    pub unloaded: Option<f64>,
    /// Whether its file is at hand. Where that is not known yet, give all claims the same value.
    pub has_file: bool,
}

/// Where a moment lies in relation to a module's life.
enum Life {
    /// The module was loaded.
    Present,
    /// It was unloaded before, at this time.
    Past(f64),
    /// It is loaded later, at this time.
    Future(f64),
}

impl Claim {
    /// The last address.
    fn last(&self) -> u64 {
        self.base.saturating_add(self.size.saturating_sub(1))
    }

    fn life(&self, moment: f64) -> Life {
        match (self.loaded, self.unloaded) {
            (Some(loaded), _) if moment < loaded => Life::Future(loaded),
            (_, Some(unloaded)) if moment >= unloaded => Life::Past(unloaded),
            _ => Life::Present,
        }
    }

    /// The order in which modules take their places: the stronger claim first.
    fn compare(&self, other: &Self, moment: f64) -> Ordering {
        let nearer = match (self.life(moment), other.life(moment)) {
            (Life::Present, Life::Present) => Ordering::Equal,
            (Life::Present, _) => Ordering::Less,
            (_, Life::Present) => Ordering::Greater,
            // Compared without a subtraction, so that it holds at an infinite moment too.
            (Life::Past(ours), Life::Past(theirs)) => theirs.total_cmp(&ours),
            (Life::Future(ours), Life::Future(theirs)) => ours.total_cmp(&theirs),
            (Life::Past(ours), Life::Future(theirs)) => (moment - ours).total_cmp(&(theirs - moment)),
            (Life::Future(ours), Life::Past(theirs)) => (ours - moment).total_cmp(&(moment - theirs)),
        };
        let loaded = |claim: &Self| claim.loaded.unwrap_or(f64::NEG_INFINITY);
        nearer
            .then_with(|| loaded(other).total_cmp(&loaded(self)))
            .then_with(|| other.has_file.cmp(&self.has_file))
            .then_with(|| self.base.cmp(&other.base))
    }
}

/// A module in its place: addresses that nothing else owns at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The module.
    pub module: ModuleId,
    /// First address.
    pub first: u64,
    /// Last address.
    pub last: u64,
}

/// Which module owns which addresses, over all of the time that a source covers. See the module's documentation for the
/// rule.
///
/// Takes `n log n` time for `n` modules, and memory in proportion to them.
#[derive(Clone, Debug)]
pub struct AddressMap {
    claims: Vec<Claim>,
    /// Modules that no other one overlaps at any time, by address.
    settled: Arc<[Place]>,
    /// Groups of modules that overlap, directly or through others of the group.
    disputes: Vec<Vec<ModuleId>>,
}

impl AddressMap {
    /// A map of modules, numbered in their order.
    pub fn new(claims: impl IntoIterator<Item = Claim>) -> Self {
        let claims: Vec<Claim> = claims.into_iter().collect();
        let mut by_address: Vec<ModuleId> = (0..claims.len()).map(ModuleId).collect();
        by_address.sort_by_key(|id| claims[id.0].base);
        let (mut settled, mut disputes) = (Vec::new(), Vec::new());
        let mut rest = &*by_address;
        while let Some((&first, after)) = rest.split_first() {
            let mut last = claims[first.0].last();
            let more = after.iter().take_while(|id| {
                let claim = &claims[id.0];
                let overlaps = claim.base <= last;
                last = last.max(claim.last());
                overlaps
            });
            match 1 + more.count() {
                1 => {
                    let claim = &claims[first.0];
                    settled.push(Place { module: first, first: claim.base, last: claim.last() });
                    rest = after;
                }
                count => {
                    let (group, after) = rest.split_at(count);
                    disputes.push(group.to_vec());
                    rest = after;
                }
            }
        }
        Self { claims, settled: settled.into(), disputes }
    }

    /// The modules' claims, in their order.
    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// The owners at a moment, in seconds from the start of the trace.
    ///
    /// Takes `k log k` time for `k` modules that overlap others; those that do not cost nothing.
    pub fn at(&self, moment: f64) -> Owners {
        let mut owners = Owners { settled: self.settled.clone(), ..Owners::default() };
        for group in &self.disputes {
            self.settle(group, moment, &mut owners);
        }
        owners.displaced.sort_unstable();
        owners
    }

    /// Gives the modules of a group their places. Groups come in the order of addresses.
    fn settle(&self, group: &[ModuleId], moment: f64, owners: &mut Owners) {
        let mut order = group.to_vec();
        order.sort_by(|a, b| self.claims[a.0].compare(&self.claims[b.0], moment).then(a.cmp(b)));
        // Places taken so far by first address. They do not overlap, so a candidate can only meet its two neighbours.
        let mut taken = BTreeMap::<u64, Place>::new();
        for module in order {
            let claim = &self.claims[module.0];
            let place = Place { module, first: claim.base, last: claim.last() };
            let below = taken.range(..=place.first).next_back().map(|(_, place)| place);
            let above = taken.range(place.first..).next().map(|(_, place)| place);
            let mut neighbours = below.into_iter().chain(above);
            match neighbours.find(|other| other.first <= place.last && place.first <= other.last) {
                Some(winner) => owners.displaced.push((module, winner.module)),
                None => drop(taken.insert(place.first, place)),
            }
        }
        owners.disputed.extend(taken.into_values());
    }
}

/// The owners of addresses at one moment.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    /// Places that are never disputed, and those that were disputed; both ascending, none overlaps another.
    settled: Arc<[Place]>,
    disputed: Vec<Place>,
    /// Modules that did not get their place, ascending, and the owner of some of its addresses.
    displaced: Vec<(ModuleId, ModuleId)>,
}

impl Owners {
    /// The module that owns an address.
    pub fn owner(&self, address: u64) -> Option<ModuleId> {
        self.last_before(address).filter(|place| address <= place.last).map(|place| place.module)
    }

    /// The last place that begins at an address or before it.
    pub fn last_before(&self, address: u64) -> Option<Place> {
        let find = |places: &[Place]| {
            let after = places.partition_point(|place| place.first <= address);
            places[..after].last().copied()
        };
        find(&self.settled).into_iter().chain(find(&self.disputed)).max_by_key(|place| place.first)
    }

    /// The module that took a module's place; `None` when the module has its place.
    pub fn displaced_by(&self, module: ModuleId) -> Option<ModuleId> {
        let at = self.displaced.binary_search_by_key(&module, |(module, _)| *module).ok()?;
        Some(self.displaced[at].1)
    }

    /// The modules that did not get their places, ascending, each with the one that took it.
    pub fn displaced(&self) -> &[(ModuleId, ModuleId)] {
        &self.displaced
    }

    /// The first place that ends at an address or after it.
    pub fn next(&self, address: u64) -> Option<Place> {
        let find = |places: &[Place]| places.get(places.partition_point(|place| place.last < address)).copied();
        let (settled, disputed) = (find(&self.settled), find(&self.disputed));
        settled.into_iter().chain(disputed).min_by_key(|place| place.first)
    }

    /// The places from an address on, ascending. The first may begin before the address.
    pub fn places_from(&self, address: u64) -> impl Iterator<Item = Place> + '_ {
        let mut from = Some(address);
        std::iter::from_fn(move || {
            let place = self.next(from?)?;
            from = place.last.checked_add(1);
            Some(place)
        })
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests;
