//! Load-time changes as a dump shows them: the bytes of captured code have one form or the other, and a return address on
//! a captured stack lies where the call of one form or the other ends.

use address_map::ModuleId;
use call_forms::MIN_VOTES;
use kernel_snapshot::{Architecture, Machine};

use crate::changes::{Extent, Mode, Modes, default_mode};

/// The sites of load-time changes that a dump shows, counted by their form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CapturedForms {
    /// Those in captured code.
    pub code: SiteForms,
    /// Those that a return address on a captured stack lies after, also where the code was not captured. A rewritten
    /// import call is a direct one, or, with retpolines on, one through a stub.
    pub stacks: SiteForms,
}

/// Sites by their form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteForms {
    /// Import calls of each module, by its number.
    pub imports: Vec<FormCounts>,
    /// Indirect branches of all modules. Those as linked are known of modules with a file only.
    pub retpoline: FormCounts,
}

/// Sites of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FormCounts {
    /// As the kernel rewrites them: import calls that lead directly to the function, branches through a retpoline stub.
    pub rewritten: u64,
    /// As the linker made them.
    pub linked: u64,
}

/// Percentage of sites that must agree. Bytes that only look like a site are rare, and code that was copied or hooked
/// need not be as the kernel made it.
const AGREEMENT: u64 = 90;

impl FormCounts {
    fn total(self) -> u64 {
        self.rewritten + self.linked
    }

    /// On or off, when the sites agree.
    fn answer(self) -> Option<bool> {
        let agree = |sites: u64| sites > 0 && sites * 100 >= self.total() * AGREEMENT;
        match (agree(self.rewritten), agree(self.linked)) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }
}

impl std::ops::Add for FormCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { rewritten: self.rewritten + other.rewritten, linked: self.linked + other.linked }
    }
}

impl std::iter::Sum for FormCounts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, counts| sum + counts)
    }
}

impl CapturedForms {
    /// Import optimization, module by module; `None` when neither the captured code nor the stacks decide.
    ///
    /// A module's own captured code comes first, then the return addresses on stacks, whose values may be stale. A module
    /// without sites is as all modules together, if those agree and are at least [`MIN_VOTES`]; otherwise the build of
    /// Windows decides for it.
    pub fn import_optimization(&self, machine: &Machine) -> Option<Modes> {
        if machine.architecture_or_x64() != Architecture::Amd64 {
            return None;
        }
        let stacks = self.returns_after_imports();
        let (in_code, on_stacks) = (self.code.imports.iter().copied().sum(), stacks.iter().copied().sum());
        let counts = |counts: FormCounts| format!("{} direct, {} as linked", counts.rewritten, counts.linked);
        let own = |(&code, &stack): (&FormCounts, &FormCounts)| {
            let from_code = || Mode {
                on: code.answer() == Some(true),
                reason: format!("decided from the import calls in its captured code: {}", counts(code)),
            };
            let from_stacks = || Mode {
                on: stack.answer() == Some(true),
                reason: format!("decided from return addresses on captured stacks: {}", after(stack)),
            };
            code.answer().map(|_| from_code()).or_else(|| stack.answer().map(|_| from_stacks()))
        };
        let decided: Vec<Option<Mode>> = self.code.imports.iter().zip(&stacks).map(own).collect();
        if decided.iter().all(Option::is_none) {
            return None;
        }
        let sites = witnesses(in_code, on_stacks, counts);
        let enough = |all: FormCounts| all.answer().filter(|_| all.total() >= u64::from(MIN_VOTES));
        let (reason, others) = match enough(in_code).or_else(|| enough(in_code + on_stacks)) {
            Some(on) => {
                let reason = "as the modules of which the dump shows import calls".into();
                (format!("decided from {sites}"), Mode { on, reason })
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
        Some(Modes::by_module(extent, reason, decided, others))
    }

    /// Retpoline; `None` when neither the captured code nor the stacks show it.
    ///
    /// One branch through a stub shows that it was on: only some of a module's branches are rewritten. It was off when
    /// branches that a module's file lists are as linked, and none goes through a stub.
    pub fn retpoline(&self) -> Option<Mode> {
        let (code, stacks) = (self.code.retpoline, self.stacks.retpoline);
        let on = if code.rewritten > 0 { true } else { (code + stacks).answer()? };
        let in_code = |counts: FormCounts| {
            let through = format!("{} through the kernel's retpoline stubs", counts.rewritten);
            if counts.linked > 0 { format!("{through}, {} as linked", counts.linked) } else { through }
        };
        let from = match (code.total(), stacks.total()) {
            (_, 0) => format!("the branches in the captured code: {}", in_code(code)),
            (0, _) => format!("return addresses on captured stacks: {}", after(stacks)),
            _ => format!(
                "the branches in the captured code: {}; and from return addresses on captured stacks: {}",
                in_code(code),
                after(stacks)
            ),
        };
        Some(Mode { on, reason: format!("decided from {from}") })
    }

    /// Modules whose captured code and whose return addresses on stacks say the opposite.
    pub(crate) fn contradictions(&self) -> impl Iterator<Item = ModuleId> + '_ {
        let stacks = self.returns_after_imports();
        let differ = move |number: &usize| {
            let (code, stack) = (self.code.imports[*number].answer(), stacks.get(*number).and_then(|s| s.answer()));
            code.is_some() && stack.is_some() && code != stack
        };
        (0..self.code.imports.len()).filter(differ).map(ModuleId)
    }

    /// What return addresses say of import calls: those after rewritten calls count only where no call goes through a
    /// stub, which ends in the same place.
    fn returns_after_imports(&self) -> Vec<FormCounts> {
        let is_retpolined = self.retpoline().is_some_and(|mode| mode.on);
        let count = |counts: &FormCounts| FormCounts {
            rewritten: if is_retpolined { 0 } else { counts.rewritten },
            linked: counts.linked,
        };
        let mut stacks: Vec<FormCounts> = self.stacks.imports.iter().map(count).collect();
        stacks.resize(self.code.imports.len(), FormCounts::default());
        stacks
    }
}

/// What return addresses say.
fn after(counts: FormCounts) -> String {
    format!("{} after rewritten calls, {} after calls as linked", counts.rewritten, counts.linked)
}

/// All witnesses of import calls in words.
fn witnesses(code: FormCounts, stacks: FormCounts, counts: impl Fn(FormCounts) -> String) -> String {
    let in_code = format!("the {} import calls in the captured code: {}", code.total(), counts(code));
    match (code.total(), stacks.total()) {
        (_, 0) => in_code,
        (0, _) => format!("{} return addresses on captured stacks: {}", stacks.total(), after(stacks)),
        _ => format!("{in_code}; and from {} return addresses on captured stacks: {}", stacks.total(), after(stacks)),
    }
}

#[cfg(test)]
mod tests {
    use super::{CapturedForms, FormCounts, SiteForms};
    use address_map::ModuleId;
    use kernel_snapshot::{Architecture, Machine};

    fn counts((rewritten, linked): (u64, u64)) -> FormCounts {
        FormCounts { rewritten, linked }
    }

    /// Import calls by module in captured code and before return addresses; indirect branches likewise.
    fn forms(code: &[(u64, u64)], stacks: &[(u64, u64)], retpoline: [(u64, u64); 2]) -> CapturedForms {
        let of = |imports: &[(u64, u64)], retpoline| SiteForms {
            imports: imports.iter().copied().map(counts).collect(),
            retpoline: counts(retpoline),
        };
        CapturedForms { code: of(code, retpoline[0]), stacks: of(stacks, retpoline[1]) }
    }

    fn machine() -> Machine {
        let mut machine = Machine { architecture: Some(Architecture::Amd64), ..Machine::default() };
        machine.os.build = 19041;
        machine
    }

    /// All together, then modules 0 to 3 (3 has no sites), words of the reason.
    type Expected<'a> = Option<(&'a str, [bool; 4], &'a str)>;

    fn check(forms: &CapturedForms, expected: Expected<'_>) {
        let modes = forms.import_optimization(&machine());
        let Some((extent, on, words)) = expected else {
            assert_eq!(modes, None, "{forms:?}");
            return;
        };
        let modes = modes.unwrap();
        assert_eq!(modes.extent.name(), extent, "{forms:?}");
        assert_eq!([0, 1, 2, 3].map(|module| modes.of(ModuleId(module)).on), on, "{forms:?}");
        assert!(modes.reason.contains(words), "{forms:?}: {}", modes.reason);
    }

    #[test]
    fn captured_import_calls_decide_their_modules_and_the_rest() {
        let cases: &[(&[(u64, u64)], Expected<'_>)] = &[
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
        for (code, expected) in cases {
            check(&forms(code, &[], [(0, 0); 2]), *expected);
        }
        let mut machine = machine();
        machine.architecture = Some(Architecture::Arm64);
        assert_eq!(forms(&[(0, 13)], &[], [(0, 0); 2]).import_optimization(&machine), None);
    }

    #[test]
    fn return_addresses_decide_where_no_code_was_captured() {
        let check = |code: &[(u64, u64)], stacks: &[(u64, u64)], retpoline, expected| {
            check(&forms(code, stacks, retpoline), expected);
        };
        let none = [(0, 0); 2];
        check(&[(0, 0); 2], &[(0, 5), (0, 0)], none, Some(("off", [false; 4], "5 return addresses")));
        check(&[(0, 0); 2], &[(5, 0), (0, 0)], none, Some(("on", [true; 4], "5 after rewritten calls, 0 after")));
        // A module's own code comes first; the stacks decide for the other one.
        check(&[(9, 0), (0, 0)], &[(0, 3), (0, 3)], none, Some(("mixed", [true, false, true, true], "9 direct")));
        // Code and stacks together are enough for the others.
        check(&[(0, 3), (0, 0)], &[(0, 0), (0, 3)], none, Some(("off", [false; 4], "3 import calls")));
        // With retpolines a call through a stub ends where a direct one does.
        check(&[(0, 0)], &[(5, 0)], [(1, 0), (0, 0)], None);
        check(&[(0, 0)], &[(5, 4)], [(1, 0), (0, 0)], Some(("off", [false; 4], "0 after rewritten calls, 4")));
    }

    #[test]
    fn contradictions_are_found() {
        let found = |code: &[(u64, u64)], stacks: &[(u64, u64)]| {
            forms(code, stacks, [(0, 0); 2]).contradictions().map(|module| module.0).collect::<Vec<_>>()
        };
        assert_eq!(found(&[(9, 0), (0, 2), (1, 0), (0, 0)], &[(0, 3), (0, 1), (0, 0), (0, 9)]), [0]);
    }

    #[test]
    fn one_branch_through_a_stub_shows_retpoline() {
        /// Branches in code and before return addresses; on or off, and words of the reason.
        type Case<'a> = ([(u64, u64); 2], Option<(bool, &'a str)>);
        let cases: &[Case<'_>] = &[
            ([(0, 0), (0, 0)], None),
            ([(104, 0), (0, 0)], Some((true, "branches in the captured code: 104 through"))),
            // Some sections are never rewritten.
            ([(1, 50), (0, 0)], Some((true, "1 through the kernel's retpoline stubs, 50 as linked"))),
            ([(0, 7), (0, 0)], Some((false, "0 through the kernel's retpoline stubs, 7 as linked"))),
            ([(0, 0), (4, 0)], Some((true, "4 after rewritten calls, 0"))),
            ([(0, 0), (0, 3)], Some((false, "0 after rewritten calls, 3"))),
            // One value on a stack may be anything.
            ([(0, 50), (1, 0)], Some((false, "1 after rewritten"))),
            ([(0, 2), (2, 0)], None),
        ];
        for &(retpoline, expected) in cases {
            let mode = forms(&[], &[], retpoline).retpoline();
            assert_eq!(mode.as_ref().map(|mode| mode.on), expected.map(|(on, _)| on), "{retpoline:?}");
            if let (Some(mode), Some((_, words))) = (mode, expected) {
                assert!(mode.reason.contains(words), "{retpoline:?}: {}", mode.reason);
            }
        }
    }
}
