//! Witnesses: import sites that a walk comes to, tried in both forms.

use std::collections::{BTreeMap, HashMap};

use intel_pt::flow::{
    BlockId, Blocks, Branch, BranchKind, Code, ErrorKind, Found, Stop, Table, Visitor, Walker, follows_call,
};

use super::verdict::{ENOUGH_VOTES, Evidence, How, Importer, Question, Says, Votes};

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
}

impl Places {
    pub fn new(importers: &[Importer]) -> Self {
        let all = importers.iter().enumerate().flat_map(|(m, importer)| {
            importer.sites.iter().enumerate().map(move |(s, site)| (site.va, (m, s)))
        });
        Self { sites: all.collect() }
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

/// What one stream says.
pub(super) struct Witnesses {
    pub votes: Vec<Votes>,
    pub missing: BTreeMap<u64, u32>,
    pub linked_returns: u32,
    pub rewritten_returns: u32,
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

impl<C: Code + Sync + ?Sized> Sense<'_, '_, C> {
    /// Whether a call ends before `address`: an import site's bytes are not what the processor ran.
    fn after_call(&self, address: u64) -> Option<bool> {
        let site = |back: u64| self.places.sites.get(&address.wrapping_sub(back));
        let calls = |found: Option<&(usize, usize)>| {
            found.is_some_and(|(m, s)| self.question.importers[*m].sites[*s].call)
        };
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

    fn branch(&mut self, branch: &Branch) {
        self.verified += 8;
        if let Some((stub, target)) = self.stub
            && branch.from.wrapping_sub(stub) < 0x1000
        {
            self.nonsense |= branch.to != target;
            self.stub = None;
            return;
        }
        self.nonsense |= match branch.kind {
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
        stream: usize,
        packets: &[u8],
    ) -> Self {
        let mut this = Self {
            votes: vec![Votes::default(); question.importers.len()],
            missing: BTreeMap::new(),
            linked_returns: 0,
            rewritten_returns: 0,
        };
        let mut blocks = Blocks::new(question.code);
        blocks.break_at(places.addresses());
        let linked: HashMap<u64, bool> = (question.indirect_returns.iter())
            .flat_map(|call| [(call.linked, true), (call.rewritten, false)])
            .collect();
        let mut returns = Returns { returns: Vec::new(), importers: &question.importers };
        let mut walker = Walker::new(packets);
        let (mut place, mut idle) = ((0, 0), 0_u32);
        loop {
            let stop = walker.run(&mut blocks, &mut returns);
            for branch in returns.returns.drain(..) {
                this.returned(question, places, stream, &branch);
                match linked.get(&branch.to) {
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
                    this.site(question, places, stream, &mut blocks, &mut walker, ip);
                }
            }
        }
    }

    /// An uncompressed return to a site says which form the call had: it is 7 bytes long, or ends after 12.
    fn returned<C: ?Sized>(&mut self, question: &Question<'_, C>, places: &Places, stream: usize, branch: &Branch) {
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
            self.votes[*m].add(Evidence { site, expected, stream, offset: branch.offset, says, how: How::Returned });
        }
    }

    /// The main walk is before a site, or in its middle.
    fn site<'t, C: Code + Sync + ?Sized>(
        &mut self,
        question: &Question<'_, C>,
        places: &Places,
        stream: usize,
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
        let forms: &[Form] = match settled {
            _ if !site.can_be_direct => &[Form::Slot],
            Some(form) if self.votes[m].on + self.votes[m].off >= ENOUGH_VOTES => &[form],
            _ => &[Form::Slot, Form::Direct],
        };
        let offset = walker.offset();
        let trial = |form: Form, blocks: &mut Blocks<&C>| {
            let mut fork = walker.clone();
            let outcome = attempt(question, places, self, blocks, &mut fork, va, middle, form);
            (form, outcome)
        };
        let outcomes: Vec<(Form, Try)> = forms.iter().map(|form| trial(*form, blocks)).collect();
        let fits: Vec<Form> = outcomes.iter().filter(|(_, t)| *t == Try::Fits).map(|(form, _)| *form).collect();
        let open = outcomes.iter().any(|(_, t)| *t == Try::Open);
        let both = forms.len() == 2;
        let form = match fits.as_slice() {
            [form] if both && !open => {
                let says = if *form == Form::Direct { Says::On } else { Says::Off };
                self.votes[m].add(Evidence { site: va, expected: target, stream, offset, says, how: How::Walked });
                Some(*form)
            }
            [form] => {
                self.votes[m].open += u32::from(both);
                Some(*form)
            }
            [] if open => {
                self.votes[m].open += 1;
                settled
            }
            [] => {
                let to = walker.clone().take_tip().ok().map(|(_, to)| to);
                match to.filter(|to| both && !middle && *to != target && (question.function_start)(*to) == Some(true)) {
                    Some(to) => {
                        let says = Says::Redirected { to };
                        let how = How::Walked;
                        self.votes[m].add(Evidence { site: va, expected: target, stream, offset, says, how });
                    }
                    None => self.votes[m].contradictory += u32::from(both),
                }
                None
            }
            _ => {
                self.votes[m].ambiguous += 1;
                settled
            }
        };
        match form {
            Some(form) if enter(walker, importer, va, site.call, target, middle, form) => {}
            _ => walker.lose(),
        }
    }

    /// The form that a module's votes say so far, if they agree.
    fn settled(&self, module: usize) -> Option<Form> {
        match (self.votes[module].on, self.votes[module].off) {
            (2.., 0) => Some(Form::Direct),
            (0, 2..) => Some(Form::Slot),
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
            go(walker, importer, va, call, target, form);
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

/// Tries a form: does what follows fit?
#[allow(clippy::too_many_arguments, reason = "one question with its context, asked in one place")]
fn attempt<C: Code + Sync + ?Sized>(
    question: &Question<'_, C>,
    places: &Places,
    so_far: &Witnesses,
    blocks: &mut Blocks<&C>,
    fork: &mut Walker<'_>,
    va: u64,
    middle: bool,
    form: Form,
) -> Try {
    let Some(&(module, s)) = places.sites.get(&va) else { return Try::Open };
    let importer = &question.importers[module];
    let site = importer.sites[s];
    let Some(target) = site.target else { return Try::Open };
    let through_stub = form == Form::Slot && importer.stub.is_some();
    if form == Form::Slot && !through_stub && !middle {
        // The cheap refutation: there is no TIP to take, or another one.
        match fork.clone().take_tip() {
            Ok((_, to)) if to == target => {}
            Ok(_) => return Try::Refuted,
            Err(Found::Tnt | Found::Fup | Found::Psb | Found::TipPge) => return Try::Refuted,
            Err(_) => return Try::Open,
        }
    }
    let mut sense = Sense {
        question,
        places,
        stub: importer.stub.filter(|_| through_stub).map(|stub| (stub & !0xfff, target)),
        verified: u32::from(form == Form::Slot && !through_stub && !middle) * 8,
        nonsense: false,
    };
    fork.set_limit(fork.offset().saturating_add(LOOKAHEAD));
    if !enter(fork, importer, va, site.call, target, middle, form) {
        return Try::Refuted;
    }
    for _ in 0..LOOKAHEAD_SITES {
        let before = fork.offset();
        let stop = fork.run(blocks, &mut sense);
        sense.verified += u32::from(fork.offset() > before);
        if sense.nonsense {
            return Try::Refuted;
        }
        let so_good = if sense.verified > 0 { Try::Fits } else { Try::Open };
        match stop {
            Stop::End | Stop::Limit => return so_good,
            Stop::Error(error) => {
                return match error.kind {
                    ErrorKind::NoMemory | ErrorKind::Packet(_) | ErrorKind::NoAddress => so_good,
                    ErrorKind::Mismatch { found: Found::End | Found::Ovf | Found::Other, .. } => so_good,
                    ErrorKind::ReturnStackEmpty if error.after_gap => so_good,
                    _ => Try::Refuted,
                };
            }
            Stop::Break { ip } => {
                let (va, middle) = if places.sites.contains_key(&ip) { (ip, false) } else { (ip - FIRST, true) };
                let Some(&(m, s)) = places.sites.get(&va) else { return so_good };
                let other = &question.importers[m];
                let site = other.sites[s];
                let Some(target) = site.target else { return so_good };
                // The same module has the same form; another one its own, by its votes or by the look of it.
                let form = match so_far.settled(m) {
                    _ if !site.can_be_direct => Form::Slot,
                    _ if m == module => form,
                    Some(form) => form,
                    None => match fork.clone().take_tip() {
                        Ok((_, to)) if to == target => Form::Slot,
                        _ => Form::Direct,
                    },
                };
                if !enter(fork, other, va, site.call, target, middle, form) {
                    return if m == module { Try::Refuted } else { so_good };
                }
            }
        }
    }
    if sense.verified > 0 { Try::Fits } else { Try::Open }
}
