//! The calls that were made, as a tree.

use std::io;

use globset::{GlobBuilder, GlobMatcher};
use ipt_analysis::calls::{Kind, Line, View};
use ipt_analysis::transfers::{How, Mark};
use kernel_snapshot::{Progress, Reading};
use serde::Serialize;

use super::{FlowSummary, PlaceReport, QualityReport, SnapshotFacts};
use crate::error::Result;
use crate::jobs::ipt::analyse::IptOptions;
use crate::jobs::ipt::calls::{Called, calls_with};
use crate::jobs::ipt::named::Named;
use crate::report::Hex;
use crate::select::PatternError;

/// Which part of the trees.
#[derive(Clone, Debug, Default)]
pub struct CallsChoice {
    /// Only the last so many lines of each, and the callers of those.
    pub last: Option<usize>,
    /// Only so many levels, 1 or more.
    pub depth: Option<usize>,
    /// Only what begins at functions of these names.
    pub from: Option<SymbolPattern>,
}

/// A glob pattern for names of functions, with or without the module: `Fs*`, `ntfs!Fs*`. Case does not matter.
#[derive(Clone, Debug)]
pub struct SymbolPattern {
    text: String,
    matcher: GlobMatcher,
}

impl SymbolPattern {
    /// A pattern.
    ///
    /// # Errors
    /// When it is not a glob.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let glob = GlobBuilder::new(text).case_insensitive(true).build();
        let glob = glob.map_err(|error| PatternError { pattern: text.to_owned(), why: error.kind().to_string() })?;
        Ok(Self { text: text.to_owned(), matcher: glob.compile_matcher() })
    }

    /// Whether a symbol of a module with that file name is meant.
    pub fn matches(&self, module: &str, symbol: &str) -> bool {
        match self.text.contains('!') {
            true => self.matcher.is_match(format!("{}!{symbol}", debugger_name(module))),
            false => self.matcher.is_match(symbol),
        }
    }
}

/// The name that debuggers give a module with this file name.
pub fn debugger_name(file: &str) -> String {
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    stem.chars().map(|c| if c.is_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

/// Follows the chosen snapshots over the code as it was in memory, and hands the call tree of each to `sink`, in order.
/// What is missing is collected over all of them.
///
/// Snapshots are followed in parallel, a megabyte at once. A tree has at most 2^20 functions; the number left out is reported.
///
/// # Errors
/// As [`trace_flow`](super::trace_flow).
pub fn trace_calls(
    reading: &Reading<'_>,
    options: &IptOptions,
    choice: &CallsChoice,
    progress: &dyn Progress,
    sink: &mut dyn FnMut(&CallsReport) -> io::Result<()>,
) -> Result<CallsSummary> {
    let mut lines = 0;
    let mut each = |called: &Called<'_, '_>| {
        let report = CallsReport::new(called, choice);
        lines += report.calls.len();
        sink(&report)
    };
    let summary = calls_with(reading, options, progress, &mut each, |named, lacking, stacks| {
        let place = |function: u64| PlaceReport::of(named, named.execution.layout.place(function));
        let stack = |(stack, count): (&[u64], u64)| (stack.iter().map(|function| place(*function)).collect(), count);
        let stacks = stacks.iter().map(stack).collect();
        CallsSummary { summary: FlowSummary::from(lacking), stacks }
    });
    let mut summary = summary?;
    if let (0, Some(from)) = (lines, &choice.from) {
        summary.summary.warnings.push(format!("no function that ran is named {}", from.text));
    }
    Ok(summary)
}

/// What all trees lacked, and their stacks.
#[derive(Clone, Debug, Serialize)]
pub struct CallsSummary {
    /// What was missing.
    #[serde(flatten)]
    pub summary: FlowSummary,
    /// The stacks of all trees, whatever part of them was chosen: the outermost function first, and the instructions
    /// executed in the innermost.
    #[serde(skip)]
    pub stacks: Vec<(Vec<PlaceReport>, u64)>,
}

/// The calls of one snapshot.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct CallsReport {
    /// The snapshot.
    pub snapshot: SnapshotFacts,
    /// How well the flow could follow it.
    pub quality: QualityReport,
    /// Instructions executed.
    pub instructions: u64,
    /// Lines of the whole tree.
    pub lines: u64,
    /// Calls and gaps that are in no line, because the tree is too large.
    pub left_out: u64,
    /// The part that was asked for, each function before what it called.
    pub calls: Vec<CallEntry>,
}

/// A line of a call tree.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct CallEntry {
    /// 0 for the outermost functions.
    pub depth: usize,
    /// How often it happened here, in all repetitions of what is around it.
    pub times: u64,
    /// What it is.
    #[serde(flatten)]
    pub what: CallKind,
}

/// What a line of a call tree is.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum CallKind {
    /// A function ran.
    Function {
        /// How it was entered: `call`, `jump`, `interrupt`, `system-call`, `untraced` (from code that is not traced),
        /// `before` (before the packets begin, or in a gap).
        how: &'static str,
        /// Where it begins.
        #[serde(flatten)]
        at: PlaceReport,
        /// Instructions executed in itself.
        instructions: u64,
        /// With those of all functions below it.
        total: u64,
        /// It had not ended where the packets, or a gap, end what is known.
        open: bool,
        /// Lines below it that were not asked for.
        hidden: u64,
        /// Calls below it that are in no line, because the tree is too large.
        left_out: u64,
    },
    /// What is below it was repeated, in this order.
    Loop {
        /// Instructions executed in it.
        total: u64,
        /// Lines below it that were not asked for.
        hidden: u64,
    },
    /// The processor lost packets.
    Overflow,
    /// Tracing ended.
    Disabled,
    /// The stack was exchanged, as by a thread switch.
    Switched,
    /// Another address space.
    Paging {
        /// CR3.
        cr3: Hex,
    },
    /// The flow came to an address whose code is not known.
    Missing {
        /// Offset in the snapshot.
        offset: usize,
        /// Where it would be.
        to: PlaceReport,
    },
    /// A direct call to an import whose module's file is missing: where it leads is not known.
    UnknownCall {
        /// Offset in the snapshot.
        offset: usize,
        /// The call.
        from: PlaceReport,
        /// The module that it leads to.
        module: Option<String>,
    },
    /// The walk lost its way, or too many calls were open, and continues after it.
    Gap {
        /// Offset in the snapshot.
        offset: Option<usize>,
        /// Where the walk was.
        from: Option<PlaceReport>,
        /// What is wrong, with libipt's name for it first.
        what: String,
        /// The usual cause.
        likely: Option<&'static str>,
    },
}

impl CallsReport {
    fn new(called: &Called<'_, '_>, choice: &CallsChoice) -> Self {
        let Called { named, number, tree } = called;
        let is_wanted = |function: u64| {
            let place = named.execution.layout.place(function);
            let module = place.module.map_or("", |module| &named.execution.entry(module).module.name);
            let name = named.symbol(place).filter(|name| name.distance == 0);
            choice.from.as_ref().zip(name).is_some_and(|(from, name)| from.matches(module, name.symbol))
        };
        let from = choice.from.as_ref().map(|_| &is_wanted as &dyn Fn(u64) -> bool);
        let view = View { from, depth: choice.depth, last: choice.last };
        Self {
            snapshot: SnapshotFacts::of(named.chosen, *number),
            quality: QualityReport::from(&tree.quality),
            instructions: tree.instructions,
            lines: tree.nodes(),
            left_out: tree.left_out,
            calls: tree.view(&view).iter().map(|line| CallEntry::new(named, line)).collect(),
        }
    }
}

impl CallEntry {
    fn new(named: &Named<'_, '_>, line: &Line<'_>) -> Self {
        let node = line.node;
        let place = |address: u64| PlaceReport::of(named, named.execution.layout.place(address));
        let what = match node.kind {
            Kind::Function { how, function } => CallKind::Function {
                how: how_name(how),
                at: place(function),
                instructions: node.instructions,
                total: node.total,
                open: node.open,
                hidden: line.hidden,
                left_out: node.left_out,
            },
            Kind::Mark(mark) => Self::mark(named, mark),
            _ => CallKind::Loop { total: node.total, hidden: line.hidden },
        };
        Self { depth: line.depth, times: node.times, what }
    }

    fn mark(named: &Named<'_, '_>, mark: Mark) -> CallKind {
        let place = |address: u64| PlaceReport::of(named, named.execution.layout.place(address));
        match mark {
            Mark::Overflow => CallKind::Overflow,
            Mark::Off => CallKind::Disabled,
            Mark::Switched => CallKind::Switched,
            Mark::Paging { cr3 } => CallKind::Paging { cr3: Hex(cr3) },
            Mark::Missing { offset, at } => CallKind::Missing { offset, to: place(at) },
            Mark::UnknownCall { offset, at } => {
                CallKind::UnknownCall { offset, from: place(at), module: named.callee(at).map(ToOwned::to_owned) }
            }
            Mark::Lost { offset, at, error } => CallKind::Gap {
                offset: Some(offset),
                from: at.map(place),
                what: format!("{}: {error}", error.libipt_name()),
                likely: Some(error.likely_cause()),
            },
            _ => CallKind::Gap { offset: None, from: None, what: "too many calls are open".into(), likely: None },
        }
    }
}

fn how_name(how: How) -> &'static str {
    match how {
        How::Call => "call",
        How::Jump => "jump",
        How::Interrupt => "interrupt",
        How::SystemCall => "system-call",
        How::Untraced => "untraced",
        _ => "before",
    }
}
