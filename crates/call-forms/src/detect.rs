//! The detection: all streams are walked in rounds until the votes are enough.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use intel_pt::flow::{Code, Quality};
use intel_pt::scan;
use rayon::prelude::*;

use crate::arrival::SiteMap;
use crate::decision::DecisionVotes;
use crate::enough::ENOUGH_VOTES;
use crate::input::{Importer, Input};
use crate::pieces::{FIRST_ROUND, Piece, pieces};
use crate::votes::{Answer, GivenUp, ModuleVerdict, RetpolineVotes, Verdict, Votes, overall};
use crate::witness::{MOST_TRIES, Witnesses};

/// Bytes of packets that are walked in any case: what runs first need not be typical.
pub const LEAST_BYTES: usize = 8 << 20;

/// After this many bytes of packets, [`ENOUGH_VOTES`] in which all decided modules agree are a verdict, and the rest is not
/// walked. Where modules disagree, everything is walked.
pub const ENOUGH_BYTES: usize = 64 << 20;

/// Addresses in [`Verdict::missing`].
const MAX_MISSING: usize = 4096;

/// Decides whether import optimization and retpoline were on, and which way decisions went.
///
/// Streams are cut at PSBs, where a walk forgets its call stack anyway, and the pieces are walked in parallel, round by
/// round, in an order that spreads over all streams. In the next round, the sites of a module with [`ENOUGH_VOTES`] are
/// not tried any more, and so are junctions of a decision. It ends when after [`LEAST_BYTES`] all modules and decisions met
/// have as many, when after [`ENOUGH_BYTES`] the
/// votes agree, or with the last piece. The result does not depend on the number of threads.
///
/// Work is in proportion to the packets: the walks' is bounded as [`intel_pt::flow::Walker`] says, and the tests of sites
/// pass at most 2^18 blocks without a packet for each stream and 4,096 for each byte. Memory is that of the code
/// cache ([`intel_pt::flow::Blocks`]) of each thread.
pub fn detect<C: Code + Sync + ?Sized>(input: &Input<'_, C>) -> Verdict {
    let sites = SiteMap::new(input);
    let pieces = pieces(&input.streams);
    let mut votes = vec![Votes::default(); input.importers.len()];
    let mut decisions: Vec<DecisionVotes> = sites.ways().iter().map(|&ways| DecisionVotes::none(ways)).collect();
    let mut missing = BTreeMap::new();
    let (mut given_up, mut steps): (Option<GivenUp>, u64) = (None, 0);
    let mut retpoline_votes = RetpolineVotes::default();
    let mut qualities = vec![Quality::default(); input.streams.len()];
    let caches = Mutex::new(Vec::new());
    let (mut left, mut walked, mut round) = (&pieces[..], 0, FIRST_ROUND);
    while !left.is_empty() && !is_enough(&input.importers, &votes, &decisions, walked) {
        let (now, later) = left.split_at(round.min(left.len()));
        (left, round) = (later, round * 2);
        walked += now.iter().map(|piece| piece.bytes.len()).sum::<usize>();
        let walk = |piece: &Piece<'_>| {
            let lock = || caches.lock().unwrap_or_else(PoisonError::into_inner);
            let cache = lock().pop();
            let mut cache = cache.unwrap_or_else(|| sites.blocks(input.code));
            let found = Witnesses::gather(input, &sites, (&votes, &decisions), piece, &mut cache);
            lock().push(cache);
            found
        };
        let found: Vec<Witnesses> = now.par_iter().map(walk).collect();
        for (piece, witnesses) in now.iter().zip(found) {
            qualities[piece.stream] += witnesses.quality;
            for (sum, more) in votes.iter_mut().zip(witnesses.votes) {
                sum.absorb(more);
            }
            for (sum, more) in decisions.iter_mut().zip(witnesses.decisions) {
                sum.absorb(more);
            }
            retpoline_votes.linked_returns += witnesses.linked_returns;
            retpoline_votes.rewritten_returns += witnesses.rewritten_returns;
            steps += witnesses.steps;
            if let Some(more) = witnesses.given_up {
                match &mut given_up {
                    Some(sum) => sum.count = sum.count.saturating_add(more.count),
                    None => given_up = Some(more),
                }
            }
            for (address, times) in witnesses.missing {
                if missing.len() < MAX_MISSING || missing.contains_key(&address) {
                    *missing.entry(address).or_insert(0) += times;
                }
            }
        }
    }
    retpoline_votes.in_stubs = hits_in(&input.stub_pages, &input.streams);
    let per_module = per_module(&input.importers, votes);
    let votes_on = per_module.iter().map(|module| module.votes.on).sum();
    let votes_off = per_module.iter().map(|module| module.votes.off).sum();
    Verdict {
        import_optimization: overall(&per_module, votes_on, votes_off),
        votes_on,
        votes_off,
        per_module,
        retpoline: retpoline_votes.answer(),
        retpoline_votes,
        decisions,
        missing,
        given_up,
        streams: qualities,
        steps,
    }
}

fn per_module(importers: &[Importer], votes: Vec<Votes>) -> Vec<ModuleVerdict> {
    let module = |(importer, votes): (&Importer, Votes)| ModuleVerdict {
        name: importer.name.clone(),
        import_optimization: if importer.sites.is_empty() { Answer::Irrelevant } else { votes.answer() },
        votes,
    };
    importers.iter().zip(votes).map(module).collect()
}

/// Whether votes suffice after so many bytes.
fn is_enough(importers: &[Importer], votes: &[Votes], decisions: &[DecisionVotes], walked: usize) -> bool {
    let mut met = votes.iter().filter(|votes| votes.tries() > 0);
    let (on, off) = votes.iter().fold((0, 0), |(on, off), votes| (on + votes.on, off + votes.off));
    if on + off < ENOUGH_VOTES || walked < LEAST_BYTES {
        return false;
    }
    let agree = || matches!(overall(&per_module(importers, votes.to_vec()), on, off), Answer::On | Answer::Off);
    // What junctions do not show after so many tries, as short copies of memory do not, they will not show.
    let is_open = |votes: &DecisionVotes| votes.tries() > 0 && !votes.is_enough() && votes.tries() < MOST_TRIES;
    met.all(|votes| votes.on + votes.off >= ENOUGH_VOTES && votes.answer() != Answer::Undecided)
        && !decisions.iter().any(is_open)
        || walked >= ENOUGH_BYTES && agree()
}

/// Addresses of packets that lie in stub pages. TIPs lead there only after an interrupt.
fn hits_in(stub_pages: &[Range<u64>], streams: &[&[u8]]) -> u32 {
    if stub_pages.is_empty() {
        return 0;
    }
    let mut pages = stub_pages.to_vec();
    pages.sort_unstable_by_key(|page| page.start);
    let in_stream = |stream: &&[u8]| {
        let mut hits = 0_u32;
        scan(stream, |hit| {
            let after = pages.partition_point(|page| page.start <= hit.ip);
            let inside = pages[..after].last().is_some_and(|page| page.contains(&hit.ip));
            hits = hits.saturating_add(inside.into());
        });
        hits
    };
    streams.par_iter().map(in_stream).sum()
}
