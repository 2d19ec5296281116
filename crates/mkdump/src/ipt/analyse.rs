//! `mkdump ipt`: what the Intel PT data says about the modules of a trace.
//!
//! ```text
//! snapshots ─► choice ─► scan: addresses per module and thread
//!                │  └──► verdict: import optimization, retpoline ─► images ─► flow: what ran, what is missing
//!                └─────► closure: what those modules call directly
//! ```

use std::collections::BTreeMap;

use super::choose::{Facts, SnapshotChoice};
use super::closure::reached;
use super::executed::{Executed, executed};
use super::input::{Inputs, Snapshot, snapshots};
use super::prepare::{Prepared, prepare};
use super::report::{
    EvidenceReport, FileStatus, FlowTotals, IptErrorReport, IptReport, ModuleVerdictReport, ReachedBy, ReachedModule,
    RetpolineReport, SnapshotFacts, SnapshotReport, ThreadHits, ThreadReport, UnknownPage, VerdictReport,
};
use super::touched::{Reach, Stream, StreamFacts, touched};
use crate::build::Choice;
use crate::error::Result;
use crate::progress::Progress;
use crate::report::{Hex, Status};
use crate::search::Search;
use crate::source::Reading;
use call_forms::{Answer, Evidence, How, MIN_VOTES, ModuleVerdict, RetpolineVotes, Says, Verdict, Votes};

/// What to look at, and where module files are.
#[derive(Clone, Debug, Default)]
pub struct IptOptions {
    /// Where module files are looked for.
    pub search: Search,
    /// Data saved by hand, besides the trace's own.
    pub inputs: Inputs,
    /// Which snapshots.
    pub choice: SnapshotChoice,
    /// Whether import calls were rewritten; [`Choice::Auto`] asks the data.
    pub import_optimization: Choice,
    /// Whether indirect branches were rewritten; [`Choice::Auto`] asks the data.
    pub retpoline: Choice,
    /// The votes of the verdict one by one.
    pub evidence: bool,
}

/// Looks at the chosen snapshots: scans them, decides what the kernel did to code at load time, and follows the flow.
///
/// Without any module file the scan is all there is; without any data the report is empty.
///
/// # Errors
/// When a file of saved data or a directory of modules cannot be read, or the choice leaves nothing.
pub fn analyse(reading: &Reading<'_>, options: &IptOptions, progress: &dyn Progress) -> Result<IptReport> {
    let saved = options.inputs.open()?;
    let all = snapshots(reading, &saved);
    let facts: Vec<Facts> = all.iter().map(|snapshot| Facts::of(reading, snapshot)).collect();
    let chosen = options.choice.apply(&facts)?;
    let data = Data { facts: &facts, all: &all, chosen: &chosen };
    prepare(reading, options, &data, progress, |prepared| Ok(report(reading, options, &data, prepared, progress)))
}

/// The snapshots and the choice among them.
pub(super) struct Data<'a> {
    pub all: &'a [Snapshot<'a>],
    pub facts: &'a [Facts],
    pub chosen: &'a [usize],
}

impl<'a> Data<'a> {
    /// The packets of the chosen snapshots.
    pub fn packets(&self) -> Vec<&'a [u8]> {
        self.chosen.iter().map(|&index| &*self.all[index].bytes).collect()
    }

    /// What identifies one of all the snapshots, as reports say it.
    pub fn snapshot(&self, index: usize) -> SnapshotFacts {
        let Facts { file, time, cpu, pid, tid, process, thread, trigger } = self.facts[index].clone();
        let bytes = self.all[index].bytes.len() as u64;
        SnapshotFacts { index, time, cpu, pid, tid, process, thread, trigger, file, bytes }
    }

    /// The time of the last one, if any has one.
    pub fn last(&self) -> Option<f64> {
        self.chosen.iter().filter_map(|&index| self.facts[index].time).max_by(f64::total_cmp)
    }
}

fn report(
    reading: &Reading<'_>,
    options: &IptOptions,
    data: &Data<'_>,
    prepared: &Prepared<'_>,
    progress: &dyn Progress,
) -> IptReport {
    let streams: Vec<Stream<'_>> = data.chosen.iter().map(|&index| data.all[index].stream()).collect();
    progress.phase("scanning the IPT data", None);
    let touched = touched(prepared.bound.map_over_time(), prepared.moment, &streams);
    let reached = reached(prepared.bound, touched, |entry| prepared.import_calls_direct(entry));
    let packets = data.packets();
    progress.phase("following the flow", Some(packets.iter().map(|bytes| bytes.len() as u64).sum()));
    let followed = match prepared.has_code() {
        true => executed(&prepared.code, &prepared.layout, &prepared.unknown_call_addresses(), &packets, &|bytes| {
            progress.advance(bytes);
        }),
        false => Vec::new(),
    };

    let facts = &reached.touched.streams;
    let (errors, errors_total) = errors(data, prepared, facts, &followed);
    let mut warnings = reading.warnings.clone();
    warnings.extend(prepared.warnings.iter().cloned());
    IptReport {
        source: reading.summary.clone(),
        snapshots: data.chosen.iter().zip(facts).map(|(&index, facts)| snapshot(data, index, facts)).collect(),
        snapshots_total: data.all.len(),
        modules: modules(prepared, &reached, &followed),
        threads: threads(data, facts),
        unknown: (reached.touched.unknown.iter())
            .map(|page| UnknownPage { address: Hex(page.address), hits: page.hits })
            .collect(),
        verdict: verdict(prepared, data, options.evidence),
        flow: totals(prepared, &followed),
        errors,
        errors_total,
        warnings,
    }
}

fn snapshot(data: &Data<'_>, index: usize, found: &StreamFacts) -> SnapshotReport {
    let snapshot = &data.all[index];
    let mut remarks = snapshot.origin.remarks.clone();
    if let Some(logged) = &snapshot.logged
        && snapshot.origin.prefix == 0
        && logged.declared > snapshot.bytes.len() as u64
        && logged.events == 1
    {
        remarks.push(format!("The event declares {} bytes, {} are there.", logged.declared, snapshot.bytes.len()));
    }
    if snapshot.origin.prefix > 0 {
        remarks.push(format!("The first {} bytes are the driver's and no packets.", snapshot.origin.prefix));
    }
    if snapshot.origin.words {
        remarks.push("The text was read as words: each group of digits in reverse.".into());
    }
    if found.psb == 0 && !snapshot.bytes.is_empty() {
        remarks.push("There is no synchronisation point (PSB), so nothing can be read.".into());
    }
    SnapshotReport {
        facts: data.snapshot(index),
        psb: found.psb,
        hits: found.hits,
        gaps: found.overflows + found.gap_count,
        overflows: found.overflows,
        before_sync: found.before_sync,
        remarks,
    }
}

fn modules(prepared: &Prepared<'_>, reached: &super::closure::Reached, followed: &[Executed]) -> Vec<ReachedModule> {
    let entries = prepared.bound.entries();
    let (mut instructions, mut lacked) = (vec![0; entries.len()], vec![0; entries.len()]);
    for one in followed {
        for (module, count) in one.modules.iter().enumerate() {
            instructions[prepared.entries[module]] += count;
        }
        for (address, times) in &one.missing {
            if let Some(module) = prepared.layout.place(*address).module {
                lacked[prepared.entries[module]] += times;
            }
        }
        for (site, times) in &one.unknown_calls {
            if let Some(entry) = prepared.callee(*site) {
                lacked[entry] += times;
            }
        }
    }
    let module = |entry: usize| {
        let hits = &reached.touched.modules[entry];
        let flow = instructions[entry] > 0 || lacked[entry] > 0;
        let (reached_by, from) = match reached.reach[entry] {
            Some(Reach::Packets) => (ReachedBy::Packets, None),
            _ if flow => (ReachedBy::Flow, None),
            Some(Reach::ImportClosure { from }) => (ReachedBy::ImportClosure, Some(from)),
            None => return None,
        };
        let known = &entries[entry];
        let present = prepared.is_present(entry);
        Some(ReachedModule {
            name: known.module.name.clone(),
            base: Hex(known.module.base),
            size: Hex(known.module.size),
            image_key: known.module.image_key(),
            hits: hits.hits,
            threads: (hits.by_thread.iter())
                .map(|(thread, &hits)| ThreadHits { pid: thread.pid, tid: thread.tid, hits })
                .collect(),
            instructions: instructions[entry],
            lacked: lacked[entry],
            reached_by,
            reached_from: from.map(|from| entries[from].module.name.clone()),
            status: if present { FileStatus::Present } else { FileStatus::Missing },
            file: known.file.clone(),
            reason: known.reason.clone(),
        })
    };
    let mut found: Vec<ReachedModule> = (0..entries.len()).filter_map(module).collect();
    found.sort_by_key(|module| module.base);
    found
}

fn threads(data: &Data<'_>, found: &[StreamFacts]) -> Vec<ThreadReport> {
    let mut threads: BTreeMap<(Option<u32>, Option<u32>), ThreadReport> = BTreeMap::new();
    for (&index, found) in data.chosen.iter().zip(found) {
        let facts = &data.facts[index];
        let thread = threads.entry((facts.pid, facts.tid)).or_insert_with(|| ThreadReport {
            pid: facts.pid,
            tid: facts.tid,
            process: facts.process.clone(),
            thread: facts.thread.clone(),
            snapshots: 0,
            bytes: 0,
            hits: 0,
        });
        thread.snapshots += 1;
        thread.bytes += data.all[index].bytes.len() as u64;
        thread.hits += found.hits;
    }
    threads.into_values().collect()
}

fn totals(prepared: &Prepared<'_>, followed: &[Executed]) -> FlowTotals {
    let mut totals = FlowTotals {
        import_optimization: prepared.import_optimization.clone(),
        retpoline: prepared.retpoline.report(),
        instructions: 0,
        interrupts: 0,
        errors: 0,
        lacking: 0,
    };
    for one in followed {
        let lacking: u64 = one.missing.values().chain(one.unknown_calls.values()).sum();
        totals.instructions += one.modules.iter().sum::<u64>() + one.elsewhere;
        totals.interrupts += one.interrupts;
        totals.errors += one.error_count + lacking;
        totals.lacking += lacking;
    }
    totals
}

/// Gaps in the packets and errors of the flow, by snapshot and offset. Missing code is told module by module instead.
fn errors(
    data: &Data<'_>,
    prepared: &Prepared<'_>,
    facts: &[StreamFacts],
    followed: &[Executed],
) -> (Vec<IptErrorReport>, u64) {
    let mut list = Vec::new();
    let mut total = 0;
    for (number, (&snapshot, facts)) in data.chosen.iter().zip(facts).enumerate() {
        let packets = facts.gaps.iter().map(|gap| IptErrorReport {
            snapshot,
            offset: gap.offset(),
            ip: None,
            place: None,
            kind: format!("{}; {} bytes skipped", gap.reason(), gap.skipped()),
            likely: "damaged data, or a ring that was not put in order at its write offset",
        });
        let walk = followed.get(number).into_iter().flat_map(|one| &one.errors).map(|error| IptErrorReport {
            snapshot,
            offset: error.offset,
            ip: error.ip.map(Hex),
            place: error.ip.and_then(|ip| prepared.name(ip)),
            kind: format!("{}: {}", error.kind.libipt_name(), error.kind),
            likely: error.kind.likely_cause(),
        });
        let mut here: Vec<IptErrorReport> = packets.chain(walk).collect();
        here.sort_by_key(|error| error.offset);
        let room = IptReport::ERRORS.saturating_sub(list.len());
        list.extend(here.into_iter().take(room));
        total += facts.gap_count + followed.get(number).map_or(0, |one| one.error_count);
    }
    (list, total)
}

fn verdict(prepared: &Prepared<'_>, data: &Data<'_>, evidence: bool) -> VerdictReport {
    let Verdict { import_optimization, votes_on, votes_off, per_module, retpoline, retpoline_votes, .. } =
        &prepared.evidence.verdict;
    let RetpolineVotes { in_stubs, rewritten_returns, linked_returns } = *retpoline_votes;
    let bases = prepared.evidence.modules.iter().map(|&entry| prepared.bound.entries()[entry].module.base);
    let per_module = per_module.iter().zip(bases).filter(|(module, _)| seen(&module.votes));
    VerdictReport {
        import_optimization: answer(*import_optimization),
        votes_on: *votes_on,
        votes_off: *votes_off,
        reason: overall_reason(prepared),
        per_module: per_module.map(|(module, base)| module_verdict(prepared, data, module, base, evidence)).collect(),
        retpoline: answer(*retpoline),
        retpoline_votes: RetpolineReport { in_stubs, rewritten_returns, linked_returns },
    }
}

fn module_verdict(
    prepared: &Prepared<'_>,
    data: &Data<'_>,
    module: &ModuleVerdict,
    base: u64,
    evidence: bool,
) -> ModuleVerdictReport {
    let votes = &module.votes;
    ModuleVerdictReport {
        name: module.name.clone(),
        base: Hex(base),
        import_optimization: answer(module.import_optimization),
        votes_on: votes.on,
        votes_off: votes.off,
        ambiguous: votes.ambiguous,
        redirected: votes.redirected,
        contradictory: votes.contradictory,
        open: votes.open,
        reason: reason(module.import_optimization, votes.on, votes.off),
        evidence: evidence.then(|| votes.evidence.iter().map(|one| vote(prepared, data, one, base)).collect()),
    }
}

fn vote(prepared: &Prepared<'_>, data: &Data<'_>, one: &Evidence, base: u64) -> EvidenceReport {
    let (says, to) = match one.says {
        Says::On => ("on", None),
        Says::Off => ("off", None),
        Says::Redirected { to } => ("redirected", Some(Hex(to))),
    };
    EvidenceReport {
        site: Hex(one.site),
        rva: Hex(one.site.wrapping_sub(base)),
        expected: Hex(one.expected),
        expected_name: prepared.name(one.expected),
        snapshot: data.chosen[one.stream],
        offset: one.offset,
        says,
        to,
        how: match one.how {
            How::Walked => "walked",
            How::Returned => "returned",
        },
    }
}

fn seen(votes: &Votes) -> bool {
    let Votes { on, off, ambiguous, redirected, contradictory, open, .. } = votes;
    [on, off, ambiguous, redirected, contradictory, open].into_iter().any(|count| *count > 0)
}

fn answer(answer: Answer) -> &'static str {
    match answer {
        Answer::On => "on",
        Answer::Off => "off",
        Answer::Undecided => "undecided",
        Answer::Irrelevant => "irrelevant",
    }
}

fn reason(answer: Answer, on: u32, off: u32) -> String {
    let total = on + off;
    match answer {
        Answer::On => format!("{on} of {total} deciding call sites were direct calls"),
        Answer::Off => format!("{off} of {total} deciding call sites went through the import table"),
        Answer::Irrelevant => "no import sites".into(),
        Answer::Undecided if total == 0 => "no call site decided".into(),
        Answer::Undecided if total < MIN_VOTES => format!("only {total} call sites decided, {MIN_VOTES} are needed"),
        Answer::Undecided => format!("{on} call sites speak for it, {off} against"),
    }
}

fn overall_reason(prepared: &Prepared<'_>) -> String {
    let verdict = &prepared.evidence.verdict;
    let present = prepared.evidence.modules.iter().filter(|&&entry| prepared.is_present(entry)).count();
    let says = |wanted| verdict.per_module.iter().any(|module| module.import_optimization == wanted);
    match verdict.import_optimization {
        _ if present == 0 => "no module files, so no call sites are known".into(),
        Answer::Undecided if says(Answer::On) && says(Answer::Off) => "modules disagree".into(),
        answer => reason(answer, verdict.votes_on, verdict.votes_off),
    }
}

impl Prepared<'_> {
    /// Whether a module's file is there.
    pub(super) fn is_present(&self, entry: usize) -> bool {
        matches!(self.bound.entries()[entry].status, Status::Included)
    }
}
