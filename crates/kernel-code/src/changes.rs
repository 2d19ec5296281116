//! Load-time changes: was import optimization on, was retpoline? (Function overrides are decided in `override_modes`.) What the user says, else what captured code says
//! (`captured`), else what the IPT data says, else
//! what the build of Windows does by default.

use address_map::ModuleId;
use call_forms::{Answer, MIN_VOTES, Verdict};
use kernel_snapshot::{Architecture, Machine};
use pe_image::{ImportOptimizationDefault, import_optimization_by_default};

use crate::junctions::Question;

/// What the IPT data says about load-time changes.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The verdict.
    pub verdict: Verdict,
    /// Each module of [`Verdict::per_module`].
    pub modules: Vec<ModuleId>,
    /// What each of [`Verdict::decisions`] is about.
    pub questions: Vec<Question>,
}

impl Evidence {
    /// What no module and no packet says.
    pub fn nothing() -> Self {
        let verdict = Verdict {
            import_optimization: Answer::Undecided,
            votes_on: 0,
            votes_off: 0,
            per_module: Vec::new(),
            retpoline: Answer::Undecided,
            retpoline_votes: Default::default(),
            decisions: Vec::new(),
            missing: Default::default(),
            given_up: None,
            streams: Vec::new(),
            steps: 0,
        };
        Self { verdict, modules: Vec::new(), questions: Vec::new() }
    }
}

/// An answer that the user may give, or leave to the tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Find out.
    #[default]
    Auto,
    /// Yes.
    On,
    /// No.
    Off,
}

/// An answer, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// On or off.
    pub on: bool,
    /// One sentence.
    pub reason: String,
}

impl Mode {
    fn new(on: bool, reason: impl Into<String>) -> Self {
        Self { on, reason: reason.into() }
    }
}

/// A change over all modules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// In every module.
    On,
    /// In none.
    Off,
    /// In some.
    Mixed,
}

impl Extent {
    /// The word for it, in reports and in a dump's provenance.
    pub fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Mixed => "mixed",
        }
    }
}

impl From<bool> for Extent {
    fn from(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }
}

/// Whether a change was made, for each module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modes {
    /// All together.
    pub extent: Extent,
    /// Why.
    pub reason: String,
    /// Modules that are decided by themselves, by number.
    decided: Vec<Option<Mode>>,
    /// The others.
    others: Mode,
}

impl Modes {
    /// The same for all.
    pub(crate) fn same(mode: Mode) -> Self {
        Self { extent: mode.on.into(), reason: mode.reason.clone(), decided: Vec::new(), others: mode }
    }

    /// Each module by itself, where `decided` says so.
    pub(crate) fn by_module(extent: Extent, reason: String, decided: Vec<Option<Mode>>, others: Mode) -> Self {
        Self { extent, reason, decided, others }
    }

    /// Whether a module is decided by itself.
    pub(crate) fn is_decided(&self, module: ModuleId) -> bool {
        self.decided.get(module.0).is_some_and(Option::is_some)
    }

    /// What holds for a module.
    pub fn of(&self, module: ModuleId) -> &Mode {
        self.decided.get(module.0).and_then(Option::as_ref).unwrap_or(&self.others)
    }
}

/// Import optimization: the IPT data decides module by module where it can. Modules without enough witnesses are as all
/// together; where that is open too, because there are too few or modules differ, the build of Windows decides.
pub fn import_optimization(choice: Choice, machine: &Machine, evidence: Option<&Evidence>) -> Modes {
    match choice {
        Choice::On => return Modes::same(Mode::new(true, "asked for")),
        Choice::Off => return Modes::same(Mode::new(false, "asked for")),
        Choice::Auto if machine.architecture_or_x64() != Architecture::Amd64 => {
            return Modes::same(Mode::new(false, "only x64 kernels are known to have it"));
        }
        Choice::Auto => {}
    }
    let default = default_mode(machine);
    match evidence {
        Some(evidence) => decided(&evidence.verdict, &evidence.modules, default),
        None if default.on => {
            Modes::same(Mode::new(true, format!("{}; there is no Intel PT data to decide it", default.reason)))
        }
        None => Modes::same(default),
    }
}

/// What the build of Windows does by default with import calls.
pub(crate) fn default_mode(machine: &Machine) -> Mode {
    let build = machine.os.build;
    let named = match machine.os.revision {
        Some(revision) => format!("Windows build {build}.{revision}"),
        None => format!("Windows build {build}"),
    };
    match import_optimization_by_default(build, machine.os.revision) {
        ImportOptimizationDefault::On => {
            Mode::new(true, format!("Windows build {build} has it on unless switched off"))
        }
        ImportOptimizationDefault::Absent => {
            Mode::new(false, format!("{named} does not have it; it came with the March 2019 update of 1809, 17763.348"))
        }
        _ => {
            Mode::new(true, format!("undecided, assumed on: {named} has it where the processor's mitigations allow it"))
        }
    }
}

fn decided(verdict: &Verdict, modules: &[ModuleId], default: Mode) -> Modes {
    let (on, off) = (verdict.votes_on, verdict.votes_off);
    let calls = format!("{} executed in the trace", counted(on + off, "import call"));
    let mut decided = vec![None; modules.iter().max().map_or(0, |last| last.0 + 1)];
    for (module, &id) in verdict.per_module.iter().zip(modules) {
        let votes = module.votes.on + module.votes.off;
        let mode = |on| Mode::new(on, format!("decided from {} executed in the trace", counted(votes, "import call")));
        decided[id.0] = match module.import_optimization {
            Answer::On => Some(mode(true)),
            Answer::Off => Some(mode(false)),
            Answer::Undecided | Answer::Irrelevant => None,
        };
    }
    let says = |answer: bool| decided.iter().flatten().filter(|mode| mode.on == answer).count() as u32;
    let (modules_on, modules_off) = (says(true), says(false));
    let votes = format!("{on} direct, {off} through the import table");
    match verdict.import_optimization {
        Answer::On | Answer::Off => {
            let on = verdict.import_optimization == Answer::On;
            let reason = format!("decided from {calls}: {votes}");
            Modes { extent: on.into(), reason, decided, others: Mode::new(on, "as the modules that the trace decides") }
        }
        _ if modules_on > 0 && modules_off > 0 => {
            let reason = format!(
                "decided module by module from {calls}: on in {}, off in {}; in the others {}, because {}",
                counted(modules_on, "module"),
                counted(modules_off, "module"),
                Extent::from(default.on).name(),
                default.reason
            );
            Modes { extent: Extent::Mixed, reason, decided, others: default }
        }
        _ => {
            let neither: u32 = verdict.per_module.iter().map(|module| module.votes.contradictory).sum();
            let why = match on + off {
                votes if neither > votes => {
                    format!(
                        "{} fit neither form, as with module files of another version",
                        counted(neither, "import call")
                    )
                }
                0 => "no executed import call distinguishes the two forms".to_owned(),
                votes if votes < MIN_VOTES => format!("only {calls} tell the two forms apart, {MIN_VOTES} are needed"),
                _ => format!("{calls} do not agree: {votes}"),
            };
            let others = Mode::new(default.on, format!("{}; the Intel PT data is inconclusive: {why}", default.reason));
            // One module may be decided by votes that are too few of all.
            let differ = decided.iter().flatten().any(|mode: &Mode| mode.on != others.on);
            let extent = if differ { Extent::Mixed } else { others.on.into() };
            Modes { extent, reason: others.reason.clone(), decided, others }
        }
    }
}

/// Retpoline: on when the IPT data shows it.
pub fn retpoline(choice: Choice, evidence: Option<&Evidence>) -> Mode {
    let verdict = evidence.map(|evidence| (&evidence.verdict.retpoline, &evidence.verdict.retpoline_votes));
    match (choice, verdict) {
        (Choice::On, _) => Mode::new(true, "asked for"),
        (Choice::Off, _) => Mode::new(false, "asked for"),
        (Choice::Auto, Some((Answer::On, votes))) => Mode::new(
            true,
            format!(
                "decided from the trace: {} in stub pages, {} to rewritten calls",
                counted(votes.in_stubs, "address"),
                counted(votes.rewritten_returns, "return")
            ),
        ),
        (Choice::Auto, Some((Answer::Off, votes))) => Mode::new(
            false,
            format!("decided from the trace: {} to calls as linked", counted(votes.linked_returns, "return")),
        ),
        (Choice::Auto, _) => Mode::new(false, "no evidence, assumed off"),
    }
}

pub(crate) fn counted(number: u32, noun: &str) -> String {
    let plural = match (number, noun.ends_with('s')) {
        (1, _) => "",
        (_, true) => "es",
        _ => "s",
    };
    format!("{number} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::{Choice, Evidence, import_optimization, retpoline};
    use call_forms::{Answer, ModuleVerdict, RetpolineVotes, Verdict, Votes};

    use address_map::ModuleId;
    use kernel_snapshot::{Architecture, Machine};

    fn machine(architecture: Architecture, build: u32) -> Machine {
        let mut machine = Machine { architecture: Some(architecture), ..Machine::default() };
        machine.os.build = build;
        machine
    }

    #[test]
    fn the_build_decides_when_nothing_else_does() {
        let cases = [
            (Choice::Auto, Architecture::Amd64, 17763, true),
            (Choice::Auto, Architecture::Amd64, 17134, false),
            (Choice::Auto, Architecture::Arm64, 26100, false),
            (Choice::On, Architecture::Amd64, 9200, true),
            (Choice::Off, Architecture::Amd64, 26100, false),
        ];
        for (choice, architecture, build, expected) in cases {
            let modes = import_optimization(choice, &machine(architecture, build), None);
            let mode = modes.of(ModuleId(7));
            assert_eq!(mode.on, expected, "{choice:?} {architecture:?} {build}: {}", mode.reason);
        }
    }

    /// Modules by their votes; module 0 has no file, so the first one of the verdict is module 1.
    fn evidence(votes: &[(u32, u32)], overall: Answer) -> Evidence {
        let module = |&(on, off): &(u32, u32)| {
            let votes = Votes { on, off, ..Votes::default() };
            ModuleVerdict { name: "m.sys".into(), import_optimization: votes.answer(), votes }
        };
        let verdict = Verdict {
            import_optimization: overall,
            votes_on: votes.iter().map(|votes| votes.0).sum(),
            votes_off: votes.iter().map(|votes| votes.1).sum(),
            per_module: votes.iter().map(module).collect(),
            retpoline: Answer::Undecided,
            retpoline_votes: RetpolineVotes::default(),
            decisions: Vec::new(),
            missing: Default::default(),
            given_up: None,
            streams: Vec::new(),
            steps: 0,
        };
        Evidence { verdict, modules: (1..=votes.len()).map(ModuleId).collect(), questions: Vec::new() }
    }

    #[test]
    fn the_revision_decides_about_1809() {
        let cases = [
            (17763, Some(107), false, "17763.107 does not have it"),
            (17763, Some(379), true, "undecided, assumed on: Windows build 17763.379"),
            (17763, None, true, "undecided, assumed on"),
            (18362, None, true, "undecided, assumed on"),
            (19041, None, true, "has it on unless switched off"),
        ];
        for (build, revision, expected, words) in cases {
            let mut machine = machine(Architecture::Amd64, build);
            machine.os.revision = revision;
            let modes = import_optimization(Choice::Auto, &machine, None);
            let mode = modes.of(ModuleId(7));
            assert_eq!(mode.on, expected, "{build}: {}", mode.reason);
            assert!(mode.reason.contains(words), "{}", mode.reason);
        }
    }

    #[test]
    fn the_trace_decides_module_by_module() {
        /// Votes, overall answer; expected: all together, modules 0 to 3, words of the reason.
        type Case<'a> = (&'a [(u32, u32)], Answer, &'a str, [bool; 4], &'a str);
        let cases: &[Case<'_>] = &[
            (
                &[(40, 0), (1, 0), (0, 0)],
                Answer::On,
                "on",
                [true; 4],
                "41 import calls executed in the trace: 41 direct",
            ),
            (&[(0, 40), (0, 1), (0, 0)], Answer::Off, "off", [false; 4], "0 direct, 41 through"),
            (
                &[(0, 9), (9, 0), (1, 0)],
                Answer::Undecided,
                "mixed",
                [true, false, true, true],
                "on in 1 module, off in 1",
            ),
            (
                &[(1, 0), (2, 0), (0, 0)],
                Answer::Undecided,
                "on",
                [true; 4],
                "only 3 import calls executed in the trace tell the two forms apart, 4",
            ),
            (&[(5, 5), (0, 0), (0, 0)], Answer::Undecided, "on", [true; 4], "do not agree: 5 direct, 5"),
            (&[(0, 0), (0, 0), (0, 0)], Answer::Undecided, "on", [true; 4], "no executed import call"),
            (&[(3, 2), (0, 4), (0, 0)], Answer::Undecided, "mixed", [true, true, false, true], "do not agree"),
        ];
        for (votes, overall, mode, on, words) in cases {
            let evidence = evidence(votes, *overall);
            let modes = import_optimization(Choice::Auto, &machine(Architecture::Amd64, 26100), Some(&evidence));
            assert_eq!(modes.extent.name(), *mode, "{votes:?}");
            assert_eq!([0, 1, 2, 3].map(|module| modes.of(ModuleId(module)).on), *on, "{votes:?}");
            assert!(modes.reason.contains(words), "{votes:?}: {}", modes.reason);
            let asked = import_optimization(Choice::Off, &machine(Architecture::Amd64, 26100), Some(&evidence));
            assert!(!asked.of(ModuleId(2)).on, "the user's word comes first");
        }
    }

    #[test]
    fn retpoline_is_on_when_it_shows() {
        let mut evidence = evidence(&[(9, 0)], Answer::On);
        assert_eq!(retpoline(Choice::Auto, Some(&evidence)).reason, "no evidence, assumed off");
        evidence.verdict.retpoline = Answer::On;
        evidence.verdict.retpoline_votes = RetpolineVotes { in_stubs: 1, rewritten_returns: 2, linked_returns: 0 };
        let mode = retpoline(Choice::Auto, Some(&evidence));
        assert_eq!(
            (mode.on, &*mode.reason),
            (true, "decided from the trace: 1 address in stub pages, 2 returns to rewritten calls")
        );
        assert!(!retpoline(Choice::Off, Some(&evidence)).on);
    }
}
