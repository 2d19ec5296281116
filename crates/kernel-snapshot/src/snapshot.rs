//! What was loaded, where: the plain values between a source (trace or dump) and everything that is built from it.

use address_map::{AddressMap, Claim};
use pe_image::PdbId;

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
    pub architecture: Option<Architecture>,
    /// Vendor string as CPUID gives it, such as `GenuineIntel`.
    pub cpu_vendor: Option<String>,
    /// Family.
    pub cpu_family: Option<u16>,
    /// `model << 8 | stepping`, as Windows reports it.
    pub cpu_revision: Option<u16>,
    /// The kernel's build lab string, such as `26100.1.amd64fre.ge_release.240331-1435`.
    pub build_lab: Option<String>,
    /// The machine's name, for reports. It is not written into dumps. Untrusted.
    pub computer_name: Option<String>,
}

impl Machine {
    /// The processor's architecture; x64 where the source does not say, which most machines are.
    pub fn architecture_or_x64(&self) -> Architecture {
        self.architecture.unwrap_or(Architecture::Amd64)
    }
}

/// Instruction set of the recorded machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// x64.
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
    /// True for kernel modules, recognised by address and process, never by name.
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

    /// Whether it was loaded at `time`, in seconds from the start of the trace.
    pub fn live_at(&self, time: f64) -> bool {
        self.loaded.is_none_or(|loaded| loaded <= time) && self.unloaded.is_none_or(|unloaded| time < unloaded)
    }
}

impl From<&Module> for Claim {
    /// The module's claim on its addresses, as long as nothing is known about its file.
    fn from(module: &Module) -> Self {
        let Module { base, size, loaded, unloaded, .. } = *module;
        Self { base, size, loaded, unloaded, has_file: false }
    }
}

/// The map of modules' addresses over time, as long as nothing is known about their files.
pub fn address_map(modules: &[Module]) -> AddressMap {
    AddressMap::new(modules.iter().map(Claim::from))
}

#[cfg(test)]
mod tests {
    use super::Module;

    #[test]
    fn keys_have_eight_digits_and_no_padding() {
        let module = Module {
            name: "a.sys".into(),
            path: "a.sys".into(),
            process: 0,
            kernel: true,
            base: 0x1000,
            size: 0x3000,
            timestamp: Some(0x0123_4567),
            checksum: None,
            pdb: None,
            loaded: None,
            unloaded: None,
        };
        assert_eq!(module.image_key().unwrap(), "012345673000");
    }
}
