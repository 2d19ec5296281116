//! Function overrides, decided: from the votes of executed calls, else by the build of Windows.

use address_map::ModuleId;
use call_forms::{Decided, DecisionVotes, MIN_VOTES};
use pe_image::{Capabilities, OverrideTarget};

use crate::changes::{Choice, Evidence, Extent, Mode, Modes, counted};
use crate::junctions::Question;

/// What is decided about function overrides.
#[derive(Debug)]
pub(crate) struct Overrides {
    /// Whether calls are re-pointed.
    pub modes: Modes,
    /// What is known of the machine after all.
    pub capabilities: Capabilities,
    /// Whether the kernel's functions for guarded calls look at kernel CFG's bitmap.
    pub kernel_cfg: bool,
    /// What the votes do not agree about.
    pub doubts: Vec<String>,
}

/// What the questions of one scope, a module or the machine, say.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    /// Calls that were re-pointed, and calls that were not.
    on: u32,
    off: u32,
    /// Calls that were met.
    met: u32,
}

impl Tally {
    fn mode(self) -> Option<Mode> {
        let on = match (self.on, self.off) {
            (1.., 0) => true,
            (0, 1..) => false,
            _ => return None,
        };
        let calls = counted(self.on + self.off, "call");
        Some(Mode { on, reason: format!("decided from {calls} of overridden functions executed in the trace") })
    }
}

/// Decides. `default` is what the user, or the build of Windows, says.
pub(crate) fn decide(
    choice: Choice,
    default: Mode,
    capabilities: Capabilities,
    evidence: Option<&Evidence>,
    name: impl Fn(ModuleId) -> String,
) -> Overrides {
    let mut out =
        Overrides { modes: Modes::same(default.clone()), capabilities, kernel_cfg: false, doubts: Vec::new() };
    let Some(evidence) = evidence.filter(|_| choice != Choice::Off) else { return out };
    let mut machine = Tally::default();
    let mut modules: Vec<(ModuleId, Tally)> = Vec::new();
    let mut checked = None;
    for (question, votes) in evidence.questions.iter().zip(&evidence.verdict.decisions) {
        if question.diagram.is_none() {
            if votes.decided() == Decided::Way(1) {
                (out.kernel_cfg, checked) = (true, Some(votes.ways[1]));
            }
            out.doubts.extend(doubt(question, votes, "the kernel's functions for guarded calls"));
            continue;
        }
        let tally = match question.module {
            None => &mut machine,
            Some(module) => match modules.iter().position(|(of, _)| *of == module) {
                Some(place) => &mut modules[place].1,
                None => {
                    modules.push((module, Tally::default()));
                    &mut modules.last_mut().expect("just added").1
                }
            },
        };
        let whose = question.module.map_or_else(|| "all drivers".to_owned(), &name);
        tally.met += votes.total() + votes.ambiguous;
        out.doubts.extend(doubt(question, votes, &format!("calls of overridden functions of {whose}")));
        if let Decided::Way(way) = votes.decided() {
            out.weigh(question, way, votes.ways[way], tally, &whose);
        }
    }
    if choice == Choice::Auto {
        out.settle(default, machine, &modules);
    }
    if let Some(calls) = checked {
        let calls = counted(calls, "guarded call");
        let reason = &mut out.modes.reason;
        reason.push_str(&format!("; {calls} looked at the bitmap of kernel CFG (HVCI) first"));
    }
    out
}

impl Overrides {
    /// Weighs a decided question: what it says of overrides, and of the machine.
    fn weigh(&mut self, question: &Question, way: usize, calls: u32, tally: &mut Tally, whose: &str) {
        let required = self.required(question, way);
        match (question.targets[way], &required) {
            (OverrideTarget::Original, None) => tally.off += calls,
            // The function of the file may be the kernel's choice, or an override that was not applied.
            (OverrideTarget::Original, Some(_)) => return,
            _ => tally.on += calls,
        }
        let Some(required) = required else {
            if question.targets[way] != OverrideTarget::Original {
                self.doubts.push(format!(
                    "function overrides: {} of {whose} led to {}, to which no processor leads that is like this machine's",
                    counted(calls, "executed call"),
                    target(question.targets[way])
                ));
            }
            return;
        };
        for (number, is_set) in required {
            let known = std::mem::replace(&mut self.capabilities, Capabilities::exactly(&[]));
            self.capabilities = known.with(number, is_set);
        }
    }

    /// What must be true of the machine when it chose a way.
    fn required(&self, question: &Question, way: usize) -> Option<Vec<(u32, bool)>> {
        let diagram = question.diagram.as_ref()?;
        let has_system = |capability| question.targets.contains(&OverrideTarget::System(capability));
        let ends = question.ends[way].iter();
        ends.filter_map(|&end| diagram.requirements(end, &self.capabilities, has_system)).next()
    }

    /// Makes the modes of what the machine and its modules say.
    fn settle(&mut self, default: Mode, machine: Tally, modules: &[(ModuleId, Tally)]) {
        let Tally { on, off, .. } = machine;
        let others = match machine.mode() {
            Some(mode) => {
                let reason = format!("{}: {on} re-pointed, {off} as linked", mode.reason);
                Mode { reason, ..mode }
            }
            None if on > 0 => {
                self.doubts.push(format!(
                    "function overrides: {} led where the kernel would have them lead, and {} where the file has them",
                    counted(on, "executed call"),
                    off
                ));
                Mode { reason: format!("{}; the executed calls do not agree", default.reason), ..default }
            }
            None if machine.met > 0 => Mode {
                reason: format!("{}; no {MIN_VOTES} of the executed calls tell the functions apart", default.reason),
                ..default
            },
            None => default,
        };
        let mut decided = vec![None; modules.iter().map(|(module, _)| module.0 + 1).max().unwrap_or(0)];
        for (module, tally) in modules {
            decided[module.0] = tally.mode();
        }
        let differ = decided.iter().flatten().any(|mode: &Mode| mode.on != others.on);
        let extent = if differ { Extent::Mixed } else { others.on.into() };
        let (on, all) = (decided.iter().flatten().filter(|mode| mode.on).count(), decided.iter().flatten().count());
        let reason = match machine.mode() {
            Some(_) if !differ => others.reason.clone(),
            None if all == 0 => others.reason.clone(),
            _ => format!(
                "decided from executed calls: on in {}, off in {}; in the others {}, because {}",
                counted(on as u32, "module"),
                all - on,
                Extent::from(others.on).name(),
                others.reason
            ),
        };
        self.modes = Modes::by_module(extent, reason, decided, others);
    }
}

/// What is doubtful about the votes of a question.
fn doubt(question: &Question, votes: &DecisionVotes, what: &str) -> Option<String> {
    match votes.decided() {
        Decided::Contradiction => {
            let ways: Vec<String> = match question.diagram {
                None => vec![format!("{} at once", votes.ways[0]), format!("{} over the bitmap", votes.ways[1])],
                Some(_) => {
                    let ways = question.targets.iter().zip(&votes.ways);
                    ways.map(|(&to, calls)| format!("{calls} to {}", target(to))).collect()
                }
            };
            Some(format!("function overrides: {what} do not agree: {}", ways.join(", ")))
        }
        // What is assumed is refuted, and what holds in its place is open.
        Decided::Open if votes.ways.first() == Some(&0) && votes.excluded.first().is_some_and(|&n| n >= MIN_VOTES) => {
            Some(format!(
                "function overrides: {} of {} did not lead where they are taken to, and it is open to which other \
                 function they led",
                votes.excluded[0], what
            ))
        }
        _ => None,
    }
}

fn target(target: OverrideTarget) -> String {
    match target {
        OverrideTarget::Alternative(number) => format!("alternative {number}"),
        OverrideTarget::System(_) => "the kernel's function".to_owned(),
        _ => "the file's function".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use address_map::ModuleId;
    use call_forms::{DecisionVotes, Verdict};
    use pe_image::{Capabilities, Capability, MappedImage, PeFile, Policy, Processor, ProcessorVendor, StubBlock};
    use testkit::image::{At, Driver, GUARD, MEMSET, OverrideSpec, kernel_24h2};

    use super::{Overrides, decide};
    use crate::changes::{Choice, Evidence, Mode};
    use crate::junctions::Junctions;

    const KERNEL: u64 = 0xffff_f800_1000_0000;
    const NEAR: u64 = 0xffff_f800_2000_0000;

    fn known() -> Capabilities {
        Capabilities::of_kernel(&Processor { vendor: Some(ProcessorVendor::Intel), ..Processor::default() })
    }

    /// The questions of a driver: the guarded call, memset, kernel CFG.
    fn junctions(modules: &[(ModuleId, bool)]) -> Junctions {
        let kernel = kernel_24h2(&["ExFreePool"]).build();
        let kernel = MappedImage::new(PeFile::parse(&kernel.bytes).unwrap(), KERNEL, Policy::AS_LINKED);
        let stubs = StubBlock::from_kernel(&kernel).unwrap().unwrap();
        let mut driver = Driver::new("near.sys");
        let text = driver.code(".text", 0x2000);
        let at = |offset: u32| At(text, offset);
        let memset = OverrideSpec::new(at(0x40), vec![at(0x80), at(0xc0)], vec![at(0x100), at(0x120)]);
        let thunk = OverrideSpec::new(at(0x20), vec![at(0x20)], vec![at(0x180)]);
        driver.overrides = vec![thunk.decided_by(GUARD), memset.decided_by(MEMSET)];
        driver.dispatch = Some(at(0x30));
        let driver = driver.build();
        let image = MappedImage::new(PeFile::parse(&driver.bytes).unwrap(), NEAR, Policy::AS_LINKED);
        let image = image.with_stubs(&stubs).with_capabilities(&known());
        let mut junctions = Junctions::default();
        for &(module, alone) in modules {
            junctions.add(module, &image, Some(&stubs), alone);
        }
        junctions.add_guarded_calls(&stubs, KERNEL + 0x2000);
        junctions
    }

    fn decided(choice: Choice, on: bool, modules: &[(ModuleId, bool)], votes: &[&[u32]]) -> Overrides {
        let questions = junctions(modules).questions;
        assert_eq!(questions.len(), votes.len());
        let votes = votes.iter().map(|ways| DecisionVotes {
            ways: ways.to_vec(),
            excluded: vec![0; ways.len()],
            ..DecisionVotes::default()
        });
        let verdict = Verdict { decisions: votes.collect(), ..Evidence::nothing().verdict };
        let evidence = Evidence { verdict, modules: Vec::new(), questions };
        let default = Mode { on, reason: "the build".to_owned() };
        decide(choice, default, known(), Some(&evidence), |module| format!("module {}", module.0))
    }

    #[test]
    fn calls_decide_what_the_build_leaves_open() {
        /// Votes for the kernel's function and the thunk; for alternative 0, memset, alternative 1; without and with a check.
        type Case<'a> = ([&'a [u32]; 3], &'a str, &'a str, Capability, bool, &'a str);
        let assumed = Capability::AssumedSet;
        let cases: &[Case<'_>] = &[
            ([&[0, 0], &[0, 0, 0], &[0, 0]], "on", "the build", assumed, false, ""),
            ([&[9, 0], &[0, 0, 0], &[9, 0]], "on", "9 calls of overridden", assumed, false, ""),
            (
                [&[9, 0], &[4, 0, 0], &[0, 9]],
                "on",
                "13 re-pointed, 0 as linked; 9 guarded calls",
                Capability::Set,
                true,
                "",
            ),
            ([&[0, 9], &[0, 4, 0], &[0, 0]], "off", "0 re-pointed, 13 as linked", assumed, false, ""),
            ([&[0, 0], &[0, 0, 5], &[0, 0]], "on", "5 re-pointed", Capability::Clear, false, ""),
            ([&[3, 0], &[0, 0, 0], &[3, 0]], "on", "no 4 of the executed calls", assumed, false, ""),
            (
                [&[0, 9], &[9, 0, 0], &[0, 0]],
                "on",
                "do not agree",
                Capability::Set,
                false,
                "9 executed calls led where",
            ),
            (
                [&[9, 9], &[0, 0, 0], &[0, 0]],
                "on",
                "no 4 of",
                assumed,
                false,
                "9 to the kernel's function, 9 to the file's",
            ),
            ([&[0, 0], &[0, 0, 0], &[9, 9]], "on", "the build", assumed, false, "9 at once, 9 over the bitmap"),
        ];
        for (votes, extent, words, erms, kernel_cfg, doubt) in cases {
            let found = decided(Choice::Auto, true, &[(ModuleId(3), false)], votes);
            let modes = &found.modes;
            assert_eq!(modes.extent.name(), *extent, "{votes:?}: {}", modes.reason);
            assert!(modes.reason.contains(words), "{votes:?}: {}", modes.reason);
            assert_eq!((found.capabilities.get(0), found.kernel_cfg), (*erms, *kernel_cfg), "{votes:?}");
            assert_eq!(found.doubts.len(), usize::from(!doubt.is_empty()), "{votes:?}: {:?}", found.doubts);
            assert!(found.doubts.iter().all(|told| told.contains(doubt)), "{votes:?}: {:?}", found.doubts);
        }
        // The user's word comes first; what calls say of the processor is believed.
        let votes: [&[u32]; 3] = [&[0, 9], &[0, 0, 5], &[0, 0]];
        let asked = decided(Choice::On, true, &[(ModuleId(3), false)], &votes);
        assert_eq!((asked.modes.reason.as_str(), asked.capabilities.get(0)), ("the build", Capability::Clear));
    }

    #[test]
    fn modules_that_are_asked_by_themselves_decide_for_themselves() {
        let [one, two, three] = [3, 4, 5].map(ModuleId);
        let votes: [&[u32]; 7] = [&[5, 0], &[0, 0, 0], &[0, 0], &[0, 7], &[0, 4, 0], &[0, 0], &[0, 0, 0]];
        // The question about kernel CFG is the last.
        let votes = [votes[0], votes[1], votes[3], votes[4], votes[2], votes[6], &[0, 0]];
        let found = decided(Choice::Auto, false, &[(one, true), (two, true), (three, true)], &votes);
        assert_eq!(found.modes.extent.name(), "mixed", "{}", found.modes.reason);
        let of = |module| found.modes.of(module);
        assert_eq!((of(one).on, of(two).on, of(three).on, of(ModuleId(0)).on), (true, false, false, false));
        assert!(of(one).reason.contains("decided from 5 calls"), "{}", of(one).reason);
        assert_eq!(of(three).reason, "the build");
        assert!(found.modes.reason.contains("on in 1 module, off in 1; in the others off"), "{}", found.modes.reason);
    }
}
