//! Function overrides: whether the kernel re-points direct calls, by which capabilities of the machine, and what is doubtful
//! about it.

use std::collections::BTreeSet;

use kernel_snapshot::{Architecture, Machine};
use pe_image::{Capabilities, MappedImage, OverrideCounts, Processor, ProcessorVendor};

use crate::changes::{Choice, Mode};

/// Windows 11 24H2 and Server 2025, whose kernels re-point the calls of all drivers.
const GE: u32 = 26100;
/// Windows 11 21H2, from which on kernels re-point the calls of drivers that are loaded after the boot.
const CO: u32 = 22000;

/// A capability of the machine that is known from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenCapability {
    /// Its number: see [`Capabilities`].
    pub number: u32,
    /// Whether the machine has it.
    pub is_set: bool,
}

impl GivenCapability {
    /// One past the highest number that there is.
    pub const LIMIT: u32 = Capabilities::COUNT;
}

/// What is known of a machine whose kernel is traced. `is_traced` says that there are Intel PT packets of it.
pub(crate) fn capabilities(machine: &Machine, is_traced: bool, given: &[GivenCapability]) -> Capabilities {
    let vendor = match machine.cpu_vendor.as_deref() {
        Some("GenuineIntel") => Some(ProcessorVendor::Intel),
        Some("AuthenticAMD") => Some(ProcessorVendor::Amd),
        _ => is_traced.then_some(ProcessorVendor::Intel),
    };
    let signature = machine.cpu_family.zip(machine.cpu_revision).map(|(family, revision)| signature(family, revision));
    let processor = Processor { vendor, signature, ..Processor::default() };
    let known = Capabilities::of_kernel(&processor);
    given.iter().fold(known, |known, given| known.with(given.number, given.is_set))
}

/// CPUID.1:EAX of a processor, from the numbers that Windows shows: the family, and `model << 8 | stepping`, each with its
/// extended part added.
fn signature(family: u16, revision: u16) -> u32 {
    let (family, model, stepping) = (u32::from(family), u32::from(revision >> 8), u32::from(revision & 0xf));
    let (base, extended) = (family.min(15), family.saturating_sub(15) & 0xff);
    stepping | (model & 0xf) << 4 | base << 8 | model >> 4 << 16 | extended << 20
}

/// Whether calls of overridden functions lead to what the kernel chose.
pub(crate) fn function_overrides(choice: Choice, machine: &Machine) -> Mode {
    let build = machine.os.build;
    let mode = |on, reason: String| Mode { on, reason };
    match choice {
        Choice::On => mode(true, "asked for".to_owned()),
        Choice::Off => mode(false, "asked for".to_owned()),
        Choice::Auto if machine.architecture_or_x64() != Architecture::Amd64 => {
            mode(false, "only those of x64 kernels are known".to_owned())
        }
        Choice::Auto => match build {
            GE.. => mode(true, format!("Windows build {build} applies them")),
            CO.. => mode(
                false,
                format!("assumed off: Windows build {build} applies them to drivers loaded after the boot alone"),
            ),
            _ => mode(false, format!("Windows build {build} does not have them")),
        },
    }
}

/// True where the build of Windows re-points the calls of some drivers, and it is not known of which.
pub(crate) fn is_partial(choice: Choice, machine: &Machine) -> bool {
    choice == Choice::Auto
        && machine.architecture_or_x64() == Architecture::Amd64
        && (CO..GE).contains(&machine.os.build)
}

/// What is doubtful about the calls of overridden functions in images: each doubt once, for all of them. Beside each image
/// it says whether its calls, unlike those of others, may have led to another function.
pub(crate) fn doubts<'i>(
    images: impl Iterator<Item = (MappedImage<'i>, bool)>,
    capabilities: &Capabilities,
) -> Vec<String> {
    let mut counts = Vec::new();
    let mut assumed = BTreeSet::new();
    let mut undecided = (0, 0);
    for (image, may_differ) in images {
        let of_image = image.override_counts();
        if of_image.assumed > 0 {
            let items = image.overrides().into_iter().filter(|item| item.counts.assumed > 0);
            assumed.extend(items.flat_map(|item| item.choice.assumed));
        }
        if may_differ && of_image.as_linked > 0 {
            undecided = (undecided.0 + of_image.as_linked, undecided.1 + 1);
        }
        counts.push(of_image);
    }
    let told = |(calls, modules)| {
        (calls > 0).then(|| format!("function overrides: {} in {}", noun(calls, "call"), noun(modules, "module")))
    };
    let sum = |count: fn(&OverrideCounts) -> u64| {
        let counts = counts.iter().map(count).filter(|&count| count > 0);
        told(counts.fold((0, 0), |(calls, modules), count| (calls + count, modules + 1)))
    };
    let told = [
        told(undecided).map(|calls| {
            format!(
                "{calls} stay as linked; in drivers that were loaded after the boot, kernels of this build may have them lead to \
                 another function, by processor"
            )
        }),
        sum(|counts| counts.assumed).map(|calls| {
            let assumed: Vec<String> = assumed.iter().map(|&number| capability(number, capabilities)).collect();
            format!("{calls} lead where capabilities of the processor say that are assumed: {}", assumed.join(", "))
        }),
        sum(|counts| counts.not_applied).map(|calls| {
            format!(
                "{calls} stay as linked, unlike memory: they lead to the kernel's shared code page, which is not in a file at \
                 hand, or whose copy has no room after the module"
            )
        }),
        sum(|counts| counts.out_of_reach).map(|calls| {
            format!(
                "{calls} lead to the copy of the kernel's shared code page after the module, which is taken to begin right after \
                 the image: what the kernel of this machine reserves between them is not known"
            )
        }),
        sum(|counts| counts.unexpected_bytes)
            .map(|calls| format!("{calls} have other bytes than such calls, as in a wrong file, and stay")),
    ];
    told.into_iter().flatten().collect()
}

/// A capability that is assumed, and how.
fn capability(number: u32, capabilities: &Capabilities) -> String {
    const NAMES: [&str; 5] = ["ERMS", "FSRM", "FZRM", "FSRS", "FSRC"];
    let name = NAMES.get(number as usize).map(|name| format!(" ({name})")).unwrap_or_default();
    let state = if capabilities.get(number).is_set() { "set" } else { "not set" };
    format!("{number:x}{name} {state}")
}

fn noun(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use kernel_snapshot::{Architecture, Machine};
    use pe_image::Capability;

    use super::{Choice, GivenCapability, capabilities, function_overrides, signature};

    fn machine(build: u32) -> Machine {
        let mut machine = Machine { architecture: Some(Architecture::Amd64), ..Machine::default() };
        machine.os.build = build;
        machine
    }

    #[test]
    fn the_build_decides_when_nothing_else_does() {
        let cases = [
            (Choice::Auto, 19045, false, "does not have them"),
            (Choice::Auto, 22631, false, "assumed off"),
            (Choice::Auto, 26100, true, "26100 applies them"),
            (Choice::On, 19045, true, "asked for"),
            (Choice::Off, 26200, false, "asked for"),
        ];
        for (choice, build, on, words) in cases {
            let mode = function_overrides(choice, &machine(build));
            assert_eq!(mode.on, on, "{build}");
            assert!(mode.reason.contains(words), "{}", mode.reason);
        }
        let arm = Machine { architecture: Some(Architecture::Arm64), ..machine(26100) };
        assert!(!function_overrides(Choice::Auto, &arm).on);
    }

    #[test]
    fn what_is_known_of_a_processor() {
        // A Raptor Lake, 0xB0671, and a Zen 4, 0xA60F12, as Windows shows them.
        assert_eq!(signature(6, 0xb701), 0xb_0671);
        assert_eq!(signature(25, 0x6102), 0xa6_0f12);
        let get =
            |machine: &Machine, is_traced, given: &[GivenCapability]| capabilities(machine, is_traced, given).get(0);
        let intel = Machine { cpu_vendor: Some("GenuineIntel".to_owned()), ..machine(26100) };
        let amd = Machine { cpu_vendor: Some("AuthenticAMD".to_owned()), ..machine(26100) };
        assert_eq!(get(&machine(26100), false, &[]), Capability::AssumedClear);
        assert_eq!(get(&machine(26100), true, &[]), Capability::AssumedSet);
        assert_eq!(get(&intel, false, &[]), Capability::AssumedSet);
        assert_eq!(get(&amd, true, &[]), Capability::AssumedClear);
        let given = |is_set| [GivenCapability { number: 0, is_set }];
        assert_eq!(get(&amd, false, &given(true)), Capability::Set);
        assert_eq!(get(&intel, true, &given(false)), Capability::Clear);
    }
}
