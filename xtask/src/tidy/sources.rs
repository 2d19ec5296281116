//! Rules for single source files: what they say at their top, how long they are, what they must not contain.

use std::collections::BTreeMap;

use super::{Text, rust_files};

/// The longest a source file of a package may be, and a test or benchmark beside it.
const MAX_LINES: usize = 450;
const MAX_TEST_LINES: usize = 600;

/// The most lines that a crate of the product may have below `src`, tests counted.
const MAX_CRATE: usize = 9000;

/// The longest a function may be without a reason beside it.
const MAX_FUNCTION: usize = 80;

/// How the comment above a longer function begins, which gives the reason.
const REASON: &str = "// Long: ";

/// The crate that maps files, and the file in which it does.
const MAPS_FILES: (&str, &str) = ("crates/kernel-snapshot/src/lib.rs", "crates/kernel-snapshot/src/file_bytes.rs");

/// Source files that may name a command's flag, and why; the command's own crate and the tasks are not libraries.
const FLAGS: &[(&str, &str)] = &[("crates/mdmp/src/raw.rs", "writes the arguments of another program, ptxed")];

/// Every source file opens with a line that says what it is.
pub fn module_docs(files: &[Text]) -> Vec<String> {
    let opens_with_doc = |file: &&Text| {
        // Attributes of the crate may stand before its documentation.
        let first = file.content.lines().find(|line| !line.is_empty() && !line.starts_with("#!["));
        first.is_some_and(|line| line.starts_with("//!"))
    };
    rust_files(files)
        // A fuzz target is one line that calls a documented function of its package.
        .filter(|file| !file.path.contains("/fuzz_targets/"))
        .filter(|file| !opens_with_doc(file))
        .map(|file| format!("{} does not open with a //! line", file.path))
        .collect()
}

/// Unsafe code is forbidden in every crate, but for the one file that maps files.
pub fn unsafe_code(files: &[Text]) -> Vec<String> {
    let (mapping_root, mapping_file) = MAPS_FILES;
    let mut complaints = Vec::new();
    for file in rust_files(files) {
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

/// Files are short.
pub fn lengths(files: &[Text]) -> Vec<String> {
    let too_long = |file: &Text| {
        let lines = file.content.lines().count();
        let allowed = if file.path.contains("/src/") { MAX_LINES } else { MAX_TEST_LINES };
        (lines > allowed).then(|| format!("{} has {lines} lines, {allowed} are allowed", file.path))
    };
    rust_files(files).filter_map(too_long).collect()
}

/// Crates of the product are small: a larger one has more than one idea.
pub fn crate_sizes(files: &[Text]) -> Vec<String> {
    let mut sizes: BTreeMap<&str, usize> = BTreeMap::new();
    for file in rust_files(files) {
        // testkit writes every format a second time, and is not shipped.
        let of_product = file.path.strip_prefix("crates/").filter(|path| !path.starts_with("testkit/"));
        if let Some((name, rest)) = of_product.and_then(|path| path.split_once('/'))
            && rest.starts_with("src/")
        {
            *sizes.entry(name).or_default() += file.content.lines().count();
        }
    }
    sizes.retain(|_, lines| *lines > MAX_CRATE);
    sizes.iter().map(|(name, lines)| format!("{name} has {lines} lines, {MAX_CRATE} are allowed")).collect()
}

/// Functions are short, or a comment above them says why they are not.
pub fn functions(files: &[Text]) -> Vec<String> {
    // Tests and testkit write out tables of bytes, which do not become clearer in pieces.
    let is_product = |file: &&Text| {
        file.path.contains("/src/")
            && !file.path.contains("/fuzz/")
            && !file.path.contains("tests")
            && !file.path.starts_with("crates/testkit/")
    };
    let mut complaints = Vec::new();
    for file in rust_files(files).filter(is_product) {
        for (line, name, length) in long_functions(&file.content) {
            complaints.push(format!(
                "{}:{line}: {name} has {length} lines, {MAX_FUNCTION} are allowed without `{REASON}…` above it",
                file.path
            ));
        }
    }
    complaints
}

/// Line, name and length of each long function without a reason. In formatted code a function ends at the first closing
/// brace that is indented as its first line is.
fn long_functions(source: &str) -> Vec<(usize, &str, usize)> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let indent = line.len() - line.trim_start().len();
        let is_end = |line: &&str| line.trim_end() == format!("{}}}", &lines[at][..indent]);
        let Some(rest) = lines[at..].iter().position(is_end) else { continue };
        let above = lines[..at].iter().rev().map(|line| line.trim());
        let has_reason = above
            .take_while(|line| line.starts_with("//") || line.starts_with("#["))
            .any(|line| line.starts_with(REASON));
        if rest + 1 > MAX_FUNCTION && !has_reason {
            found.push((at + 1, name, rest + 1));
        }
    }
    found
}

/// The name of the function that begins on this line.
fn function_name(line: &str) -> Option<&str> {
    let mut words = line.trim_start().split(' ');
    let before = |word: &&str| matches!(*word, "const" | "async" | "unsafe" | "pub") || word.starts_with("pub(");
    let mut word = words.next()?;
    while before(&word) {
        word = words.next()?;
    }
    // A declaration without a body ends with a semicolon, and a short one with its closing brace.
    let is_whole = line.trim_end().ends_with([';', '}']);
    if word != "fn" || is_whole {
        return None;
    }
    words.next()?.split(['(', '<']).next()
}

/// The libraries do not know the command's flags: they name options by value, and the command words its errors.
pub fn flags(files: &[Text]) -> Vec<String> {
    let is_library = |file: &&Text| {
        let of_program = ["crates/mkdump-cli/", "crates/acceptance/", "crates/mutants/", "crates/testkit/"];
        file.path.starts_with("crates/")
            && file.path.contains("/src/")
            && !file.path.contains("/fuzz/")
            && !of_program.iter().any(|dir| file.path.starts_with(dir))
            && !FLAGS.iter().any(|(path, _)| *path == file.path)
    };
    on_list(rust_files(files).filter(is_library), has_flag, &[], "names a flag of the command")
}

/// Whether a string literal of the line, or code in a comment, begins with two dashes and a letter.
fn has_flag(line: &str) -> bool {
    ['"', '`'].into_iter().any(|quote| {
        let mut parts = line.split(quote).skip(1);
        parts.any(|part| part.strip_prefix("--").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase())))
    })
}

/// PE directories are known by number in pe-image alone; testkit and the acceptance checks know them independently.
pub fn directories(files: &[Text]) -> Vec<String> {
    let is_product = |file: &&Text| {
        let others = ["crates/pe-image/", "crates/testkit/", "crates/acceptance/"];
        file.path.starts_with("crates/")
            && file.path.contains("/src/")
            && !others.iter().any(|dir| file.path.starts_with(dir))
    };
    let name = concat!("IMAGE_DIRECTORY", "_ENTRY_");
    let knows = |line: &str| {
        let by_number =
            line.split(".directory(").nth(1).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        // IMAGE_NT_OPTIONAL_HDR64_MAGIC: who compares it reads an image's headers.
        line.contains(name) || by_number || line.contains(concat!("0x", "20b"))
    };
    on_list(rust_files(files).filter(is_product), knows, &[], "knows the headers of a PE file")
}

/// Complains about each line that `is_wrong` in a file that is not listed, and about listed files without such a line.
fn on_list<'a>(
    files: impl Iterator<Item = &'a Text>,
    is_wrong: impl Fn(&str) -> bool,
    listed: &[&str],
    what: &str,
) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut clean: Vec<&str> = listed.to_vec();
    for file in files {
        for (index, line) in file.content.lines().enumerate().filter(|(_, line)| is_wrong(line)) {
            if listed.contains(&file.path.as_str()) {
                clean.retain(|path| *path != file.path);
            } else {
                complaints.push(format!("{}:{}: {what}: {}", file.path, index + 1, line.trim()));
            }
        }
    }
    complaints.extend(clean.iter().map(|path| format!("{path} no longer {what}: take it off the list")));
    complaints
}

#[cfg(test)]
mod tests {
    use super::{MAX_CRATE, Text, crate_sizes, function_name, has_flag, long_functions};

    #[test]
    fn sizes_of_crates() {
        let file = |path: &str, lines: usize| Text { path: path.into(), content: "\n".repeat(lines) };
        let half = MAX_CRATE / 2;
        let files = [
            file("crates/a/src/lib.rs", half),
            file("crates/a/src/b.rs", MAX_CRATE - half),
            file("crates/a/tests/c.rs", half),
            file("crates/testkit/src/lib.rs", MAX_CRATE + 1),
        ];
        assert_eq!(crate_sizes(&files), Vec::<String>::new());
        let files = [file("crates/a/src/lib.rs", half), file("crates/a/src/b.rs", MAX_CRATE - half + 1)];
        assert_eq!(crate_sizes(&files), ["a has 9001 lines, 9000 are allowed"]);
    }

    #[test]
    fn names_of_functions() {
        for (line, name) in [
            ("fn a() {", Some("a")),
            ("    pub(crate) const fn b<T>(", Some("b")),
            ("pub fn c(x: u8) -> u8 { x }", None),
            ("    fn d(&self);", None),
            ("let f: fn(u8) = g;", None),
        ] {
            assert_eq!(function_name(line), name, "{line}");
        }
    }

    #[test]
    fn length_of_functions() {
        let body = "    x();\n".repeat(90);
        assert_eq!(long_functions(&format!("/// Doc.\nfn a() {{\n{body}}}\n")), [(2, "a", 92)]);
        assert_eq!(long_functions(&format!("// Long: a table.\n/// Doc.\nfn a() {{\n{body}}}\n")), []);
        assert_eq!(long_functions(&format!("fn a() {{\n}}\n{body}")), []);
    }

    #[test]
    fn flags_in_strings() {
        let quote = '"';
        assert!(has_flag("/// What `--at` names."));
        for (text, expected) in [("--at", true), ("-- ", false), ("---", false), ("a --at", false)] {
            assert_eq!(has_flag(&format!("f({quote}{text}{quote})")), expected, "{text}");
        }
    }
}
