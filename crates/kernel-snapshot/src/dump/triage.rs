//! A triage dump as a source.

use mdmp::read::Triage;

use super::{Content, Dump, DumpError, Kind, file_name, identity};
use crate::snapshot::{Architecture, Machine, Module, OsVersion, Snapshot};

pub(super) fn open(file: &[u8]) -> Result<Dump<'_>, DumpError> {
    let triage = Triage::parse(file)?;
    let mut warnings: Vec<String> = triage.warnings().iter().map(ToString::to_string).collect();
    let mut modules = Vec::new();
    for driver in triage.drivers() {
        match driver {
            Ok(driver) => modules.push(Module {
                name: file_name(&driver.name),
                pdb: identity::at(triage.memory(), driver.base).pdb.as_ref().and_then(identity::pdb),
                path: driver.name,
                process: 0,
                kernel: true,
                base: driver.base,
                size: driver.size.into(),
                timestamp: Some(driver.timestamp),
                checksum: Some(driver.checksum),
                loaded: None,
                unloaded: None,
            }),
            Err(error) => warnings.push(error.to_string()),
        }
    }
    let kernel_base = modules.first().map(|module| module.base);
    modules.sort_by_key(|module| module.base);
    let snapshot = Snapshot {
        machine: machine(&triage.header().system()),
        time: Some(triage.header().system().time),
        kernel_base,
        modules,
    };
    Ok(Dump { kind: Kind::KernelTriage, snapshot, warnings, content: Content::Triage(Box::new(triage)) })
}

/// The machine as a kernel dump's header describes it. Builds from 10240 on are Windows 10, whose kernel version stands
/// still; older ones are in the same table that Microsoft publishes.
pub(super) fn machine(system: &mdmp::kernel::System) -> Machine {
    let (major, minor) = match system.build {
        10240.. => (10, 0),
        9600.. => (6, 3),
        9200.. => (6, 2),
        7600.. => (6, 1),
        6000.. => (6, 0),
        _ => (5, 2),
    };
    Machine {
        os: OsVersion { major, minor, build: system.build, revision: None },
        processors: Some(system.processors),
        pointer_size: 8,
        architecture: Some(match system.machine {
            mdmp::kernel::Machine::ARM64 => Architecture::Arm64,
            _ => Architecture::Amd64,
        }),
        ..Machine::default()
    }
}
