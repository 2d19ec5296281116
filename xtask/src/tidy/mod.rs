//! Style as a test: what the project says about its sources, checked over every tracked file.

mod documents;
mod manifests;
mod modules;
mod sources;

use std::time::Duration;

use anyhow::{Context, Result, bail};
use xtask::outcome::Outcome;
use xtask::{paths, program};

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
        ("every source file says what it is", sources::module_docs),
        ("unsafe code is forbidden", sources::unsafe_code),
        ("files are short", sources::lengths),
        ("crates are small", sources::crate_sizes),
        ("functions are short", sources::functions),
        ("libraries do not know the command's flags", sources::flags),
        ("PE headers and directories are known in pe-image alone", sources::directories),
        ("the crates' dependencies point down", manifests::direction),
        ("published manifests are complete", manifests::complete),
        ("every dependency is used", manifests::unused),
        ("the modules of a crate form no circle", modules::circles),
        ("no machine's paths, no registry's names", documents::places),
        ("links in documents resolve", documents::links),
        ("tests that a document names exist", documents::tests_named),
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

fn rust_files(files: &[Text]) -> impl Iterator<Item = &Text> {
    files.iter().filter(|file| file.path.ends_with(".rs"))
}
