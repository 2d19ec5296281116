//! The functions that ran.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use kernel_snapshot::{Progress, Reading};
use serde::Serialize;

use super::{FlowSummary, PlaceReport};
use crate::error::Result;
use crate::jobs::ipt::analyse::IptOptions;
use crate::jobs::ipt::function_sums::{Total, function_sums_with};
use crate::jobs::ipt::named::Named;

/// Follows the chosen snapshots over the code as it was in memory, and adds up what ran in each function.
///
/// Snapshots are followed in parallel, a megabyte at once. Takes memory for the functions that ran.
///
/// # Errors
/// As [`trace_flow`](super::trace_flow).
pub fn list_functions(reading: &Reading<'_>, options: &IptOptions, progress: &dyn Progress) -> Result<FunctionsReport> {
    function_sums_with(reading, options, progress, |named, lacking, totals| {
        let mut functions: Vec<FunctionReport> =
            totals.iter().map(|(function, total)| FunctionReport::new(named, *function, total)).collect();
        functions
            .sort_by_key(|function| (Reverse(function.instructions), Reverse(function.total), function.at.address));
        FunctionsReport { modules: modules(&functions), functions, summary: FlowSummary::from(lacking) }
    })
}

/// The functions of all chosen snapshots.
#[derive(Clone, Debug, Serialize)]
pub struct FunctionsReport {
    /// The functions, those with the most instructions in themselves first.
    pub functions: Vec<FunctionReport>,
    /// The same by module, those with the most instructions first.
    pub modules: Vec<FunctionModule>,
    /// What was missing.
    #[serde(flatten)]
    pub summary: FlowSummary,
}

/// A function.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct FunctionReport {
    /// Where it begins, or, if that is not known, where it was entered.
    #[serde(flatten)]
    pub at: PlaceReport,
    /// Times that it was entered, as far as the packets show it.
    pub calls: u64,
    /// Instructions executed in itself.
    pub instructions: u64,
    /// Instructions executed while it was on the stack.
    pub total: u64,
    /// Snapshots that it ran in.
    pub snapshots: u64,
    /// When the first of these was taken, in seconds from the start of the trace.
    pub first: Option<f64>,
    /// When the last of these was taken.
    pub last: Option<f64>,
    /// Direct import calls in it that lead to modules whose files are missing.
    pub unknown_calls: Vec<UnknownCalls>,
}

/// Direct import calls that lead to a module whose file is missing.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct UnknownCalls {
    /// The module, by file name.
    pub module: Option<String>,
    /// Places that call it.
    pub sites: u64,
    /// How often they did.
    pub times: u64,
}

/// The functions of a module.
#[derive(Clone, Debug, Serialize, PartialEq, Eq)]
pub struct FunctionModule {
    /// File name; nothing for code in no module.
    pub module: Option<String>,
    /// Functions of it that ran.
    pub functions: u64,
    /// Times that they were entered.
    pub calls: u64,
    /// Instructions executed in them.
    pub instructions: u64,
}

impl FunctionReport {
    fn new(named: &Named<'_, '_>, function: u64, total: &Total) -> Self {
        let mut unknown: BTreeMap<Option<&str>, (u64, u64)> = BTreeMap::new();
        for (site, times) in &total.sums.unknown_calls {
            let sum = unknown.entry(named.callee(*site)).or_default();
            *sum = (sum.0 + 1, sum.1 + times);
        }
        let unknown_calls = unknown.into_iter().map(|(module, (sites, times))| UnknownCalls {
            module: module.map(ToOwned::to_owned),
            sites,
            times,
        });
        Self {
            at: PlaceReport::of(named, named.execution.layout.place(function)),
            calls: total.sums.calls,
            instructions: total.sums.instructions,
            total: total.sums.total,
            snapshots: total.snapshots,
            first: total.times.map(|times| times.0),
            last: total.times.map(|times| times.1),
            unknown_calls: unknown_calls.collect(),
        }
    }
}

fn modules(functions: &[FunctionReport]) -> Vec<FunctionModule> {
    let mut modules: BTreeMap<Option<&str>, [u64; 3]> = BTreeMap::new();
    for function in functions {
        let sums = modules.entry(function.at.module.as_deref()).or_default();
        let more = [1, function.calls, function.instructions];
        sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    }
    let module = |(module, [functions, calls, instructions]): (Option<&str>, [u64; 3])| FunctionModule {
        module: module.map(ToOwned::to_owned),
        functions,
        calls,
        instructions,
    };
    let mut modules: Vec<FunctionModule> = modules.into_iter().map(module).collect();
    modules.sort_by_key(|module| Reverse(module.instructions));
    modules
}
