//! Rules of a triage dump, checked on a finished file, ours or not.

use super::report::Findings;
use super::rules::{
    TRIAGE_BLOCK_OVERLAP, TRIAGE_BLOCKS, TRIAGE_DEBUGGER_DATA, TRIAGE_DRIVERS, TRIAGE_END, TRIAGE_FIELDS, TRIAGE_PARTS,
    TRIAGE_PROCESSORS, TRIAGE_REGISTERS,
};
use crate::bytes::Bytes;
use crate::kernel::raw::TRIAGE_OFFSET;
use crate::kernel::{FieldOffset, Parts, Variable};
use crate::read::{MAX_PROCESSORS, Triage};
use crate::{AddressRange, Error};

/// Checks a triage dump. Its table of data blocks is copied once and sorted: twice the table's size of memory.
///
/// # Errors
/// When the file is not a triage dump, or ends inside `TRIAGE_DUMP64`.
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
    blocks(Bytes::new(file), &dump, findings);
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

/// Data blocks that share addresses must agree on the bytes there.
fn blocks(file: Bytes<'_>, dump: &Triage<'_>, findings: &mut Findings) {
    let mut blocks: Vec<Block> = Vec::new();
    for (at, block) in dump.data_blocks() {
        match AddressRange::new(block.address.get(), block.size.get().into()) {
            Some(range) => blocks.push(Block { range, at, data: block.offset.get().into() }),
            None => findings.add(&TRIAGE_BLOCKS, at, || {
                format!("TRIAGE_DATA_BLOCK: {:#x}+{:#x} wraps around", block.address.get(), block.size.get())
            }),
        }
    }
    blocks.sort_unstable_by_key(|block| (block.range, block.at));
    // In a hostile file every block may lie on the same bytes; comparing stops after twice the file's size.
    let mut budget = 2 * file.len();
    let mut furthest: Option<Block> = None;
    for block in blocks {
        if let Some(before) = furthest.filter(|before| before.range.overlaps(block.range))
            && !same_bytes(file, before, block, &mut budget)
        {
            findings.add(&TRIAGE_BLOCK_OVERLAP, block.at, || {
                let [a, b] =
                    [block, before].map(|block| format!("{:#x}+{:#x}", block.range.start(), block.range.size()));
                format!("TRIAGE_DATA_BLOCK: {a} and {b} hold different bytes for the same addresses")
            });
        }
        if furthest.is_none_or(|before| before.range.last() < block.range.last()) {
            furthest = Some(block);
        }
    }
}

#[derive(Clone, Copy)]
struct Block {
    range: AddressRange,
    /// File offset of the table's entry.
    at: u64,
    /// File offset of the bytes.
    data: u64,
}

/// True when the addresses that both blocks have hold the same bytes in both. `second` does not start before `first`.
fn same_bytes(file: Bytes<'_>, first: Block, second: Block, budget: &mut u64) -> bool {
    let start = second.range.start();
    let end = first.range.last().min(second.range.last());
    let Some(size) = end.and_then(|end| (end - start).checked_add(1)).filter(|size| size <= budget) else {
        return false;
    };
    *budget -= size;
    let inside = start - first.range.start();
    let bytes = |data: u64| file.get(data, size);
    let (first, second) = (first.data.checked_add(inside).and_then(bytes), bytes(second.data));
    first.is_some() && first == second
}

/// dbgeng 10 goes from KiProcessorBlock to a KPRCB to its context, through data blocks. All of this was measured by
/// taking parts away: it wants an entry for every processor before it looks at any, then follows the current
/// processor's alone; and when the first entry was not captured it takes the context in the header and follows none.
fn registers(dump: &Triage<'_>, findings: &mut Findings) {
    let at = TRIAGE_OFFSET + 0x70;
    let Some(data) = dump.debugger_data() else {
        return findings.add(&TRIAGE_DEBUGGER_DATA, at, || "TRIAGE_DUMP64.DebuggerDataOffset: found 0".into());
    };
    let block = data.variable(Variable::KI_PROCESSOR_BLOCK);
    let entry = |number: u32| dump.memory().pointer_at(block.checked_add(u64::from(number) * 8)?);
    if block == 0 || entry(0).is_none() {
        return;
    }
    let count = dump.header().system().processors;
    if let Some(number) = (0..count.min(MAX_PROCESSORS)).find(|&number| entry(number).unwrap_or(0) == 0) {
        let found = if entry(number).is_some() { "is 0" } else { "was not captured" };
        findings.add(&TRIAGE_PROCESSORS, 0x34, || {
            format!("KiProcessorBlock[{number}] {found}, and NumberProcessors is {count}")
        });
        return;
    }
    let current = dump.current_processor();
    if data.offset(FieldOffset::PRCB_CONTEXT) == 0 {
        findings.add(&TRIAGE_REGISTERS, at, || "KDDEBUGGER_DATA64: OffsetPrcbContext is 0".into());
    } else if !dump.processors().any(|processor| processor.number == current && processor.context.is_some()) {
        findings.add(&TRIAGE_REGISTERS, at, || {
            format!("KiProcessorBlock[{current}]: the context of the current processor is not in the data blocks")
        });
    }
}
