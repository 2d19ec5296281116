//! A hypothesis: an import site has one form. Do the packets that follow fit it?

use std::cell::Cell;

use intel_pt::flow::{
    BlockId, Blocks, Branch, BranchKind, Code, Error, ErrorKind, Event, Found, Space, Stop, Table, Visitor, Walker,
    follows_call,
};

use crate::arrival::{Arrival, FIRST_LENGTH, Form, Part, SITE_LENGTH, SiteMap};
use crate::input::Input;
use crate::votes::Tally;

/// Bytes of packets after which a form that was not refuted counts as consistent.
const LOOKAHEAD: usize = 96;
/// Sites that one test may lead through.
const LOOKAHEAD_SITES: usize = 256;
/// Blocks that one test may pass without a packet, over everything that it tries: real code has some ten for each byte of
/// packets.
const TEST_STEPS: u64 = 1 << 14;
/// Other modules whose form a test may guess, both ways each.
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

/// Forms assumed on the way: each module with its form.
type Assumed = Vec<(usize, Form)>;

/// One site, to be tested in both forms.
pub(crate) struct Hypothesis<'t, 'a, C: ?Sized> {
    pub input: &'t Input<'a, C>,
    pub sites: &'t SiteMap,
    pub tally: &'t Tally,
    pub arrival: Arrival,
    /// What the site's slot points at.
    pub target: u64,
    /// Steps that the tests of all sites together may still take.
    pub steps: &'t Cell<u64>,
}

impl<'t, 'a, C: Code + Sync + ?Sized> Hypothesis<'t, 'a, C> {
    /// Whether what follows fits the form. Open when there are no steps left to find out.
    pub fn test(&self, blocks: &mut Blocks<&C>, mut fork: Walker<'_>, form: Form) -> Outcome {
        let through_stub = form == Form::Slot && self.arrival.stub.is_some();
        let takes_tip = form == Form::Slot && !through_stub && self.arrival.part == Part::Start;
        if takes_tip {
            // The cheap refutation: there is no TIP to take, or it has another address.
            match fork.clone().take_tip() {
                Ok((_, to)) if to == self.target => {}
                Ok(_) | Err(Found::Tnt | Found::Fup | Found::Psb | Found::TipPge) => return Outcome::Refuted,
                Err(_) => return Outcome::Open,
            }
        }
        let consistency = Consistency {
            input: self.input,
            sites: self.sites,
            stub: self.arrival.stub.filter(|_| through_stub).map(|stub| (stub & !(PAGE - 1), self.target)),
            is_verified: takes_tip,
            is_violated: false,
        };
        fork.set_limit(fork.offset().saturating_add(LOOKAHEAD));
        if !self.arrival.enter(&mut fork, self.target, form) {
            return Outcome::Refuted;
        }
        let left = Cell::new(TEST_STEPS.min(self.steps.get()));
        let given = left.get();
        let outcome = self.explore(blocks, fork, consistency, &mut vec![(self.arrival.importer, form)], &left);
        self.steps.set(self.steps.get().saturating_sub(given - left.get()));
        outcome
    }

    /// Walks on until something refutes the assumed forms, or enough of the packets fit.
    fn explore(
        &self,
        blocks: &mut Blocks<&C>,
        mut fork: Walker<'_>,
        mut consistency: Consistency<'t, 'a, C>,
        assumed: &mut Assumed,
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
            let Some(arrival) = self.sites.arrival(&self.input.importers, ip) else { return so_far };
            let Some(target) = arrival.site.target else { return so_far };
            match self.known_form(&arrival, assumed) {
                Some(form) if arrival.enter(&mut fork, target, form) => {}
                Some(_) => return Outcome::Refuted,
                None if assumed.len() > GUESSES => return so_far,
                None => return self.guess(blocks, &fork, &consistency, assumed, (arrival, target), left),
            }
        }
        consistency.outcome()
    }

    /// The form of a site on the way, if it follows from what is assumed or from the module's votes. All sites of a
    /// module have one form.
    fn known_form(&self, arrival: &Arrival, assumed: &Assumed) -> Option<Form> {
        if !arrival.site.can_be_direct {
            return Some(Form::Slot);
        }
        let assumption = assumed.iter().find(|(importer, _)| *importer == arrival.importer);
        assumption.map(|(_, form)| *form).or_else(|| self.tally.settled(arrival.importer))
    }

    /// Walks on with each form of a site on the way: the best outcome counts.
    fn guess(
        &self,
        blocks: &mut Blocks<&C>,
        fork: &Walker<'_>,
        consistency: &Consistency<'t, 'a, C>,
        assumed: &mut Assumed,
        (arrival, target): (Arrival, u64),
        left: &Cell<u64>,
    ) -> Outcome {
        let mut best = Outcome::Refuted;
        for form in [Form::Slot, Form::Direct] {
            let mut fork = fork.clone();
            if best == Outcome::Consistent || !arrival.enter(&mut fork, target, form) {
                continue;
            }
            assumed.push((arrival.importer, form));
            let outcome = self.explore(blocks, fork, consistency.clone(), assumed, left);
            assumed.pop();
            if outcome != Outcome::Refuted {
                best = outcome;
            }
        }
        best
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
        self.is_violated |= match branch.kind {
            BranchKind::Return { .. } => !self.can_return(branch),
            BranchKind::Call => (self.input.function_start)(branch.to) == Some(false),
            BranchKind::Jump | BranchKind::Far => false,
        };
    }
}
