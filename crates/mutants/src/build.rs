//! A copy of the repository in which the mutants are planted and built.
//!
//! Some mutants do not compile: a default value that the type does not have, an operator that it does not know. Each
//! error of the compiler is traced to the switch nearest to it, that mutant is left out, and the build is tried again.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use xtask::{paths, program};

use crate::list::Mutant;
use crate::render::ON;
use crate::{SWITCH, plant, read_text};

/// How often the build is tried. Each attempt leaves out at least one mutant, and most leave out all that is left.
const ATTEMPTS: usize = 60;

/// How many lines before an error the switch may stand that causes it: the body of a long function.
const REACH: usize = 120;

/// A copy of the repository's tracked files, with its own build folder.
pub struct Copy {
    name: String,
    root: PathBuf,
    target: PathBuf,
}

impl Copy {
    /// Copies what git knows of, as it is on the disk.
    pub fn new(name: &str) -> Result<Copy> {
        let work = paths::work("mutants")?.join(name);
        let root = work.join("tree");
        if root.exists() {
            std::fs::remove_dir_all(&root)?;
        }
        let listed = Command::new("git").current_dir(paths::root()).args(["ls-files", "-z"]).output()?;
        ensure!(listed.status.success(), "git ls-files ended with {}", listed.status);
        for file in String::from_utf8(listed.stdout)?.split_terminator('\0') {
            let (from, to) = (paths::root().join(file), root.join(file));
            std::fs::create_dir_all(to.parent().context("a file has a folder")?)?;
            if from.is_file() {
                std::fs::copy(&from, &to).with_context(|| from.display().to_string())?;
            }
        }
        Ok(Copy { name: name.to_owned(), root, target: work.join("target") })
    }

    /// The crate's folder in the copy.
    pub fn package(&self) -> PathBuf {
        self.root.join("crates").join(&self.name)
    }

    /// Plants as many of the mutants as compile, and builds the crate's tests; the mutants and the programs of tests.
    pub fn plant<'a>(&self, mutants: &'a [Mutant]) -> Result<(Vec<&'a Mutant>, Vec<PathBuf>)> {
        let mut left_out = BTreeSet::new();
        for _ in 0..ATTEMPTS {
            let planted = self.write(mutants, &left_out)?;
            let (built, messages) = self.cargo(&["check"])?;
            if built {
                let (built, messages) = self.cargo(&["test", "--no-run", "--lib", "--tests"])?;
                ensure!(built, "the tests do not build with the mutants planted:\n{}", rendered(&messages));
                return Ok((planted, messages.iter().filter_map(test_program).collect()));
            }
            let culprits: BTreeSet<u32> = messages
                .iter()
                .filter(|message| is_error(message))
                .filter_map(|message| self.culprit(message))
                .collect();
            ensure!(!culprits.is_empty(), "no mutant stands near the errors:\n{}", rendered(&messages));
            println!("{}: {} mutants do not compile", self.name, culprits.len());
            left_out.extend(culprits);
        }
        bail!("{}: {ATTEMPTS} builds were not enough to find the mutants that do not compile", self.name)
    }

    /// Writes every source file that has mutants, without those left out; the mutants that are in them.
    fn write<'a>(&self, mutants: &'a [Mutant], left_out: &BTreeSet<u32>) -> Result<Vec<&'a Mutant>> {
        let files: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.file.as_str()).collect();
        let mut planted = BTreeSet::new();
        for file in files {
            let is_wanted = |mutant: &&Mutant| mutant.file == file && !left_out.contains(&mutant.number);
            let original = read_text(&paths::root().join(file))?;
            let (changed, numbers) = plant::file(&original, &mutants.iter().filter(is_wanted).collect::<Vec<_>>())
                .with_context(|| file.to_owned())?;
            planted.extend(numbers);
            std::fs::write(self.root.join(file), changed)?;
        }
        let library = Path::new("crates").join(&self.name).join("src/lib.rs");
        let (original, copy) = (paths::root().join(&library), self.root.join(&library));
        let changed = mutants.iter().any(|mutant| Path::new(&mutant.file) == library);
        let source = read_text(if changed { &copy } else { &original })?;
        std::fs::write(copy, source + &switch())?;
        Ok(mutants.iter().filter(|mutant| planted.contains(&mutant.number)).collect())
    }

    fn cargo(&self, arguments: &[&str]) -> Result<(bool, Vec<Value>)> {
        let mut command = paths::cargo();
        command.current_dir(&self.root).args(arguments).args([
            "--package",
            &self.name,
            "--all-features",
            "--message-format",
            "json",
        ]);
        command.env("CARGO_TARGET_DIR", &self.target).env("RUSTFLAGS", "-Awarnings").env("CARGO_INCREMENTAL", "0");
        // Built once and run thousands of times.
        command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "2");
        command.stderr(Stdio::null());
        println!("$ {}", program::shown(&command));
        let output = command.output()?;
        let messages = output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
        Ok((output.status.success(), messages.collect()))
    }

    /// The mutant that an error of the compiler is about: the last switch before the error, else the first one after it
    /// in the same line.
    fn culprit(&self, message: &Value) -> Option<u32> {
        let spans = message["message"]["spans"].as_array()?;
        let span = spans.iter().find(|span| span["is_primary"] == true).or_else(|| spans.first())?;
        let text = std::fs::read_to_string(self.root.join(span["file_name"].as_str()?)).ok()?;
        let at = |key: &str| span[key].as_u64().and_then(|value| usize::try_from(value).ok());
        let (line, column) = (at("line_start")?.checked_sub(1)?, at("column_start")?.checked_sub(1)?);
        let lines: Vec<&str> = text.lines().collect();
        let split = lines.get(line)?.char_indices().nth(column).map_or(lines[line].len(), |(index, _)| index);
        let (before, after) = lines[line].split_at(split);
        let earlier = || lines[line.saturating_sub(REACH)..line].iter().rev().find_map(|text| last_switch(text));
        last_switch(before).or_else(|| first_switch(after)).or_else(earlier)
    }
}

/// The module that tells which mutant is on. Its own crate may be `no_std`.
fn switch() -> String {
    format!(
        "
#[doc(hidden)]
#[allow(missing_docs)]
pub mod __planted {{
    extern crate std;
    use std::sync::atomic::{{AtomicU32, Ordering::Relaxed}};
    static ON: AtomicU32 = AtomicU32::new(u32::MAX);
    #[inline(never)]
    pub fn on(number: u32) -> bool {{
        let mut on = ON.load(Relaxed);
        if on == u32::MAX {{
            on = std::env::var(\"{SWITCH}\").ok().and_then(|value| value.parse().ok()).unwrap_or(0);
            ON.store(on, Relaxed);
        }}
        on == number
    }}
}}
"
    )
}

fn last_switch(text: &str) -> Option<u32> {
    number(text.rsplit_once(ON)?.1)
}

fn first_switch(text: &str) -> Option<u32> {
    number(text.split_once(ON)?.1)
}

fn number(text: &str) -> Option<u32> {
    text.strip_prefix('(')?.split_once(')')?.0.parse().ok()
}

fn is_error(message: &Value) -> bool {
    message["reason"] == "compiler-message" && message["message"]["level"] == "error"
}

fn test_program(message: &Value) -> Option<PathBuf> {
    let is_test = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
    message["executable"].as_str().filter(|_| is_test).map(PathBuf::from)
}

fn rendered(messages: &[Value]) -> String {
    let texts = messages.iter().filter(|message| is_error(message));
    texts.filter_map(|message| message["message"]["rendered"].as_str()).take(5).collect()
}
