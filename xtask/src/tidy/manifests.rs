//! Rules for manifests: which crate may know which, and that nothing is depended on without being used.

use std::collections::BTreeSet;

use super::{Text, rust_files};

/// What each crate of the workspace may know of the others. The four format crates know none, so that each is useful
/// alone; a new crate has to be entered here.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("etl-file", &[]),
    ("pe-image", &[]),
    ("mdmp", &[]),
    ("intel-pt", &[]),
    ("testkit", &[]),
    ("session-kernels", &["testkit"]),
    ("address-map", &[]),
    ("whole-output", &[]),
    ("call-forms", &["intel-pt"]),
    ("symstore", &["pe-image"]),
    ("module-request", &["symstore"]),
    ("etl-extract", &["etl-file"]),
    ("etw-decode", &["etl-file"]),
    // Memory at addresses and plain facts, whatever the dump's format.
    ("etw-sessions", &["etl-file"]),
    // Neither module files nor PDBs, whose crate is symstore.
    ("kernel-snapshot", &["address-map", "etl-file", "etw-sessions", "mdmp", "pe-image"]),
    // What it needs of dumps are plain values of kernel-snapshot.
    (
        "kernel-code",
        &["address-map", "call-forms", "etw-sessions", "intel-pt", "kernel-snapshot", "pe-image", "symstore"],
    ),
    ("captured-code", &["address-map", "kernel-code", "kernel-snapshot", "mdmp", "pe-image"]),
    // Neither traces nor dumps.
    ("ipt-analysis", &["address-map", "intel-pt"]),
    (
        "mkdump",
        &[
            "address-map",
            "captured-code",
            "whole-output",
            "etl-extract",
            "etl-file",
            "etw-sessions",
            "pe-image",
            "mdmp",
            "intel-pt",
            "call-forms",
            "symstore",
            "module-request",
            "kernel-code",
            "kernel-snapshot",
            "ipt-analysis",
        ],
    ),
    ("mkdump-cli", &["etl-extract", "etw-decode", "etw-sessions", "mkdump", "symstore"]),
    (
        "acceptance",
        &[
            "address-map",
            "captured-code",
            "whole-output",
            "etl-extract",
            "etl-file",
            "etw-decode",
            "etw-sessions",
            "pe-image",
            "mdmp",
            "intel-pt",
            "call-forms",
            "symstore",
            "module-request",
            "kernel-code",
            "kernel-snapshot",
            "ipt-analysis",
            "mkdump",
            "mkdump-cli",
            "session-kernels",
            "testkit",
            "xtask",
        ],
    ),
    ("mutants", &["xtask"]),
    ("xtask", &[]),
];

/// Packages whose library has a name of its own.
const LIBRARY_NAMES: &[(&str, &str)] = &[("rust-lzxpress", "lzxpress")];

/// What belongs to programs: argument parsing, errors without a type, progress bars. Libraries must not use it.
const OF_PROGRAMS: &[&str] = &["clap", "anyhow", "indicatif"];

/// The crates that are programs, or parts of one.
const PROGRAMS: &[&str] = &["mkdump-cli", "acceptance", "session-kernels", "mutants", "xtask"];

/// One dependency of a manifest.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Dependency<'a> {
    name: &'a str,
    /// From a section of dev-dependencies.
    is_for_tests: bool,
}

/// The crates' dependencies point down.
pub fn direction(files: &[Text]) -> Vec<String> {
    let ours: BTreeSet<&str> = MAY_KNOW.iter().map(|(name, _)| *name).collect();
    let mut complaints = Vec::new();
    for (manifest, name, _) in packages(files) {
        let Some((_, known)) = MAY_KNOW.iter().find(|(crate_name, _)| *crate_name == name) else {
            complaints.push(format!("{} is not in the table of who may know whom", manifest.path));
            continue;
        };
        for dependency in dependencies(&manifest.content) {
            let is_test_aid = dependency.is_for_tests && dependency.name == "testkit";
            let is_foreign_room = ours.contains(dependency.name) && !known.contains(&dependency.name) && !is_test_aid;
            let is_of_programs = OF_PROGRAMS.contains(&dependency.name) && !PROGRAMS.contains(&name);
            if is_foreign_room || is_of_programs {
                complaints.push(format!("{} depends on {}", manifest.path, dependency.name));
            }
        }
    }
    complaints
}

/// What every published manifest says. The repository's address is left out while it is not known.
const KEYS: &[&str] = &["description", "license", "rust-version", "readme", "keywords", "categories"];

/// Crates whose manifests are not complete for now. A complete one on the list is a complaint too.
const INCOMPLETE: &[&str] = &[];

/// Published manifests are complete, with keywords of their own.
pub fn complete(files: &[Text]) -> Vec<String> {
    let mut complaints = Vec::new();
    for (manifest, name, _) in packages(files) {
        let lines: Vec<&str> = manifest.content.lines().collect();
        if lines.contains(&"publish = false") {
            continue;
        }
        let is_there = |key: &&&str| lines.iter().any(|line| line.split(['=', '.', ' ']).next() == Some(**key));
        let mut lacking: Vec<&str> = KEYS.iter().filter(|key| !is_there(key)).copied().collect();
        if lines.contains(&"keywords.workspace = true") {
            lacking.push("keywords of its own");
        }
        match (lacking.is_empty(), INCOMPLETE.contains(&name)) {
            (false, false) => complaints.push(format!("{} lacks {}", manifest.path, lacking.join(", "))),
            (true, true) => complaints.push(format!("{} is complete now: take it off the list", manifest.path)),
            _ => {}
        }
    }
    complaints
}

/// Every dependency is used by name in the package, and every one that the workspace offers by some package.
pub fn unused(files: &[Text]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut wanted = BTreeSet::new();
    for (manifest, _, dir) in packages(files) {
        for dependency in dependencies(&manifest.content) {
            wanted.insert(dependency.name);
            let identifier = identifier(dependency.name);
            let is_used = rust_files(files)
                .filter(|file| file.path.starts_with(dir))
                .filter(|file| dependency.is_for_tests || is_linked(&file.path[dir.len()..]))
                .any(|file| names(&file.content, &identifier));
            if !is_used {
                complaints.push(format!("{}: {} is not used", manifest.path, dependency.name));
            }
        }
    }
    let root = files.iter().find(|file| file.path == "Cargo.toml");
    for dependency in root.iter().flat_map(|root| dependencies(&root.content)) {
        if !wanted.contains(dependency.name) {
            complaints.push(format!("Cargo.toml: no package uses {}", dependency.name));
        }
    }
    complaints
}

/// What the source calls a package.
fn identifier(package: &str) -> String {
    let named = LIBRARY_NAMES.iter().find(|(name, _)| *name == package);
    named.map_or_else(|| package.replace('-', "_"), |(_, library)| (*library).to_owned())
}

/// Whether a file, by its path inside the package, is part of what ordinary dependencies are for.
fn is_linked(path: &str) -> bool {
    path.starts_with("src/") || path == "build.rs"
}

/// The manifests of the workspace's packages, with the package's name and directory.
fn packages(files: &[Text]) -> impl Iterator<Item = (&Text, &str, &str)> {
    files.iter().filter_map(|file| {
        let dir = file.path.strip_suffix("Cargo.toml")?;
        let name = match dir.strip_suffix('/')? {
            "xtask" => "xtask",
            path => path.strip_prefix("crates/").filter(|name| !name.contains('/'))?,
        };
        Some((file, name, dir))
    })
}

/// The dependencies in every section of a manifest.
fn dependencies(manifest: &str) -> BTreeSet<Dependency<'_>> {
    let mut found = BTreeSet::new();
    let mut section = "";
    for line in manifest.lines().map(str::trim) {
        let is_for_tests = section.contains("dev-dependencies");
        if let Some(header) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            section = header;
            if let Some((_, name)) = section.split_once("dependencies.") {
                found.insert(Dependency { name, is_for_tests: section.contains("dev-dependencies") });
            }
        } else if section.ends_with("dependencies") && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            // The lines of an array that goes on hold no name.
            if !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "-_".contains(c)) {
                found.insert(Dependency { name, is_for_tests });
            }
        }
    }
    found
}

/// Whether the identifier occurs as a word.
fn names(source: &str, identifier: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    source
        .match_indices(identifier)
        .any(|(at, _)| !source[..at].ends_with(is_part) && !source[at + identifier.len()..].starts_with(is_part))
}

#[cfg(test)]
mod tests {
    use super::{Text, dependencies, names, unused};

    #[test]
    fn dependency_sections() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\nmdmp.workspace = true\n# intel-pt\n\
                        [dev-dependencies]\nproptest = \"1\"\n[dependencies.clap]\nversion = \"4\"\n";
        let found: Vec<_> = dependencies(manifest).into_iter().map(|one| (one.name, one.is_for_tests)).collect();
        assert_eq!(found, [("clap", false), ("mdmp", false), ("proptest", true)]);
    }

    #[test]
    fn words() {
        for (source, expected) in [("use a_b::c;", true), ("use a_bc;", false), ("xa_b", false), ("(a_b)", true)] {
            assert_eq!(names(source, "a_b"), expected, "{source}");
        }
    }

    #[test]
    fn what_is_not_used() {
        let text = |path: &str, content: &str| Text { path: path.into(), content: content.into() };
        let files = [
            text("Cargo.toml", "[workspace.dependencies]\na-b = \"1\"\nc = \"1\"\nd = \"1\"\n"),
            text("crates/x/Cargo.toml", "[dependencies]\na-b = \"1\"\nc = \"1\"\n[dev-dependencies]\nt = \"1\"\n"),
            text("crates/x/src/lib.rs", "use a_b::A;"),
            text("crates/x/tests/t.rs", "use c::C; use t::T;"),
        ];
        assert_eq!(unused(&files), ["crates/x/Cargo.toml: c is not used", "Cargo.toml: no package uses d"]);
    }
}
