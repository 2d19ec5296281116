//! The judge: our dumps in Microsoft's own debugger engine, under Wine, with nobody at the keyboard.
//!
//! A generated system (modules with real PDBs) is put into a trace, `mkdump` builds the dump, and both engines of the
//! rig open it. What they print is compared with what is known about the system from elsewhere: the linker's map, the
//! export tables, the site list of the assembler.

pub mod check;
mod expect;
mod refuse;
pub mod rig;
mod rules;
pub mod server;
pub mod store;

use anyhow::{Result, bail};
use xtask::outcome::Outcome;
use xtask::paths;

use crate::{dump, system};

use self::expect::{Case, Target};

/// The kinds of dumps that the engines must take.
const CASES: &[Case] = &[
    Case { name: "minidump", options: &[], target: Target::User, whole_images: false },
    Case { name: "memory64", options: &["--memory-list", "64"], target: Target::User, whole_images: false },
    Case { name: "image", options: &["--memory", "image"], target: Target::User, whole_images: true },
    Case { name: "triage", options: &["--format", "triage"], target: Target::Kernel, whole_images: false },
];

/// Fetches what the checks need, and judges nothing.
pub fn prepare() -> Result<()> {
    // A reason why something cannot be had is given again, and counted, when the checks run.
    let _ = rig::set_up()?;
    let _ = system::build()?;
    Ok(())
}

/// `cargo xtask debugger`: the acceptance on Microsoft's engines.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    if let Some(argument) = arguments.first() {
        bail!("debugger takes no arguments, {argument:?} given");
    }
    let work = paths::work("debugger")?;
    let system = match system::build()? {
        Ok(system) => system,
        Err(reason) => return Ok(Outcome::skip(format!("debugger: {reason}"))),
    };
    let rig = match rig::set_up()? {
        Ok(rig) => rig,
        Err(reason) => return Ok(Outcome::skip(format!("debugger: {reason}"))),
    };
    let mut outcome = Outcome::default();
    for case in CASES {
        let dump = work.join(case.name).with_extension("dmp");
        let checked = dump::build(&system, &dump, case.options).and_then(|built| {
            built.check_report(&system, &mut outcome)?;
            rules::accepted(case.name, &std::fs::read(&built.path)?, &mut outcome);
            expect::check(case, &rig, &system, &work, &built.path, &mut outcome)
        });
        if let Err(error) = checked {
            outcome.add_failure(format!("{}: {error:#}", case.name));
        }
    }
    refuse::check(&rig, &work, &mut outcome)?;
    Ok(outcome)
}
