//! The rules of a triage dump that debuggers enforce, checked on a finished file, ours or not.

use std::fmt;

use super::raw::DataBlock;
use super::{FieldOffset, Parts, Variable};
use crate::read::Triage;
use crate::{AddressRange, Error};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Every reader copes.
    Note,
    /// A reader opens the file and something in it does not work.
    Warning,
    /// A reader refuses the file.
    Error,
}

/// A rule that the file breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// The reader that the rule is for.
    pub reader: &'static str,
    /// File offset of the field.
    pub offset: u64,
    /// Structure and field.
    pub structure: String,
    /// What the file says and what is allowed.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        write!(f, "{severity} ({}): {} at {:#x}: {}", self.reader, self.structure, self.offset, self.text)
    }
}

/// Checks a triage dump.
///
/// # Errors
/// When the file is no triage dump, or its fixed structures are not all there.
pub fn validate(file: &[u8]) -> Result<Vec<Finding>, Error> {
    let dump = Triage::open(file)?;
    let mut report = Report { findings: Vec::new() };
    report.structures(&dump);
    report.drivers(&dump);
    report.blocks(&dump);
    report.registers(&dump);
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(report.findings)
}

struct Report {
    findings: Vec<Finding>,
}

impl Report {
    fn add(&mut self, severity: Severity, offset: u64, structure: impl Into<String>, text: impl Into<String>) {
        let (structure, text) = (structure.into(), text.into());
        self.findings.push(Finding { severity, reader: "dbgeng", offset, structure, text });
    }

    /// Fixed parts: present, marked as present, and the end mark.
    fn structures(&mut self, dump: &Triage<'_>) {
        for damage in dump.warnings() {
            let (offset, structure) = place(damage);
            self.add(Severity::Error, offset, structure, damage.to_string());
        }
        let parts = dump.header().parts();
        if !parts.contains(Parts::REQUIRED) {
            let text = format!(
                "found {:#x}; without all of {:#x} data blocks are ignored and registers fail",
                parts.0,
                Parts::REQUIRED.0
            );
            self.add(Severity::Error, 0x1038, "DUMP_HEADER64.MiniDumpFields", text);
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
                let text = "found 0; the block must exist, zeros will do";
                self.add(Severity::Error, 0x2000 + at, format!("TRIAGE_DUMP64.{name}"), text);
            }
        }
    }

    fn drivers(&mut self, dump: &Triage<'_>) {
        let count = dump.raw().driver_count.get();
        if count == 0 {
            self.add(Severity::Error, 0x2034, "TRIAGE_DUMP64.DriverCount", "found 0; the kernel must be there");
        }
        for driver in dump.drivers() {
            if let Err(error) = driver {
                let (offset, structure) = place(&error);
                self.add(Severity::Error, offset, structure, error.to_string());
            }
        }
    }

    /// Data blocks must lie inside the file, not wrap around and not hold different bytes for one address.
    fn blocks(&mut self, dump: &Triage<'_>) {
        let mut blocks: Vec<_> = dump
            .data_blocks()
            .filter_map(|(offset, block)| {
                Some((AddressRange::new(block.address.get(), block.size.get().into())?, offset))
            })
            .collect();
        blocks.sort_unstable();
        let mut reach: Option<AddressRange> = None;
        for (range, offset) in blocks {
            if let Some(before) = reach.filter(|before| before.overlaps(range)) {
                let text = format!(
                    "{:#x}+{:#x} shares addresses with {:#x}+{:#x}",
                    range.start(),
                    range.size(),
                    before.start(),
                    before.size()
                );
                self.add(Severity::Warning, offset, "TRIAGE_DATA_BLOCK", text);
            }
            if reach.is_none_or(|before| before.last() < range.last()) {
                reach = Some(range);
            }
        }
        let alone = size_of::<DataBlock>() as u64 * u64::from(dump.raw().data_blocks_count.get());
        if alone > 0 && dump.memory().is_empty() {
            self.add(Severity::Warning, 0x207c, "TRIAGE_DUMP64.DataBlocksCount", "blocks, and none with bytes");
        }
    }

    /// dbgeng 10 follows KiProcessorBlock, KPRCB and its context pointer through data blocks.
    fn registers(&mut self, dump: &Triage<'_>) {
        let Some(data) = dump.debugger_data() else {
            let text = "no KDDEBUGGER_DATA64: registers come from the header's context only";
            return self.add(Severity::Note, 0x2070, "TRIAGE_DUMP64.DebuggerDataOffset", text);
        };
        let missing = if data.variable(Variable::KI_PROCESSOR_BLOCK) == 0 {
            "KiProcessorBlock is 0"
        } else if data.offset(FieldOffset::PRCB_CONTEXT) == 0 {
            "OffsetPrcbContext is 0"
        } else if dump.processors().any(|processor| processor.context.is_some()) {
            return;
        } else {
            "no processor's context lies in the data blocks"
        };
        let text = format!("{missing}: dbgeng 10 says GetContextState failed, and r does not work");
        self.add(Severity::Warning, 0x2070, "KDDEBUGGER_DATA64", text);
    }
}

/// Where an error of the reader lies.
fn place(error: &Error) -> (u64, String) {
    match error {
        Error::Malformed { offset, structure, .. } => (*offset, structure.clone()),
        _ => (0, "file".into()),
    }
}
