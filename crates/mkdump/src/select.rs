//! Which modules by name: `--include` and `--exclude`.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::{Error, Result};

/// Glob patterns over module file names, without regard to case, as Windows compares names.
#[derive(Clone, Debug, Default)]
pub struct NameFilter {
    include: Option<GlobSet>,
    exclude: Option<GlobSet>,
}

impl NameFilter {
    /// A filter that passes names that match any of `include` (all, when it is empty) and none of `exclude`.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self> {
        Ok(Self { include: set("--include", include)?, exclude: set("--exclude", exclude)? })
    }

    /// Why a module of this name stays out, or `None` when it is in.
    pub fn rejects(&self, name: &str) -> Option<&'static str> {
        if self.exclude.as_ref().is_some_and(|set| set.is_match(name)) {
            return Some("excluded by --exclude");
        }
        if self.include.as_ref().is_some_and(|set| !set.is_match(name)) {
            return Some("not named by --include");
        }
        None
    }
}

fn set(option: &'static str, patterns: &[String]) -> Result<Option<GlobSet>> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let bad = |pattern: &str, why: globset::Error| Error::Option {
        option,
        value: pattern.to_owned(),
        why: why.kind().to_string(),
    };
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).case_insensitive(true).build().map_err(|e| bad(pattern, e))?;
        builder.add(glob);
    }
    builder.build().map(Some).map_err(|e| bad(&patterns.join(" "), e))
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
        assert!(error.to_string().contains("--include a["), "{error}");
    }
}
