//! Witnesses: import sites that a walk comes to, tried in both forms.

use std::collections::{BTreeMap, HashMap, HashSet};

use intel_pt::flow::{
    BlockId, Blocks, Branch, BranchKind, Code, ErrorKind, Event, Found, Options, Resume, Stop, Table, Visitor, Walker,
    follows_call,
};

use super::verdict::{Answer, ENOUGH_VOTES, Evidence, How, Importer, IndirectReturn, Piece, Question, Says, Votes};

/// Bytes of packets that a form must survive, if it is not refuted before.
const LOOKAHEAD: usize = 96;
/// Sites that one try may lead through.
const LOOKAHEAD_SITES: usize = 256;
/// Sites in a row that no packet is taken at.
const IDLE_SITES: u32 = 1024;
/// The linked call and the load of r10 have 7 bytes, the whole site 12.
const FIRST: u64 = 7;
const SITE: u64 = 12;

/// Where the sites are.
pub(super) struct Places {
    /// Site address to importer and site.
    sites: HashMap<u64, (usize, usize)>,
    /// What the slots point at.
    targets: HashSet<u64>,
    /// Where indirect calls return to: true as linked, false when rewritten.
    after_indirect: HashMap<u64, bool>,
}

impl Places {
    pub fn new(importers: &[Importer], indirect: &[IndirectReturn]) -> Self {
        let all = importers
            .iter()
            .enumerate()
            .flat_map(|(m, importer)| importer.sites.iter().enumerate().map(move |(s, site)| (site.va, (m, s))));
        let sites = importers.iter().flat_map(|importer| &importer.sites);
        let after_indirect = indirect.iter().flat_map(|call| [(call.linked, true), (call.rewritten, false)]);
        Self {
            sites: all.collect(),
            targets: sites.filter_map(|site| site.target).collect(),
            after_indirect: after_indirect.collect(),
        }
    }

    /// A cache of code in which walks stop at the sites.
    pub fn blocks<C: Code>(&self, code: C) -> Blocks<C> {
        let mut blocks = Blocks::new(code);
        blocks.break_at(self.addresses());
        blocks
    }

    fn addresses(&self) -> impl Iterator<Item = u64> + '_ {
        self.sites.keys().flat_map(|va| [*va, va.wrapping_add(FIRST)])
    }
}

/// The form of an import site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Through the slot, or with retpoline through the stub.
    Slot,
    Direct,
}

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Try {
    Refuted,
    /// Packets end or are lost, or code is missing, before anything was verified.
    Open,
    Fits,
}

/// What one piece says.
pub(super) struct Witnesses {
    pub votes: Vec<Votes>,
    /// Votes on and off before this piece.
    before: Vec<(u32, u32)>,
    pub missing: BTreeMap<u64, u32>,
    pub linked_returns: u32,
    pub rewritten_returns: u32,
    /// In which form each site was entered last.
    entered: HashMap<u64, Form>,
}

/// Looks at the branches of the main walk.
struct Returns<'a> {
    returns: Vec<Branch>,
    importers: &'a [Importer],
}

impl Visitor for Returns<'_> {
    fn blocks(&mut self, _: &Table, _: &[BlockId]) {}

    fn part(&mut self, _: &Table, _: BlockId, _: u32) {}

    fn branch(&mut self, branch: &Branch) {
        if matches!(branch.kind, BranchKind::Return { .. }) && !self.importers.is_empty() {
            self.returns.push(*branch);
        }
    }
}

/// Looks at the branches of a try.
struct Sense<'q, 'a, C: ?Sized> {
    question: &'q Question<'a, C>,
    places: &'q Places,
    /// The first branch from inside this stub must go there.
    stub: Option<(u64, u64)>,
    verified: u32,
    nonsense: bool,
}

impl<C: ?Sized> Clone for Sense<'_, '_, C> {
    fn clone(&self) -> Self {
        Self { ..*self }
    }
}

impl<C: Code + Sync + ?Sized> Sense<'_, '_, C> {
    /// Whether a call ends before `address`: an import site's bytes are not what the processor ran.
    fn after_call(&self, address: u64) -> Option<bool> {
        let site = |back: u64| self.places.sites.get(&address.wrapping_sub(back));
        let calls =
            |found: Option<&(usize, usize)>| found.is_some_and(|(m, s)| self.question.importers[*m].sites[*s].call);
        if calls(site(FIRST)) || calls(site(SITE)) {
            return Some(true);
        }
        follows_call(self.question.code, address)
    }
}

impl<C: Code + Sync + ?Sized> Visitor for Sense<'_, '_, C> {
    fn blocks(&mut self, _: &Table, ids: &[BlockId]) {
        self.verified += (ids.len() > 1) as u32;
    }

    fn part(&mut self, _: &Table, _: BlockId, _: u32) {}

    fn event(&mut self, _: usize, event: &Event) {
        if let Event::Interrupt { .. } = event {
            // The handler may use the same stubs before the interrupted one goes on.
            self.stub = None;
        }
    }

    fn branch(&mut self, branch: &Branch) {
        self.verified += 8;
        if let Some((stub, target)) = self.stub
            && branch.kind != BranchKind::Far
            && branch.from.wrapping_sub(stub) < 0x1000
        {
            self.nonsense |= branch.to != target;
            self.stub = None;
            return;
        }
        // The return trick of retpolines goes anywhere.
        let trick = self.question.stub_pages.iter().any(|page| page.contains(&branch.from));
        self.nonsense |= match branch.kind {
            BranchKind::Return { .. } if trick => false,
            // The mark of a linked call taken for a direct one: its TIP becomes a return into the imported function.
            BranchKind::Return { .. } if self.places.targets.contains(&branch.to) => true,
            // A thread that runs for the first time begins with a return into a function.
            BranchKind::Return { .. } if (self.question.function_start)(branch.to) == Some(true) => false,
            BranchKind::Return { .. } => self.after_call(branch.to) == Some(false),
            BranchKind::Call => (self.question.function_start)(branch.to) == Some(false),
            BranchKind::Jump | BranchKind::Far => false,
        };
    }
}

impl Witnesses {
    pub fn gather<C: Code + Sync + ?Sized>(
        question: &Question<'_, C>,
        places: &Places,
        before: &[Votes],
        piece: &Piece<'_>,
        blocks: &mut Blocks<&C>,
    ) -> Self {
        let mut this = Self {
            votes: vec![Votes::default(); question.importers.len()],
            before: before.iter().map(|votes| (votes.on, votes.off)).collect(),
            missing: BTreeMap::new(),
            linked_returns: 0,
            rewritten_returns: 0,
            entered: HashMap::new(),
        };
        let mut returns = Returns { returns: Vec::new(), importers: &question.importers };
        let options = Options { resume: Resume::SafeAddress, ..Options::default() };
        let mut walker = Walker::with_options(piece.bytes, options);
        let (mut place, mut idle) = ((0, 0), 0_u32);
        loop {
            let stop = walker.run(blocks, &mut returns);
            for branch in returns.returns.drain(..) {
                this.returned(question, places, piece, &branch);
                match places.after_indirect.get(&branch.to) {
                    Some(true) => this.linked_returns += 1,
                    Some(false) => this.rewritten_returns += 1,
                    None => {}
                }
            }
            match stop {
                Stop::End | Stop::Limit => return this,
                Stop::Error(error) => {
                    if error.kind == ErrorKind::NoMemory
                        && let Some(ip) = error.ip
                    {
                        *this.missing.entry(ip).or_insert(0) += 1;
                    }
                }
                Stop::Break { ip } => {
                    // Sites that lead to each other without a packet would go on for ever.
                    let here = (walker.offset(), walker.bits_left());
                    idle = if here == place { idle + 1 } else { 0 };
                    place = here;
                    if idle > IDLE_SITES {
                        walker.lose();
                        continue;
                    }
                    this.site(question, places, piece, blocks, &mut walker, ip);
                }
            }
        }
    }

    /// An uncompressed return to a site says which form the call had: it is 7 bytes long, or ends after 12.
    fn returned<C: ?Sized>(&mut self, question: &Question<'_, C>, places: &Places, piece: &Piece<'_>, branch: &Branch) {
        for (back, says) in [(FIRST, Says::Off), (SITE, Says::On)] {
            let site = branch.to.wrapping_sub(back);
            let Some((m, s)) = places.sites.get(&site) else { continue };
            let importer = &question.importers[*m];
            let found = &importer.sites[*s];
            // A call through the stub ends after 12 bytes too.
            let Some(expected) = found.target else { continue };
            if !found.call || !found.can_be_direct || importer.stub.is_some() && says == Says::On {
                continue;
            }
            let (stream, offset) = (piece.stream, piece.offset + branch.offset);
            self.votes[*m].add(Evidence { site, expected, stream, offset, says, how: How::Returned });
        }
    }

    /// The main walk is before a site, or in its middle.
    fn site<'t, C: Code + Sync + ?Sized>(
        &mut self,
        question: &Question<'_, C>,
        places: &Places,
        piece: &Piece<'_>,
        blocks: &mut Blocks<&C>,
        walker: &mut Walker<'t>,
        ip: u64,
    ) {
        let (va, middle) = match places.sites.get(&ip) {
            Some(_) => (ip, false),
            None => (ip.wrapping_sub(FIRST), true),
        };
        let Some(&(m, s)) = places.sites.get(&va) else {
            walker.lose();
            return;
        };
        let importer = &question.importers[m];
        let site = importer.sites[s];
        let Some(target) = site.target else {
            // Where it goes is not known: only the form through the slot can be followed.
            match (middle, walker.take_tip()) {
                (false, Ok((_, to))) => go(walker, importer, va, site.call, to, Form::Slot),
                _ => walker.lose(),
            }
            return;
        };
        let settled = self.settled(m);
        let entered = self.entered.get(&va).copied();
        let forms: &[Form] = match settled {
            // Only a linked call returns to the middle, and only there a direct one is interrupted: it goes on as it
            // began.
            _ if middle && entered == Some(Form::Slot) => &[Form::Slot],
            _ if middle && entered == Some(Form::Direct) => &[Form::Direct],
            _ if !site.can_be_direct => &[Form::Slot],
            Some(form) if self.sum(m).on + self.sum(m).off >= ENOUGH_VOTES => &[form],
            _ => &[Form::Slot, Form::Direct],
        };
        if let [form] = *forms {
            // Nothing is left to find out. A walk that this leads astray comes to a branch that does not fit.
            if enter(walker, importer, va, site.call, target, middle, form) {
                self.entered.insert(va, form);
            } else {
                walker.lose();
            }
            return;
        }
        let (stream, offset) = (piece.stream, piece.offset + walker.offset());
        let trial = Trial { question, places, so_far: self, module: m, va, middle, target };
        let outcomes: Vec<(Form, Try)> =
            forms.iter().map(|form| (*form, trial.attempt(blocks, walker.clone(), *form))).collect();
        let fits: Vec<Form> = outcomes.iter().filter(|(_, t)| *t == Try::Fits).map(|(form, _)| *form).collect();
        let open = outcomes.iter().any(|(_, t)| *t == Try::Open);
        let form = match fits.as_slice() {
            [form] if !open => {
                let says = if *form == Form::Direct { Says::On } else { Says::Off };
                self.votes[m].add(Evidence { site: va, expected: target, stream, offset, says, how: How::Walked });
                Some(*form)
            }
            [form] => {
                self.votes[m].open += 1;
                Some(*form)
            }
            [] if open => {
                self.votes[m].open += 1;
                settled
            }
            [] => {
                let to = walker.clone().take_tip().ok().map(|(_, to)| to);
                match to.filter(|to| !middle && *to != target && (question.function_start)(*to) == Some(true)) {
                    Some(to) => {
                        let says = Says::Redirected { to };
                        let how = How::Walked;
                        self.votes[m].add(Evidence { site: va, expected: target, stream, offset, says, how });
                    }
                    None => self.votes[m].contradictory += 1,
                }
                None
            }
            // A TIP right at the site, without a bit before it, that goes where the slot points: as a direct call, the
            // function would have to come to an indirect branch without any condition, and that to go to itself.
            _ if !middle && importer.stub.is_none() && walker.tip_is_next() == Some(target) => {
                let (says, how) = (Says::Off, How::Walked);
                self.votes[m].add(Evidence { site: va, expected: target, stream, offset, says, how });
                Some(Form::Slot)
            }
            _ => {
                // Not worth a vote, but worth following: a TIP that fits by chance is rare.
                self.votes[m].ambiguous += 1;
                settled.or((!middle).then_some(Form::Slot))
            }
        };
        match form {
            Some(form) if enter(walker, importer, va, site.call, target, middle, form) => {
                self.entered.insert(va, form);
            }
            _ => walker.lose(),
        }
    }

    /// A module's votes so far, those of other pieces included.
    fn sum(&self, module: usize) -> Votes {
        let (on, off) = self.before[module];
        let votes = &self.votes[module];
        Votes { on: on + votes.on, off: off + votes.off, ..Votes::default() }
    }

    /// The form that a module's votes say so far: few, if they agree, or enough.
    fn settled(&self, module: usize) -> Option<Form> {
        let sum = self.sum(module);
        match (sum.on, sum.off, sum.answer()) {
            (2.., 0, _) => Some(Form::Direct),
            (0, 2.., _) => Some(Form::Slot),
            (on, off, Answer::On) if on + off >= ENOUGH_VOTES => Some(Form::Direct),
            (on, off, Answer::Off) if on + off >= ENOUGH_VOTES => Some(Form::Slot),
            _ => None,
        }
    }
}

/// Enters the imported function in the given form. False when the packets do not allow it.
fn enter(
    walker: &mut Walker<'_>,
    importer: &Importer,
    va: u64,
    call: bool,
    target: u64,
    middle: bool,
    form: Form,
) -> bool {
    match form {
        // In the middle, the linked form has a nop (or, for a jump, nothing at all), the others their branch.
        Form::Slot if middle && importer.stub.is_none() => {
            walker.jump(va.wrapping_add(SITE));
            call
        }
        Form::Slot if importer.stub.is_none() => match walker.take_tip() {
            Ok((_, to)) if to == target => {
                go(walker, importer, va, call, to, form);
                true
            }
            _ => false,
        },
        _ => {
            if !middle && walker.event_due() == Some(va.wrapping_add(FIRST)) {
                // The event came between the load of r10 and the branch, which is met again when it is over.
                walker.jump(va.wrapping_add(FIRST));
            } else {
                go(walker, importer, va, call, target, form);
            }
            true
        }
    }
}

/// The branch of a site.
fn go(walker: &mut Walker<'_>, importer: &Importer, va: u64, call: bool, to: u64, form: Form) {
    let (to, back) = match (form, importer.stub) {
        (Form::Direct, _) => (to, SITE),
        (Form::Slot, None) => (to, FIRST),
        (Form::Slot, Some(stub)) => (stub, SITE),
    };
    if call {
        walker.call(to, va.wrapping_add(back));
    } else {
        walker.jump(to);
    }
}

/// One site, to be tried in both forms.
struct Trial<'t, 'a, C: ?Sized> {
    question: &'t Question<'a, C>,
    places: &'t Places,
    so_far: &'t Witnesses,
    module: usize,
    va: u64,
    middle: bool,
    target: u64,
}

/// Other modules whose form a try may guess, both ways each.
const GUESSES: usize = 3;

impl<'t, 'a, C: Code + Sync + ?Sized> Trial<'t, 'a, C> {
    /// Does what follows fit the form?
    fn attempt(&self, blocks: &mut Blocks<&C>, mut fork: Walker<'_>, form: Form) -> Try {
        let importer = &self.question.importers[self.module];
        let Some(&(_, s)) = self.places.sites.get(&self.va) else { return Try::Open };
        let through_stub = form == Form::Slot && importer.stub.is_some();
        let takes_tip = form == Form::Slot && !through_stub && !self.middle;
        if takes_tip {
            // The cheap refutation: there is no TIP to take, or another one.
            match fork.clone().take_tip() {
                Ok((_, to)) if to == self.target => {}
                Ok(_) | Err(Found::Tnt | Found::Fup | Found::Psb | Found::TipPge) => return Try::Refuted,
                Err(_) => return Try::Open,
            }
        }
        let sense = Sense {
            question: self.question,
            places: self.places,
            stub: importer.stub.filter(|_| through_stub).map(|stub| (stub & !0xfff, self.target)),
            verified: if takes_tip { 8 } else { 0 },
            nonsense: false,
        };
        fork.set_limit(fork.offset().saturating_add(LOOKAHEAD));
        if !enter(&mut fork, importer, self.va, importer.sites[s].call, self.target, self.middle, form) {
            return Try::Refuted;
        }
        self.explore(blocks, fork, sense, &mut vec![(self.module, form)])
    }

    /// Walks on until something refutes the assumed forms, or enough of the packets fit.
    fn explore(
        &self,
        blocks: &mut Blocks<&C>,
        mut fork: Walker<'_>,
        mut sense: Sense<'t, 'a, C>,
        assumed: &mut Vec<(usize, Form)>,
    ) -> Try {
        for _ in 0..LOOKAHEAD_SITES {
            let before = fork.offset();
            let stop = fork.run(blocks, &mut sense);
            sense.verified += u32::from(fork.offset() > before);
            if sense.nonsense {
                return Try::Refuted;
            }
            let so_good = if sense.verified > 0 { Try::Fits } else { Try::Open };
            let ip = match stop {
                Stop::End | Stop::Limit => return so_good,
                Stop::Error(error) => {
                    return match error.kind {
                        ErrorKind::NoMemory | ErrorKind::Packet(_) | ErrorKind::NoAddress => so_good,
                        ErrorKind::Mismatch { found: Found::End | Found::Ovf | Found::Other, .. } => so_good,
                        ErrorKind::ReturnStackEmpty if error.after_gap => so_good,
                        _ => Try::Refuted,
                    };
                }
                Stop::Break { ip } => ip,
            };
            let middle = !self.places.sites.contains_key(&ip);
            let va = if middle { ip.wrapping_sub(FIRST) } else { ip };
            let Some(&(m, s)) = self.places.sites.get(&va) else { return so_good };
            let other = &self.question.importers[m];
            let site = other.sites[s];
            let Some(target) = site.target else { return so_good };
            // All sites of a module have one form. That of another module follows from its votes, or both are tried.
            let known = match assumed.iter().find(|(module, _)| *module == m) {
                _ if !site.can_be_direct => Some(Form::Slot),
                Some((_, form)) => Some(*form),
                None => self.so_far.settled(m),
            };
            if let Some(form) = known {
                if !enter(&mut fork, other, va, site.call, target, middle, form) {
                    return Try::Refuted;
                }
                continue;
            }
            if assumed.len() > GUESSES {
                return so_good;
            }
            let mut best = Try::Refuted;
            for form in [Form::Slot, Form::Direct] {
                let mut guess = fork.clone();
                if best == Try::Fits || !enter(&mut guess, other, va, site.call, target, middle, form) {
                    continue;
                }
                assumed.push((m, form));
                let outcome = self.explore(blocks, guess, sense.clone(), assumed);
                assumed.pop();
                if outcome != Try::Refuted {
                    best = outcome;
                }
            }
            return best;
        }
        if sense.verified > 0 { Try::Fits } else { Try::Open }
    }
}
