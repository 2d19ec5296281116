//! A module as it was loaded, and its number among those that were loaded together.

use std::borrow::Cow;

use crate::addr::Va;
use crate::file::PeFile;

/// A module as it was loaded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Module<'a> {
    /// The file name under which it was loaded: `ntoskrnl.exe`, `CI.dll`.
    pub name: Cow<'a, str>,
    /// Its first address.
    pub base: Va,
    /// Its file, if there is one. Imports from a module without a file stay unbound, and say why.
    pub file: Option<PeFile<'a>>,
}

impl<'a> Module<'a> {
    /// A module with its file.
    pub fn new(name: impl Into<Cow<'a, str>>, base: impl Into<Va>, file: PeFile<'a>) -> Self {
        Self { file: Some(file), ..Self::without_file(name, base) }
    }

    /// A module that was loaded and whose file is missing.
    pub fn without_file(name: impl Into<Cow<'a, str>>, base: impl Into<Va>) -> Self {
        Self { name: name.into(), base: base.into(), file: None }
    }
}

/// A module of a set: its number in the order in which the modules were given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ModuleId(pub usize);
