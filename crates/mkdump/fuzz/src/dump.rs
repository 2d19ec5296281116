//! The bodies of the fuzz targets: ordinary functions that panic when something is wrong.

use mkdump::dump::{Boot, Dump, ReadMemory};
use mkdump::keep::{self, Kept};
use mkdump::threads::{ThreadOptions, threads};
use testkit::dump::kernel::Machine;
use testkit::dump::user::Recipe;

/// Opens a hostile dump and does all that the command does with one. The first byte says what the rest is: 0 a file, 1
/// to 5 edits of 4 bytes (offset, offset, offset, value) to a triage, full, bitmap or user dump of testkit; with the bit
/// of 0x80 the file is cut at the last edit.
pub fn dump(input: &[u8]) {
    let Some((&kind, rest)) = input.split_first() else { return };
    let mut file = match kind & 0x7f {
        1 => Machine::sample().triage(),
        2 => Machine::sample().full(),
        3 => Machine::sample().bitmap(),
        4 => Recipe::good().build(),
        5 => Recipe::good64().build(),
        _ => return use_dump(rest),
    };
    let mut end = file.len();
    for edit in rest.chunks_exact(4) {
        end = u32::from_le_bytes([edit[0], edit[1], edit[2], 0]) as usize % file.len();
        file[end] = edit[3];
    }
    if kind & 0x80 != 0 {
        file.truncate(end);
    }
    use_dump(&file);
}

fn use_dump(file: &[u8]) {
    let Ok(dump) = Dump::open(file) else { return };
    let _ = format!("{dump:?}");
    let mut out = [0; 0x2004];
    for module in dump.snapshot().modules.iter().take(64) {
        let _ = (dump.read(module.base, &mut out), module.image_key());
    }
    for address in [0, 0x1000, u64::MAX - 3, 0xffff_f804_1234_0ffe] {
        dump.read(address, &mut out);
    }
    if let Some(triage) = dump.triage() {
        let options = ThreadOptions { addresses: vec![u64::MAX, 1], ..ThreadOptions::default() };
        let found = threads(triage, triage.memory(), &options);
        let kept = Kept { dump: triage, memory: triage.memory() };
        let _ = keep::triage(kept, Vec::new(), "").plan();
        let modules = keep::modules(&dump.snapshot().modules);
        let _ = keep::user(kept, &dump.snapshot().machine, modules, &found, Vec::new()).plan();
        let _ = Boot::merge(vec![dump]);
    }
}
