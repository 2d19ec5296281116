//! The report of an analysis.

use std::collections::BTreeMap;

use address_map::ModuleId;
use call_forms::{Answer, Evidence, How, MIN_VOTES, ModuleVerdict, RetpolineVotes, Says, Verdict, Votes};
use intel_pt::flow::Quality;
use ipt_analysis::executed::Executed;
use ipt_analysis::touched::{Reach, StreamFacts, Thread};
use ipt_analysis::word28::Meaning;
use kernel_code::{Evidence as SystemEvidence, System};
use kernel_snapshot::{Progress, Reading};

use super::{
    EvidenceReport, FileStatus, FlowTotals, IptErrorReport, IptReport, ModuleVerdictReport, PieceReport, QualityReport,
    ReachedBy, ReachedModule, RetpolineReport, SnapshotFacts, SnapshotReport, ThreadHits, ThreadReport, UnknownPage,
    VerdictReport,
};
use crate::error::Result;
use crate::jobs::ipt::analyse::{Analysis, IptOptions, analyse_with};
use crate::jobs::ipt::chosen::Chosen;
use crate::jobs::ipt::execution::Execution;
use crate::report::{Hex, KernelCfgReport, OverrideVerdictReport};

/// Looks at the chosen snapshots: scans them, decides what the kernel did to code at load time, and follows the flow.
///
/// Without any module file the scan is all there is; without any data the report is empty.
///
/// # Errors
/// When a file of saved data or a directory of modules cannot be read, or the choice leaves nothing.
pub fn analyse(reading: &Reading<'_>, options: &IptOptions, progress: &dyn Progress) -> Result<IptReport> {
    analyse_with(reading, options, progress, |analysis| IptReport::from(analysis))
}

impl From<&Analysis<'_, '_>> for IptReport {
    fn from(analysis: &Analysis<'_, '_>) -> Self {
        let chosen = analysis.chosen;
        let facts = &analysis.touched.streams;
        let modules = modules(analysis);
        let is_lacking = modules.iter().any(|module| module.status == FileStatus::Missing);
        let (errors, errors_total) = errors(analysis, is_lacking);
        let unknown = &analysis.touched.unknown;
        let snapshots = chosen.numbers.iter().zip(facts);
        Self {
            schema_version: crate::report::SCHEMA_VERSION,
            source: (&analysis.reading.summary).into(),
            snapshots: snapshots
                .enumerate()
                .map(|(number, (&index, facts))| snapshot(chosen, index, facts, analysis.followed.get(number)))
                .collect(),
            snapshots_total: chosen.all.len(),
            modules,
            threads: threads(chosen, facts),
            unknown: unknown.iter().map(|&(page, hits)| UnknownPage { address: Hex(page), hits }).collect(),
            verdict: verdict(analysis),
            flow: totals(analysis.execution.system, &analysis.followed),
            errors,
            errors_total,
            warnings: analysis.warnings.clone(),
        }
    }
}

fn snapshot(chosen: &Chosen<'_>, index: usize, found: &StreamFacts, followed: Option<&Executed>) -> SnapshotReport {
    let snapshot = &chosen.all[index];
    let mut remarks = snapshot.origin.remarks.clone();
    if let Some(logged) = &snapshot.logged
        && snapshot.origin.prefix == 0
        && logged.declared > snapshot.bytes.len() as u64
        && logged.pieces.len() == 1
    {
        remarks.push(format!("The event declares {} bytes, {} are there.", logged.declared, snapshot.bytes.len()));
    }
    if snapshot.origin.prefix > 0 {
        remarks.push(format!("The first {} bytes are the driver's and not packets.", snapshot.origin.prefix));
    }
    if snapshot.origin.words {
        remarks.push("The text was read as words: each group of digits in reverse.".into());
    }
    if found.psb == 0 && !snapshot.bytes.is_empty() {
        remarks.push("There is no synchronisation point (PSB), so nothing can be read.".into());
    }
    let (pieces, buffer) = snapshot.logged.as_ref().map_or((&[][..], 0), |logged| (&logged.pieces[..], logged.buffer));
    SnapshotReport {
        facts: SnapshotFacts::of(chosen, index),
        psb: found.psb,
        hits: found.hits,
        gaps: found.overflows + found.gap_count,
        overflows: found.overflows,
        before_sync: found.before_sync,
        pieces: pieces
            .iter()
            .map(|piece| PieceReport { bytes: piece.bytes, declared: piece.declared, word28: piece.word })
            .collect(),
        word28_fits: Meaning::ALL
            .into_iter()
            .filter(|meaning| meaning.fits(pieces, buffer))
            .map(Meaning::name)
            .collect(),
        quality: followed.map(|followed| QualityReport::from(&followed.quality)),
        remarks,
    }
}

fn modules(analysis: &Analysis<'_, '_>) -> Vec<ReachedModule> {
    let execution = analysis.execution;
    let count = execution.system.modules().entries().len();
    let (mut instructions, mut lacked) = (vec![0; count], vec![0; count]);
    for one in &analysis.followed {
        for (module, count) in one.modules.iter().enumerate() {
            instructions[module] += count;
        }
        for (address, times) in &one.missing {
            if let Some(module) = execution.layout.place(*address).module {
                lacked[module.0] += times;
            }
        }
        for (site, times) in &one.unknown_calls {
            if let Some(module) = execution.callee(*site) {
                lacked[module.0] += times;
            }
        }
    }
    let module = |id: ModuleId| {
        let hits = &analysis.touched.modules[id.0];
        let (instructions, lacked) = (instructions[id.0], lacked[id.0]);
        let (reached_by, from) = match analysis.reach[id.0] {
            Some(Reach::Packets) => (ReachedBy::Packets, None),
            _ if instructions > 0 || lacked > 0 => (ReachedBy::Flow, None),
            Some(Reach::ImportClosure { from }) => (ReachedBy::ImportClosure, Some(from)),
            None => return None,
        };
        let known = execution.entry(id);
        let thread = |(thread, &hits): (&Thread, &u64)| ThreadHits { pid: thread.pid, tid: thread.tid, hits };
        Some(ReachedModule {
            name: known.module.name.clone(),
            base: Hex(known.module.base),
            size: Hex(known.module.size),
            image_key: known.module.image_key(),
            hits: hits.hits,
            threads: hits.by_thread.iter().map(thread).collect(),
            instructions,
            lacked,
            reached_by,
            reached_from: from.map(|from| execution.entry(from).module.name.clone()),
            status: if execution.is_present(id) { FileStatus::Present } else { FileStatus::Missing },
            file: known.file.clone(),
            reason: known.reason.clone(),
        })
    };
    let mut found: Vec<ReachedModule> = execution.system.modules().ids().filter_map(module).collect();
    found.sort_by_key(|module| module.base);
    found
}

fn threads(chosen: &Chosen<'_>, found: &[StreamFacts]) -> Vec<ThreadReport> {
    let mut threads: BTreeMap<(Option<u32>, Option<u32>), ThreadReport> = BTreeMap::new();
    for (&index, found) in chosen.numbers.iter().zip(found) {
        let facts = &chosen.facts[index];
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
        thread.bytes += chosen.all[index].bytes.len() as u64;
        thread.hits += found.hits;
    }
    threads.into_values().collect()
}

fn totals(system: &System<'_>, followed: &[Executed]) -> FlowTotals {
    let mut totals = FlowTotals {
        import_optimization: system.import_optimization().into(),
        retpoline: system.retpoline().into(),
        function_overrides: system.function_overrides().into(),
        instructions: 0,
        interrupts: 0,
        errors: 0,
        lacking: 0,
        quality: (!followed.is_empty()).then(|| (&followed.iter().map(|one| one.quality).sum::<Quality>()).into()),
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

/// What is said of the cause of an error while files are missing: the walk skips their code, and which form calls have is
/// known less well, so that nothing can be said of the other files.
const UNTOLD: &str = "not known while files of modules that the data reaches are missing";

/// Gaps in the packets and errors of the flow, by snapshot and offset. Missing code is reported module by module instead.
fn errors(analysis: &Analysis<'_, '_>, is_lacking: bool) -> (Vec<IptErrorReport>, u64) {
    let Analysis { followed, execution, .. } = analysis;
    let facts = &analysis.touched.streams;
    let mut list = Vec::new();
    let mut total = 0;
    for (number, (&snapshot, facts)) in analysis.chosen.numbers.iter().zip(facts).enumerate() {
        let packets = facts.gaps.iter().map(|gap| IptErrorReport {
            snapshot,
            offset: gap.offset(),
            ip: None,
            place: None,
            kind: format!("{}; {} bytes skipped", gap.reason(), gap.skipped()),
            likely: "damaged data, or a ring that was not put in order at its write offset",
        });
        let one = followed.get(number);
        let walk = one.into_iter().flat_map(|one| &one.errors).map(|error| IptErrorReport {
            snapshot,
            offset: error.offset(),
            ip: error.ip().map(Hex),
            place: error.ip().and_then(|ip| execution.name(ip)),
            kind: format!("{}: {}", error.kind().libipt_name(), error.kind()),
            likely: if is_lacking { UNTOLD } else { error.kind().likely_cause() },
        });
        let mut here: Vec<IptErrorReport> = packets.chain(walk).collect();
        here.sort_by_key(|error| error.offset);
        let room = IptReport::ERRORS.saturating_sub(list.len());
        list.extend(here.into_iter().take(room));
        total += facts.gap_count + followed.get(number).map_or(0, |one| one.error_count);
    }
    (list, total)
}

fn verdict(analysis: &Analysis<'_, '_>) -> VerdictReport {
    let nothing = SystemEvidence::nothing();
    let evidence = analysis.execution.system.evidence().unwrap_or(&nothing);
    let Verdict { import_optimization, votes_on, votes_off, per_module, retpoline, retpoline_votes, .. } =
        &evidence.verdict;
    let RetpolineVotes { in_stubs, rewritten_returns, linked_returns } = *retpoline_votes;
    let bases = evidence.modules.iter().map(|&module| analysis.execution.entry(module).module.base);
    let per_module = per_module.iter().zip(bases).filter(|(module, _)| seen(&module.votes));
    VerdictReport {
        import_optimization: answer(*import_optimization),
        votes_on: *votes_on,
        votes_off: *votes_off,
        reason: overall_reason(analysis.execution, evidence),
        per_module: per_module.map(|(module, base)| module_verdict(analysis, module, base)).collect(),
        retpoline: answer(*retpoline),
        retpoline_votes: RetpolineReport { in_stubs, rewritten_returns, linked_returns },
        overrides: OverrideVerdictReport::of(analysis.execution.system),
        kernel_cfg: KernelCfgReport::of(analysis.execution.system),
    }
}

impl ModuleVerdictReport {
    /// The verdicts on a system's modules, without the votes one by one.
    pub(in crate::report) fn of(system: &System<'_>) -> Vec<Self> {
        let Some(evidence) = system.evidence() else { return Vec::new() };
        let modules = evidence.verdict.per_module.iter().zip(&evidence.modules);
        let seen = modules.filter(|(verdict, _)| seen(&verdict.votes));
        seen.map(|(verdict, &module)| Self::new(verdict, system.modules().entry(module).module.base)).collect()
    }

    fn new(module: &ModuleVerdict, base: u64) -> Self {
        let votes = &module.votes;
        Self {
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
            evidence: None,
        }
    }
}

fn module_verdict(analysis: &Analysis<'_, '_>, module: &ModuleVerdict, base: u64) -> ModuleVerdictReport {
    let evidence = || module.votes.evidence.iter().map(|one| vote(analysis, one, base)).collect();
    ModuleVerdictReport { evidence: analysis.options.evidence.then(evidence), ..ModuleVerdictReport::new(module, base) }
}

fn vote(analysis: &Analysis<'_, '_>, one: &Evidence, base: u64) -> EvidenceReport {
    let (says, to) = match one.says {
        Says::On => ("on", None),
        Says::Off => ("off", None),
        Says::Redirected { to } => ("redirected", Some(Hex(to))),
    };
    EvidenceReport {
        site: Hex(one.site),
        rva: Hex(one.site.wrapping_sub(base)),
        expected: Hex(one.expected),
        expected_name: analysis.execution.name(one.expected),
        snapshot: analysis.chosen.numbers[one.stream],
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

fn overall_reason(execution: &Execution<'_, '_>, evidence: &SystemEvidence) -> String {
    let verdict = &evidence.verdict;
    let present = evidence.modules.iter().filter(|&&module| execution.is_present(module)).count();
    let says = |wanted| verdict.per_module.iter().any(|module| module.import_optimization == wanted);
    match verdict.import_optimization {
        _ if present == 0 => "no module files, so no call sites are known".into(),
        Answer::Undecided if says(Answer::On) && says(Answer::Off) => "modules disagree".into(),
        answer => reason(answer, verdict.votes_on, verdict.votes_off),
    }
}
