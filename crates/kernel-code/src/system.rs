//! The system: modules in their places, bound, with what the kernel did to their code.

use std::collections::BTreeSet;
use std::ops::Range;

use address_map::ModuleId;
use call_forms::{GivenUp, Verdict};
use kernel_snapshot::{Architecture, Machine};
use pe_image::{Capabilities, ImportCalls, MappedImage, Policy, RangeKind, Selection, StubBlock};
use rayon::prelude::*;

use crate::address_space::AddressSpace;
use crate::binding::Bound;
use crate::captured::CapturedForms;
use crate::changes::{self, Choice, Evidence, Extent, Mode, Modes};
use crate::detection::{Detection, Known, Scope, room_for_stubs};
use crate::files::{Entry, Inclusion, Parsed};
use crate::image::Image;
use crate::override_modes::{self, Overrides};
use crate::overrides::{self, GivenCapability};

/// What a system is put together from, besides the modules and their files.
#[derive(Clone, Debug)]
pub struct Setting<'s> {
    /// The machine.
    pub machine: &'s Machine,
    /// The moment, in seconds from the start of the trace.
    pub moment: f64,
    /// The moment in words, for reasons: `at 1.500 s`.
    pub moment_name: &'s str,
    /// Whether import calls were rewritten.
    pub import_optimization: Choice,
    /// Whether indirect branches were rewritten.
    pub retpoline: Choice,
    /// Whether calls of overridden functions were re-pointed.
    pub function_overrides: Choice,
    /// Capabilities of the machine that are known from elsewhere; they decide where such calls lead.
    pub capabilities: &'s [GivenCapability],
    /// Intel PT packets as evidence: each stream in the order in which it was written.
    pub packets: &'s [&'s [u8]],
    /// When the packets are looked at.
    pub detect: Detect,
    /// Sites in code and before return addresses that the source captured, when it is a dump. They come before the packets:
    /// bytes have one form.
    pub captured: Option<&'s CapturedForms>,
}

/// When Intel PT packets are looked at for what the kernel did to code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detect {
    /// When there are any, and one of the answers is not given.
    WhenOpen,
    /// Always: the verdict itself is wanted.
    Always,
}

/// A machine's code at a moment.
#[derive(Debug)]
pub struct System<'a> {
    bound: Bound<'a>,
    moment: f64,
    stubs: Option<StubBlock>,
    stub_pages: Vec<Range<u64>>,
    evidence: Option<Evidence>,
    import_optimization: Modes,
    retpoline: Mode,
    function_overrides: Modes,
    /// Calls of overridden functions were re-pointed in some modules, unknown which.
    are_overrides_partial: bool,
    capabilities: Capabilities,
    kernel_cfg: bool,
    /// Modules whose branches through stubs stay as linked, because another module lies where the stubs would.
    crowded: BTreeSet<ModuleId>,
    warnings: Vec<String>,
}

impl<'a> System<'a> {
    /// Puts the system together.
    pub fn reconstruct(parsed: &'a Parsed<'a>, setting: &Setting<'_>) -> Self {
        let held = |winner: &Entry| format!("{} held these addresses {}", winner.module.name, setting.moment_name);
        let bound = Bound::new(parsed, setting.moment, held);
        let mut warnings: Vec<String> = parsed.entries.iter().filter_map(Entry::warning).collect();
        warnings.extend(contradictions(&bound, setting.moment));
        let stubs = bound.stubs().unwrap_or_else(|error| {
            warnings.push(format!("the kernel's retpoline stubs and shared code: {error}"));
            None
        });
        let by_build = overrides::function_overrides(setting.function_overrides, setting.machine);
        let are_overrides_partial = overrides::is_partial(setting.function_overrides, setting.machine);
        let capabilities = overrides::capabilities(setting.machine, !setting.packets.is_empty(), setting.capabilities);
        let choices = [setting.import_optimization, setting.retpoline, setting.function_overrides];
        let open = choices.contains(&Choice::Auto);
        let crowded = stubs.as_ref().map(|stubs| crowded(&bound, stubs)).unwrap_or_default();
        let wanted = match setting.detect {
            Detect::Always => true,
            Detect::WhenOpen => open && !setting.packets.is_empty(),
        };
        let (mut evidence, mut stub_pages) = (None, Vec::new());
        if wanted && setting.machine.architecture_or_x64() == Architecture::Amd64 {
            let scope = match (by_build.on, are_overrides_partial) {
                (_, true) => Scope::Modules,
                (true, false) => Scope::Machine,
                (false, false) => Scope::Nothing,
            };
            let known = Known { stubs: stubs.as_ref(), crowded: &crowded, capabilities: &capabilities };
            let detection = Detection::new(&bound, known, scope);
            let modules: Vec<ModuleId> = detection.modules().collect();
            stub_pages = detection.stub_pages().to_vec();
            evidence = Some(match modules.is_empty() {
                true => Evidence::nothing(),
                false => {
                    let (verdict, questions) = detection.detect(setting.packets);
                    Evidence { verdict, modules, questions }
                }
            });
        }
        warnings.extend(evidence.as_ref().and_then(|evidence| given_up(&evidence.verdict)));
        let said = evidence.as_ref().filter(|evidence| !evidence.modules.is_empty());
        let (imports, machine) = (setting.import_optimization, setting.machine);
        let captured = |choice| setting.captured.filter(|_| choice == Choice::Auto);
        let import_optimization = captured(imports)
            .and_then(|forms| forms.import_optimization(machine))
            .unwrap_or_else(|| changes::import_optimization(imports, machine, said));
        let retpoline = captured(setting.retpoline)
            .and_then(CapturedForms::retpoline)
            .unwrap_or_else(|| changes::retpoline(setting.retpoline, said));
        warnings.extend(setting.captured.and_then(|forms| stale_stacks(&bound, forms)));
        if retpoline.on && stubs.is_none() {
            warnings.push(
                "retpoline is on, but the kernel's file with the stubs is not there: sites stay as linked".into(),
            );
        }
        let name = |module: ModuleId| bound.entry(module).module.name.clone();
        let Overrides { modes, capabilities, kernel_cfg, doubts } =
            override_modes::decide(setting.function_overrides, by_build, capabilities, said, name);
        warnings.extend(doubts);
        if retpoline.on {
            warnings.extend(no_room(&bound, &crowded));
        }
        Self {
            bound,
            moment: setting.moment,
            stubs,
            stub_pages,
            evidence,
            import_optimization,
            retpoline,
            function_overrides: modes,
            are_overrides_partial,
            capabilities,
            kernel_cfg,
            crowded,
            warnings,
        }
    }

    /// The modules in their places.
    pub fn modules(&self) -> &Bound<'a> {
        &self.bound
    }

    /// Leaves modules out, as [`Bound::exclude`] does.
    pub fn exclude(&mut self, reason: impl Fn(ModuleId, &Entry) -> Option<String>) {
        self.bound.exclude(reason);
    }

    /// The moment, in seconds from the start of the trace.
    pub fn moment(&self) -> f64 {
        self.moment
    }

    /// The kernel's retpoline stubs, when its file has them.
    pub fn stubs(&self) -> Option<&StubBlock> {
        self.stubs.as_ref()
    }

    /// Where the pages of stubs and shared code lie after images: with retpoline all that there can be, as far as packets
    /// were looked at, and without it those that calls of overridden functions lead to.
    pub fn stub_pages(&self) -> Vec<Range<u64>> {
        if self.retpoline.on {
            return self.stub_pages.clone();
        }
        if self.function_overrides.extent == Extent::Off {
            return Vec::new();
        }
        let images = self.bound.ids().filter_map(|module| self.map(module));
        let pages = images.flat_map(|image| {
            let ranges = image.ranges(Selection::Code).into_iter();
            let after = ranges.filter(|range| range.kind == RangeKind::RetpolineStubs);
            after.map(|range| image.addresses(&range)).collect::<Vec<_>>()
        });
        pages.collect()
    }

    /// What the packets say, if they were looked at.
    pub fn evidence(&self) -> Option<&Evidence> {
        self.evidence.as_ref()
    }

    /// Import optimization.
    pub fn import_optimization(&self) -> &Modes {
        &self.import_optimization
    }

    /// Whether a module's import calls are direct ones.
    pub fn has_direct_imports(&self, module: ModuleId) -> bool {
        self.import_optimization.of(module).on
    }

    /// Retpoline.
    pub fn retpoline(&self) -> &Mode {
        &self.retpoline
    }

    /// Whether calls of overridden functions lead to what the kernel chose.
    pub fn function_overrides(&self) -> &Modes {
        &self.function_overrides
    }

    /// How many calls of overridden functions the files list.
    pub fn overridden_calls(&self) -> u64 {
        let images = self.bound.ids().filter_map(|module| self.bound.map(module, Policy::AS_LINKED, None));
        images.map(|image| image.override_counts().listed).sum()
    }

    /// What is doubtful about the calls of overridden functions in the modules that are included.
    pub fn override_doubts(&self) -> Vec<String> {
        let included = |&module: &ModuleId| self.bound.entry(module).inclusion == Inclusion::Included;
        let may_differ = |module| self.are_overrides_partial && !self.function_overrides.is_decided(module);
        let images = self.bound.ids().filter(included);
        let images = images.filter_map(|module| Some((self.map(module)?, may_differ(module))));
        overrides::doubts(images, &self.capabilities)
    }

    /// Doubts about the system.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// How the kernel changed a module's code.
    pub fn policy(&self, module: ModuleId) -> Policy {
        let calls = match self.has_direct_imports(module) {
            true => ImportCalls::Optimized,
            false => ImportCalls::AsLinked,
        };
        let second_mapping = Policy::is_second_mapping(&self.bound.entry(module).module.name);
        let retpoline = self.retpoline.on && !self.crowded.contains(&module);
        Policy::default()
            .with_import_calls(calls)
            .with_retpoline(retpoline)
            .with_second_mapping(second_mapping)
            .with_function_overrides(self.function_overrides.of(module).on)
            .with_kernel_cfg(self.kernel_cfg)
    }

    /// The image of a module that has its place and a file, left out or not.
    pub fn map(&self, module: ModuleId) -> Option<MappedImage<'_>> {
        let mapped = self.bound.map(module, self.policy(module), None)?.with_capabilities(&self.capabilities);
        Some(match &self.stubs {
            Some(stubs) if self.crowded.contains(&module) => mapped.with_stubs(&stubs.clone().without_copy()),
            Some(stubs) => mapped.with_stubs(stubs),
            None => mapped,
        })
    }

    /// The images of the modules that are included, in their order.
    pub fn images(&self) -> Vec<Image<'_>> {
        let image = |index: usize| {
            let (module, entry) = (ModuleId(index), &self.bound.entries()[index]);
            let mapped = self.map(module).filter(|_| entry.inclusion == Inclusion::Included)?;
            Some(Image::new(module, entry, mapped, self.bound.binding(module)))
        };
        (0..self.bound.entries().len()).into_par_iter().filter_map(image).collect()
    }

    /// The code of all modules that have their places and files.
    pub fn code(&self) -> AddressSpace<'_> {
        let images = self.bound.ids().filter_map(|module| Some((module, self.map(module)?)));
        AddressSpace::new(self.bound.owners(), images)
    }
}

/// Modules with a file that leave no room for the retpoline stubs: the kernel maps them right after an image, and another
/// module begins there. Where it puts them then is not known.
fn crowded(bound: &Bound<'_>, stubs: &StubBlock) -> BTreeSet<ModuleId> {
    let size = stubs.bytes().len() as u64;
    let has_no_room = |&module: &ModuleId| {
        bound.map(module, Policy::AS_LINKED, None).is_some()
            && room_for_stubs(bound, module, size).is_none_or(|room| room.end - room.start < size)
    };
    bound.ids().filter(has_no_room).collect()
}

/// What of the packets was not weighed, because code between them was too long.
fn given_up(verdict: &Verdict) -> Option<String> {
    let GivenUp { count, stream, offset, address } = verdict.given_up?;
    Some(format!(
        "import calls: {count} stretches of the Intel PT data were not weighed, because their code runs on too long for so few \
         packets; the first is in stream {stream} at offset {offset:#x}, at address {address:#x}"
    ))
}

/// Modules whose captured code and stacks contradict each other about import calls.
fn stale_stacks(bound: &Bound<'_>, forms: &CapturedForms) -> Option<String> {
    let names: Vec<&str> = forms.contradictions().map(|module| &*bound.entry(module).module.name).collect();
    (!names.is_empty()).then(|| {
        format!(
            "return addresses on captured stacks show the other form of the import calls of {} than the captured code; the code \
             is believed, because values on stacks may be old",
            listed(&names)
        )
    })
}

/// The first of some names, and how many more there are.
fn listed(names: &[&str]) -> String {
    const NAMED: usize = 5;
    let more = match names.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", names[..names.len().min(NAMED)].join(", "))
}

fn no_room(bound: &Bound<'_>, crowded: &BTreeSet<ModuleId>) -> Option<String> {
    let names: Vec<&str> = crowded.iter().map(|&module| &*bound.entry(module).module.name).collect();
    (!names.is_empty()).then(|| {
        format!(
            "retpoline is on, but another module begins where the stubs of {} would lie: their indirect branches stay as \
             linked, unlike memory",
            listed(&names)
        )
    })
}

/// Modules that the source lists as loaded at the same addresses at the same time, and which of them was taken.
fn contradictions(bound: &Bound<'_>, moment: f64) -> Vec<String> {
    let told = |&(loser, winner): &(ModuleId, ModuleId)| {
        let (loser, winner) = (&bound.entry(loser).module, &bound.entry(winner).module);
        (loser.live_at(moment) && winner.live_at(moment)).then(|| {
            format!(
                "{} and {} are both listed as loaded at {:#x}: {} is taken, {} left out",
                winner.name,
                loser.name,
                winner.base.max(loser.base),
                winner.name,
                loser.name
            )
        })
    };
    bound.owners().displaced().iter().filter_map(told).collect()
}
