//! Module lists, loaded and unloaded.

use super::subject::{Dump, shorten};
use crate::AddressRange;
use crate::user::StreamType;
use crate::validate::rules;

/// Checks both lists. Returns the loaded modules: file offset of the entry, and addresses.
pub(super) fn check(dump: &mut Dump<'_, '_>) -> Vec<(u64, AddressRange)> {
    check_unloaded(dump);
    if dump.directory.find(StreamType::MODULE_LIST).is_none() {
        dump.findings.add(&rules::MODULE_LIST, 0, || "there is no ModuleList stream".into());
        return Vec::new();
    }
    let mut modules = Vec::new();
    check_loaded(dump, &mut modules);
    let mut sorted: Vec<_> = modules.iter().collect();
    sorted.sort_unstable_by_key(|(_, range)| range.start());
    for pair in sorted.windows(2) {
        let ((_, first), (at, second)) = (pair[0], pair[1]);
        if first.overlaps(*second) {
            let message = || format!("modules at {:#x} and {:#x} overlap", first.start(), second.start());
            dump.findings.add(&rules::MODULE_OVERLAP, *at, message);
        }
    }
    modules
}

/// `CV_INFO_ELF_BUILD_ID` of breakpad and Crashpad, the number 0x4270454C.
const ELF_BUILD_ID: &[u8] = b"LEpB";

fn check_loaded(dump: &mut Dump<'_, '_>, modules: &mut Vec<(u64, AddressRange)>) -> Option<()> {
    let entry = dump.stream(StreamType::MODULE_LIST, 4)?;
    for at in dump.list(entry, 108, "ModuleList", &rules::MODULE_LIST_PADDING)? {
        let base = dump.bytes.u64(at, "module: BaseOfImage").ok()?;
        dump.check_address(at, base);
        let size = dump.bytes.u32(at + 8, "module: SizeOfImage").ok()?;
        let name = dump.bytes.u32(at + 20, "module: ModuleNameRva").ok()?;
        let name = dump.string(name.into(), "module: name");
        let name = dump.findings.take(&rules::MODULE_NAME, name).map(shorten).unwrap_or_default();
        match AddressRange::new(base, size.into()).filter(|range| range.size() > 0) {
            Some(range) => modules.push((at, range)),
            None => dump.findings.add(&rules::MODULE, at, || {
                format!("module {name:?} at {base:#x}: SizeOfImage is {size:#x}, allowed is 1 to the last address")
            }),
        }
        let size = dump.bytes.u32(at + 76, "module: CvRecord").ok()?;
        let record = dump.bytes.u32(at + 80, "module: CvRecord").ok()?;
        if size == 0 {
            let message = || format!("module {name:?} at {base:#x} has no CodeView record");
            dump.findings.add(&rules::NO_CODEVIEW, at + 76, message);
            continue;
        }
        let bytes = dump.bytes.get(record.into(), size.into());
        match bytes.map(|bytes| &bytes[..bytes.len().min(4)]) {
            Some(b"RSDS" | b"NB10") => {}
            Some(ELF_BUILD_ID) => dump.findings.add(&rules::CODEVIEW_ELF, at + 76, || {
                format!("module {name:?} at {base:#x}: the CodeView record is an ELF build id and names no PDB")
            }),
            Some(start) => dump.findings.add(&rules::CODEVIEW, at + 76, || {
                let start = start.escape_ascii();
                format!(
                    "module {name:?} at {base:#x}: CodeView record begins \"{start}\", allowed are RSDS, NB10 and BpEL"
                )
            }),
            None => {
                let end = dump.bytes.len();
                dump.findings.add(&rules::CODEVIEW, at + 76, || {
                    format!(
                        "module {name:?} at {base:#x}: CodeView record lies at {record:#x}+{size:#x}, \
                         the file ends at {end:#x}"
                    )
                });
            }
        }
    }
    Some(())
}

fn check_unloaded(dump: &mut Dump<'_, '_>) -> Option<()> {
    let at = u64::from(dump.stream(StreamType::UNLOADED_MODULE_LIST, 12)?.offset);
    let header = dump.bytes.u32(at, "UnloadedModuleList: SizeOfHeader").ok()?;
    let stride = dump.bytes.u32(at + 4, "UnloadedModuleList: SizeOfEntry").ok()?;
    let count = dump.bytes.u32(at + 8, "UnloadedModuleList: NumberOfEntries").ok()?;
    if header < 12 || stride < 24 {
        let message = || format!("UnloadedModuleList: sizes {header} and {stride}, allowed are at least 12 and 24");
        dump.findings.add(&rules::FORMAT, at, message);
        return None;
    }
    let table = dump.bytes.table(at + u64::from(header), count.into(), stride.into(), "UnloadedModuleList");
    for at in dump.findings.take(&rules::FORMAT, table)? {
        let base = dump.bytes.u64(at, "unloaded module: BaseOfImage").ok()?;
        let size = dump.bytes.u32(at + 8, "unloaded module: SizeOfImage").ok()?;
        if size == 0 || AddressRange::new(base, size.into()).is_none() {
            dump.findings.add(&rules::MODULE, at, || {
                format!("unloaded module at {base:#x}: SizeOfImage is {size:#x}, allowed is 1 to the last address")
            });
        }
        let name = dump.bytes.u32(at + 20, "unloaded module: ModuleNameRva").ok()?;
        let name = dump.string(name.into(), "unloaded module: name");
        dump.findings.take(&rules::MODULE_NAME, name);
    }
    Some(())
}
