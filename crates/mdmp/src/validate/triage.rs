//! Rules of a triage dump, checked on a finished file, ours or not.

use super::report::Findings;
use super::rules::{
    TRIAGE_BLOCK_OVERLAP, TRIAGE_BLOCKS, TRIAGE_DEBUGGER_DATA, TRIAGE_DRIVERS, TRIAGE_END, TRIAGE_FIELDS, TRIAGE_PARTS,
    TRIAGE_PROCESSORS, TRIAGE_REGISTERS,
};
use crate::kernel::raw::TRIAGE_OFFSET;
use crate::kernel::{FieldOffset, Parts, Variable};
use crate::read::Triage;
use crate::{AddressRange, Error};

/// Checks a triage dump. Its table of data blocks is copied once and sorted: twice the table's size of memory.
///
/// # Errors
/// When the file is no triage dump, or ends inside `TRIAGE_DUMP64`.
pub(super) fn check(file: &[u8], findings: &mut Findings) -> Result<(), Error> {
    let dump = Triage::parse(file)?;
    for damage in dump.warnings() {
        let rule = match damage.structure() {
            "TRIAGE_DUMP64.ValidOffset" => &TRIAGE_END,
            "driver list" => &TRIAGE_DRIVERS,
            _ => &TRIAGE_BLOCKS,
        };
        findings.add(rule, damage.offset().unwrap_or(0), || damage.to_string());
    }
    fields(&dump, findings);
    drivers(&dump, findings);
    blocks(&dump, findings);
    registers(&dump, findings);
    Ok(())
}

/// The fixed parts exist, and the header says so.
fn fields(dump: &Triage<'_>, findings: &mut Findings) {
    let parts = dump.header().parts();
    if !parts.contains(Parts::REQUIRED) {
        let required = Parts::REQUIRED.0;
        findings.add(&TRIAGE_FIELDS, 0x1038, || {
            format!("DUMP_HEADER64.MiniDumpFields: found {:#x}, allowed is all of {required:#x} and more", parts.0)
        });
    }
    let triage = dump.raw();
    for (name, at, value) in [
        ("ContextOffset", 0xc, triage.context_offset),
        ("ExceptionOffset", 0x10, triage.exception_offset),
        ("PrcbOffset", 0x1c, triage.prcb_offset),
        ("ProcessOffset", 0x20, triage.process_offset),
        ("ThreadOffset", 0x24, triage.thread_offset),
        ("CallStackOffset", 0x28, triage.call_stack_offset),
        ("DriverListOffset", 0x30, triage.driver_list_offset),
    ] {
        if value.get() == 0 {
            findings.add(&TRIAGE_PARTS, TRIAGE_OFFSET + at, || format!("TRIAGE_DUMP64.{name}: found 0"));
        }
    }
}

fn drivers(dump: &Triage<'_>, findings: &mut Findings) {
    if dump.raw().driver_count.get() == 0 {
        findings.add(&TRIAGE_DRIVERS, TRIAGE_OFFSET + 0x34, || "TRIAGE_DUMP64.DriverCount: found 0".into());
    }
    for driver in dump.drivers() {
        findings.take(&TRIAGE_DRIVERS, driver);
    }
}

/// No two data blocks hold the same address.
fn blocks(dump: &Triage<'_>, findings: &mut Findings) {
    let mut blocks: Vec<(AddressRange, u64)> = Vec::new();
    for (offset, block) in dump.data_blocks() {
        match AddressRange::new(block.address.get(), block.size.get().into()) {
            Some(range) => blocks.push((range, offset)),
            None => findings.add(&TRIAGE_BLOCKS, offset, || {
                format!("TRIAGE_DATA_BLOCK: {:#x}+{:#x} wraps around", block.address.get(), block.size.get())
            }),
        }
    }
    blocks.sort_unstable();
    let mut reach: Option<AddressRange> = None;
    for (range, offset) in blocks {
        if let Some(before) = reach.filter(|before| before.overlaps(range)) {
            findings.add(&TRIAGE_BLOCK_OVERLAP, offset, || {
                let [a, b] = [range, before].map(|range| format!("{:#x}+{:#x}", range.start(), range.size()));
                format!("TRIAGE_DATA_BLOCK: {a} shares addresses with {b}")
            });
        }
        if reach.is_none_or(|before| before.last() < range.last()) {
            reach = Some(range);
        }
    }
}

/// dbgeng 10 follows KiProcessorBlock, KPRCB and its context pointer through data blocks.
fn registers(dump: &Triage<'_>, findings: &mut Findings) {
    let at = TRIAGE_OFFSET + 0x70;
    let Some(data) = dump.debugger_data() else {
        return findings.add(&TRIAGE_DEBUGGER_DATA, at, || "TRIAGE_DUMP64.DebuggerDataOffset: found 0".into());
    };
    let missing = if data.variable(Variable::KI_PROCESSOR_BLOCK) == 0 {
        "KiProcessorBlock is 0"
    } else if data.offset(FieldOffset::PRCB_CONTEXT) == 0 {
        "OffsetPrcbContext is 0"
    } else if dump.processors().any(|processor| processor.context.is_some()) {
        let (named, count) = (dump.processors().count(), dump.header().system().processors);
        if named < count as usize {
            findings
                .add(&TRIAGE_PROCESSORS, 0x34, || format!("KiProcessorBlock: {named} of {count} processors captured"));
        }
        return;
    } else {
        "no processor's context lies in the data blocks"
    };
    findings.add(&TRIAGE_REGISTERS, at, || format!("KDDEBUGGER_DATA64: {missing}"));
}
