//! Witnesses: the import sites and junctions that a walk over the packets comes to, each tried in every form.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};

use intel_pt::flow::{
    BlockId, Blocks, Branch, BranchKind, Code, ErrorKind, Options, Quality, Resume, Stop, Table, Visitor, Walker,
};

use crate::arrival::{Arrival, FIRST_LENGTH, Form, IndirectForm, Met, Part, SITE_LENGTH, SiteMap};
use crate::decision::{DecisionVotes, Junction, MAX_WAYS, Routes, WayEvidence};
use crate::hypothesis::{Hypothesis, Outcome};
use crate::input::Input;
use crate::pieces::Piece;
use crate::tally::Tally;
use crate::turn::{Taken, Turn};
use crate::votes::{Evidence, GivenUp, How, Says, Votes};

/// Sites of one module, and junctions of one decision, that are tried at most: with the wrong version of a file no try is conclusive.
pub const MOST_TRIES: u32 = 4096;

/// Steps (blocks passed without a packet) that the tests of the sites of one piece may take in any case, and for each byte
/// of packets besides.
const TEST_STEPS: u64 = 1 << 18;
const TEST_STEPS_PER_BYTE: u64 = 4096;

/// Sites in a row at which no packet is consumed.
const IDLE_SITES: u32 = 1024;

/// What one piece of a stream shows.
pub(crate) struct Witnesses {
    /// The votes of each module.
    pub votes: Vec<Votes>,
    /// The votes about each decision.
    pub decisions: Vec<DecisionVotes>,
    /// Addresses that the walk needed and the code does not have, with the number of times.
    pub missing: BTreeMap<u64, u32>,
    /// Returns to the address after an indirect call as linked.
    pub linked_returns: u32,
    /// Returns to the address after an indirect call that retpoline rewrote.
    pub rewritten_returns: u32,
    /// Where the walk was given up.
    pub given_up: Option<GivenUp>,
    /// Blocks passed without a packet.
    pub steps: u64,
    /// How well the piece could be followed.
    pub quality: Quality,
}

impl Witnesses {
    /// Walks one piece. `before` are the votes of the pieces walked so far.
    pub fn gather<C: Code + Sync + ?Sized>(
        input: &Input<'_, C>,
        sites: &SiteMap,
        (before, decisions): (&[Votes], &[DecisionVotes]),
        piece: &Piece<'_>,
        blocks: &mut Blocks<&C>,
    ) -> Self {
        let mut walk = Walk {
            input,
            sites,
            piece,
            tally: Tally::after(before, decisions),
            entered: HashMap::new(),
            missing: BTreeMap::new(),
            linked_returns: 0,
            rewritten_returns: 0,
            test_steps: Cell::new((piece.bytes.len() as u64).saturating_mul(TEST_STEPS_PER_BYTE) + TEST_STEPS),
            given_up: None,
        };
        let granted = walk.test_steps.get();
        let (walked, quality) = walk.run(blocks);
        let steps = walked + (granted - walk.test_steps.get());
        let Walk { tally, missing, linked_returns, rewritten_returns, given_up, .. } = walk;
        let Tally { votes, decisions, .. } = tally;
        Self { votes, decisions, missing, linked_returns, rewritten_returns, given_up, steps, quality }
    }
}

/// How a walk goes on at a site.
enum Plan {
    /// The form is known.
    Follow(Form),
    /// Both forms are tried.
    Test,
    /// Too many tries were in vain.
    GiveUp,
}

/// The main walk over one piece.
struct Walk<'q, 'a, C: ?Sized> {
    input: &'q Input<'a, C>,
    sites: &'q SiteMap,
    piece: &'q Piece<'a>,
    tally: Tally,
    /// The form in which each site was entered last.
    entered: HashMap<u64, Form>,
    missing: BTreeMap<u64, u32>,
    linked_returns: u32,
    rewritten_returns: u32,
    /// Steps that tests may still take.
    test_steps: Cell<u64>,
    given_up: Option<GivenUp>,
}

impl<'q, 'a, C: Code + Sync + ?Sized> Walk<'q, 'a, C> {
    /// Walks to the end, and says how many blocks it passed without a packet, and how well it could follow.
    fn run(&mut self, blocks: &mut Blocks<&C>) -> (u64, Quality) {
        let mut returns = Returns { found: Vec::new(), are_wanted: !self.input.importers.is_empty() };
        let options = Options::default().resume(Resume::SafeAddress);
        let mut walker = Walker::with_options(self.piece.bytes, options);
        let (mut place, mut idle) = ((0, 0), 0_u32);
        loop {
            let stop = walker.run(blocks, &mut returns);
            for branch in returns.found.drain(..) {
                self.returned(&branch);
            }
            match stop {
                Stop::Error(error) => {
                    if let ErrorKind::TooFewPackets { .. } = error.kind() {
                        self.give_up(error.offset(), error.ip().unwrap_or_default());
                    }
                    if error.kind() == ErrorKind::NoMemory
                        && let Some(ip) = error.ip()
                    {
                        *self.missing.entry(ip).or_insert(0) += 1;
                    }
                }
                Stop::Break { ip } => {
                    // Sites that lead to each other without a packet would go on forever.
                    let here = (walker.offset(), walker.bits_left());
                    idle = if here == place { idle + 1 } else { 0 };
                    place = here;
                    if idle > IDLE_SITES {
                        self.give_up(walker.offset(), ip);
                        walker.lose();
                    } else if !self.go_on(blocks, &mut walker, ip) {
                        walker.lose();
                    }
                }
                // The end: nothing else was asked for.
                _ => return (walker.steps(), walker.quality()),
            }
        }
    }

    /// An uncompressed return to a site shows the form of its call: as linked it is 7 bytes long, else it ends after 12.
    fn returned(&mut self, branch: &Branch) {
        for (length, says) in [(FIRST_LENGTH, Says::Off), (SITE_LENGTH, Says::On)] {
            let va = branch.to.wrapping_sub(length);
            let Some((importer, site)) = self.sites.at(&self.input.importers, va) else { continue };
            let Some(expected) = site.target else { continue };
            // A call through the stub ends after 12 bytes too.
            let is_ambiguous = says == Says::On && self.input.importers[importer].stub.is_some();
            if site.call && site.can_be_direct && !is_ambiguous {
                self.vote(importer, (va, expected), branch.offset, says, How::Returned);
            }
        }
        match self.sites.indirect_before(branch.to) {
            Some(IndirectForm::Linked) => self.linked_returns += 1,
            Some(IndirectForm::Rewritten) => self.rewritten_returns += 1,
            None => {}
        }
    }

    /// Goes on from where the walk has stopped. False when it cannot.
    fn go_on(&mut self, blocks: &mut Blocks<&C>, walker: &mut Walker<'_>, ip: u64) -> bool {
        match self.sites.met(self.input, ip) {
            Some(Met::Site(arrival)) => self.site(blocks, walker, &arrival),
            Some(Met::Junction(junction, routes)) => self.junction(blocks, walker, junction, routes),
            None => false,
        }
    }

    /// Goes on from a junction. False when the walk cannot go on.
    fn junction(
        &mut self,
        blocks: &mut Blocks<&C>,
        walker: &mut Walker<'_>,
        junction: Junction,
        routes: &'q Routes,
    ) -> bool {
        let votes = self.tally.decision(routes.decision);
        let settled = votes.settled();
        let way = if votes.is_enough() || votes.tries() >= MOST_TRIES || routes.ways.len() > MAX_WAYS {
            // Nothing is left to find out. A walk that this leads astray comes to a branch that does not fit.
            Some(settled.unwrap_or(0))
        } else if self.test_steps.get() == 0 {
            self.give_up(walker.offset(), junction.va);
            settled
        } else {
            self.try_ways(blocks, walker, junction, routes)
        };
        let Some(way) = way else { return false };
        Turn::Way { junction, routes, way }.take(walker, &mut None) == Taken::Yes
    }

    /// Tries every way from a junction and votes. Returns the way on which the walk should go on.
    fn try_ways(
        &mut self,
        blocks: &mut Blocks<&C>,
        walker: &Walker<'_>,
        junction: Junction,
        routes: &'q Routes,
    ) -> Option<usize> {
        let hypothesis = self.hypothesis();
        let mut test = |way| hypothesis.way(blocks, walker.clone(), (junction, routes), way);
        let outcomes: Vec<Outcome> = (0..routes.ways.len()).map(&mut test).collect();
        let decision = routes.decision;
        let settled = self.tally.decision(decision).settled();
        let count = |outcome| outcomes.iter().filter(|&&of_way| of_way == outcome).count();
        // Of ways that fit, the one that was refuted least so far.
        let excluded = &self.tally.decision(decision).excluded;
        let first = |outcome| {
            let fitting = (0..outcomes.len()).filter(|&way| outcomes[way] == outcome);
            fitting.min_by_key(|&way| excluded.get(way))
        };
        let (consistent, open) = (first(Outcome::Consistent), first(Outcome::Open));
        if count(Outcome::Consistent) > 0 {
            let refuted = outcomes.iter().map(|&outcome| u32::from(outcome == Outcome::Refuted));
            self.tally.count(decision, |votes| {
                votes.excluded.iter_mut().zip(refuted.clone()).for_each(|(sum, more)| *sum += more);
            });
        }
        // Of ways that may be right, the one that others took.
        let likely = || settled.filter(|&way| outcomes[way] != Outcome::Refuted);
        match (count(Outcome::Consistent), count(Outcome::Open)) {
            (0, 0) => {
                self.tally.count(decision, |votes| votes.contradictory += 1);
                None
            }
            (1, 0) if outcomes.len() > 1 => {
                let way = consistent?;
                let (stream, offset) = (self.piece.stream, self.piece.offset + walker.offset());
                let evidence = WayEvidence { junction: junction.va, way, stream, offset };
                self.tally.count(decision, |votes| votes.add(evidence));
                Some(way)
            }
            (_, 0) => {
                self.tally.count(decision, |votes| votes.ambiguous += 1);
                likely().or(consistent)
            }
            _ => {
                self.tally.count(decision, |votes| votes.open += 1);
                likely().or(consistent).or(open)
            }
        }
    }

    fn hypothesis(&self) -> Hypothesis<'_, 'a, C> {
        Hypothesis { input: self.input, sites: self.sites, tally: &self.tally, steps: &self.test_steps }
    }

    /// Goes through an import site. False when the walk cannot go on.
    fn site(&mut self, blocks: &mut Blocks<&C>, walker: &mut Walker<'_>, arrival: &Arrival) -> bool {
        let Some(target) = arrival.site.target else {
            // The function is not known, so only the form through the slot can be followed.
            return match (arrival.part, walker.take_tip()) {
                (Part::Start, Ok((_, to))) => {
                    arrival.follow(walker, to, Form::Slot);
                    true
                }
                _ => false,
            };
        };
        let form = match self.plan(arrival) {
            Plan::Follow(form) => Some(form),
            Plan::Test if self.test_steps.get() == 0 => {
                self.give_up(walker.offset(), arrival.site.va);
                None
            }
            Plan::Test => self.test(blocks, walker, arrival, target),
            Plan::GiveUp => None,
        };
        let Some(form) = form.filter(|form| arrival.enter(walker, target, *form)) else { return false };
        self.entered.insert(arrival.site.va, form);
        true
    }

    fn plan(&self, arrival: &Arrival) -> Plan {
        let importer = arrival.importer;
        // Only a linked call returns to the middle, and only a direct one is interrupted there: the walk goes on in the
        // form in which it entered.
        let entered = self.entered.get(&arrival.site.va).filter(|_| arrival.part == Part::Middle);
        if let Some(form) = entered {
            return Plan::Follow(*form);
        }
        match self.tally.settled(importer) {
            _ if !arrival.site.can_be_direct => Plan::Follow(Form::Slot),
            // Nothing is left to find out. A walk that this leads astray comes to a branch that does not fit.
            Some(form) if self.tally.is_enough(importer) => Plan::Follow(form),
            _ if self.tally.tries(importer) >= MOST_TRIES => Plan::GiveUp,
            _ => Plan::Test,
        }
    }

    /// Tries both forms and votes. Returns the form in which the walk should go on.
    fn test(
        &mut self,
        blocks: &mut Blocks<&C>,
        walker: &mut Walker<'_>,
        arrival: &Arrival,
        target: u64,
    ) -> Option<Form> {
        let hypothesis = self.hypothesis();
        let slot = hypothesis.form(blocks, walker.clone(), (*arrival, target), Form::Slot);
        let direct = hypothesis.form(blocks, walker.clone(), (*arrival, target), Form::Direct);
        let settled = self.tally.settled(arrival.importer);
        let offset = walker.offset();
        let site = (arrival.site.va, target);
        match (slot, direct) {
            (Outcome::Consistent, Outcome::Refuted) => {
                self.vote(arrival.importer, site, offset, Says::Off, How::Walked);
                Some(Form::Slot)
            }
            (Outcome::Refuted, Outcome::Consistent) => {
                self.vote(arrival.importer, site, offset, Says::On, How::Walked);
                Some(Form::Direct)
            }
            (Outcome::Consistent, Outcome::Consistent) => self.both_fit(walker, arrival, target),
            (Outcome::Refuted, Outcome::Refuted) => {
                self.neither_fits(walker, arrival, target);
                None
            }
            (Outcome::Open, other) | (other, Outcome::Open) => {
                self.tally.votes[arrival.importer].open += 1;
                match other {
                    Outcome::Consistent if slot == Outcome::Consistent => Some(Form::Slot),
                    Outcome::Consistent => Some(Form::Direct),
                    Outcome::Open | Outcome::Refuted => settled,
                }
            }
        }
    }

    fn both_fit(&mut self, walker: &mut Walker<'_>, arrival: &Arrival, target: u64) -> Option<Form> {
        let is_start = arrival.part == Part::Start;
        if is_start && arrival.stub.is_none() && walker.tip_is_next() == Some(target) {
            // A TIP right at the site, without a bit before it, that goes where the slot points: as a direct call, the
            // function would have to come to an indirect branch without any condition, and that to go to itself.
            let site = (arrival.site.va, target);
            self.vote(arrival.importer, site, walker.offset(), Says::Off, How::Walked);
            return Some(Form::Slot);
        }
        // Not worth a vote, but worth following: a TIP that fits by chance is rare.
        self.tally.votes[arrival.importer].ambiguous += 1;
        self.tally.settled(arrival.importer).or(is_start.then_some(Form::Slot))
    }

    /// The slot may point elsewhere: a TIP to the start of another function shows it.
    fn neither_fits(&mut self, walker: &Walker<'_>, arrival: &Arrival, target: u64) {
        let offset = walker.offset();
        let to = walker.clone().take_tip().ok().map(|(_, to)| to).filter(|to| {
            arrival.part == Part::Start && *to != target && (self.input.function_start)(*to) == Some(true)
        });
        match to {
            Some(to) => {
                let says = Says::Redirected { to };
                self.vote(arrival.importer, (arrival.site.va, target), offset, says, How::Walked);
            }
            None => self.tally.votes[arrival.importer].contradictory += 1,
        }
    }

    /// Counts a place where packets could not be followed with the work that they allow. `offset` is in the piece.
    fn give_up(&mut self, offset: usize, address: u64) {
        let first = GivenUp { count: 0, stream: self.piece.stream, offset: self.piece.offset + offset, address };
        self.given_up.get_or_insert(first).count += 1;
    }

    /// Adds a vote about a site and the function that its slot points at. `offset` is in the piece.
    fn vote(&mut self, importer: usize, (site, expected): (u64, u64), offset: usize, says: Says, how: How) {
        let (stream, offset) = (self.piece.stream, self.piece.offset + offset);
        self.tally.votes[importer].add(Evidence { site, expected, stream, offset, says, how });
    }
}

/// Collects the returns of the main walk.
struct Returns {
    found: Vec<Branch>,
    are_wanted: bool,
}

impl Visitor for Returns {
    fn blocks(&mut self, _: &Table, _: &[BlockId]) {}

    fn part(&mut self, _: &Table, _: BlockId, _: u32) {}

    fn branch(&mut self, branch: &Branch) {
        if matches!(branch.kind, BranchKind::Return { .. }) && self.are_wanted {
            self.found.push(*branch);
        }
    }
}
