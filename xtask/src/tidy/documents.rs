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
    use super::{begins_a_path, link_targets, slug};

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
