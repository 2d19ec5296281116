//! Sites: places in code that a loader may change, and what became of each.

use std::fmt;

use crate::addr::{IatIndex, Rva, Va};
use crate::bind::{Binding, Slot, Target};
use crate::dvrt::{ImportTransfer, IndirectTransfer, PageRecord, SITE_SIZE, SwitchBranch};
use crate::fixup::{SLOT_INSTRUCTION, StubBranch};

/// A listed place in an image's code, and what the policy makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Site {
    /// First byte of the site.
    pub rva: Rva,
    /// What the file lists there.
    pub kind: SiteKind,
    /// The slot that an import site reads. `None` for a site without one, and for the other kinds.
    pub slot: Option<Rva>,
    /// What it becomes.
    pub outcome: Outcome,
}

impl<'a> Binding<'a> {
    /// The import through which a site goes. `None` for a site that reads no slot of an import.
    pub fn import_of(&self, site: &Site) -> Option<&Slot<'a>> {
        self.slot_at(site.slot?)
    }
}

/// What a file lists about a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum SiteKind {
    /// A call or jump through the import address table (DVRT symbol 3); 12 bytes.
    Import {
        /// True for a call, false for a jump.
        call: bool,
        /// Number of the slot in the import address table; `None` for 0x7FFFF, which says that it has none.
        index: Option<IatIndex>,
    },
    /// A call or jump through rax or through the CFG dispatch pointer (symbol 4); 5 to 7 bytes.
    Indirect {
        /// True for a call, false for a jump.
        call: bool,
        /// The instruction has a REX.W prefix.
        rex: bool,
        /// It goes through the CFG dispatch pointer.
        cfg: bool,
    },
    /// A switch table's jump through a register (symbol 5); 6 bytes.
    Switch {
        /// Number of the register: 0 rax, 1 rcx, … 15 r15.
        register: u8,
    },
    /// A direct call or jump of a function that a kernel may override (symbol 7); 5 bytes.
    Override {
        /// Number of the override in the file's table.
        number: u32,
    },
}

/// How the bytes of a site can be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum SiteEncoding {
    /// As the linker wrote them.
    Linked,
    /// An import call that goes straight to the imported function.
    Direct,
    /// An import call through r10: Driver Verifier's form.
    Register,
    /// A call of a retpoline stub.
    Stub,
}

impl SiteKind {
    /// The bytes that a loader may change at such a site: 12 for an import, 5 to 7 for an indirect call, 6 for a switch.
    pub fn size(&self) -> u32 {
        let rva = Rva::default();
        match *self {
            Self::Import { call, .. } => ImportTransfer { rva, call, raw_index: 0 }.size(),
            Self::Indirect { call, rex, cfg } => IndirectTransfer { rva, call, rex, cfg }.size(),
            Self::Switch { register } => SwitchBranch { rva, register }.size(),
            Self::Override { .. } => 5,
        }
    }

    /// The distance from the site's first byte to the end of its branch instruction, which is where a call returns to.
    /// `None` when such a site is never encoded that way.
    pub fn branch_end(&self, encoding: SiteEncoding) -> Option<u32> {
        match (*self, encoding) {
            (Self::Import { .. }, SiteEncoding::Linked) => Some(SLOT_INSTRUCTION),
            // mov r10,[slot]; call r10
            (Self::Import { .. }, SiteEncoding::Register) => Some(SLOT_INSTRUCTION + 3),
            (Self::Import { .. }, SiteEncoding::Direct | SiteEncoding::Stub) => Some(SITE_SIZE as u32),
            // call [rip+disp32] has 6 bytes, call rax has 2.
            (Self::Indirect { rex, cfg, .. }, SiteEncoding::Linked) => Some(u32::from(rex) + if cfg { 6 } else { 2 }),
            (Self::Switch { register }, SiteEncoding::Linked) => Some(if register < 8 { 2 } else { 3 }),
            (Self::Indirect { .. } | Self::Switch { .. }, SiteEncoding::Stub) => Some(StubBranch::INSTRUCTION as u32),
            (Self::Override { .. }, SiteEncoding::Linked | SiteEncoding::Direct) => Some(5),
            (Self::Indirect { .. } | Self::Switch { .. }, SiteEncoding::Direct | SiteEncoding::Register)
            | (Self::Override { .. }, SiteEncoding::Register | SiteEncoding::Stub) => None,
        }
    }
}

impl SiteKind {
    /// What a kernel writes at such a site to lead it through a retpoline stub, given the distance from the branch's end
    /// to the stub. `None` for an import site, which goes to the stub in its [direct](crate::LinkedImport::direct) form, and for
    /// an overridden function's call, which goes to none.
    pub fn stub_branch(&self, distance: i32) -> Option<StubBranch> {
        let rva = Rva::default();
        match *self {
            Self::Import { .. } | Self::Override { .. } => None,
            Self::Indirect { call, rex, cfg } => {
                Some(StubBranch::indirect(&IndirectTransfer { rva, call, rex, cfg }, distance))
            }
            Self::Switch { register } => Some(StubBranch::switch(&SwitchBranch { rva, register }, distance)),
        }
    }
}

/// What the file lists, such as `import call, slot 5`.
impl fmt::Display for SiteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let branch = |call| if call { "call" } else { "jump" };
        match *self {
            Self::Import { call, index: Some(index) } => write!(f, "import {}, slot {index}", branch(call)),
            Self::Import { call, index: None } => write!(f, "import {}, no slot", branch(call)),
            Self::Indirect { call, cfg: true, .. } => write!(f, "indirect {}, CFG-checked", branch(call)),
            Self::Indirect { call, cfg: false, .. } => write!(f, "indirect {}", branch(call)),
            Self::Switch { register } => write!(f, "switch jump, register {register}"),
            Self::Override { number } => write!(f, "call of an overridden function, override {number}"),
        }
    }
}

/// What a policy makes of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Outcome {
    /// The call goes straight to the imported function.
    Direct(Target),
    /// The call goes to a retpoline stub, at this RVA (after the image, or in the kernel's own RETPOL section).
    ViaStub(Rva),
    /// `mov r10,[slot]; call r10`.
    DriverVerifier,
    /// The call goes to the function at this address, which the kernel chose in place of the one that the file calls: in
    /// this image, in the kernel's shared code page, or in the copy of that page after this image.
    Overridden(Va),
    /// The bytes stay as the linker wrote them.
    AsLinked(Reason),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(target) => write!(f, "direct, to {}", target.address),
            Self::ViaStub(stub) => write!(f, "through the stub at RVA {stub}"),
            Self::DriverVerifier => f.write_str("through r10, as Driver Verifier has it"),
            Self::Overridden(address) => write!(f, "overridden, to {address}"),
            Self::AsLinked(reason) => write!(f, "as linked: {reason}"),
        }
    }
}

/// Why a site stays as linked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Reason {
    /// The policy does not change this kind of site.
    Policy,
    /// The bytes there are not the ones that a linker writes at such a site: a sign of the wrong file.
    UnexpectedBytes,
    /// The record names no IAT slot.
    NoIndex,
    /// The slot is not bound: nothing is known about where the import leads.
    Unbound,
    /// The target is more than 2 GiB away, from the image base or from the site's end.
    OutOfRange,
    /// The target's module lacks IMAGE_GUARD_RETPOLINE_PRESENT; asked only when retpoline is on.
    TargetNotRetpolined,
    /// The image is a second mapping.
    SecondMapping,
    /// The site lies in a section of the kernel that the retpoline pass skips (INITKDBG, MINIEX).
    SkippedSection,
    /// The function that the kernel chooses is the one that the file calls.
    Original,
    /// The call leads to the kernel's shared code page, which is not at hand or has no copy in reach.
    NoSharedCode,
    /// The file's table of function overrides breaks a rule of the kernel, which would not load the image.
    DamagedTable,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Policy => "the policy does not change such sites",
            Self::UnexpectedBytes => "its bytes are not those of a linker",
            Self::NoIndex => "its record names no import slot",
            Self::Unbound => "the import is not bound",
            Self::OutOfRange => "the target is more than 2 GiB away",
            Self::TargetNotRetpolined => "the target's module is not retpolined",
            Self::SecondMapping => "the image is a second mapping",
            Self::SkippedSection => "the kernel does not rewrite this section",
            Self::Original => "the kernel chooses the function that the file calls",
            Self::NoSharedCode => "the kernel's shared code page is not at hand or not in reach",
            Self::DamagedTable => "the table of function overrides breaks a rule of the kernel",
        })
    }
}

/// Import call sites, counted. A site with several faults counts once, under the first of unexpected bytes, no index,
/// unbound, out of range.
///
/// With import optimization on and retpoline off, the last five fields add up to `listed`. With it off, `optimized` is 0
/// and the others stand as they would.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ImportCounts {
    /// Sites that the file lists.
    pub listed: u64,
    /// Sites that are direct in this image.
    pub optimized: u64,
    /// Sites without a slot.
    pub no_index: u64,
    /// Sites whose slot is not bound.
    pub unbound: u64,
    /// Sites whose target is too far away.
    pub out_of_range: u64,
    /// Sites whose bytes are not a linker's.
    pub unexpected_bytes: u64,
    /// With retpoline on: sites whose target is not a retpolined image. They belong to none of the five.
    pub not_retpolined: u64,
}

/// Sites of another kind, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RewriteCounts {
    /// Sites that the file lists.
    pub listed: u64,
    /// Sites that differ from the file in this image.
    pub rewritten: u64,
    /// Sites whose bytes are not a linker's.
    pub unexpected_bytes: u64,
}

/// Calls of overridden functions (symbol 7), counted. `listed` is the sum of `applied`, `as_linked` and
/// `unexpected_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct OverrideCounts {
    /// Calls that the file lists.
    pub listed: u64,
    /// Calls that lead to another function in this image than in the file.
    pub applied: u64,
    /// Of these, calls that lead to the copy of the kernel's shared code page after the image, because the page itself is
    /// out of their reach.
    pub out_of_reach: u64,
    /// Calls whose choice, whatever it is, rests on a capability of the machine that is assumed. 0 when the policy leaves
    /// them as linked.
    pub assumed: u64,
    /// Calls that stay as linked: by the policy, because that is the choice, or because the shared code page is missing.
    pub as_linked: u64,
    /// Of these, calls of which memory had another form: they lead to the kernel's shared code page, which is not at hand or
    /// not in reach, or the table is damaged.
    pub not_applied: u64,
    /// Calls whose bytes are not a linker's.
    pub unexpected_bytes: u64,
}

/// Everything that was or was not changed in an image, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Counts {
    /// Import call sites (symbol 3).
    pub import: ImportCounts,
    /// Indirect call sites (symbol 4).
    pub indirect: RewriteCounts,
    /// Switch jumps (symbol 5).
    pub switch: RewriteCounts,
    /// Base relocations applied: 0 at the preferred base.
    pub relocations: u64,
    /// Calls of overridden functions (symbol 7).
    pub overrides: OverrideCounts,
    /// ARM64 import calls (symbol 8); listed, never changed.
    pub arm64_imports: u64,
    /// Address constants of symbols that are addresses: listed.
    pub address_constants: u64,
}
