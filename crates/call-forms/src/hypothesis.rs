//! A hypothesis: an import site has one form, or a junction leads one way. Do the packets that follow fit it?

use std::cell::Cell;

use intel_pt::flow::{
    BlockId, Blocks, Branch, BranchKind, Code, Error, ErrorKind, Event, Found, Space, Stop, Table, Visitor, Walker,
    follows_call,
};

use crate::arrival::{Arrival, FIRST_LENGTH, Form, Met, Part, SITE_LENGTH, SiteMap};
use crate::decision::{Junction, MAX_WAYS, Routes};
use crate::input::Input;
use crate::tally::Tally;
use crate::turn::{Assumption, NextJump, Taken, Turn};

/// Bytes of packets after which a form that was not refuted counts as consistent.
const LOOKAHEAD: usize = 96;
/// Sites and junctions that one test may lead through.
const LOOKAHEAD_SITES: usize = 256;
/// Blocks that one test may pass without a packet, over everything that it tries: real code has some ten for each byte of
/// packets.
const TEST_STEPS: u64 = 1 << 14;
/// Other modules whose form, and decisions whose way, a test may guess, in all ways each.
const GUESSES: usize = 3;
/// Size of a page of stubs.
const PAGE: u64 = 0x1000;

/// What came of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The packets do not fit the form.
    Refuted,
    /// Packets end or are lost, or code is missing, before anything was verified.
    Open,
    /// The packets fit.
    Consistent,
}

/// Tests of sites and junctions.
pub(crate) struct Hypothesis<'t, 'a, C: ?Sized> {
    pub input: &'t Input<'a, C>,
    pub sites: &'t SiteMap,
    pub tally: &'t Tally,
    /// Steps that the tests of all sites together may still take.
    pub steps: &'t Cell<u64>,
}

impl<'t, 'a, C: Code + Sync + ?Sized> Hypothesis<'t, 'a, C> {
    /// Whether what follows fits the form of an import site whose slot points at `target`. Open when there are no steps left
    /// to find out.
    pub fn form(
        &self,
        blocks: &mut Blocks<&C>,
        fork: Walker<'_>,
        (arrival, target): (Arrival, u64),
        form: Form,
    ) -> Outcome {
        let through_stub = form == Form::Slot && arrival.stub.is_some();
        let takes_tip = form == Form::Slot && !through_stub && arrival.part == Part::Start;
        if takes_tip {
            // The cheap refutation: there is no TIP to take, or it has another address.
            match fork.clone().take_tip() {
                Ok((_, to)) if to == target => {}
                Ok(_) | Err(Found::Tnt | Found::Fup | Found::Psb | Found::TipPge) => return Outcome::Refuted,
                Err(_) => return Outcome::Open,
            }
        }
        let consistency = Consistency {
            stub: arrival.stub.filter(|_| through_stub).map(|stub| (stub & !(PAGE - 1), target)),
            is_verified: takes_tip,
            ..self.nothing_seen()
        };
        self.test(blocks, fork, consistency, &Turn::Form { arrival, target, form })
    }

    /// Whether what follows fits a way from a junction.
    pub fn way(
        &self,
        blocks: &mut Blocks<&C>,
        fork: Walker<'_>,
        (junction, routes): (Junction, &'t Routes),
        way: usize,
    ) -> Outcome {
        self.test(blocks, fork, self.nothing_seen(), &Turn::Way { junction, routes, way })
    }

    fn nothing_seen(&self) -> Consistency<'t, 'a, C> {
        let (input, sites) = (self.input, self.sites);
        Consistency { input, sites, stub: None, next: None, is_verified: false, is_violated: false }
    }

    fn test(
        &self,
        blocks: &mut Blocks<&C>,
        mut fork: Walker<'_>,
        mut consistency: Consistency<'t, 'a, C>,
        turn: &Turn<'t>,
    ) -> Outcome {
        fork.set_limit(fork.offset().saturating_add(LOOKAHEAD));
        let before = fork.offset();
        match turn.take(&mut fork, &mut consistency.next) {
            Taken::Yes => consistency.is_verified |= fork.offset() > before,
            Taken::No => return Outcome::Refuted,
            Taken::Unknown => return Outcome::Open,
        }
        let left = Cell::new(TEST_STEPS.min(self.steps.get()));
        let given = left.get();
        let outcome = self.explore(blocks, fork, consistency, &mut vec![turn.assumes()], &left);
        self.steps.set(self.steps.get().saturating_sub(given - left.get()));
        outcome
    }

    /// Walks on until something refutes what is assumed, or enough of the packets fit.
    fn explore(
        &self,
        blocks: &mut Blocks<&C>,
        mut fork: Walker<'_>,
        mut consistency: Consistency<'t, 'a, C>,
        assumed: &mut Vec<Assumption>,
        left: &Cell<u64>,
    ) -> Outcome {
        for _ in 0..LOOKAHEAD_SITES {
            let before = fork.offset();
            let steps = fork.steps();
            fork.limit_steps(left.get());
            let stop = fork.run(blocks, &mut consistency);
            left.set(left.get().saturating_sub(fork.steps() - steps));
            consistency.is_verified |= fork.offset() > before;
            let so_far = consistency.outcome();
            if so_far == Outcome::Refuted {
                return so_far;
            }
            let ip = match stop {
                Stop::Break { ip } => ip,
                Stop::Error(error) if refutes(&error) => return Outcome::Refuted,
                _ => return so_far,
            };
            let Some(met) = self.sites.met(self.input, ip) else { return so_far };
            if matches!(met, Met::Site(arrival) if arrival.site.target.is_none()) {
                return so_far;
            }
            match self.known_turn(&met, assumed) {
                Some(turn) => match turn.take(&mut fork, &mut consistency.next) {
                    Taken::Yes => {}
                    Taken::No => return Outcome::Refuted,
                    Taken::Unknown => return so_far,
                },
                None if assumed.len() > GUESSES => return so_far,
                None => return self.guess(blocks, &fork, &consistency, assumed, &met, left),
            }
        }
        consistency.outcome()
    }

    /// How the walk goes on from a site or junction on the way, if that follows from what is assumed or from votes.
    fn known_turn(&self, met: &Met<'t>, assumed: &[Assumption]) -> Option<Turn<'t>> {
        match *met {
            Met::Site(arrival) => {
                let target = arrival.site.target?;
                let assumption = assumed.iter().find_map(|assumption| match *assumption {
                    Assumption::Form(importer, form) if importer == arrival.importer => Some(form),
                    _ => None,
                });
                let form = match arrival.site.can_be_direct {
                    true => assumption.or_else(|| self.tally.settled(arrival.importer))?,
                    false => Form::Slot,
                };
                Some(Turn::Form { arrival, target, form })
            }
            Met::Junction(junction, routes) => {
                let assumption = assumed.iter().find_map(|assumption| match *assumption {
                    Assumption::Way(decision, way) if decision == routes.decision => Some(way),
                    _ => None,
                });
                let way = match routes.ways.len() <= MAX_WAYS {
                    true => assumption.or_else(|| self.tally.decision(routes.decision).settled())?,
                    false => 0,
                };
                Some(Turn::Way { junction, routes, way })
            }
        }
    }

    /// Walks on in each way from a site or junction: the best outcome counts.
    fn guess(
        &self,
        blocks: &mut Blocks<&C>,
        fork: &Walker<'_>,
        consistency: &Consistency<'t, 'a, C>,
        assumed: &mut Vec<Assumption>,
        met: &Met<'t>,
        left: &Cell<u64>,
    ) -> Outcome {
        let mut best = Outcome::Refuted;
        for turn in turns(met) {
            let (mut fork, mut consistency) = (fork.clone(), consistency.clone());
            if best == Outcome::Consistent {
                break;
            }
            let outcome = match turn.take(&mut fork, &mut consistency.next) {
                Taken::No => continue,
                Taken::Unknown => consistency.outcome(),
                Taken::Yes => {
                    assumed.push(turn.assumes());
                    let outcome = self.explore(blocks, fork, consistency, assumed, left);
                    assumed.pop();
                    outcome
                }
            };
            if outcome != Outcome::Refuted {
                best = outcome;
            }
        }
        best
    }
}

/// All ways to go on from a site or junction.
fn turns<'i>(met: &Met<'i>) -> Vec<Turn<'i>> {
    match *met {
        Met::Site(arrival) => {
            let forms = [Form::Slot, Form::Direct].into_iter();
            forms.filter_map(|form| Some(Turn::Form { arrival, target: arrival.site.target?, form })).collect()
        }
        Met::Junction(junction, routes) => {
            (0..routes.ways.len()).map(|way| Turn::Way { junction, routes, way }).collect()
        }
    }
}

/// Whether an error of a walk speaks against the forms assumed: not where packets or code are missing.
fn refutes(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::NoMemory | ErrorKind::Packet(_) | ErrorKind::NoAddress => false,
        ErrorKind::TooFewPackets { .. } => false,
        ErrorKind::Mismatch { found: Found::End | Found::Ovf | Found::Other, .. } => false,
        ErrorKind::ReturnStackEmpty if error.after_gap() => false,
        _ => true,
    }
}

/// Holds the branches of a walk against what code can do.
struct Consistency<'q, 'a, C: ?Sized> {
    input: &'q Input<'a, C>,
    sites: &'q SiteMap,
    /// The first branch from inside the stub page at the first address must go to the second.
    stub: Option<(u64, u64)>,
    /// Where the next indirect jump must go, or must not.
    next: NextJump<'q>,
    /// Whether any packet fitted.
    is_verified: bool,
    /// Whether a branch was impossible.
    is_violated: bool,
}

impl<C: ?Sized> Clone for Consistency<'_, '_, C> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<C: Code + Sync + ?Sized> Consistency<'_, '_, C> {
    fn outcome(&self) -> Outcome {
        match (self.is_violated, self.is_verified) {
            (true, _) => Outcome::Refuted,
            (false, true) => Outcome::Consistent,
            (false, false) => Outcome::Open,
        }
    }

    /// Whether a call ends before `address`. Import sites are looked up, because the code's bytes there may differ from
    /// what the processor ran.
    fn follows_call(&self, address: u64) -> Option<bool> {
        let importers = &self.input.importers;
        let is_call =
            |length| self.sites.at(importers, address.wrapping_sub(length)).is_some_and(|(_, site)| site.call);
        if is_call(FIRST_LENGTH) || is_call(SITE_LENGTH) {
            return Some(true);
        }
        follows_call(self.input.code, Space::default(), address)
    }

    fn can_return(&self, branch: &Branch) -> bool {
        // A retpoline stub returns to where the indirect branch goes.
        if self.input.stub_pages.iter().any(|page| page.contains(&branch.from)) {
            return true;
        }
        // A linked call taken for a direct one shows here: its TIP becomes a return into the imported function.
        if self.sites.is_target(branch.to) {
            return false;
        }
        // A thread that runs for the first time begins with a return into a function.
        (self.input.function_start)(branch.to) == Some(true) || self.follows_call(branch.to) != Some(false)
    }
}

impl<C: Code + Sync + ?Sized> Visitor for Consistency<'_, '_, C> {
    fn blocks(&mut self, _: &Table, ids: &[BlockId]) {
        self.is_verified |= ids.len() > 1;
    }

    fn part(&mut self, _: &Table, _: BlockId, _: u32) {}

    fn event(&mut self, _: usize, event: &Event) {
        if let Event::Interrupt { .. } = event {
            // The handler may use the same stubs before the interrupted code goes on.
            self.stub = None;
            self.next = None;
        }
    }

    fn branch(&mut self, branch: &Branch) {
        self.is_verified = true;
        if let Some((stub, target)) = self.stub
            && branch.kind != BranchKind::Far
            && branch.from.wrapping_sub(stub) < PAGE
        {
            self.is_violated |= branch.to != target;
            self.stub = None;
            return;
        }
        if branch.kind == BranchKind::Jump
            && let Some((expected, among)) = self.next.take()
        {
            self.is_violated |= among.contains(&branch.to) != expected;
        }
        self.is_violated |= match branch.kind {
            BranchKind::Return { .. } => !self.can_return(branch),
            BranchKind::Call => (self.input.function_start)(branch.to) == Some(false),
            BranchKind::Jump | BranchKind::Far => false,
        };
    }
}
