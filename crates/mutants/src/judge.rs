//! Runs the crate's tests once for each mutant.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rayon::prelude::*;

use crate::SWITCH;
use crate::list::Mutant;

/// The signal of a process that has used up its time (signal(7)).
const SIGXCPU: i32 = 24;

/// Tests that try many cases try fewer: the run stays short, and what they miss counts against the tests.
const FEWER_CASES: [(&str, &str); 3] = [("PROPTEST_CASES", "64"), ("INTEL_PT_PROGRAMS", "500"), ("DAMAGE_STEP", "61")];

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

/// A program of tests or, of one that takes long, a single test; and how long it takes without a mutant.
struct Tests {
    program: PathBuf,
    only: Option<String>,
    usual: Duration,
}

impl Tests {
    fn measured(package: &Path, program: &Path, only: Option<String>) -> Result<Tests> {
        let mut tests = Tests { program: program.to_owned(), only, usual: Duration::MAX };
        // The best of a few turns, because other programs may be at work.
        for _ in 0..3 {
            let start = Instant::now();
            let passed = tests.run(package, 0, Duration::from_secs(600))?;
            ensure!(passed == Some(true), "{tests} fails without a mutant");
            tests.usual = tests.usual.min(start.elapsed());
            if tests.usual < LONG {
                break;
            }
        }
        Ok(tests)
    }

    /// Whether all tests pass; `None` when they took more time than `limit`. The limit is on the processor's
    /// time, so that a busy machine does not turn a survivor into one that was stopped; on the clock it is twenty times that,
    /// for tests that wait for something that never comes.
    fn run(&self, package: &Path, mutant: u32, limit: Duration) -> Result<Option<bool>> {
        let mut child = Command::new("sh")
            .args(["-c", "ulimit -t \"$1\"; program=$0; shift; exec \"$program\" \"$@\""])
            .arg(&self.program)
            .arg(limit.as_secs().to_string())
            .args(["--quiet", "--test-threads=1", "-Zunstable-options", "--fail-fast"])
            .args(self.only.iter().flat_map(|name| ["--exact", name]))
            .current_dir(package)
            .env("CARGO_MANIFEST_DIR", package)
            .env(SWITCH, mutant.to_string())
            // The first failure decides; libtest offers to stop there as an unstable option.
            .env("RUSTC_BOOTSTRAP", "1")
            .envs(FEWER_CASES)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", self.program.display()))?;
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
}

impl fmt::Display for Tests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let program = self.program.file_name().unwrap_or_default().display();
        write!(f, "{program} {}", self.only.as_deref().unwrap_or(""))
    }
}

/// A program that takes longer is run test by test.
const LONG: Duration = Duration::from_millis(500);

/// A test that takes longer is not asked: such tests write gigabytes, and what they alone would notice counts as missed.
const TOO_LONG: Duration = Duration::from_secs(1);

/// Judges every mutant that was planted, in the given order.
pub fn all(package: &Path, programs: &[PathBuf], mutants: &[&Mutant]) -> Result<Vec<Verdict>> {
    let mut timed = Vec::new();
    for program in programs {
        let whole = Tests::measured(package, program, None)?;
        if whole.usual < LONG {
            timed.push(whole);
        } else {
            for name in names(program)? {
                timed.push(Tests::measured(package, program, Some(name))?);
            }
        }
    }
    // Fast tests first: most mutants never reach the slow ones.
    timed.sort_by_key(|tests| tests.usual);
    let asked = timed.partition_point(|tests| tests.usual <= TOO_LONG);
    for tests in timed.drain(asked..) {
        println!("not asked, takes {:.1} s: {tests}", tests.usual.as_secs_f64());
    }
    println!(
        "{} mutants, {:.1} s of tests",
        mutants.len(),
        timed.iter().map(|tests| tests.usual.as_secs_f64()).sum::<f64>()
    );
    let judged = AtomicUsize::new(0);
    mutants
        .par_iter()
        .map(|mutant| {
            let verdict = judge(package, &timed, mutant.number)?;
            if verdict == Verdict::Missed {
                println!("survives  {}", mutant.name);
            }
            let count = judged.fetch_add(1, Ordering::Relaxed) + 1;
            if count.is_multiple_of(200) {
                println!("{count} of {} judged", mutants.len());
            }
            Ok(verdict)
        })
        .collect()
}

fn judge(package: &Path, timed: &[Tests], mutant: u32) -> Result<Verdict> {
    for tests in timed {
        match tests.run(package, mutant, tests.usual * 3 + Duration::from_secs(4))? {
            Some(true) => {}
            Some(false) => return Ok(Verdict::Caught),
            None => return Ok(Verdict::TimedOut),
        }
    }
    Ok(Verdict::Missed)
}

/// The names of a program's tests, without those that are ignored.
fn names(program: &Path) -> Result<Vec<String>> {
    let list = |arguments: &[&str]| -> Result<Vec<String>> {
        let output = Command::new(program).args(["--list", "--format=terse"]).args(arguments).output()?;
        ensure!(output.status.success(), "{} does not list its tests", program.display());
        let text = String::from_utf8(output.stdout)?;
        Ok(text.lines().filter_map(|line| line.strip_suffix(": test")).map(String::from).collect())
    };
    let ignored = list(&["--ignored"])?;
    Ok(list(&[])?.into_iter().filter(|name| !ignored.contains(name)).collect())
}
