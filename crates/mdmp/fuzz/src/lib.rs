//! The bodies of the fuzz targets: ordinary functions that panic when something is wrong.
#![forbid(unsafe_code)]

use mdmp::user::{Architecture, CodeView, Comment, Directory, Dump, MemoryListKind, Module, RawStream, StreamType};
use mdmp::user::{SystemInfo, Thread};
use mdmp::{AddressRange, Fill, MemoryRange, Protection, Report, Severity, amd64};
use testkit::dump::kernel::Machine;
use testkit::dump::user::{Parsed, Recipe};

/// Checks a hostile dump. An even first byte: the rest are the file. An odd one: the rest are edits of 4 bytes (offset,
/// offset, offset, value) to one of testkit's dumps, so that the fuzzer need not learn the format first.
pub fn validate(input: &[u8]) {
    let Some((&kind, rest)) = input.split_first() else { return };
    if kind % 2 == 0 {
        return validate_file(rest);
    }
    let mut file = if kind & 2 == 0 { Recipe::good() } else { Recipe::good64() }.build();
    for edit in rest.chunks_exact(4) {
        let at = u32::from_le_bytes([edit[0], edit[1], edit[2], 0]) as usize % file.len();
        file[at] = edit[3];
    }
    validate_file(&file);
}

fn validate_file(file: &[u8]) {
    if let Ok(directory) = Directory::parse(file) {
        for &entry in &directory.entries {
            let _ = directory.stream(entry);
        }
    }
    let Ok(report) = mdmp::validate(file) else { return };
    assert!(report.findings.len() as u64 <= Report::PER_RULE * mdmp::RULES.len() as u64);
    for finding in &report.findings {
        assert!(finding.to_string().len() < 4096, "{finding}");
    }
}

/// Reads a hostile triage dump. An even first byte: the rest are the file. An odd one: the rest are edits of 4 bytes
/// (offset, offset, offset, value) to testkit's triage dump, cut at the last edit's offset when the bit of 2 is set.
pub fn triage(input: &[u8]) {
    let Some((&kind, rest)) = input.split_first() else { return };
    if kind % 2 == 0 {
        return triage_file(rest);
    }
    let mut file = Machine::sample().triage();
    let mut end = file.len();
    for edit in rest.chunks_exact(4) {
        end = u32::from_le_bytes([edit[0], edit[1], edit[2], 0]) as usize % file.len();
        file[end] = edit[3];
    }
    if kind & 2 != 0 {
        file.truncate(end);
    }
    triage_file(&file);
}

fn triage_file(file: &[u8]) {
    let _ = mdmp::validate(file);
    let Ok(dump) = mdmp::read::Triage::parse(file) else { return };
    let _ = (format!("{dump:?}"), dump.unloaded(), dump.broken_driver(), dump.drivers().count());
    let _ = (dump.processors().count(), dump.secondary(), dump.mm(), dump.data_page(), dump.call_stack());
    let blocks = dump.data_blocks().count();
    assert!(dump.memory().all().len() <= 2 * (blocks + 5), "more memory than blocks");
    let mut before = None;
    for segment in dump.memory().all() {
        assert!(before < Some(segment.address), "segments are disjoint and sorted");
        before = segment.range().and_then(AddressRange::last);
        let mut out = [0; 9];
        let held = dump.memory().read(segment.address, &mut out);
        assert_eq!(out[..held.min(segment.bytes.len())], segment.bytes[..held.min(segment.bytes.len())]);
    }
}

/// Plans a dump from hostile values: it is refused as a plan, or written, valid and read back.
pub fn write(input: &[u8]) {
    let mut values = Values(input);
    let mut dump = Dump::new(SystemInfo::new(Architecture::AMD64, 10, 0, values.byte().into()));
    dump.timestamp = values.word() as u32;
    for _ in 0..values.byte() % 8 {
        let (address, size) = (values.word(), values.size());
        dump.memory.push(MemoryRange::new(address, size, Protection(values.byte().into()), Fill(values.byte())));
    }
    for _ in 0..values.byte() % 4 {
        let mut module = Module::new(values.text(), values.word(), values.size() as u32);
        if values.byte() % 2 == 0 {
            let pdb = values.text();
            module.codeview = Some(CodeView::Rsds { guid: [values.byte(); 16], age: 1, pdb });
        }
        dump.modules.push(module);
    }
    for _ in 0..values.byte() % 4 {
        let context = amd64::Context::user(values.word(), values.word());
        let mut thread = Thread::new(values.byte().into(), values.word(), context);
        if values.byte() % 2 == 0 {
            thread.stack = AddressRange::new(values.word(), values.size());
        }
        thread.name = (values.byte() % 2 == 0).then(|| values.text());
        dump.threads.push(thread);
    }
    if values.byte() % 2 == 0 {
        let _ = dump.add_placeholder(0x1000, values.word());
    }
    for _ in 0..values.byte() % 3 {
        let content = vec![values.byte(); usize::from(values.byte())];
        dump.streams.push(Box::new(RawStream::new(StreamType(0x8000_0000 | values.size() as u32), content)));
    }
    if values.byte() % 4 == 0 {
        dump.comments.push(Comment::Wide(values.text()));
    }
    dump.memory_list = match values.byte() % 3 {
        0 => MemoryListKind::Auto,
        1 => MemoryListKind::List32,
        _ => MemoryListKind::List64,
    };
    let plan = match dump.plan() {
        Ok(plan) => plan,
        Err(error) => return assert!(error.is_plan(), "{error:?}"),
    };
    if plan.len() > 1 << 20 {
        return;
    }
    let file = plan.to_vec().expect("memory of one byte value can be read");
    assert_eq!(file.len() as u64, plan.len());
    let parsed = Parsed::new(&file);
    assert_eq!(parsed.memory.len(), dump.memory.len());
    assert!(parsed.unseen(plan.len()).iter().all(|&(_, size)| size < 16));
    let report = mdmp::validate(&file).expect("a dump is a dump");
    let refused: Vec<String> = report.at_least(Severity::Refused).map(ToString::to_string).collect();
    assert!(refused.is_empty(), "{refused:?}");
}

/// Values taken from the front of the input; zeros when it is used up.
struct Values<'a>(&'a [u8]);

impl Values<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    fn word(&mut self) -> u64 {
        // Mostly small numbers and ones near the end of the address space, where the edges are.
        match self.byte() % 4 {
            0 => u64::from(self.byte()) << 8,
            1 => u64::MAX - u64::from(self.byte()),
            2 => 0xffff_f800_0000_0000 | u64::from(self.byte()) << 12,
            _ => u64::from_le_bytes([(); 8].map(|()| self.byte())),
        }
    }

    fn size(&mut self) -> u64 {
        match self.byte() % 4 {
            0 => self.byte().into(),
            1 => u64::from(self.byte()) << 8,
            2 => u64::from(self.byte()) << 28,
            _ => self.word(),
        }
    }

    fn text(&mut self) -> String {
        (0..self.byte() % 8).map(|_| char::from(self.byte())).collect()
    }
}
