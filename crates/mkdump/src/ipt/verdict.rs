//! Was import optimization on? The trace itself answers, module by module.
//!
//! The linker writes a call through the import table as `call [slot]`; the kernel may rewrite it to a direct call. The
//! first takes a TIP packet, the second none. To decode with both images and see which fails first is not sound: return
//! compression and deferred TIPs hide either mistake. Instead, each import site that the trace runs through while its
//! state is known is a *witness*: both forms are tried, and the site votes only when one of them is refuted.
//!
//! | a form is refuted by | |
//! | --- | --- |
//! | linked | no TIP can be taken at the site, or the TIP is not what the slot points at |
//! | direct | what follows does not fit the code: a branch without its packet, an event that is not reached, a return to where no call was, a call of what is no function |
//!
//! ```
//! use mkdump::ipt::verdict::{Answer, Importer, Question, Site};
//!
//! // 1000: call [slot]; nop; jmp 1000 · 1020: ret
//! let code: &[(u64, &[u8])] = &[
//!     (0x1000, &[0x48, 0xff, 0x15, 0, 0, 0, 0, 0x0f, 0x1f, 0x44, 0, 0, 0xeb, 0xf2]),
//!     (0x1020, &[0xc3]),
//! ];
//! let site = Site { va: 0x1000, slot: 0x2000, target: Some(0x1020), call: true, can_be_direct: true };
//! let importer = Importer { name: "driver.sys".into(), sites: vec![site], stub: None };
//! // PSB+ at 1000, then only returns, two to a packet: no call takes a TIP.
//! let mut trace = [0x02, 0x82].repeat(8);
//! trace.extend([0x7d, 0x00, 0x10, 0, 0, 0, 0, 0x99, 0x01, 0x02, 0x23]);
//! trace.extend([0x0e; 20]);
//! let verdict = Question::new(code, vec![importer], vec![&trace]).ask();
//! assert_eq!(verdict.import_optimization, Answer::On);
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Mutex;

use intel_pt::flow::Code;
use intel_pt::{scan, sync_forward};
use rayon::prelude::*;

use super::witness::{Places, Witnesses};

/// Votes that a verdict needs at least. Each vote is a refutation of the other form, so few are enough; more than one
/// because a walk may be out of step.
pub const MIN_VOTES: u32 = 4;

/// With so many witnesses a module is decided: import sites executed, not counting those that packets leave open or that
/// both forms explain. With fewer it may be undecided, because a witness is lost where the walk is out of step.
pub const WITNESSES: u32 = 16;

/// Of 100 votes, how many must agree.
pub const MIN_AGREEMENT: u32 = 95;

/// Votes of one module after which its sites are no longer tried.
pub const ENOUGH_VOTES: u32 = 64;

/// So many bytes of packets are walked in any case: what runs first need not be what runs.
pub const LEAST_BYTES: usize = 8 << 20;

/// After so many bytes of packets, [`ENOUGH_VOTES`] in which all decided modules agree are a verdict; what is left is not
/// walked. Where modules disagree, everything is.
pub const ENOUGH_BYTES: usize = 64 << 20;

/// Entries of a module's evidence list.
pub const MAX_EVIDENCE: usize = 64;

/// An import site of a module: 12 bytes of code that call or jump through an import slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Address of its first byte.
    pub va: u64,
    /// Address of the slot.
    pub slot: u64,
    /// The function that the slot points at, if it could be resolved.
    pub target: Option<u64>,
    /// True for a call, false for a jump.
    pub call: bool,
    /// Whether the target is in reach of a direct branch. Other sites are followed, but are no witnesses.
    pub can_be_direct: bool,
}

/// A module with import sites.
#[derive(Clone, Debug)]
pub struct Importer {
    /// Its name, for the report.
    pub name: String,
    /// Its import sites.
    pub sites: Vec<Site>,
    /// With retpoline on: address of the stub (`_guard_retpoline_import_r10`) behind this image, through which sites go
    /// that are not direct. The code must hold the stub pages then.
    pub stub: Option<u64>,
}

/// Answers the question "does a function start here" where it is known.
pub type FunctionStarts<'a> = dyn Fn(u64) -> Option<bool> + Sync + 'a;

/// What the verdict is made from.
pub struct Question<'a, C: ?Sized> {
    /// The code of the modules. What it holds at import sites does not matter.
    pub code: &'a C,
    /// The modules that have import sites.
    pub importers: Vec<Importer>,
    /// IPT snapshots, rings in order.
    pub streams: Vec<&'a [u8]>,
    /// Where functions start, from `.pdata`, exports or CFG tables.
    pub function_start: &'a FunctionStarts<'a>,
    /// Addresses of retpoline stub pages behind the images, whether retpoline is on or not.
    pub stub_pages: Vec<Range<u64>>,
    /// Sites of indirect calls that retpoline rewrites: the addresses that an indirect call returns to as linked, and
    /// when rewritten.
    pub indirect_returns: Vec<IndirectReturn>,
}

/// An indirect call that retpoline rewrites to another length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndirectReturn {
    /// Return address of the call as linked.
    pub linked: u64,
    /// Return address of the call when rewritten.
    pub rewritten: u64,
}

/// On or off?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// On.
    On,
    /// Off.
    Off,
    /// Too few witnesses, or they disagree.
    Undecided,
    /// There is nothing to decide: no import sites.
    Irrelevant,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Undecided => "undecided",
            Self::Irrelevant => "irrelevant",
        })
    }
}

/// How a vote came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// At the site both forms were tried.
    Walked,
    /// An uncompressed return went to the address after the linked or the direct call.
    Returned,
}

/// One vote, or something worth knowing that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The site.
    pub site: u64,
    /// What its slot points at.
    pub expected: u64,
    /// Index of the stream.
    pub stream: usize,
    /// Offset of the packet that the site was tried at.
    pub offset: usize,
    /// What it says.
    pub says: Says,
    /// How it came about.
    pub how: How,
}

/// What a piece of evidence says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Says {
    /// The call is direct.
    On,
    /// The call goes through the slot.
    Off,
    /// The call goes through the slot, and the slot points elsewhere: Driver Verifier, a shim, a hook.
    Redirected {
        /// Where it points.
        to: u64,
    },
}

/// The votes of one module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Votes {
    /// Sites that were direct.
    pub on: u32,
    /// Sites that went through the slot.
    pub off: u32,
    /// Sites that both forms fitted.
    pub ambiguous: u32,
    /// Sites that neither form fitted, the slot pointing elsewhere.
    pub redirected: u32,
    /// Sites that neither form fitted for another reason: wrong version of a module, or a walk out of step.
    pub contradictory: u32,
    /// Sites met where packets end before they decide, or code is missing.
    pub open: u32,
    /// The first [`MAX_EVIDENCE`] of them.
    pub evidence: Vec<Evidence>,
}

impl Votes {
    /// What the votes amount to.
    pub fn answer(&self) -> Answer {
        let total = self.on + self.off;
        let agree = |votes: u32| u64::from(votes) * 100 >= u64::from(total) * u64::from(MIN_AGREEMENT);
        match () {
            () if total < MIN_VOTES => Answer::Undecided,
            () if agree(self.on) => Answer::On,
            () if agree(self.off) => Answer::Off,
            () => Answer::Undecided,
        }
    }

    pub(super) fn add(&mut self, evidence: Evidence) {
        match evidence.says {
            Says::On => self.on += 1,
            Says::Off => self.off += 1,
            Says::Redirected { .. } => self.redirected += 1,
        }
        if self.evidence.len() < MAX_EVIDENCE {
            self.evidence.push(evidence);
        }
    }

    /// Whether a walk came to a site of the module at all.
    fn is_met(&self) -> bool {
        self.on + self.off + self.ambiguous + self.redirected + self.contradictory + self.open > 0
    }

    fn absorb(&mut self, other: Votes) {
        self.on += other.on;
        self.off += other.off;
        self.ambiguous += other.ambiguous;
        self.redirected += other.redirected;
        self.contradictory += other.contradictory;
        self.open += other.open;
        let room = MAX_EVIDENCE.saturating_sub(self.evidence.len());
        self.evidence.extend(other.evidence.into_iter().take(room));
    }
}

/// The verdict on one module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleVerdict {
    /// Its name.
    pub name: String,
    /// Whether its import sites were rewritten.
    pub import_optimization: Answer,
    /// Its votes.
    pub votes: Votes,
}

/// The verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Over all modules: the setting is one global switch, so modules without witnesses follow it. Undecided when
    /// modules disagree.
    pub import_optimization: Answer,
    /// Sum of the votes "on".
    pub votes_on: u32,
    /// Sum of the votes "off".
    pub votes_off: u32,
    /// Each importer, in the order given.
    pub per_module: Vec<ModuleVerdict>,
    /// Whether indirect branches went through retpoline stubs.
    pub retpoline: Answer,
    /// What speaks for retpoline, and against it.
    pub retpoline_votes: RetpolineVotes,
    /// Addresses that the walks needed and the code does not know, with the number of times; at most 4096 of them.
    pub missing: BTreeMap<u64, u32>,
}

/// Evidence for and against retpoline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetpolineVotes {
    /// Addresses in packets that lie in stub pages. Nothing else is executed there, so one is proof.
    pub in_stubs: u32,
    /// Returns to the address after a rewritten call.
    pub rewritten_returns: u32,
    /// Returns to the address after a call as linked.
    pub linked_returns: u32,
}

impl RetpolineVotes {
    /// What they amount to.
    pub fn answer(&self) -> Answer {
        let on = self.in_stubs + self.rewritten_returns;
        match (on, self.linked_returns) {
            (0, off) if off >= MIN_VOTES => Answer::Off,
            (on, off) if (self.in_stubs > 0 || on >= MIN_VOTES) && on > off => Answer::On,
            _ => Answer::Undecided,
        }
    }
}

const MAX_MISSING: usize = 4096;

impl<'a, C: Code + Sync + ?Sized> Question<'a, C> {
    /// A question about `importers`, with nothing known about function starts and stubs.
    pub fn new(code: &'a C, importers: Vec<Importer>, streams: Vec<&'a [u8]>) -> Self {
        Self {
            code,
            importers,
            streams,
            function_start: &|_| None,
            stub_pages: Vec::new(),
            indirect_returns: Vec::new(),
        }
    }

    /// Decides.
    ///
    /// Streams are cut at PSBs, where a walk forgets its call stack anyway, and the pieces are walked in parallel, round by
    /// round, in an order that spreads over all streams. A module with [`ENOUGH_VOTES`] is not tried any more in the next
    /// round. It ends when, after [`LEAST_BYTES`], all modules met have as many, when [`ENOUGH_BYTES`] agree, or with the last
    /// piece. The result
    /// does not depend on the number of threads; memory is that of the code cache ([`intel_pt::flow::Blocks`]) of each.
    pub fn ask(&self) -> Verdict {
        let places = Places::new(&self.importers, &self.indirect_returns);
        let pieces = pieces(&self.streams);
        let mut votes = vec![Votes::default(); self.importers.len()];
        let mut missing = BTreeMap::new();
        let mut retpoline_votes = RetpolineVotes::default();
        let caches = Mutex::new(Vec::new());
        let (mut left, mut walked, mut round) = (&pieces[..], 0, FIRST_ROUND);
        while !left.is_empty() && !self.is_enough(&votes, walked) {
            let (now, later) = left.split_at(round.min(left.len()));
            (left, round) = (later, round * 2);
            walked += now.iter().map(|piece| piece.bytes.len()).sum::<usize>();
            let walk = |piece: &Piece<'_>| {
                let lock = || caches.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                let cache = lock().pop();
                let mut cache = cache.unwrap_or_else(|| places.blocks(self.code));
                let found = Witnesses::gather(self, &places, &votes, piece, &mut cache);
                lock().push(cache);
                found
            };
            let found: Vec<Witnesses> = now.par_iter().map(walk).collect();
            for witnesses in found {
                for (sum, more) in votes.iter_mut().zip(witnesses.votes) {
                    sum.absorb(more);
                }
                retpoline_votes.linked_returns += witnesses.linked_returns;
                retpoline_votes.rewritten_returns += witnesses.rewritten_returns;
                for (address, times) in witnesses.missing {
                    if missing.len() < MAX_MISSING || missing.contains_key(&address) {
                        *missing.entry(address).or_insert(0) += times;
                    }
                }
            }
        }
        retpoline_votes.in_stubs = self.streams.par_iter().map(|stream| self.in_stubs(stream)).sum();
        let per_module = self.per_module(votes);
        let votes_on = per_module.iter().map(|module| module.votes.on).sum();
        let votes_off = per_module.iter().map(|module| module.votes.off).sum();
        Verdict {
            import_optimization: overall(&per_module, votes_on, votes_off),
            votes_on,
            votes_off,
            per_module,
            retpoline: retpoline_votes.answer(),
            retpoline_votes,
            missing,
        }
    }

    fn per_module(&self, votes: Vec<Votes>) -> Vec<ModuleVerdict> {
        let module = |(importer, votes): (&Importer, Votes)| ModuleVerdict {
            name: importer.name.clone(),
            import_optimization: if importer.sites.is_empty() { Answer::Irrelevant } else { votes.answer() },
            votes,
        };
        self.importers.iter().zip(votes).map(module).collect()
    }

    /// Whether votes suffice after so many bytes.
    fn is_enough(&self, votes: &[Votes], walked: usize) -> bool {
        let mut met = votes.iter().filter(|votes| votes.is_met());
        let (on, off) = votes.iter().fold((0, 0), |(on, off), votes| (on + votes.on, off + votes.off));
        if on + off < ENOUGH_VOTES || walked < LEAST_BYTES {
            return false;
        }
        let agree = || matches!(overall(&self.per_module(votes.to_vec()), on, off), Answer::On | Answer::Off);
        met.all(|votes| votes.on + votes.off >= ENOUGH_VOTES && votes.answer() != Answer::Undecided)
            || walked >= ENOUGH_BYTES && agree()
    }

    /// Addresses in stub pages. TIPs lead there only after an interrupt.
    fn in_stubs(&self, stream: &[u8]) -> u32 {
        let mut pages = self.stub_pages.clone();
        pages.sort_unstable_by_key(|page| page.start);
        let mut hits = 0_u32;
        if !pages.is_empty() {
            scan(stream, |hit| {
                let after = pages.partition_point(|page| page.start <= hit.ip);
                let inside = pages[..after].last().is_some_and(|page| page.contains(&hit.ip));
                hits = hits.saturating_add(inside.into());
            });
        }
        hits
    }
}

/// A part of a stream, from a PSB (or the stream's start) on.
pub(super) struct Piece<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// Index of the stream.
    pub stream: usize,
    /// Where it begins in the stream.
    pub offset: usize,
}

/// Bytes that a piece has at least, unless its stream ends.
const PIECE: usize = 256 << 10;
/// Pieces of the first round; each round has twice as many as the one before.
const FIRST_ROUND: usize = 16;

/// The pieces of all streams, in an order in which each beginning is spread over all of them.
fn pieces<'a>(streams: &[&'a [u8]]) -> Vec<Piece<'a>> {
    let mut pieces = Vec::new();
    for (stream, &bytes) in streams.iter().enumerate() {
        let mut offset = 0;
        while offset < bytes.len() {
            let end = offset.saturating_add(PIECE);
            let end = sync_forward(bytes, end.min(bytes.len())).unwrap_or(bytes.len());
            pieces.push(Piece { bytes: &bytes[offset..end], stream, offset });
            offset = end;
        }
    }
    // The fractional parts of the multiples of the golden ratio are spread evenly, however many of them are taken.
    let mut order: Vec<(u64, Piece<'a>)> =
        (0_u64..).zip(pieces).map(|(n, piece)| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15), piece)).collect();
    order.sort_unstable_by_key(|(place, _)| *place);
    order.into_iter().map(|(_, piece)| piece).collect()
}

fn overall(modules: &[ModuleVerdict], on: u32, off: u32) -> Answer {
    let says = |answer: Answer| modules.iter().any(|module| module.import_optimization == answer);
    if modules.iter().all(|module| module.import_optimization == Answer::Irrelevant) {
        return Answer::Irrelevant;
    }
    match (says(Answer::On), says(Answer::Off)) {
        (true, true) => Answer::Undecided,
        _ => Votes { on, off, ..Votes::default() }.answer(),
    }
}
