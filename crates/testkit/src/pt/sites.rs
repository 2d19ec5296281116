//! The places in generated code that the kernel changes when it loads a module.

/// The form that an import site has in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `48 FF 15` or `48 FF 25`, through the slot.
    Linked,
    /// `4C 8B 15` and a direct call or jump to the imported function.
    Direct,
    /// `4C 8B 15` and a direct call or jump to the image's `_guard_retpoline_import_r10`.
    Stub,
}

/// One import site: 12 bytes.
#[derive(Clone, Copy, Debug)]
pub struct ImportSite {
    /// Address of its first byte.
    pub va: u64,
    /// Address of the slot in the import address table.
    pub slot: u64,
    /// What the slot holds: the imported function.
    pub target: u64,
    /// True for a call, false for a jump.
    pub call: bool,
    /// What it looks like in memory.
    pub form: Form,
    /// Whether the target can be reached by a direct branch at all.
    pub in_range: bool,
}

/// An indirect branch that retpoline rewrites.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedBranch {
    /// `call rax` or `jmp rax`: 5 bytes.
    Rax {
        /// True for a call, false for a jump.
        call: bool,
    },
    /// Through the CFG dispatch pointer: 6 bytes.
    Cfg {
        /// True for a call, false for a jump.
        call: bool,
    },
    /// A switch table's jump through a register: 6 bytes.
    Switch {
        /// Its number.
        register: u8,
    },
}

/// The copy of the retpoline stubs after an image.
#[derive(Clone, Debug)]
pub struct StubPages {
    /// Address of the first byte.
    pub base: u64,
    /// One page.
    pub bytes: Vec<u8>,
    /// Address of the stub for `call rax`.
    pub rax: u64,
    /// Address of the stub for `call rax` with CFG check.
    pub cfg: u64,
    /// Address of the stub for imports that cannot be direct.
    pub import_r10: u64,
}
