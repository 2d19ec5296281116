//! What a machine makes of calls of overridden functions, and where the functions are.

/// What a machine makes of calls of overridden functions, and how often there are any.
#[derive(Clone, Debug)]
pub struct Overrides {
    /// Guarded calls lead to the kernel's function.
    pub guarded: bool,
    /// The alternative that calls of memset lead to; `None` when they are as linked.
    pub memset: Option<usize>,
    /// Kernel CFG (HVCI): the kernel's function looks at a bitmap first, and modules' pointers lead to it.
    pub checked: bool,
    /// The flag that memset as linked looks at.
    pub flag: bool,
    /// Sizes that memset is called with.
    pub sizes: Vec<u32>,
    /// Such calls among 100 statements.
    pub percent: u32,
}

/// The overridden functions of a module.
#[derive(Clone, Debug)]
pub struct Overridden {
    /// The thunk for guarded calls.
    pub thunk: u64,
    /// The function that the module's pointer leads to in the file.
    pub dispatch: u64,
    /// memset as linked, then its alternatives.
    pub memset: [u64; 3],
    /// The calls and jumps that a table lists, by address.
    pub calls: Vec<OverriddenCall>,
    /// The kernel's page of shared code: in the kernel itself, and its copy after a module that is too far away.
    pub shared: Option<SharedPage>,
}

/// A call of an overridden function.
#[derive(Clone, Copy, Debug)]
pub struct OverriddenCall {
    /// Address of the `E8` or `E9`.
    pub va: u64,
    /// True for `E8`.
    pub call: bool,
    /// The thunk for guarded calls; else memset.
    pub is_guarded: bool,
}

/// The page of shared code.
#[derive(Clone, Debug)]
pub struct SharedPage {
    /// Address of the first byte.
    pub base: u64,
    /// One page, as in memory.
    pub bytes: Vec<u8>,
}

/// Where the functions for guarded calls lie in the page, with SMEP and without.
pub const GUARDED_CALLS: [u64; 2] = [0x780, 0x7c0];

/// Where calls of a module lead: as linked, and on the machine.
#[derive(Clone, Copy)]
pub(super) struct Leads {
    pub thunk: u64,
    pub memset: u64,
    pub chosen_memset: u64,
    pub kernel: Option<u64>,
    pub copy: u64,
}

impl Leads {
    /// Where the machine has a guarded call at `va` lead.
    pub fn guarded(&self, va: u64) -> u64 {
        match self.kernel {
            None => self.thunk,
            Some(kernel) if i32::try_from(kernel.wrapping_sub(va + 5) as i64).is_ok() => kernel,
            Some(_) => self.copy,
        }
    }
}
