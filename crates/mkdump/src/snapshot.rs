//! What was loaded, where: the plain values between a source (trace or dump) and everything that is built from it.

use std::cmp::Ordering;

use symstore::{PdbId, Wanted};

/// What a source says about the machine and its modules.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// The machine.
    pub machine: Machine,
    /// When the trace began or the dump was taken, in 100 ns units since 1601 (FILETIME); `None` when not said.
    pub time: Option<u64>,
    /// Base of the kernel image, when the source names it.
    pub kernel_base: Option<u64>,
    /// Modules in the order of their bases, then of their load times.
    pub modules: Vec<Module>,
}

/// The machine a source was recorded on. A field that the source does not state is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Windows version.
    pub os: OsVersion,
    /// Number of logical processors.
    pub processors: Option<u32>,
    /// 4 or 8.
    pub pointer_size: u8,
    /// Processor.
    pub architecture: Architecture,
    /// Vendor string as CPUID gives it, such as `GenuineIntel`.
    pub cpu_vendor: Option<String>,
    /// Family.
    pub cpu_family: Option<u16>,
    /// `model << 8 | stepping`, as Windows reports it.
    pub cpu_revision: Option<u16>,
    /// The kernel's build lab string, such as `26100.1.amd64fre.ge_release.240331-1435`.
    pub build_lab: Option<String>,
    /// The machine's name, for whoever looks at the source; it goes into no dump. Untrusted.
    pub computer_name: Option<String>,
}

/// Instruction set of the recorded machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Architecture {
    /// x64.
    #[default]
    Amd64,
    /// ARM64.
    Arm64,
    /// 32-bit x86.
    X86,
}

/// A Windows version: `10.0.26100.4652`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OsVersion {
    /// 10 since Windows 10.
    pub major: u32,
    /// 0 since Windows 10.
    pub minor: u32,
    /// Build number, which names the release.
    pub build: u32,
    /// Update build revision, when known.
    pub revision: Option<u32>,
}

/// One module: one image at one base for one stretch of time.
#[derive(Clone, Debug, PartialEq)]
pub struct Module {
    /// File name without directories. From the source, so untrusted: never a place to write to.
    pub name: String,
    /// Full path as the kernel names it. Untrusted.
    pub path: String,
    /// Process that it is mapped in, 0 for the kernel.
    pub process: u32,
    /// True for kernel modules, told by address and process, never by name.
    pub kernel: bool,
    /// Address of its first byte.
    pub base: u64,
    /// SizeOfImage in bytes.
    pub size: u64,
    /// TimeDateStamp of the PE header.
    pub timestamp: Option<u32>,
    /// CheckSum of the PE header.
    pub checksum: Option<u32>,
    /// Its PDB.
    pub pdb: Option<Pdb>,
    /// Seconds from the start of the trace to its load; `None` when it was loaded before.
    pub loaded: Option<f64>,
    /// Seconds from the start of the trace to its unload; `None` when it stayed.
    pub unloaded: Option<f64>,
}

/// A module's PDB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdb {
    /// File name alone. Untrusted.
    pub name: String,
    /// GUID and age.
    pub id: PdbId,
}

impl Module {
    /// One past its last address.
    pub fn end(&self) -> u64 {
        self.base.saturating_add(self.size)
    }

    /// The symbol server's key for the image: stamp as eight upper-case digits, then the size in lower-case digits
    /// without padding. `None` when the stamp is not known.
    pub fn image_key(&self) -> Option<String> {
        self.timestamp.map(|stamp| format!("{stamp:08X}{:x}", self.size))
    }

    /// The same, as a question to an index of files.
    pub fn wanted(&self) -> Wanted {
        Wanted {
            name: self.name.clone(),
            path: Some(self.path.clone()),
            timestamp: self.timestamp,
            // No image is 4 GiB large; a size that is not one of an image matches no file.
            size: u32::try_from(self.size).unwrap_or(u32::MAX),
            checksum: self.checksum,
            pdb: self.pdb.as_ref().map(|pdb| pdb.id),
            pdb_name: self.pdb.as_ref().map(|pdb| pdb.name.clone()),
        }
    }

    /// Whether it was loaded at `time`, in seconds from the start of the trace.
    pub fn live_at(&self, time: f64) -> bool {
        self.loaded.is_none_or(|loaded| loaded <= time) && self.unloaded.is_none_or(|unloaded| time < unloaded)
    }

    /// How far `time` is outside its life, in seconds; 0 inside.
    fn distance(&self, time: f64) -> f64 {
        match (self.loaded, self.unloaded) {
            (Some(loaded), _) if time < loaded => loaded - time,
            (_, Some(unloaded)) if time >= unloaded => time - unloaded,
            _ => 0.0,
        }
    }
}

/// Chooses which modules an address space can hold: no two may overlap. Where several held the same addresses at
/// different times, the one alive at `time` wins, then the one whose life was nearest to it, then the later one.
///
/// Returns, for each module, `None` when it is in, or the index of the module that took its place.
pub fn displaced(modules: &[Module], time: f64) -> Vec<Option<usize>> {
    let mut order: Vec<usize> = (0..modules.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (&modules[a], &modules[b]);
        a.distance(time)
            .total_cmp(&b.distance(time))
            .then(b.loaded.partial_cmp(&a.loaded).unwrap_or(Ordering::Equal))
            .then(a.base.cmp(&b.base))
    });
    // Winners so far by base. They do not overlap each other, so only the two neighbours of a candidate can meet it.
    let mut placed = std::collections::BTreeMap::<u64, usize>::new();
    let mut result = vec![None; modules.len()];
    for index in order {
        let module = &modules[index];
        let below = placed.range(..=module.base).next_back().map(|(_, &i)| i);
        let above = placed.range(module.base..).next().map(|(_, &i)| i);
        let clash = [below, above].into_iter().flatten().find(|&other| {
            let other = &modules[other];
            other.base < module.end() && module.base < other.end() || other.base == module.base
        });
        match clash {
            Some(winner) => result[index] = Some(winner),
            None => drop(placed.insert(module.base, index)),
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::{Module, displaced};

    fn module(name: &str, base: u64, loaded: Option<f64>, unloaded: Option<f64>) -> Module {
        Module {
            name: name.into(),
            path: name.into(),
            process: 0,
            kernel: true,
            base,
            size: 0x3000,
            timestamp: Some(0x0123_4567),
            checksum: None,
            pdb: None,
            loaded,
            unloaded,
        }
    }

    #[test]
    fn keys_have_eight_digits_and_no_padding() {
        assert_eq!(module("a", 0x1000, None, None).image_key().unwrap(), "012345673000");
    }

    #[test]
    fn who_holds_an_address_depends_on_the_time() {
        let modules = [
            module("early.sys", 0x10000, None, Some(5.0)),
            module("late.sys", 0x12000, Some(7.0), None),
            module("apart.sys", 0x20000, None, None),
        ];
        let cases = [(0.0, [None, Some(0), None]), (5.5, [None, Some(0), None]), (9.0, [Some(1), None, None])];
        for (time, expected) in cases {
            assert_eq!(displaced(&modules, time), expected, "at {time}");
        }
    }

    #[test]
    fn a_module_of_no_size_still_holds_its_base() {
        let mut modules = [module("a.sys", 0x10000, None, None), module("b.sys", 0x10000, None, Some(1.0))];
        modules[0].size = 0;
        modules[1].size = 0;
        assert_eq!(displaced(&modules, 9.0), [None, Some(0)]);
    }
}
