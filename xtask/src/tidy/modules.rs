//! The rule that the modules of a crate form no circle.
//!
//! An edge is a path that begins with `crate`, `super` or `self` in a file of one module and leads into another. A name
//! that a module only passes on (`pub use child::Name`) leads to where it comes from. Modules are compared with their
//! siblings, each with everything inside it: what a module and its own children say of each other is one room.

use std::collections::{BTreeMap, BTreeSet};

use super::{Text, rust_files};

/// A module's path from the crate's root: empty for the root itself.
type Path = Vec<String>;

/// The modules of a crate.
#[derive(Default)]
struct Crate {
    /// Each module with its file and its paths, tests left out.
    modules: BTreeMap<Path, Module>,
}

#[derive(Default)]
struct Module {
    file: String,
    /// Absolute paths from the crate's root that the source names.
    paths: BTreeSet<Path>,
    /// Names that the module takes from elsewhere in the crate, by the name they have here.
    passed_on: BTreeMap<String, Path>,
}

/// Circles among the modules of each package.
pub fn circles(files: &[Text]) -> Vec<String> {
    let crates = crates(files);
    crates.iter().flat_map(|(name, tree)| tree.circles().into_iter().map(move |c| format!("{name}: {c}"))).collect()
}

fn crates(files: &[Text]) -> BTreeMap<&str, Crate> {
    let mut crates: BTreeMap<&str, Crate> = BTreeMap::new();
    let mut sources: BTreeMap<&str, Vec<(Path, &Text)>> = BTreeMap::new();
    for file in rust_files(files) {
        let Some((dir, inner)) = file.path.split_once("/src/") else { continue };
        let Some(path) = module_path(inner) else { continue };
        let name = dir.strip_prefix("crates/").unwrap_or(dir);
        if !name.contains('/') {
            sources.entry(name).or_default().push((path, file));
        }
    }
    for (name, files) in sources {
        let tree = crates.entry(name).or_default();
        for (path, file) in &files {
            tree.modules.insert(path.clone(), Module { file: file.path.clone(), ..Module::default() });
        }
        for (path, file) in &files {
            let (paths, passed_on) = tree.read(path, &file.content);
            let module = tree.modules.get_mut(path).expect("it was inserted above");
            module.paths.extend(paths);
            module.passed_on.extend(passed_on);
        }
    }
    crates
}

/// The module of a file below `src/`; none for tests and for further binaries.
fn module_path(inner: &str) -> Option<Path> {
    let mut path: Path = inner.strip_suffix(".rs")?.split('/').map(str::to_owned).collect();
    if path.iter().any(|part| part == "tests" || part == "bin") {
        return None;
    }
    let last = path.last()?.as_str();
    if last == "mod" || (path.len() == 1 && (last == "lib" || last == "main")) {
        path.pop();
    }
    Some(path)
}

impl Crate {
    /// The paths that a module's source names, and the names that it takes from elsewhere.
    fn read(&self, module: &Path, source: &str) -> (BTreeSet<Path>, BTreeMap<String, Path>) {
        let tokens = tokens(without_tests(source));
        let mut paths = BTreeSet::new();
        let mut passed_on = BTreeMap::new();
        let mut at = 0;
        while at < tokens.len() {
            let is_use = tokens[at] == "use";
            let start = if is_use { at + 1 } else { at };
            let is_path =
                !(at > 0 && tokens[at - 1] == "::") && tokens.get(start + 1).is_some_and(|next| *next == "::");
            let Some(base) = tokens.get(start).filter(|_| is_path).and_then(|first| self.base(module, first, is_use))
            else {
                at += 1;
                continue;
            };
            let skipped = if is_keyword(tokens[start]) { 2 } else { 0 };
            let mut leaves = Vec::new();
            at = leaves_of(&tokens, start + skipped, &base, &mut leaves);
            for (path, name) in leaves {
                if is_use {
                    passed_on.insert(name, path.clone());
                }
                paths.insert(path);
            }
        }
        (paths, passed_on)
    }

    /// Where a path begins whose first word this is. In a `use`, a child's name begins one too.
    fn base(&self, module: &Path, first: &str, is_use: bool) -> Option<Path> {
        let child = || [module.as_slice(), &[first.to_owned()]].concat();
        match first {
            "crate" => Some(Vec::new()),
            "self" => Some(module.clone()),
            "super" => Some(module[..module.len().saturating_sub(1)].to_vec()),
            _ => (is_use && self.modules.contains_key(&child())).then(|| module.clone()),
        }
    }

    /// The module that a path leads to: names that are only passed on are followed to where they come from.
    fn owner(&self, path: &Path) -> Path {
        let mut path = path.clone();
        // Passing on in a circle would be an error of the compiler; the bound is for what this reader misunderstands.
        for _ in 0..8 {
            let deepest = (0..=path.len()).rev().find(|length| self.modules.contains_key(&path[..*length]));
            let module = path[..deepest.unwrap_or(0)].to_vec();
            let next = path.get(module.len()).and_then(|name| self.modules.get(&module)?.passed_on.get(name));
            match next {
                Some(next) if *next != path => path = [next.as_slice(), &path[module.len() + 1..]].concat(),
                _ => return module,
            }
        }
        path
    }

    /// Each circle of siblings: the module they lie in, the siblings, and one file for each step.
    fn circles(&self) -> Vec<String> {
        // By parent: edges between children, each with a file that has it.
        let mut levels: BTreeMap<Path, BTreeMap<(String, String), String>> = BTreeMap::new();
        for (from, module) in &self.modules {
            for path in &module.paths {
                let to = self.owner(path);
                let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
                // One of the two lies in the other: one room.
                if let (Some(a), Some(b)) = (from.get(common), to.get(common)) {
                    let edges = levels.entry(from[..common].to_vec()).or_default();
                    edges.entry((a.clone(), b.clone())).or_insert_with(|| module.file.clone());
                }
            }
        }
        let mut found = Vec::new();
        for (parent, edges) in levels {
            for circle in strongly_connected(&edges) {
                let steps: Vec<String> = edges
                    .iter()
                    .filter(|((a, b), _)| circle.contains(a) && circle.contains(b))
                    .map(|((a, b), file)| format!("{a} → {b} ({file})"))
                    .collect();
                let place = if parent.is_empty() { String::from("the crate") } else { parent.join("::") };
                let names = circle.into_iter().collect::<Vec<_>>().join(", ");
                found.push(format!("a circle in {place} of {names}: {}", steps.join(", ")));
            }
        }
        found
    }
}

fn is_keyword(token: &str) -> bool {
    matches!(token, "crate" | "self" | "super")
}

/// The groups of two and more that reach each other. Crates are small: reachability by plain search will do.
fn strongly_connected(edges: &BTreeMap<(String, String), String>) -> Vec<BTreeSet<String>> {
    let reach = |start: &String| {
        let (mut seen, mut stack) = (BTreeSet::new(), vec![start.clone()]);
        while let Some(node) = stack.pop() {
            for (_, next) in edges.keys().filter(|(from, _)| *from == node) {
                if seen.insert(next.clone()) {
                    stack.push(next.clone());
                }
            }
        }
        seen
    };
    let nodes: BTreeSet<&String> = edges.keys().flat_map(|(a, b)| [a, b]).collect();
    let reached: BTreeMap<&String, BTreeSet<String>> = nodes.iter().map(|node| (*node, reach(node))).collect();
    let mut groups = BTreeSet::new();
    for node in &nodes {
        let group: BTreeSet<String> = reached[node]
            .iter()
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(*node)))
            .cloned()
            .collect();
        if group.len() > 1 {
            groups.insert(group);
        }
    }
    groups.into_iter().collect()
}

/// The source up to its module of tests, which by custom is the last thing in a file.
fn without_tests(source: &str) -> &str {
    source.find("#[cfg(test)]\nmod tests").map_or(source, |at| &source[..at])
}

/// Identifiers, `::` and single other characters; comments, strings and characters left out.
fn tokens(source: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if first == '"' {
            end_of_string(rest)
        } else if let Some(raw) = raw_string(rest) {
            raw
        } else if first == '\'' {
            // A character, not a lifetime, has its closing quote after one character or an escape.
            let inner = rest[1..].chars().next().map_or(0, char::len_utf8);
            match rest[1 + inner..].find('\'') {
                Some(0) => inner + 2,
                Some(more) if rest[1..].starts_with('\\') => inner + 2 + more,
                _ => 1,
            }
        } else if first.is_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(&rest[..length]);
            length
        } else if rest.starts_with("::") {
            tokens.push(&rest[..2]);
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(&rest[..first.len_utf8()]);
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// The length of a string literal at the beginning.
fn end_of_string(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of a raw string literal at the beginning, if there is one.
fn raw_string(text: &str) -> Option<usize> {
    let rest = text.strip_prefix('r').or_else(|| text.strip_prefix("br"))?;
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    rest[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let start = text.len() - rest.len() + hashes + 1;
    Some(text[start..].find(&end).map_or(text.len(), |at| start + at + end.len()))
}

/// Collects the ends of the path tree that begins at a token, each with the name it gets; returns where it ends.
fn leaves_of(tokens: &[&str], mut at: usize, base: &Path, leaves: &mut Vec<(Path, String)>) -> usize {
    let mut path = base.clone();
    loop {
        match tokens.get(at).copied() {
            Some("{") => {
                at += 1;
                while let Some(token) = tokens.get(at).copied() {
                    match token {
                        "}" => return at + 1,
                        "," => at += 1,
                        _ => {
                            let next = leaves_of(tokens, at, &path, leaves);
                            // Something that is not a path: step over it.
                            at = next.max(at + 1);
                        }
                    }
                }
                return at;
            }
            // A group of the module itself: `{self, …}`.
            Some("self") => {
                leaves.push((path.clone(), path.last().cloned().unwrap_or_default()));
                return at + 1;
            }
            Some("super") => {
                path.pop();
                at += 1;
            }
            Some("*") => {
                leaves.push((path, String::from("*")));
                return at + 1;
            }
            Some(word) if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => {
                path.push(word.to_owned());
                at += 1;
            }
            _ => return at,
        }
        if tokens.get(at) == Some(&"::") {
            at += 1;
        } else {
            let mut name = path.last().cloned().unwrap_or_default();
            if tokens.get(at) == Some(&"as") {
                name = tokens.get(at + 1).copied().unwrap_or_default().to_owned();
                at += 2;
            }
            leaves.push((path, name));
            return at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Text, circles, tokens};

    /// The complaints about a crate of these files.
    fn check(files: &[(&str, &str)]) -> Vec<String> {
        let text =
            |(path, content): &(&str, &str)| Text { path: format!("crates/x/src/{path}"), content: (*content).into() };
        circles(&files.iter().map(text).collect::<Vec<_>>())
    }

    #[test]
    fn siblings_that_name_each_other() {
        let both = check(&[("lib.rs", ""), ("a.rs", "use crate::b::B;"), ("b.rs", "fn f() { super::a::g() }")]);
        assert_eq!(both.len(), 1, "{both:?}");
        assert!(both[0].contains("a → b (crates/x/src/a.rs), b → a (crates/x/src/b.rs)"), "{both:?}");
        assert!(check(&[("lib.rs", ""), ("a.rs", "use crate::b::B;"), ("b.rs", "")]).is_empty());
    }

    #[test]
    fn a_parent_and_its_child_are_one_room() {
        assert!(check(&[("lib.rs", ""), ("a/mod.rs", "use self::c::C;"), ("a/c.rs", "use super::A;")]).is_empty());
    }

    #[test]
    fn a_circle_through_a_child_is_one_of_its_parent() {
        let found =
            check(&[("lib.rs", ""), ("a/mod.rs", ""), ("a/c.rs", "use crate::b::B;"), ("b.rs", "use crate::a::A;")]);
        assert_eq!(found.len(), 1, "{found:?}");
    }

    #[test]
    fn names_that_are_passed_on_lead_to_their_origin() {
        // b takes A from the root, which only passes it on from a.
        let root = ("lib.rs", "pub use a::{A, B as Other};");
        let found = check(&[root, ("a.rs", "use crate::b::C;"), ("b.rs", "use crate::Other;")]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(check(&[root, ("a.rs", ""), ("b.rs", "use crate::A;")]).is_empty());
    }

    #[test]
    fn groups_tests_comments_and_strings() {
        let groups = check(&[("lib.rs", ""), ("a.rs", "use crate::{c, b::{B, D}};"), ("b.rs", "use super::a::*;")]);
        assert_eq!(groups.len(), 1, "{groups:?}");
        let silent = "// crate::a::A\nconst S: &str = \"crate::a::A\";\n#[cfg(test)]\nmod tests { use crate::a::A; }";
        assert!(check(&[("lib.rs", ""), ("a.rs", "use crate::b::B;"), ("b.rs", silent)]).is_empty());
        assert!(check(&[("lib.rs", ""), ("a.rs", "use crate::b::B;"), ("b/tests.rs", "use crate::a::A;")]).is_empty());
    }

    #[test]
    fn words_of_a_source() {
        assert_eq!(tokens("a::b('\\'', 'c', \"d\\\"e\", r#\"f\"g\"#) // h"), ["a", "::", "b", "(", ",", ",", ",", ")"]);
        assert_eq!(tokens("fn f<'a>(x: &'a u8)"), ["fn", "f", "<", "a", ">", "(", "x", ":", "&", "a", "u8", ")"]);
    }
}
