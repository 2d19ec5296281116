//! Which load-time changes are made to an image.

/// What becomes of import call sites (DVRT symbol 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum ImportCalls {
    /// They stay as linked: `call [slot]`.
    AsLinked,
    /// Import optimization: `mov r10,[slot]; call target`. See [`crate::import_optimization_by_default`] for the kernels
    /// that do it.
    #[default]
    Optimized,
    /// `mov r10,[slot]; call r10`, the form that Driver Verifier gives a running image while import optimization is
    /// withdrawn from it. Known from the kernel's code, never seen in a dump.
    DriverVerifier,
}

/// The load-time changes to make to one module's image. The default is that of current kernels: import optimization
/// without retpoline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Policy {
    /// What becomes of import call sites.
    pub import_calls: ImportCalls,
    /// Retpoline: indirect calls and jumps (symbols 4 and 5) go through stubs after the image, and so do import calls
    /// that cannot be made direct. Needs the kernel's [`crate::StubBlock`].
    pub retpoline: bool,
    /// The image is a second mapping of its file, as the crash dump stack's `dump_*.sys` are: the kernel makes no call
    /// in it direct. See [`Policy::is_second_mapping`].
    pub second_mapping: bool,
    /// Function overrides: direct calls that the file lists (symbol 7) lead to the function that the kernel chooses by the
    /// machine's capabilities ([`crate::MappedImage::with_capabilities`]). Those that lead to a function of the kernel need
    /// its [`crate::StubBlock`]. Kernels do it from Windows 11 24H2 on.
    pub function_overrides: bool,
    /// Kernel CFG (HVCI): the kernel's own functions for guarded calls look at a bitmap first. Only the bytes that steer code
    /// are made; the address of the bitmap is not known and left 0. Without effect on retpolined images.
    pub kernel_cfg: bool,
}

impl Policy {
    /// Everything as linked: only relocations and bound import slots differ from the file.
    pub const AS_LINKED: Self = Self {
        import_calls: ImportCalls::AsLinked,
        retpoline: false,
        second_mapping: false,
        function_overrides: false,
        kernel_cfg: false,
    };

    /// The same policy with another choice for import calls.
    pub const fn with_import_calls(self, import_calls: ImportCalls) -> Self {
        Self { import_calls, ..self }
    }

    /// The same policy with retpoline on or off.
    pub const fn with_retpoline(self, retpoline: bool) -> Self {
        Self { retpoline, ..self }
    }

    /// The same policy with function overrides on or off.
    pub const fn with_function_overrides(self, function_overrides: bool) -> Self {
        Self { function_overrides, ..self }
    }

    /// The same policy with kernel CFG on or off.
    pub const fn with_kernel_cfg(self, kernel_cfg: bool) -> Self {
        Self { kernel_cfg, ..self }
    }

    /// The same policy for an image that is, or is not, a second mapping.
    pub const fn with_second_mapping(self, second_mapping: bool) -> Self {
        Self { second_mapping, ..self }
    }

    /// True for the names under which the kernel maps a driver a second time for writing crash dumps: `dump_*`.
    pub fn is_second_mapping(module_name: &str) -> bool {
        module_name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("dump_"))
    }
}
