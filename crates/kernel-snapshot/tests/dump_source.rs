//! Dumps as sources: every kind of dump of one made-up machine says the same, and damage does no harm.

use kernel_snapshot::dump::{Boot, Dump, Kind, MergeErrorKind, ReadMemory};
use testkit::dump::kernel::Machine;

/// Opens a dump and compares all that the machine knows.
fn check(file: &[u8], kind: Kind) {
    let machine = Machine::sample();
    let dump = Dump::open(file).unwrap();
    assert_eq!(dump.kind(), kind);
    assert!(dump.warnings().is_empty(), "{:?}", dump.warnings());
    let snapshot = dump.snapshot();
    assert_eq!((snapshot.machine.os.major, snapshot.machine.os.build), (10, machine.build));
    assert_eq!(snapshot.time, Some(machine.time));
    assert_eq!(snapshot.kernel_base, Some(machine.modules[0].base));
    let found: Vec<_> = snapshot.modules.iter().map(|m| (m.path.as_str(), m.base, m.size, m.timestamp)).collect();
    let expected: Vec<_> =
        machine.modules.iter().map(|m| (m.name.as_str(), m.base, m.size.into(), Some(m.timestamp))).collect();
    assert_eq!(found, expected);
    assert!(snapshot.modules.iter().all(|module| module.kernel));
    assert_eq!(snapshot.modules[1].name, "own driver.sys");
    for (address, bytes) in machine.blocks() {
        let mut out = vec![0; bytes.len()];
        assert_eq!(dump.read(address, &mut out), bytes.len(), "{address:#x}");
        assert_eq!(out, bytes, "{address:#x}");
    }
    let stack = &machine.threads[0];
    assert_eq!(dump.pointer(stack.kernel_stack), Some(0x1111_1111_1111_1111));
    assert_eq!(dump.read(0x7fff_0000_0000, &mut [0; 8]), 0);
}

#[test]
fn all_kinds_of_kernel_dumps_say_the_same() {
    let machine = Machine::sample();
    check(&machine.triage(), Kind::KernelTriage);
    check(&machine.full(), Kind::KernelFull);
    check(&machine.bitmap(), Kind::KernelBitmap);
    // Kernel bitmap and automatic dumps have the same layout under other numbers.
    for number in [6, 7] {
        let mut file = machine.bitmap();
        file[0xf98] = number;
        check(&file, Kind::KernelBitmap);
    }
}

#[test]
fn pages_read_as_kdmp_parser_reads_them() {
    let machine = Machine::sample();
    for file in [machine.full(), machine.bitmap()] {
        let oracle = kdmp_parser::KernelDumpParser::with_reader(std::io::Cursor::new(file.clone())).unwrap();
        let dump = Dump::open(&file).unwrap();
        assert_eq!(oracle.kernel_modules().len(), dump.snapshot().modules.len());
        for (address, bytes) in machine.blocks() {
            let mut out = vec![0; bytes.len()];
            let held = oracle.virt_read(kdmp_parser::Gva::new(address), &mut out).unwrap();
            assert_eq!((held, &out), (bytes.len(), &bytes));
        }
    }
}

#[test]
fn cut_full_dumps_keep_what_is_there() {
    for mut file in [Machine::sample().full(), Machine::sample().bitmap()] {
        file.truncate(file.len() - 0x1800);
        let dump = Dump::open(&file).unwrap();
        assert!(dump.warnings()[0].contains("pages"), "{:?}", dump.warnings());
    }
}

#[test]
fn module_lists_that_do_not_end_are_left() {
    let machine = Machine::sample();
    let file = machine.full();
    let ring = u64::from_le_bytes(file[0x20..0x28].try_into().unwrap());
    let entry = ring + 0x10;
    // Links of the last entry: forwards to the head, backwards to the first entry.
    let last = file.windows(16).position(|w| w[..8] == ring.to_le_bytes() && w[8..] == entry.to_le_bytes()).unwrap();
    // Links of the head: forwards to the first entry, backwards to the last.
    let head = file.windows(8).position(|w| w == entry.to_le_bytes()).unwrap();
    let with = |at: usize, value: u64| {
        let mut file = file.clone();
        file[at..at + 8].copy_from_slice(&value.to_le_bytes());
        file
    };
    let check = |file: &[u8], words: &str| {
        let dump = Dump::open(file).unwrap();
        assert_eq!(dump.snapshot().modules.len(), 2, "{:?}", dump.warnings());
        assert!(dump.warnings()[0].contains(words), "{:?}", dump.warnings());
    };
    check(&with(last, entry), "leads back");
    // A link into nowhere: the rest is found from the other end.
    check(&with(head, 8), "does not hold");
}

#[test]
fn other_files_are_refused_with_reasons() {
    let refused = |file: &[u8], words: &str| {
        let error = Dump::open(file).unwrap_err().to_string();
        assert!(error.contains(words), "{error}: expected {words}");
    };
    refused(b"", "MDMP");
    refused(b"MZ.......", "PAGEDU64");
    refused(b"PAGEDUMP", "32-bit");
    refused(b"MDMPxxxx", "user minidump");
    let number = |number: u8| {
        let mut file = Machine::sample().bitmap();
        file[0xf98] = number;
        file
    };
    refused(&number(2), "kernel summary");
    refused(&number(8), "RDMP");
    let with = |at: usize, value: u64, mut file: Vec<u8>| {
        file[at..at + 8].copy_from_slice(&value.to_le_bytes());
        file
    };
    let full = || Machine::sample().full();
    refused(&with(0x88, 43, full()), "at most 42");
    refused(&with(0x98, 1 << 41, full()), "2^40");
    refused(&with(0x98, 0x21, full()), "each once");
    refused(&with(0x2030, 1 << 39, Machine::sample().bitmap()), "bitmap");
}

#[test]
fn dumps_of_one_boot_merge() {
    let first = Machine::sample();
    let mut later = Machine::sample();
    later.time += 50_000_000;
    later.up_time += 50_000_000;
    let driver = later.modules[1].base;
    later.memory.insert(driver + 0x1000, b"only later".to_vec());
    later.memory.insert(driver + 0x2ff8, vec![0xee; 0x20]);
    later.modules.push(testkit::dump::kernel::Module {
        name: "late.sys".into(),
        base: 0xffff_f804_1700_0000,
        size: 0x3000,
        timestamp: 7,
        checksum: 0,
    });
    let (a, b) = (first.triage(), later.triage());
    let boot = Boot::merge(vec![Dump::open(&a).unwrap(), Dump::open(&b).unwrap()]).unwrap();
    assert_eq!(boot.modules.len(), 3);
    let mut out = [0; 10];
    assert_eq!(boot.memory.read(driver + 0x1000, &mut out), 10);
    assert_eq!(&out, b"only later");
    // The first dump wins where it has bytes, the second fills what follows.
    let mut out = [0; 0x20];
    assert_eq!(boot.memory.read(driver + 0x2ff8, &mut out), 0x20);
    assert_eq!(out[..16], *(0u8..16).collect::<Vec<_>>());
    assert_eq!(out[16..], [0xee; 16]);

    let refused = |change: &dyn Fn(&mut Machine), words: &str| {
        let mut other = Machine::sample();
        change(&mut other);
        let file = other.triage();
        let error = Boot::merge(vec![Dump::open(&a).unwrap(), Dump::open(&file).unwrap()]).unwrap_err();
        assert_eq!((error.kind(), error.index()), (MergeErrorKind::OtherBoot, Some(1)));
        assert!(error.to_string().contains(words), "{error}: expected {words}");
    };
    refused(&|machine| machine.build = 22000, "build");
    refused(&|machine| machine.modules[0].base += 0x1000, "kernel");
    refused(&|machine| machine.modules[0].timestamp += 1, "kernel");
    refused(&|machine| machine.time += 10_000_000 * 3600, "boot time");
    let full = first.full();
    let error = Boot::merge(vec![Dump::open(&a).unwrap(), Dump::open(&full).unwrap()]).unwrap_err();
    assert_eq!((error.kind(), error.index()), (MergeErrorKind::NotTriage, Some(1)));
    assert!(error.to_string().contains("kernel-full"), "{error}");
    let error = Boot::merge(Vec::new()).unwrap_err();
    assert_eq!((error.kind(), error.index()), (MergeErrorKind::Empty, None));
}
