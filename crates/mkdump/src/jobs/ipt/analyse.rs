//! `mkdump ipt`: what the Intel PT data says about the modules of a trace.
//!
//! ```text
//! snapshots ─► choice ─► scan: addresses per module and thread
//!                │  └──► verdict: import optimization, retpoline ─► images ─► flow: what ran, what is missing
//!                └─────► closure: what those modules call directly
//! ```

use address_map::ModuleId;
use ipt_analysis::choose::SnapshotChoice;
use ipt_analysis::executed::{Executed, executed};
use ipt_analysis::touched::{Reach, Touched, touched};
use kernel_code::{Bound, Choice, Detect, Files, GivenCapability, Search, Setting, System};
use kernel_snapshot::{Module, Progress, Reading};

use super::chosen::Chosen;
use super::closure::reached;
use super::execution::Execution;
use crate::error::Result;
use crate::ipt::Inputs;
use captured_code::captured_forms;

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
    /// Whether calls of overridden functions were re-pointed; [`Choice::Auto`] asks the build of Windows.
    pub function_overrides: Choice,
    /// Capabilities of the machine that decide where such calls lead, as far as they are known from elsewhere.
    pub capabilities: Vec<GivenCapability>,
    /// The votes of the verdict one by one.
    pub evidence: bool,
}

/// What the chosen snapshots say.
#[derive(Debug)]
pub(crate) struct Analysis<'r, 'a> {
    /// The trace.
    pub reading: &'r Reading<'r>,
    /// What was asked for.
    pub options: &'r IptOptions,
    /// The snapshots.
    pub chosen: &'r Chosen<'r>,
    /// The code that they were followed over.
    pub execution: &'r Execution<'r, 'a>,
    /// What their packets name.
    pub touched: Touched,
    /// How each module is reached.
    pub reach: Vec<Option<Reach>>,
    /// What each of them executed; nothing when there is no code.
    pub followed: Vec<Executed>,
    /// What went wrong on the way.
    pub warnings: Vec<String>,
}

/// Looks at the chosen snapshots: scans them, decides what the kernel did to code at load time, and follows the flow.
/// Hands the result to `then`.
///
/// Without any module file the scan is all there is; without any data the result is empty.
pub(crate) fn analyse_with<T>(
    reading: &Reading<'_>,
    options: &IptOptions,
    progress: &dyn Progress,
    then: impl FnOnce(&Analysis<'_, '_>) -> T,
) -> Result<T> {
    let saved = options.inputs.open()?;
    let chosen = Chosen::new(reading, &saved, &options.choice)?;
    with_execution(reading, options, &chosen, progress, |execution, _, warnings| {
        progress.phase("scanning the IPT data", None);
        let system = execution.system;
        let touched = touched(system.modules().address_map(), system.moment(), &chosen.streams());
        let reach = reached(system, &touched);
        let packets = chosen.packets();
        progress.phase("following the flow", Some(packets.iter().map(|bytes| bytes.len() as u64).sum()));
        let done = |bytes| progress.advance(bytes);
        let followed = match execution.has_code() {
            true => executed(&execution.code, &execution.layout, &execution.unknown_calls(), &packets, &done),
            false => Vec::new(),
        };
        let chosen = &chosen;
        Ok(then(&Analysis { reading, options, chosen, execution, touched, reach, followed, warnings }))
    })
}

/// Puts together the system at the time of the chosen snapshots, and hands it to `then` with the number of files that
/// were looked at and the warnings so far.
pub(super) fn with_execution<T>(
    reading: &Reading<'_>,
    options: &IptOptions,
    chosen: &Chosen<'_>,
    progress: &dyn Progress,
    then: impl FnOnce(&Execution<'_, '_>, usize, Vec<String>) -> Result<T>,
) -> Result<T> {
    let modules: Vec<Module> = reading.snapshot.modules.iter().filter(|module| module.kernel).cloned().collect();
    let moment = chosen.moment().unwrap_or(reading.end);
    let index = options.search.index(&modules, progress)?;
    progress.phase("reading module files", None);
    let mut files = Files::find(&modules, &index);
    let parsed = files.parse();
    progress.phase("weighing import calls", None);
    let open = options.import_optimization == Choice::Auto || options.retpoline == Choice::Auto;
    let captured = if open { captured_forms(reading, &modules, &parsed) } else { None };
    let system = System::reconstruct(
        &parsed,
        &Setting {
            machine: &reading.snapshot.machine,
            moment,
            moment_name: &format!("at {moment:.3} s"),
            import_optimization: options.import_optimization,
            retpoline: options.retpoline,
            function_overrides: options.function_overrides,
            capabilities: &options.capabilities,
            packets: &chosen.packets(),
            detect: Detect::Always,
            captured: captured.as_ref(),
        },
    );
    let mut warnings = reading.warnings.clone();
    warnings.extend(displacement_warnings(system.modules(), chosen));
    warnings.extend(index.notes().iter().cloned());
    warnings.extend(system.warnings().iter().cloned());
    warnings.extend(system.override_doubts());
    then(&Execution::new(&system), index.looked_at(), warnings)
}

/// Modules that held addresses of others while some of the snapshots were taken.
fn displacement_warnings(modules: &Bound<'_>, chosen: &Chosen<'_>) -> Vec<String> {
    let warning = |&(module, winner): &(ModuleId, ModuleId)| {
        let (module, winner) = (&modules.entry(module).module, &modules.entry(winner).module);
        let count = chosen.times().filter(|&time| module.live_at(time) && !winner.live_at(time)).count();
        (count > 0).then(|| {
            format!(
                "{} lay where {} was later; {count} of the snapshots are from before: choose only those to see it",
                module.name, winner.name
            )
        })
    };
    modules.owners().displaced().iter().filter_map(warning).collect()
}
