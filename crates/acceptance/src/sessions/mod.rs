//! Trace sessions in kernel dumps: a kernel of every known layout is compiled, mapped and dumped, and `mkdump sessions`,
//! a debugger of others and Microsoft's engines must find in it what the C file says.

mod engines;
mod hostile;
mod kernel;
mod ntoseye;
mod product;
mod saved;
mod seen;
mod traces;
mod withheld;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};
use session_kernels::layouts;
use xtask::outcome::Outcome;
use xtask::paths;

use self::kernel::{Compiler, Made, Pdb};
use self::ntoseye::Ntoseye;
use self::product::Way;
use crate::debugger::rig;

/// The dumps that Microsoft's engines are asked about without `--all`: one of each kind, of the oldest layout with an array
/// in the silo state, and of the newest.
const IN_ENGINES: [(&str, &str); 2] = [("14393-c14393-s10586", "full"), ("22000-c22000b-s22000", "bitmap")];

/// The kernel that is damaged.
const DAMAGED: &str = "19041-c19041b-s18362b";

/// The two kinds of dumps.
const FORMS: [&str; 2] = ["full", "bitmap"];

/// Installs what the check needs, and judges nothing.
pub fn prepare() -> Result<()> {
    // A reason why something cannot be had is given again, and counted, when the check runs.
    let _ = Compiler::find()?;
    let _ = ntoseye::find(&paths::work("sessions")?)?;
    Ok(())
}

/// `cargo xtask sessions [--all] [DIRECTORY]`.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    let mut work: Option<PathBuf> = None;
    let mut all = false;
    for argument in arguments {
        match argument.as_str() {
            "--all" => all = true,
            directory if work.is_none() && !directory.starts_with('-') => work = Some(directory.into()),
            _ => bail!("sessions takes --all and a directory for what it makes, {argument:?} given"),
        }
    }
    let work = work.map_or_else(|| paths::work("sessions"), Ok)?;
    std::fs::create_dir_all(work.join("dumps"))?;
    let work = work.canonicalize()?;
    let compiler = match Compiler::find()? {
        Ok(compiler) => compiler,
        Err(reason) => return Ok(Outcome::skip(format!("sessions: no compiler: {reason}"))),
    };
    let mut outcome = Outcome::default();
    let mut kernels = Vec::new();
    let start = Instant::now();
    for kernel in layouts::kernels()? {
        let made = kernel::make(&compiler, &kernel, Pdb::Whole, &work)?;
        let machine = kernel::machine(&made)?;
        for (form, dump) in FORMS.into_iter().zip([machine.full(), machine.bitmap()]) {
            std::fs::write(dump_path(&work, &made, form), dump)?;
        }
        kernels.push(made);
    }
    println!("{} kernels compiled and dumped in {:.1} s", kernels.len(), start.elapsed().as_secs_f64());
    let mut saved = by_product(&compiler, &work, &kernels, &mut outcome)?;
    if let Some(made) = kernels.iter().find(|made| made.kernel.name() == DAMAGED) {
        hostile::check(made, &work, &mut outcome)?;
    }
    by_ntoseye(&work, &kernels, &mut saved, &mut outcome)?;
    traces::check(&saved, &mut outcome)?;
    by_engines(&work, &kernels, all, &mut outcome)?;
    Ok(outcome)
}

fn dump_path(work: &Path, made: &Made, form: &str) -> PathBuf {
    work.join("dumps").join(format!("{}-{form}.dmp", made.kernel.name()))
}

/// Every kernel, by every way to its layout.
fn by_product(compiler: &Compiler, work: &Path, kernels: &[Made], outcome: &mut Outcome) -> Result<Vec<PathBuf>> {
    let start = Instant::now();
    let mut saved = Vec::new();
    for made in kernels {
        let name = made.kernel.name();
        let mut check = |dump: &Path, pdb: Option<&Path>, way| {
            let file = dump.file_stem().unwrap_or_default().to_string_lossy();
            let traces = work.join("traces").join(&*file);
            let checked = std::fs::create_dir_all(&traces)
                .map_err(Into::into)
                .and_then(|()| product::check(made, (&file, dump), pdb, way, &traces, outcome));
            match checked {
                Ok(files) => saved.extend(files),
                Err(error) => outcome.add_failure(format!("{error:#}")),
            }
        };
        for form in FORMS {
            let dump = dump_path(work, made, form);
            check(&dump, Some(&made.dir.join("ntkrnlmp.pdb")), Way::Pdb);
            check(&dump, None, Way::DebuggerData);
        }
        if let Some(machine) = withheld::known_kernel(made)? {
            let dump = work.join("dumps").join(name.clone() + "-known.dmp");
            std::fs::write(&dump, machine.bitmap())?;
            check(&dump, None, Way::KnownKernel);
        }
        // 10240 has its contexts in a global of their own; nothing there could confirm a layout.
        if made.kernel.has_silo_array() {
            let public = kernel::make(compiler, &made.kernel, Pdb::PublicOnly, work)?;
            let dump = work.join("dumps").join(name + "-probing.dmp");
            std::fs::write(&dump, withheld::unknown_table(&public)?.bitmap())?;
            check(&dump, Some(&public.dir.join("ntkrnlmp.pdb")), Way::Probing);
        }
    }
    println!("mkdump sessions: {} kernels, {:.1} s", kernels.len(), start.elapsed().as_secs_f64());
    Ok(saved)
}

/// Every kernel that ntoseye knows, in both kinds of dumps.
fn by_ntoseye(work: &Path, kernels: &[Made], saved: &mut Vec<PathBuf>, outcome: &mut Outcome) -> Result<()> {
    let ntoseye = match ntoseye::find(work)? {
        Ok(ntoseye) => ntoseye,
        Err(reason) => {
            outcome.add_skip(format!("sessions: no ntoseye: {reason}"));
            return Ok(());
        }
    };
    let start = Instant::now();
    let known: Vec<&Made> = kernels.iter().filter(|made| Ntoseye::knows(made)).collect();
    for made in &known {
        for form in FORMS {
            let place = format!("{} {form}", made.kernel.name());
            let traces = work.join("traces").join(format!("{}-{form}", made.kernel.name()));
            match ntoseye.check(&place, made, &dump_path(work, made, form), &traces, outcome) {
                Ok(files) => saved.extend(files),
                Err(error) => outcome.add_failure(format!("{place}, ntoseye: {error:#}")),
            }
        }
    }
    println!(
        "ntoseye: {} kernels, {} before 16299 are not known to it, {:.1} s",
        known.len(),
        kernels.len() - known.len(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// A few kernels, or all, in Microsoft's engines.
fn by_engines(work: &Path, kernels: &[Made], all: bool, outcome: &mut Outcome) -> Result<()> {
    let rig = match rig::set_up()? {
        Ok(rig) => rig,
        Err(reason) => {
            outcome.add_skip(format!("sessions: {reason}"));
            return Ok(());
        }
    };
    let start = Instant::now();
    for made in kernels {
        let name = made.kernel.name();
        for form in FORMS {
            if !all && !IN_ENGINES.contains(&(name.as_str(), form)) {
                continue;
            }
            let place = format!("{name} {form}");
            if let Err(error) = engines::check(&rig, &place, made, &dump_path(work, made, form), outcome) {
                outcome.add_failure(format!("{place}: {error:#}"));
            }
        }
    }
    println!("Microsoft's engines: {:.1} s", start.elapsed().as_secs_f64());
    Ok(())
}
