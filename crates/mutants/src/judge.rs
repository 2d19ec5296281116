//! Runs the crate's tests once for each mutant.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;

use crate::SWITCH;
use crate::list::Mutant;

/// The signal of a process that has used up its time (signal(7)).
const SIGXCPU: i32 = 24;

/// What the tests say to a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A test fails.
    Caught,
    /// The tests do not come to an end, as when a loop no longer advances.
    TimedOut,
    /// Every test passes.
    Missed,
}

/// A program of tests, and how long it takes without a mutant.
struct Program {
    path: PathBuf,
    usual: Duration,
}

/// Judges every mutant that was planted, in the given order.
pub fn all(package: &Path, programs: &[PathBuf], mutants: &[&Mutant]) -> Result<Vec<Verdict>> {
    let mut timed = Vec::new();
    for path in programs {
        let start = Instant::now();
        let passed = run(package, path, 0, Duration::from_secs(600))?;
        ensure!(passed == Some(true), "{} fails without a mutant", path.display());
        timed.push(Program { path: path.clone(), usual: start.elapsed() });
    }
    // Fast programs first: most mutants never reach the slow ones.
    timed.sort_by_key(|program| program.usual);
    println!("{} mutants, {} test programs", mutants.len(), timed.len());
    mutants.par_iter().map(|mutant| judge(package, &timed, mutant.number)).collect()
}

fn judge(package: &Path, programs: &[Program], mutant: u32) -> Result<Verdict> {
    for program in programs {
        let limit = program.usual * 3 + Duration::from_secs(4);
        match run(package, &program.path, mutant, limit)? {
            Some(true) => {}
            Some(false) => return Ok(Verdict::Caught),
            None => return Ok(Verdict::TimedOut),
        }
    }
    Ok(Verdict::Missed)
}

/// Whether all tests of a program pass; `None` when they took more time than `limit`. The limit is on the processor's
/// time, so that a busy machine does not turn a survivor into one that was stopped; on the clock it is twenty times that,
/// for tests that wait for something that never comes.
fn run(package: &Path, program: &Path, mutant: u32, limit: Duration) -> Result<Option<bool>> {
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -t \"$1\"; exec \"$0\" --quiet --test-threads=1"])
        .arg(program)
        .arg(limit.as_secs().to_string())
        .current_dir(package)
        .env("CARGO_MANIFEST_DIR", package)
        .env(SWITCH, mutant.to_string())
        // Property tests try fewer cases: the run stays short, and what they miss counts against the tests.
        .env("PROPTEST_CASES", "64")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok((status.signal() != Some(SIGXCPU)).then(|| status.success()));
        }
        if start.elapsed() > limit * 20 {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
