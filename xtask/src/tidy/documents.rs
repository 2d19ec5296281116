//! Rules for every text: no place of one machine is named, and the links in documents lead somewhere.

use std::path::{Path, PathBuf};

use xtask::paths;

use super::Text;

/// Paths of somebody's machine and names of registries, which mean nothing elsewhere.
pub fn places(files: &[Text]) -> Vec<String> {
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

/// Links of documents that lead to no file or no heading.
pub fn links(files: &[Text]) -> Vec<String> {
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

/// Tests that `docs/testing.md` names and that are in no source file: functions, by names of three words or more, and files.
pub fn tests_named(files: &[Text]) -> Vec<String> {
    let sources: Vec<&Text> = super::rust_files(files).collect();
    let Some(document) = files.iter().find(|file| file.path == "docs/testing.md") else { return Vec::new() };
    let is_missing = |name: &str| {
        if name.ends_with(".rs") && name.starts_with("crates/") {
            return files.iter().all(|file| file.path != name);
        }
        is_test(name) && !sources.iter().any(|file| file.content.contains(&format!("fn {name}(")))
    };
    let named = document.content.lines().enumerate().flat_map(|(index, line)| {
        line.split('`').skip(1).step_by(2).filter(|name| is_missing(name)).map(move |name| (index + 1, name))
    });
    named.map(|(line, name)| format!("{}:{line}: {name}: there is no such test", document.path)).collect()
}

/// Whether a name is that of a test: words of small letters and digits, at least three of them.
fn is_test(name: &str) -> bool {
    name.bytes().all(|c| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'_')) && name.matches('_').count() >= 2
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
    use super::{begins_a_path, is_test, link_targets, slug, tests_named};
    use crate::tidy::Text;

    #[test]
    fn paths_of_a_machine() {
        let path = concat!("/wo", "rk/");
        for (line, expected) in [("in /wo", false), ("see X/a", true), ("srcX", false), ("\"X\"", true), ("X", true)] {
            assert_eq!(begins_a_path(&line.replace('X', path), path), expected, "{line}");
        }
    }

    #[test]
    fn tests_that_are_named_exist() {
        let file = |path: &str, content: &str| Text { path: path.to_owned(), content: content.to_owned() };
        let document =
            "| `a_test_there`, `a_test_gone` | `no_std` `cargo xtask tidy` |\n`crates/a/src/b.rs`, `crates/c.rs`";
        let files = [file("docs/testing.md", document), file("crates/a/src/b.rs", "#[test]\nfn a_test_there() {}")];
        let found = tests_named(&files);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains(":1: a_test_gone") && found[1].contains(":2: crates/c.rs"), "{found:?}");
        assert!(is_test("the_32_bit_list") && !is_test("no_std") && !is_test("CI_IS_TRUE"));
    }

    #[test]
    fn markdown() {
        assert_eq!(link_targets("a [b](c.md#d) and\n```\n[x](y)\n```\n[e](f \"g\")"), [(1, "c.md#d"), (5, "f")]);
        assert_eq!(slug("## What it `does`, and why"), "what-it-does-and-why");
    }
}
