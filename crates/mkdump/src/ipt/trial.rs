//! A try: does what follows an import site fit one form of it?

use intel_pt::flow::{
    BlockId, Blocks, Branch, BranchKind, Code, ErrorKind, Event, Found, Stop, Table, Visitor, Walker, follows_call,
};

use super::verdict::Question;
use super::witness::{FIRST, Form, Places, SITE, Witnesses, enter};

/// Bytes of packets that a form must survive, if it is not refuted before.
const LOOKAHEAD: usize = 96;
/// Sites that one try may lead through.
const LOOKAHEAD_SITES: usize = 256;

/// What came of a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Try {
    Refuted,
    /// Packets end or are lost, or code is missing, before anything was verified.
    Open,
    Fits,
}

/// One site, to be tried in both forms.
pub(super) struct Trial<'t, 'a, C: ?Sized> {
    pub question: &'t Question<'a, C>,
    pub places: &'t Places,
    pub so_far: &'t Witnesses,
    pub module: usize,
    pub va: u64,
    pub middle: bool,
    pub target: u64,
}

/// Other modules whose form a try may guess, both ways each.
const GUESSES: usize = 3;

impl<'t, 'a, C: Code + Sync + ?Sized> Trial<'t, 'a, C> {
    /// Does what follows fit the form?
    pub fn attempt(&self, blocks: &mut Blocks<&C>, mut fork: Walker<'_>, form: Form) -> Try {
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
