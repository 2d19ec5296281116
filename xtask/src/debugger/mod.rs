//! The judge: our dumps in Microsoft's own debugger engine, under Wine, with nobody at the keyboard.
//!
//! A generated system (modules with real PDBs) is put into a trace, `mkdump` builds the dump, and both engines of the
//! rig open it. What they print is compared with what is known about the system from elsewhere: the linker's map, the
//! export tables, the site list of the assembler.

pub mod check;
pub mod image;
pub mod modules;
pub mod rig;
pub mod server;
pub mod store;
mod user;

use anyhow::{Result, bail};

use crate::outcome::Outcome;
use crate::paths;

/// `cargo xtask debugger`: the acceptance on Microsoft's engines.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    if let Some(argument) = arguments.first() {
        bail!("debugger takes no arguments, {argument:?} given");
    }
    let work = paths::work("debugger")?;
    let system = match modules::build(&work)? {
        Ok(system) => system,
        Err(reason) => return Ok(Outcome::skip(format!("debugger: {reason}"))),
    };
    let rig = match rig::set_up()? {
        Ok(rig) => rig,
        Err(reason) => return Ok(Outcome::skip(format!("debugger: {reason}"))),
    };
    let mut outcome = Outcome::default();
    let dump = std::path::PathBuf::from(std::env::var("DUMP")?);
    user::check(&rig, &system, &work, &dump, "minidump", &mut outcome)?;
    Ok(outcome)
}
