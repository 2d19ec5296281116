//! Style as a test: what the project says about its sources, checked over every tracked file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::outcome::Outcome;
use crate::{paths, program};

/// The longest a source file may be.
const MAX_LINES: usize = 600;

/// Files that may be longer, and why.
const LONGER: &[(&str, &str)] = &[];

/// The crates that stand alone: none of them may know another one.
const FORMAT_CRATES: &[&str] = &["etl-file", "pe-image", "mdmp", "intel-pt"];

/// The one crate that maps files, and the one file in which it does.
const MAPS_FILES: (&str, &str) = ("crates/mkdump/src/lib.rs", "crates/mkdump/src/map.rs");

/// A rule: every file in, complaints out.
type Rule = fn(&[Text]) -> Vec<String>;

/// A tracked text file.
struct Text {
    path: String,
    content: String,
}

/// `cargo xtask tidy`.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    if let Some(argument) = arguments.first() {
        bail!("tidy takes no arguments, {argument:?} given");
    }
    let files = tracked()?;
    let rules: &[(&str, Rule)] = &[
        ("every source file says what it is", module_docs),
        ("unsafe code is forbidden", unsafe_code),
        ("the crates' dependencies point down", dependencies),
        ("files are short", lengths),
        ("no machine's paths, no registry's names", places),
        ("links in documents resolve", links),
    ];
    let mut outcome = Outcome::default();
    for (name, rule) in rules {
        let complaints = rule(&files);
        if complaints.is_empty() {
            println!("ok      {name}");
            outcome.add_pass();
        }
        for complaint in complaints {
            outcome.add_failure(format!("{name}: {complaint}"));
        }
    }
    Ok(outcome)
}

/// The files that git knows or would add, as far as they are text.
fn tracked() -> Result<Vec<Text>> {
    let root = paths::root();
    let mut git = std::process::Command::new("git");
    git.current_dir(&root).args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    let listed = program::capture(&mut git, Duration::from_secs(60))?;
    if !listed.success() {
        bail!("git ls-files: {}", listed.stderr);
    }
    let mut files = Vec::new();
    for path in listed.stdout.split('\0').filter(|path| !path.is_empty()) {
        let full = root.join(path);
        // Removed but not yet committed, or a link to a directory.
        if !full.is_file() {
            continue;
        }
        let bytes = std::fs::read(&full).with_context(|| format!("cannot read {path}"))?;
        if let Ok(content) = String::from_utf8(bytes) {
            files.push(Text { path: path.to_owned(), content });
        }
    }
    Ok(files)
}

fn sources(files: &[Text]) -> impl Iterator<Item = &Text> {
    files.iter().filter(|file| file.path.ends_with(".rs"))
}

fn module_docs(files: &[Text]) -> Vec<String> {
    let opens_with_doc = |file: &&Text| {
        // Attributes of the crate may stand before its documentation.
        let first = file.content.lines().find(|line| !line.is_empty() && !line.starts_with("#!["));
        first.is_some_and(|line| line.starts_with("//!"))
    };
    sources(files)
        // A fuzz target is one line that calls a documented function of its package.
        .filter(|file| !file.path.contains("/fuzz_targets/"))
        .filter(|file| !opens_with_doc(file))
        .map(|file| format!("{} does not open with a //! line", file.path))
        .collect()
}

fn unsafe_code(files: &[Text]) -> Vec<String> {
    let (mapping_root, mapping_file) = MAPS_FILES;
    let mut complaints = Vec::new();
    for file in sources(files) {
        // Fuzz packages are tests, and the harness that they link is not safe code in the first place.
        let is_root = file.path.ends_with("src/lib.rs") || file.path.ends_with("src/main.rs");
        let is_root = is_root && !file.path.contains("/fuzz/");
        let level = if file.path == mapping_root { "#![deny(unsafe_code)]" } else { "#![forbid(unsafe_code)]" };
        let forbids = file.content.contains("#![forbid(unsafe_code)]") || file.content.contains(level);
        if is_root && !forbids {
            complaints.push(format!("{} lacks {level}", file.path));
        }
        let allows = file.content.contains(concat!("allow(", "unsafe_code)"));
        if allows && file.path != mapping_file {
            complaints.push(format!("{} allows unsafe code; only {mapping_file} may", file.path));
        }
    }
    complaints
}

fn dependencies(files: &[Text]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with("Cargo.toml")) {
        let Some(name) = file.path.strip_prefix("crates/").and_then(|path| path.strip_suffix("/Cargo.toml")) else {
            continue;
        };
        let forbidden: &[&str] = match name {
            name if FORMAT_CRATES.contains(&name) => &[
                "etl-file",
                "pe-image",
                "mdmp",
                "intel-pt",
                "symstore",
                "mkdump",
                "mkdump-cli",
                "clap",
                "anyhow",
                "indicatif",
            ],
            // It finds the files of modules; which modules those are and what becomes of them is decided above it.
            "symstore" => &["etl-file", "mdmp", "intel-pt", "mkdump", "mkdump-cli", "clap", "anyhow", "indicatif"],
            "testkit" => &["etl-file", "pe-image", "mdmp", "intel-pt", "symstore", "mkdump", "mkdump-cli"],
            "mkdump" => &["mkdump-cli", "clap", "anyhow", "indicatif"],
            _ => &[],
        };
        let used = dependency_names(&file.content);
        for dependency in forbidden.iter().filter(|dependency| **dependency != name && used.contains(**dependency)) {
            complaints.push(format!("{} depends on {dependency}", file.path));
        }
    }
    complaints
}

/// The names in every dependency section of a manifest, those of development included.
fn dependency_names(manifest: &str) -> BTreeSet<&str> {
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            inside = section.ends_with("dependencies");
            if let Some((_, name)) = section.split_once("dependencies.") {
                names.insert(name);
            }
        } else if inside && !line.starts_with('#') {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            if !name.is_empty() {
                names.insert(name);
            }
        }
    }
    names
}

fn lengths(files: &[Text]) -> Vec<String> {
    sources(files)
        .filter(|file| !LONGER.iter().any(|(path, _)| *path == file.path))
        .filter_map(|file| {
            let lines = file.content.lines().count();
            (lines > MAX_LINES).then(|| format!("{} has {lines} lines, {MAX_LINES} are allowed", file.path))
        })
        .collect()
}

fn places(files: &[Text]) -> Vec<String> {
    // Written apart, so that this file does not find itself.
    let paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let words = [
        concat!("shared/", "specs"),
        concat!("pypi", ".org"),
        concat!("files.python", "hosted.org"),
        concat!("index.crates", ".io"),
        concat!("static.crates", ".io"),
        concat!("deb.", "debian.org"),
    ];
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| !file.path.ends_with("Cargo.lock")) {
        for (index, line) in file.content.lines().enumerate() {
            let found =
                paths.iter().find(|path| begins_a_path(line, path)).or(words.iter().find(|word| line.contains(**word)));
            if let Some(found) = found {
                complaints.push(format!("{}:{}: {found}", file.path, index + 1));
            }
        }
    }
    complaints
}

/// Whether `path` occurs where a path begins: the middle of a longer path does not count.
fn begins_a_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || "._-}*$\\/".contains(before))
    })
}

fn links(files: &[Text]) -> Vec<String> {
    let mut complaints = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, target) in link_targets(&file.content) {
            if let Some(complaint) = unresolved(files, &file.path, target) {
                complaints.push(format!("{}:{line}: {target}: {complaint}", file.path));
            }
        }
    }
    complaints
}

/// Targets of inline links with their line numbers; code blocks are left out.
fn link_targets(markdown: &str) -> Vec<(usize, &str)> {
    let mut targets = Vec::new();
    let mut in_code = false;
    for (index, line) in markdown.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            if let Some(target) = line[at + 2..].split([')', ' ']).next() {
                targets.push((index + 1, target));
            }
        }
    }
    targets
}

fn unresolved(files: &[Text], from: &str, target: &str) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let file = if path.is_empty() { PathBuf::from(from) } else { Path::new(from).parent()?.join(path) };
    let file = normal(&file);
    if !paths::root().join(&file).exists() {
        return Some(String::from("no such file"));
    }
    if anchor.is_empty() {
        return None;
    }
    let text = files.iter().find(|text| Path::new(&text.path) == file)?;
    let known = text.content.lines().filter(|line| line.starts_with('#')).any(|heading| slug(heading) == anchor);
    (!known).then(|| String::from("no such heading"))
}

/// A path without `.` and `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                normal.pop();
            }
            std::path::Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

/// The anchor that renderers give a heading.
fn slug(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c if c.is_alphanumeric() => Some(c),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{begins_a_path, dependency_names, link_targets, slug};

    #[test]
    fn dependency_sections() {
        let manifest = "[package]\nname = \"x\"\n[dependencies]\nmdmp.workspace = true\n# intel-pt\n\
                        [dev-dependencies]\nproptest = \"1\"\n[dependencies.clap]\nversion = \"4\"\n";
        assert_eq!(dependency_names(manifest).into_iter().collect::<Vec<_>>(), ["clap", "mdmp", "proptest"]);
    }

    #[test]
    fn paths_of_a_machine() {
        let path = concat!("/wo", "rk/");
        for (line, expected) in [("in /wo", false), ("see X/a", true), ("srcX", false), ("\"X\"", true), ("X", true)] {
            assert_eq!(begins_a_path(&line.replace('X', path), path), expected, "{line}");
        }
    }

    #[test]
    fn markdown() {
        assert_eq!(link_targets("a [b](c.md#d) and\n```\n[x](y)\n```\n[e](f \"g\")"), [(1, "c.md#d"), (5, "f")]);
        assert_eq!(slug("## What it `does`, and why"), "what-it-does-and-why");
    }
}
