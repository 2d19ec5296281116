//! Which modules by name: glob patterns that include and exclude.

use std::fmt;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use kernel_snapshot::Module;

/// Glob patterns over module file names, without regard to case, as Windows compares names.
#[derive(Clone, Debug, Default)]
pub struct NameFilter {
    include: Option<GlobSet>,
    exclude: Option<GlobSet>,
}

/// The patterns leave no module.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no module matches")]
pub struct NoMatch {
    /// The names of the modules that there are.
    pub names: Vec<String>,
}

/// A pattern that is not a glob.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pattern}: {why}")]
#[non_exhaustive]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub why: String,
}

/// Why a filter leaves a module out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// A pattern excludes it.
    Excluded,
    /// Patterns say what to include, and none of them matches it.
    NotIncluded,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Excluded => "excluded by name",
            Self::NotIncluded => "not among the included names",
        })
    }
}

impl NameFilter {
    /// A filter that passes names that match any of `include` (all, when it is empty) and none of `exclude`.
    ///
    /// # Errors
    /// When a pattern is not a glob.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, PatternError> {
        Ok(Self { include: set(include)?, exclude: set(exclude)? })
    }

    /// Why a module of this name stays out, or `None` when it is in.
    pub fn rejects(&self, name: &str) -> Option<Rejection> {
        if self.exclude.as_ref().is_some_and(|set| set.is_match(name)) {
            return Some(Rejection::Excluded);
        }
        if self.include.as_ref().is_some_and(|set| !set.is_match(name)) {
            return Some(Rejection::NotIncluded);
        }
        None
    }

    /// Refuses a filter that leaves none of some modules: most likely it is mistyped. No modules at all are not its fault.
    ///
    /// # Errors
    /// When there are modules, and each of them is rejected.
    pub fn require_match<'m>(&self, modules: impl IntoIterator<Item = &'m Module>) -> Result<(), NoMatch> {
        let mut names = Vec::new();
        for module in modules {
            if self.rejects(&module.name).is_none() {
                return Ok(());
            }
            names.push(module.name.clone());
        }
        if names.is_empty() { Ok(()) } else { Err(NoMatch { names }) }
    }
}

fn set(patterns: &[String]) -> Result<Option<GlobSet>, PatternError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let bad =
        |pattern: &str, why: &globset::Error| PatternError { pattern: pattern.to_owned(), why: why.kind().to_string() };
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).case_insensitive(true).build().map_err(|error| bad(pattern, &error))?;
        builder.add(glob);
    }
    builder.build().map(Some).map_err(|error| bad(&patterns.join(" "), &error))
}

#[cfg(test)]
mod tests {
    use super::NameFilter;

    fn check(include: &[&str], exclude: &[&str], name: &str, passes: bool) {
        let owned = |list: &[&str]| list.iter().map(|&s| s.to_owned()).collect::<Vec<_>>();
        let filter = NameFilter::new(&owned(include), &owned(exclude)).unwrap();
        assert_eq!(filter.rejects(name).is_none(), passes, "{include:?} {exclude:?} {name}");
    }

    #[test]
    fn names_match_whole_and_without_case() {
        check(&[], &[], "any.sys", true);
        check(&["NT*"], &[], "ntfs.sys", true);
        check(&["nt"], &[], "ntfs.sys", false);
        check(&["*.sys"], &["win32k*"], "Win32kFull.sys", false);
        check(&["ndis.sys", "tcpip.sys"], &[], "TCPIP.SYS", true);
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = NameFilter::new(&["a[".to_owned()], &[]).unwrap_err();
        assert!(error.to_string().starts_with("a[: "), "{error}");
    }
}
