//! Machines that never were: what a debugger needs lies where it looks.

use mdmp::kernel::{Bugcheck, Driver, Dump, FieldOffset, Machine, Synthetic, Variable};
use mdmp::read::Triage;
use mdmp::{Format, amd64, arm64, validate};

fn assert_sound(file: &[u8]) {
    let report = validate(file).unwrap();
    assert_eq!((report.format, report.findings.len()), (Format::KernelTriage, 0), "{report:?}");
}

#[test]
fn a_synthetic_machine_has_registers_where_the_debugger_looks() {
    let context = amd64::Context::kernel(0xffff_f804_1234_1000, 0xffff_ae00_0000_8000);
    let mut dump = Dump::synthetic(Synthetic::new(0xffff_f804_1234_0000, context));
    dump.drivers.push(Driver::new("ntoskrnl.exe", 0xffff_f804_1234_0000, 0x1000));
    // dbgeng 10 refuses a dump with a processor that KiProcessorBlock does not name.
    dump.system.processors = 20;
    let file = dump.plan().unwrap().to_vec().unwrap();
    let back = Triage::parse(&file).unwrap();
    let processors: Vec<_> = back.processors().collect();
    assert_eq!(processors.len(), 20);
    assert_eq!(processors[0].context.unwrap(), mdmp::Context::from(context).as_bytes());
    assert_eq!(back.current_thread(), Some(processors[0].thread));
    assert_sound(&file);

    let area = Synthetic::DEFAULT_AREA;
    let header = back.header();
    assert_eq!((header.bugcheck(), header.exception().code), (Bugcheck::default(), 0x8000_0003));
    assert_eq!(header.exception().address, 0xffff_f804_1234_1000);
    let anchors = header.anchors();
    assert_eq!((anchors.directory_table_base & 0xfff, anchors.directory_table_base != 0), (0, true));
    // Both lists are empty: their heads point to themselves.
    for (head, expected) in
        [(anchors.ps_loaded_module_list, area + 0x1100), (anchors.ps_active_process_head, area + 0x1200)]
    {
        assert_eq!(head, expected);
        assert_eq!((back.memory().pointer_at(head), back.memory().pointer_at(head + 8)), (Some(head), Some(head)));
    }
    assert_eq!(anchors.debugger_data_block, area);
    assert_eq!(back.memory().at(area).unwrap().bytes, back.debugger_data().unwrap().as_bytes());
    // The thread has a stack of one page, from the stack pointer upwards, and its process.
    let data = back.debugger_data().unwrap();
    let thread = processors[0].thread;
    let field = |field| back.memory().pointer_at(thread + u64::from(data.offset(field))).unwrap();
    assert_eq!(field(FieldOffset::KTHREAD_KERNEL_STACK), 0xffff_ae00_0000_8000);
    assert_eq!(field(FieldOffset::KTHREAD_INITIAL_STACK), 0xffff_ae00_0000_9000);
    assert_eq!(back.current_process(), Some(field(FieldOffset::KTHREAD_APC_PROCESS)));
    assert_eq!(back.call_stack().unwrap().bytes, vec![0; 0x1000]);
    assert_eq!(data.variable(Variable::NT_BUILD_LAB), 0);
}

/// The build lab is a C string in 256 bytes.
#[test]
fn a_synthetic_machine_tells_its_build_lab() {
    for (given, kept) in [("26100.1.amd64fre", 16), (&*"x".repeat(255), 255), (&*"x".repeat(300), 255)] {
        let mut synthetic = Synthetic::new(1 << 63, amd64::Context::kernel(5, 6));
        (synthetic.build_lab, synthetic.stack) = (given.to_owned(), vec![7; 24]);
        let dump = Dump::synthetic(synthetic);
        assert_eq!(dump.state.call_stack.bytes, vec![7; 24]);
        let address = dump.state.debugger_data.as_ref().unwrap().variable(Variable::NT_BUILD_LAB);
        let range = dump.memory.iter().find(|range| range.address == address).unwrap();
        let mut bytes = vec![1; range.size as usize];
        range.source.read_at(0, &mut bytes).unwrap();
        assert_eq!(bytes, [&given.as_bytes()[..kept], &vec![0; 0x100 - kept]].concat());
    }
}

#[test]
fn arm64_machines_have_their_own_context() {
    let context = arm64::Context::new(0xffff_f804_1234_1000, 0xffff_ae00_0000_8000);
    let mut dump = Dump::synthetic(Synthetic::new(0xffff_f804_1234_0000, context));
    dump.drivers.push(Driver::new("ntoskrnl.exe", 0xffff_f804_1234_0000, 0x1000));
    let file = dump.plan().unwrap().to_vec().unwrap();
    let back = Triage::parse(&file).unwrap();
    assert_eq!(back.header().system().machine, Machine::ARM64);
    assert_eq!(back.header().context(), mdmp::Context::from(context).as_bytes());
    assert_eq!(back.processors().next().unwrap().context.unwrap(), mdmp::Context::from(context).as_bytes());
    assert_sound(&file);
}
