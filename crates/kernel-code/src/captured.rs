//! Load-time changes as the code that a dump captured shows them: the bytes themselves have one form or the other.

use call_forms::MIN_VOTES;
use kernel_snapshot::{Architecture, Machine};

use crate::changes::{Choice, Extent, ImportModes, Mode, default_mode};

/// The sites in captured code, counted by their form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapturedForms {
    /// Import calls of each module, by its number.
    pub imports: Vec<FormCounts>,
    /// Calls and jumps of all modules that go through the kernel's retpoline stubs.
    pub retpoline: u64,
}

/// Import calls of one module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormCounts {
    /// Calls that lead directly to the imported function.
    pub direct: u64,
    /// Calls through the import table, as the linker made them.
    pub linked: u64,
}

/// Percentage of sites that must agree. Bytes that only look like a site are rare, and code that was copied or hooked
/// need not be as the kernel made it.
const AGREEMENT: u64 = 90;

impl FormCounts {
    fn total(self) -> u64 {
        self.direct + self.linked
    }

    /// On or off, when the sites agree.
    fn answer(self) -> Option<bool> {
        let agree = |sites: u64| sites > 0 && sites * 100 >= self.total() * AGREEMENT;
        match (agree(self.direct), agree(self.linked)) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }
}

/// Import optimization, module by module; `None` when the user decided or the captured code does not.
///
/// A module without captured sites is as all modules together, if those agree and are at least [`MIN_VOTES`]; otherwise
/// the build of Windows decides for it.
pub(crate) fn import_optimization(choice: Choice, machine: &Machine, forms: &CapturedForms) -> Option<ImportModes> {
    if choice != Choice::Auto || machine.architecture_or_x64() != Architecture::Amd64 {
        return None;
    }
    let mut all = FormCounts::default();
    for module in &forms.imports {
        all.direct += module.direct;
        all.linked += module.linked;
    }
    let counts = |counts: FormCounts| format!("{} direct, {} as linked", counts.direct, counts.linked);
    let decided: Vec<Option<Mode>> = forms
        .imports
        .iter()
        .map(|&module| {
            let reason = || format!("decided from the import calls in its captured code: {}", counts(module));
            module.answer().map(|on| Mode { on, reason: reason() })
        })
        .collect();
    if decided.iter().all(Option::is_none) {
        return None;
    }
    let sites = format!("the {} import calls in the captured code: {}", all.total(), counts(all));
    let (reason, others) = match all.answer().filter(|_| all.total() >= u64::from(MIN_VOTES)) {
        Some(on) => {
            (format!("decided from {sites}"), Mode { on, reason: "as the modules whose code was captured".into() })
        }
        None => {
            let default = default_mode(machine);
            let rest = Extent::from(default.on).name();
            let reason =
                format!("decided module by module from {sites}; in the others {rest}, because {}", default.reason);
            (reason, default)
        }
    };
    let differ = decided.iter().flatten().any(|mode| mode.on != others.on);
    let extent = if differ { Extent::Mixed } else { others.on.into() };
    Some(ImportModes::by_module(extent, reason, decided, others))
}

/// Retpoline; `None` when the user decided or no captured code goes through a stub. That none does proves nothing: only
/// some of a module's branches are rewritten.
pub(crate) fn retpoline(choice: Choice, forms: &CapturedForms) -> Option<Mode> {
    let sites = forms.retpoline;
    let reason = || format!("decided from the captured code: {sites} branches through the kernel's retpoline stubs");
    (choice == Choice::Auto && sites > 0).then(|| Mode { on: true, reason: reason() })
}

#[cfg(test)]
mod tests {
    use super::{CapturedForms, Choice, FormCounts, import_optimization, retpoline};
    use address_map::ModuleId;
    use kernel_snapshot::{Architecture, Machine};

    fn forms(imports: &[(u64, u64)], retpoline: u64) -> CapturedForms {
        let imports = imports.iter().map(|&(direct, linked)| FormCounts { direct, linked }).collect();
        CapturedForms { imports, retpoline }
    }

    fn machine() -> Machine {
        let mut machine = Machine { architecture: Some(Architecture::Amd64), ..Machine::default() };
        machine.os.build = 19041;
        machine
    }

    #[test]
    fn captured_import_calls_decide_their_modules_and_the_rest() {
        /// Sites by module; all together, then modules 0 to 3 (3 has no sites), words of the reason.
        type Case<'a> = (&'a [(u64, u64)], Option<(&'a str, [bool; 4], &'a str)>);
        let cases: &[Case<'_>] = &[
            (&[(0, 13), (0, 0)], Some(("off", [false; 4], "13 import calls in the captured code: 0 direct, 13"))),
            (&[(174, 0), (2, 0)], Some(("on", [true; 4], "176 direct, 0 as linked"))),
            // The file of one module was hooked in one place.
            (&[(19, 1), (2, 0)], Some(("on", [true; 4], "21 direct, 1 as linked"))),
            // Modules differ: the build decides for the others.
            (&[(5, 0), (0, 5)], Some(("mixed", [true, false, true, true], "module by module"))),
            // Too few to say something about other modules.
            (&[(0, 3)], Some(("mixed", [false, true, true, true], "3 import calls"))),
            // No module is of one mind, or none has sites.
            (&[(5, 5)], None),
            (&[(0, 0), (0, 0)], None),
            (&[], None),
        ];
        for (sites, expected) in cases {
            let modes = import_optimization(Choice::Auto, &machine(), &forms(sites, 0));
            let Some((extent, on, words)) = expected else {
                assert_eq!(modes, None, "{sites:?}");
                continue;
            };
            let modes = modes.unwrap();
            assert_eq!(modes.extent.name(), *extent, "{sites:?}");
            assert_eq!([0, 1, 2, 3].map(|module| modes.of(ModuleId(module)).on), *on, "{sites:?}");
            assert!(modes.reason.contains(words), "{sites:?}: {}", modes.reason);
        }
        assert_eq!(import_optimization(Choice::Off, &machine(), &forms(&[(9, 0)], 0)), None, "the user's word counts");
    }

    #[test]
    fn one_branch_through_a_stub_shows_retpoline() {
        assert_eq!(retpoline(Choice::Auto, &forms(&[], 0)), None);
        assert_eq!(retpoline(Choice::Off, &forms(&[], 9)), None);
        let mode = retpoline(Choice::Auto, &forms(&[], 104)).unwrap();
        assert!(mode.on && mode.reason.contains("104 branches"), "{}", mode.reason);
    }
}
