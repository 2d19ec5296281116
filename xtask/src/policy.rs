//! The policy for dependencies of `deny.toml`, as far as it can be judged without cargo-deny and without network:
//! licences, sources and banned crates, from what `cargo metadata` says of the locked packages.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{paths, program};

/// What `deny.toml` says.
#[derive(Debug, Default)]
struct Policy {
    licences: BTreeSet<String>,
    banned: Vec<String>,
}

/// The complaints about the locked packages.
///
/// # Errors
/// When cargo or the policy cannot be read.
pub fn complaints() -> Result<Vec<String>> {
    let policy = Policy::read(&std::fs::read_to_string(paths::root().join("deny.toml"))?)?;
    let mut cargo = paths::cargo();
    cargo.args(["metadata", "--format-version", "1", "--locked", "--all-features"]);
    let captured = program::capture(&mut cargo, Duration::from_secs(120))?;
    ensure!(captured.success(), "cargo metadata: {}", captured.stderr);
    let metadata: Value = serde_json::from_str(&captured.stdout)?;
    let packages = metadata["packages"].as_array().context("no packages")?;
    ensure!(packages.len() > 50, "{} packages only", packages.len());
    Ok(packages.iter().flat_map(|package| policy.judge(package)).collect())
}

impl Policy {
    /// Reads the two lists out of the file: a string is a licence below `allow`, a name one below `deny`.
    fn read(text: &str) -> Result<Self> {
        let mut policy = Self::default();
        let mut list = "";
        for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
            for key in ["allow = [", "deny = ["] {
                if line.starts_with(key) {
                    list = key;
                }
            }
            let strings = line.split('"').skip(1).step_by(2);
            match list {
                "allow = [" => policy.licences.extend(strings.map(str::to_owned)),
                "deny = [" => policy.banned.extend(strings.map(str::to_owned)),
                _ => {}
            }
            if line.trim_end().ends_with(']') {
                list = "";
            }
        }
        ensure!(policy.licences.contains("MIT") && !policy.banned.is_empty(), "deny.toml has no lists: {policy:?}");
        Ok(policy)
    }

    fn judge(&self, package: &Value) -> Vec<String> {
        let text = |key: &str| package[key].as_str().unwrap_or_default().to_owned();
        let (name, version, licence) = (text("name"), text("version"), text("license"));
        let mut complaints = Vec::new();
        if !self.allows(&licence) {
            complaints.push(format!("{name} {version}: the licence {licence:?} is not among those allowed"));
        }
        if self.banned.contains(&name) {
            complaints.push(format!("{name} {version} is banned"));
        }
        // No source is a package of this repository.
        let source = package["source"].as_str();
        if source.is_some_and(|source| !source.starts_with("registry+")) {
            complaints.push(format!("{name} {version} comes from {}", text("source")));
        }
        let wild = |dependency: &&Value| dependency["req"] == "*" && dependency["path"].is_null();
        if source.is_none() {
            let dependencies = package["dependencies"].as_array().into_iter().flatten();
            complaints.extend(dependencies.filter(wild).map(|one| format!("{name}: any version of {}", one["name"])));
        }
        complaints
    }

    /// Whether an SPDX expression can be met with allowed licences: one side of an OR, both of an AND. `/` is the OR of
    /// old manifests. An expression that cannot be read is not met.
    fn allows(&self, expression: &str) -> bool {
        let expression = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
        let words: Vec<&str> = expression.split_whitespace().collect();
        let mut at = 0;
        let allowed = self.any(&words, &mut at);
        allowed && at == words.len()
    }

    fn any(&self, words: &[&str], at: &mut usize) -> bool {
        let mut allowed = self.all(words, at);
        while words.get(*at) == Some(&"OR") {
            *at += 1;
            allowed |= self.all(words, at);
        }
        allowed
    }

    fn all(&self, words: &[&str], at: &mut usize) -> bool {
        let mut allowed = self.one(words, at);
        while words.get(*at) == Some(&"AND") {
            *at += 1;
            allowed &= self.one(words, at);
        }
        allowed
    }

    fn one(&self, words: &[&str], at: &mut usize) -> bool {
        let Some(word) = words.get(*at) else { return false };
        *at += 1;
        if *word == "(" {
            let allowed = self.any(words, at);
            *at += 1;
            return allowed && words.get(*at - 1) == Some(&")");
        }
        let mut licence = (*word).to_owned();
        if words.get(*at) == Some(&"WITH") {
            licence += &format!(" WITH {}", words.get(*at + 1).copied().unwrap_or_default());
            *at += 2;
        }
        self.licences.contains(&licence)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Policy;

    const FILE: &str = "[licenses]\nallow = [\n \"MIT\",\n \"Apache-2.0\",\n \"Apache-2.0 WITH LLVM-exception\",\n]\n\
                        confidence-threshold = 0.9\n[bans]\nwildcards = \"deny\"\ndeny = [{ name = \"openssl-sys\" }]\n";

    #[test]
    fn expressions() {
        let policy = Policy::read(FILE).unwrap();
        for (expression, expected) in [
            ("MIT", true),
            ("MIT OR GPL-3.0", true),
            ("MIT/Apache-2.0", true),
            ("GPL-3.0", false),
            ("MIT AND GPL-3.0", false),
            ("(MIT OR GPL-3.0) AND Apache-2.0", true),
            ("(MIT OR GPL-3.0) AND (BSL-1.0 OR Zlib)", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("Apache-2.0 WITH Other", false),
            ("", false),
            ("MIT OR", true),
            ("MIT Apache-2.0", false),
            ("(MIT", false),
        ] {
            assert_eq!(policy.allows(expression), expected, "{expression:?}");
        }
    }

    #[test]
    fn packages() {
        let policy = Policy::read(FILE).unwrap();
        let package = |name: &str, licence: &str, source: Option<&str>, req: &str| {
            json!({"name": name, "version": "1.0.0", "license": licence, "source": source,
                   "dependencies": [{"name": "d", "req": req, "path": null}]})
        };
        for (package, expected) in [
            (package("a", "MIT", Some("registry+https://example"), "*"), ""),
            (package("a", "GPL-2.0", Some("registry+https://example"), "1"), "licence"),
            (package("openssl-sys", "MIT", Some("registry+https://example"), "1"), "banned"),
            (package("a", "MIT", Some("git+https://example"), "1"), "comes from git"),
            (package("a", "MIT", None, "*"), "any version"),
        ] {
            let found = policy.judge(&package).join("; ");
            assert!(found.contains(expected) && found.is_empty() == expected.is_empty(), "{found:?}: {expected}");
        }
    }
}
