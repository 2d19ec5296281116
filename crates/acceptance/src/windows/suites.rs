//! The unit and integration tests of the libraries and the command, compiled for Windows and run under Wine.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use xtask::outcome::Outcome;
use xtask::program;

use super::wine::{TestProgram, Wine};

/// The package whose tests are always run: they have the command itself compiled along.
const COMMAND: &str = "mkdump-cli";

/// The packages whose tests are run on request.
const LIBRARIES: &[&str] = &[
    "address-map",
    "call-forms",
    "etl-file",
    "intel-pt",
    "ipt-analysis",
    "kernel-code",
    "kernel-snapshot",
    "mdmp",
    "mkdump",
    "pe-image",
    "symstore",
];

/// One test program may take this long.
const PATIENCE: Duration = Duration::from_secs(900);

/// A test that cannot pass under Wine: the test program, the test, and why. On Windows itself it is expected to pass.
struct Known {
    program: &'static str,
    test: &'static str,
    why: &'static str,
}

/// Tests that cannot pass under Wine. One that passes has to be taken off this list.
const KNOWN: &[Known] = &[];

/// The packages that the arguments ask for: those named, or all by `--all`; the command's is always among them.
pub fn chosen(arguments: &[String]) -> Result<Vec<&'static str>> {
    let mut packages = vec![COMMAND];
    for word in arguments {
        match LIBRARIES.iter().find(|name| *name == word) {
            Some(name) => packages.push(name),
            None if word == "--all" && arguments.len() == 1 => packages.extend(LIBRARIES),
            None => bail!("windows takes --all, or some of {}; {word:?} given", LIBRARIES.join(", ")),
        }
    }
    Ok(packages)
}

/// Runs the tests that were compiled; prints a table of them.
pub fn run(wine: &Wine) -> Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut rows = Vec::new();
    for test in &wine.tests {
        rows.push((&test.name, run_one(wine, test, &mut outcome)?));
    }
    println!("\n| test program | passed | skipped | failed |\n| --- | --- | --- | --- |");
    for (name, counts) in &rows {
        println!("| `{name}` | {} | {} | {} |", counts.passed, counts.skipped, counts.failed);
    }
    let total = |of: fn(&Counts) -> usize| rows.iter().map(|(_, counts)| of(counts)).sum::<usize>();
    println!("| total | {} | {} | {} |", total(|c| c.passed), total(|c| c.skipped), total(|c| c.failed));
    Ok(outcome)
}

#[derive(Default)]
struct Counts {
    passed: usize,
    skipped: usize,
    failed: usize,
}

fn run_one(wine: &Wine, test: &TestProgram, outcome: &mut Outcome) -> Result<Counts> {
    let mut command = wine.run(&test.path);
    command.current_dir(&test.directory).env("CARGO_MANIFEST_DIR", &test.directory);
    let captured = program::capture(&mut command, PATIENCE)?;
    let results = results(&captured.stdout);
    let mut counts = Counts::default();
    for (name, passed) in &results {
        let known = KNOWN.iter().find(|known| known.program == test.name && known.test == *name);
        match (passed, known) {
            (true, None) => {
                counts.passed += 1;
                outcome.add_pass();
            }
            (false, Some(known)) => {
                counts.skipped += 1;
                outcome.add_skip(format!("{}: {name}: {}", test.name, known.why));
            }
            (true, Some(_)) => {
                counts.failed += 1;
                outcome.add_failure(format!("{}: {name} passes now: take it off the list", test.name));
            }
            (false, None) => {
                counts.failed += 1;
                outcome.add_failure(format!("{}: {name}\n{}", test.name, said(&captured.stdout, name)));
            }
        }
    }
    // A program that ends in the middle of a test has printed neither its result nor a summary.
    if !captured.stdout.contains("test result: ") {
        counts.failed += 1;
        outcome.add_failure(format!("{}: {}\n{}", test.name, captured.ending(), captured.stderr));
    }
    println!("{:<40} {} passed, {} skipped, {} failed", test.name, counts.passed, counts.skipped, counts.failed);
    Ok(counts)
}

/// The tests that ran and whether they passed, as the standard test harness prints them; ignored ones are left out.
fn results(printed: &str) -> BTreeMap<&str, bool> {
    printed.lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<(&str, bool)> {
    let (name, result) = line.strip_prefix("test ")?.rsplit_once(" ... ")?;
    let name = name.strip_suffix(" - should panic").unwrap_or(name);
    match result {
        "ok" => Some((name, true)),
        "FAILED" => Some((name, false)),
        _ => None,
    }
}

/// What a failed test printed.
fn said<'a>(printed: &'a str, name: &str) -> &'a str {
    let Some((_, rest)) = printed.split_once(&format!("---- {name} stdout ----\n")) else { return "" };
    rest.split("\n---- ").next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::{chosen, parse, said};

    #[test]
    fn packages_are_chosen_by_name() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(chosen(&words("")).unwrap(), ["mkdump-cli"]);
        assert_eq!(chosen(&words("symstore")).unwrap(), ["mkdump-cli", "symstore"]);
        assert!(chosen(&words("--all")).unwrap().len() > 10);
        assert!(chosen(&words("--all symstore")).is_err() && chosen(&words("nothing")).is_err());
    }

    #[test]
    fn the_harness_output_is_understood() {
        assert_eq!(parse("test a::b ... ok"), Some(("a::b", true)));
        assert_eq!(parse("test a::b - should panic ... FAILED"), Some(("a::b", false)));
        for other in ["test a ... ignored", "running 3 tests", "test result: ok. 3 passed"] {
            assert_eq!(parse(other), None, "{other}");
        }
        let printed = "failures:\n\n---- a stdout ----\none\n\n---- b stdout ----\ntwo\n\n\nfailures:\n    a\n";
        assert_eq!((said(printed, "a"), said(printed, "c")), ("one\n", ""));
    }
}
