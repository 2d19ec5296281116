//! The list of a source's modules as text.

use mkdump::report::{FileStatus, ModuleReport, ModulesReport};

use super::table::Table;
use super::text::{address, count, grouped, hex, moment, printable};

/// The list that `mkdump modules` prints. With `all`, paths and PDBs are among it.
pub fn table(report: &ModulesReport, all: bool, width: usize) -> String {
    let headings = ["name", "base", "size", "key", "loaded", "unloaded", "file"];
    let mut table = Table::new(&headings, &[2, 4, 5]).wrapping(&[0, 6]);
    let time = |value: Option<f64>| value.map(|seconds| moment(seconds, 3)).unwrap_or_default();
    for module in &report.modules {
        table.row([
            module.name.clone(),
            address(module.base.0),
            hex(module.size.0),
            module.image_key.clone().unwrap_or_else(|| "?".into()),
            time(module.loaded),
            time(module.unloaded),
            file(module),
        ]);
        if all {
            let pdb = module.pdb.as_ref().map(|pdb| format!("PDB {} {} {:x}", pdb.name, pdb.guid, pdb.age));
            let file = module.file.as_ref().map(|file| format!("file {file}"));
            let more = [Some(module.path.clone()), pdb, file, module.reason.clone()];
            more.iter().flatten().for_each(|text| table.under(text));
        }
    }
    table.render(0, width)
}

/// What was found of a module's file; nothing if none was looked for.
fn file(module: &ModuleReport) -> String {
    match module.status {
        None => String::new(),
        Some(FileStatus::Present) => "present".to_owned(),
        Some(FileStatus::Missing) => "missing".to_owned(),
        Some(FileStatus::Mismatch) => another_build(module.file_version.as_deref()),
    }
}

/// A file of the right name that is not the module's.
pub fn another_build(version: Option<&str>) -> String {
    match version {
        Some(version) => format!("have {}, a different build", printable(version)),
        None => "have a different build".to_owned(),
    }
}

/// What to say below the list.
pub fn remarks(report: &ModulesReport) -> String {
    let number = |status| report.modules.iter().filter(|module| module.status == Some(status)).count() as u64;
    let mut text = count(report.modules.len() as u64, "module");
    if let Some(seconds) = report.moment {
        text += &format!(" loaded at {}", moment(seconds, 6));
    }
    if report.modules.iter().any(|module| module.status.is_some()) {
        text += &format!(": {} present", grouped(number(FileStatus::Present)));
        for (status, word) in [(FileStatus::Missing, "missing"), (FileStatus::Mismatch, "of another build")] {
            if number(status) > 0 {
                text += &format!(", {} {word}", grouped(number(status)));
            }
        }
    }
    text + "\n"
}
