//! Threads of a triage dump, and dumps made from it that keep its memory and take code from elsewhere.

use mdmp::read::{Origin, Segments, Triage};
use mdmp::{MemoryRange, Protection, Severity, validate};
use mkdump::dump::{Dump, ReadMemory};
use mkdump::keep::{self, Kept};
use mkdump::pdb::thread_layout;
use mkdump::threads::{Found, Thread, ThreadLayout, ThreadOptions, threads};
use proptest::prelude::*;
use testkit::dump::kernel::{Machine, THREAD_PROCESS};

fn find(machine: &Machine, options: &ThreadOptions) -> Vec<Thread> {
    let file = machine.triage();
    let dump = Triage::parse(&file).unwrap();
    threads(&dump, dump.memory(), options)
}

#[test]
fn threads_are_found_where_the_process_pointer_is() {
    let mut machine = Machine::sample();
    // Two finds where only the pointer was captured: one on the alignment of threads, one not.
    for thread in [0xffff_c08b_e000_0040u64, 0xffff_c08b_e000_1070] {
        machine.memory.insert(thread + THREAD_PROCESS as u64, machine.process.to_le_bytes().to_vec());
    }
    // One whose captured type says that it is something else.
    machine.memory.insert(0xffff_c08b_e000_2040, vec![5; 8]);
    machine.memory.insert(0xffff_c08b_e000_2040 + THREAD_PROCESS as u64, machine.process.to_le_bytes().to_vec());

    let found = find(&machine, &ThreadOptions::default());
    let summary: Vec<_> = found.iter().map(|t| (t.address, t.found, t.verified)).collect();
    let [current, other] = [&machine.threads[0], &machine.threads[1]];
    assert_eq!(
        summary,
        [
            (current.address, Found::Current, true),
            (other.address, Found::Scanned, true),
            (0xffff_c08b_e000_0040, Found::Scanned, false),
        ]
    );
    assert_eq!((found[0].stack_pointer, found[0].captured), (Some(current.kernel_stack), 0x120));
    assert_eq!((found[1].stack_pointer, found[1].captured), (Some(other.kernel_stack), 0x60));
    assert_eq!(found[1].stack, Some((other.stack_limit, other.stack_base)));
    assert_eq!(found[1].process, Some(machine.process));
    assert_eq!((found[2].stack_pointer, found[2].captured), (None, 0));
}

#[test]
fn threads_that_are_named_are_listed() {
    let mut machine = Machine::sample();
    let named = machine.threads[1].address;
    machine.bugcheck.1[2] = named;
    let options = ThreadOptions { addresses: vec![0xffff_c08b_f000_0040], ..ThreadOptions::default() };
    let found = find(&machine, &options);
    assert_eq!(found[1].found, Found::Bugcheck(3));
    assert_eq!((found[2].address, found[2].found), (0xffff_c08b_f000_0040, Found::Listed));
    // With a wrong offset nothing is found but what is named.
    let layout = ThreadLayout { process: 0x228, ..ThreadLayout::AMD64_19041 };
    let found = find(&machine, &ThreadOptions { layout, ..ThreadOptions::default() });
    assert!(found.iter().all(|thread| thread.found != Found::Scanned), "{found:?}");
}

#[test]
fn what_is_no_pdb_says_so() {
    assert!(thread_layout(b"MDMP").unwrap_err().to_string().contains("not a PDB file"));
}

#[test]
fn offsets_come_from_the_pdb() {
    let thread: &[(&str, u16)] =
        &[("Header", 0), ("StackLimit", 0x31), ("StackBase", 0x39), ("KernelStack", 0x59), ("Process", 0x221)];
    let extended: &[(&str, u16)] = &[("Tcb", 0), ("Process", 0x999), ("Cid", 0x479)];
    let pdb =
        testkit::dump::pdb::types(&[("_LIST_ENTRY", &[("Flink", 0)]), ("_KTHREAD", thread), ("_ETHREAD", extended)]);
    let expected =
        ThreadLayout { process: 0x221, kernel_stack: 0x59, stack_limit: 0x31, stack_base: 0x39, client_id: 0x479 };
    assert_eq!(thread_layout(&pdb).unwrap(), expected);

    let without = testkit::dump::pdb::types(&[("_KTHREAD", thread)]);
    assert!(thread_layout(&without).unwrap_err().to_string().contains("_ETHREAD.Cid"));
}

/// Code for the whole of the second module, each byte 0xcc.
fn code(machine: &Machine) -> Vec<MemoryRange<'static>> {
    let module = &machine.modules[1];
    vec![MemoryRange::from_vec(module.base, Protection::EXECUTE_READ, vec![0xcc; module.size as usize])]
}

#[test]
fn captured_bytes_win_over_code_in_both_formats() {
    let machine = Machine::sample();
    let file = machine.triage();
    let source = Dump::open(&file).unwrap();
    let dump = source.triage().unwrap();
    let kept = Kept { dump, memory: dump.memory() };
    let triage = keep::triage(kept, code(&machine), "kept").plan().unwrap().to_vec().unwrap();
    let modules = keep::modules(&source.snapshot().modules);
    let list = threads(dump, dump.memory(), &ThreadOptions::default());
    let user = keep::user(kept, &source.snapshot().machine, modules, &list, code(&machine));
    let user = user.plan().unwrap().to_vec().unwrap();

    let base = machine.modules[1].base;
    for file in [&triage, &user] {
        let report = validate(file).unwrap();
        assert_eq!(report.at_least(Severity::Degraded).count(), 0, "{report:?}");
        let result = Dump::open(file).unwrap();
        assert!(result.warnings().is_empty(), "{:?}", result.warnings());
        let mut out = vec![0; machine.modules[1].size as usize];
        assert_eq!(result.read(base, &mut out), out.len());
        let mut expected = vec![0xcc; out.len()];
        expected[0x2ff8..0x3008].copy_from_slice(&(0u8..16).collect::<Vec<_>>());
        assert_eq!(out, expected);
        for segment in dump.memory().all() {
            let mut out = vec![0; segment.bytes.len()];
            assert_eq!(result.read(segment.address, &mut out), out.len(), "{segment:?}");
            assert_eq!(out, segment.bytes, "{segment:?}");
        }
        assert_eq!(result.snapshot().modules.len(), 2);
    }
    let back = Triage::parse(&triage).unwrap();
    assert_eq!(back.header().bugcheck(), dump.header().bugcheck());
    assert_eq!(back.header().context(), dump.header().context());
    assert_eq!((back.thread(), back.process(), back.prcb()), (dump.thread(), dump.process(), dump.prcb()));
    assert_eq!(back.call_stack().unwrap().bytes, dump.call_stack().unwrap().bytes);
    assert_eq!(back.current_thread(), dump.current_thread());

    let back = Dump::open(&user).unwrap();
    assert_eq!(back.user_threads().len(), 2);
    assert_eq!(back.user_threads()[0].context, machine.context());
    assert_eq!(back.user_threads()[0].stack, (machine.threads[0].kernel_stack, 0x120));
    let exception = back.user_exception().unwrap();
    assert_eq!((exception.code, exception.address), (0x8000_0003, machine.rip));
}

proptest! {
    #[test]
    fn damaged_pdbs_are_errors(
        edits in prop::collection::vec((prop_oneof![0usize..0x40, 0x3000usize..0x3010, 0x4000usize..0x4020, 0x5000usize..0x5180], any::<u8>()), 1..8),
        end in prop_oneof![3 => Just(usize::MAX), 1 => 0usize..0x6000],
    ) {
        let mut pdb = testkit::dump::pdb::types(&[("_KTHREAD", &[("Process", 0x220)]), ("_ETHREAD", &[("Cid", 0x478)])]);
        for (at, value) in edits {
            let at = at % pdb.len();
            pdb[at] = value;
        }
        pdb.truncate(end);
        let _ = thread_layout(&pdb);
    }

    /// Of 96 addresses, each is held by captured memory, else by the lowest code range that has it, else by nothing.
    #[test]
    fn ranges_around_captured_memory_are_exact(
        captured in prop::collection::vec((0u64..60, 1usize..12), 0..6),
        code in prop::collection::vec((0u64..60, 1usize..30), 0..4),
        top in any::<bool>(),
    ) {
        let origin = if top { u64::MAX - 70 } else { 0x1000 };
        let room = |at: u64, size: usize| if top { size.min(71 - at as usize) } else { size };
        let bytes = [0xaa; 16];
        let segments: Vec<_> = captured
            .iter()
            .map(|&(at, size)| mdmp::read::Segment::new(origin + at, &bytes[..room(at, size)], Origin::Other))
            .collect();
        let memory = Segments::new(segments);
        let ranges: Vec<_> = code
            .iter()
            .map(|&(at, size)| {
                let content = (0..room(at, size) as u64).map(|offset| (at + offset) as u8).collect();
                MemoryRange::from_vec(origin + at, Protection::EXECUTE_READ, content)
            })
            .collect();
        let mut seen = [0u32; 96];
        for part in keep::around(&memory, ranges) {
            let mut out = vec![0; part.size as usize];
            part.source.read_at(0, &mut out).unwrap();
            for (offset, byte) in out.into_iter().enumerate() {
                let at = (part.address - origin) as usize + offset;
                prop_assert_eq!(usize::from(byte), at);
                seen[at] += 1;
            }
        }
        for (at, &count) in seen.iter().enumerate() {
            let address = origin.checked_add(at as u64);
            let held = address.is_some_and(|address| memory.at(address).is_some());
            let coded = code.iter().any(|&(from, size)| (from as usize..from as usize + room(from, size)).contains(&at));
            prop_assert_eq!(count, u32::from(coded && !held), "address {}", at);
        }
    }
}
