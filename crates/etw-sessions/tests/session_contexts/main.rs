//! Sessions in the memory of made-up kernels: five layouts, both shapes of rings, every way to a layout.

mod any_memory;
mod copied;
mod hostile;

use std::collections::BTreeMap;

use etw_sessions::{
    FileTime, Found, Guid, Kernel, KernelTypes, Memory, PdbKey, Session, SessionSource, Sessions, StructLayout,
    UnknownLayout,
};
use testkit::dump::kernel::{KDBG, Machine};
use testkit::dump::sessions::{self as made, Buffer, LAYOUTS, Ring};
use testkit::trace::{Event, Header};

/// Pages of memory; what no structure fills of them is zero.
pub(crate) struct Pages(BTreeMap<u64, [u8; 0x1000]>);

impl Pages {
    pub(crate) fn of(machine: &Machine) -> Self {
        let mut pages: BTreeMap<u64, [u8; 0x1000]> = BTreeMap::new();
        let mut blocks = machine.blocks();
        blocks.insert(KDBG, machine.debugger_data());
        for (address, bytes) in blocks {
            for (index, byte) in bytes.iter().enumerate() {
                let at = address.wrapping_add(index as u64);
                pages.entry(at / 0x1000).or_insert([0; 0x1000])[(at % 0x1000) as usize] = *byte;
            }
        }
        Self(pages)
    }

    pub(crate) fn remove(&mut self, address: u64) {
        self.0.remove(&(address / 0x1000));
    }
}

impl Memory for Pages {
    fn read(&self, address: u64, out: &mut [u8]) -> usize {
        for (index, byte) in out.iter_mut().enumerate() {
            let at = address.checked_add(index as u64);
            let page = at.and_then(|at| Some((self.0.get(&(at / 0x1000))?, at % 0x1000)));
            let Some((page, at)) = page else { return index };
            *byte = page[at as usize];
        }
        out.len()
    }
}

/// A kernel event with a payload of its own.
pub(crate) fn event(tick: i64, mark: u8) -> Vec<u8> {
    Event::hook(Header::System64, 0x1402, 3, tick, vec![mark; 24]).encode()
}

/// Four sessions: of both ring shapes, with the four kinds of buffers, without any, and with Intel PT.
pub(crate) fn kernel(layout: made::Layout) -> made::Kernel {
    let mut kernel = made::Kernel::new(layout);
    let mut circular = made::Session::new(2, "Circular Kernel Context Logger");
    circular.classes = Some(0x7);
    circular.buffers = vec![
        Buffer::unused(),
        Buffer::current(0, 3, &[event(5_000_000, 5), event(6_000_000, 6)]),
        Buffer::flushed(0, 8, 0x2000, &[event(1_000_000, 1)]),
        Buffer::full(1, 9, 0x2000, &[event(3_000_000, 3), event(4_000_000, 4)]),
    ];
    let mut security = made::Session::new(3, "Eventlog-Security");
    (security.mode, security.clock, security.ring) = (0x8000_0180, 2, Ring::Nodes);
    (security.log_file, security.events_lost, security.flush_timer) = (r"C:\x\Security.etl".into(), 7, 1);
    security.reference = (132_583_450_000_000_000, 132_583_450_000_000_000);
    security.buffers = vec![Buffer::unused(), Buffer::current(0, 1, &[event(132_583_450_000_000_100, 1)])];
    let mut ipt = made::Session::new(20, "ipt");
    (ipt.flags, ipt.ipt, ipt.ring) = (1 << 26, Some((0x21, vec![0x524, 0xf2e])), Ring::Nodes);
    kernel.sessions = vec![circular, security, ipt, made::Session::new(63, "empty")];
    kernel
}

pub(crate) fn types(kernel: &made::Kernel) -> KernelTypes {
    let structure = |(name, members): (&str, Vec<(&str, u16)>)| {
        let members = members.into_iter().map(|(member, at)| (member.to_owned(), at.into())).collect();
        (name.to_owned(), StructLayout { size: None, members })
    };
    KernelTypes {
        structures: kernel.structures().into_iter().map(structure).collect(),
        symbols: kernel.symbols().into_iter().map(|(name, rva)| (name.to_owned(), rva)).collect(),
    }
}

pub(crate) fn facts<'k>(machine: &Machine, types: Option<&'k KernelTypes>) -> Kernel<'k> {
    Kernel {
        base: machine.modules[0].base,
        build: machine.build,
        pdb: Some(PdbKey { guid: Guid(*b"kernel of a test"), age: 1 }),
        types,
        debugger_data: Some(KDBG),
        held: 64 << 20,
        processors: 2,
        time: FileTime(132_583_451_000_000_000),
    }
}

pub(crate) fn read(kernel: &made::Kernel, types: Option<&KernelTypes>) -> Result<Sessions, UnknownLayout> {
    let machine = kernel.machine();
    etw_sessions::read(&Pages::of(&machine), &facts(&machine, types))
}

fn found(sessions: &Sessions) -> Found {
    let SessionSource::Contexts(layout) = &sessions.source else { panic!("not from contexts") };
    layout.found
}

/// What every way to a layout must give.
fn check(kernel: &made::Kernel, sessions: &Sessions, way: Found) {
    let build = kernel.layout.build;
    assert_eq!((found(sessions), &sessions.warnings[..]), (way, &[][..]), "{build}");
    let list: Vec<_> = sessions.sessions.iter().map(|s| (s.id, s.name.as_deref().unwrap(), s.events())).collect();
    let expected =
        [(2, "Circular Kernel Context Logger", 5), (3, "Eventlog-Security", 1), (20, "ipt", 0), (63, "empty", 0)];
    assert_eq!(list, expected, "{build} {way:?}");
    assert_eq!((sessions.silos.len(), sessions.silos[0].state), (1, Some(made::at::STATE)));
    let [circular, security, ipt, _] = &sessions.sessions[..] else { panic!("four sessions") };
    assert_eq!((circular.context, circular.silo), (Some(kernel.context(0)), Some(made::at::STATE)));
    assert_eq!((circular.mode, circular.clock, circular.number_of_buffers), (0x0280_0480, 1, Some(4)));
    assert_eq!((security.events_lost, security.flush_timer), (Some(7), Some(1)));
    assert_eq!(security.log_file.as_deref(), Some(r"C:\x\Security.etl"));
    assert_eq!((security.is_paged, security.has_ipt()), (Some(false), Some(false)));
    assert_eq!(circular.memory(), 4 * 0x2000);
    if kernel.layout.build >= 17134 && way != Found::DebuggerData {
        assert_eq!(ipt.ipt.as_ref().unwrap().hooks, [0x524, 0xf2e], "{build} {way:?}");
        assert_eq!((circular.has_loader(), security.has_loader()), (Some(true), None), "{build} {way:?}");
    }
    let ends: Vec<_> = circular.buffers.iter().map(|buffer| (buffer.end, buffer.events, buffer.cut)).collect();
    assert_eq!(ends, [(0x48, 0, 0), (0xb8, 2, 0), (0x80, 1, 0), (0xb8, 2, 0)], "{build}");
}

#[test]
fn by_the_pdb() {
    for layout in LAYOUTS {
        let kernel = kernel(layout);
        let types = types(&kernel);
        let sessions = read(&kernel, Some(&types)).unwrap();
        check(&kernel, &sessions, Found::Pdb);
        assert!(sessions.has_all_silos);
    }
}

#[test]
fn by_the_debuggers_data() {
    for layout in LAYOUTS {
        let kernel = kernel(layout);
        check(&kernel, &read(&kernel, None).unwrap(), Found::DebuggerData);
    }
}

#[test]
fn by_probing_with_symbols_alone() {
    for layout in LAYOUTS {
        let mut kernel = kernel(layout);
        kernel.has_debugger_data = false;
        let mut types = types(&kernel);
        types.structures.clear();
        types.symbols.remove("EtwpDebuggerData");
        let sessions = read(&kernel, Some(&types)).unwrap();
        check(&kernel, &sessions, Found::Probing);
        // Only the place of the silo state tells the two layouts of this build apart.
        let SessionSource::Contexts(found) = &sessions.source else { unreachable!() };
        assert_eq!(found.context.size, Some(layout.size as u32), "{}", layout.build);
    }
}

#[test]
fn by_the_row_of_a_known_kernel() {
    // The row's symbols are where that kernel has them, so memory is made there.
    let row = etw_sessions::known_kernels().iter().find(|row| (row.build, row.revision) == (19041, 804)).unwrap();
    let kernel = kernel(made::W19041);
    let mut machine = kernel.machine();
    let base = KDBG - u64::from(row.symbols["KdDebuggerDataBlock"]);
    machine.memory.insert(base + u64::from(row.symbols["EtwpHostSiloState"]), made::at::STATE.to_le_bytes().into());
    let facts = Kernel { base, pdb: row.pdb, ..facts(&machine, None) };
    check(&kernel, &etw_sessions::read(&Pages::of(&machine), &facts).unwrap(), Found::KnownKernel);
}

#[test]
fn a_row_of_another_kernel_gives_way() {
    // The GUID is that of a known kernel, and nothing lies where that kernel has it.
    let row = etw_sessions::known_kernels().iter().find(|row| (row.build, row.revision) == (19041, 804)).unwrap();
    let kernel = kernel(made::W19041);
    let machine = kernel.machine();
    let facts = Kernel { pdb: row.pdb, ..facts(&machine, None) };
    let sessions = etw_sessions::read(&Pages::of(&machine), &facts).unwrap();
    assert_eq!((found(&sessions), sessions.sessions.len(), sessions.warnings.len()), (Found::DebuggerData, 4, 1));
    assert!(sessions.warnings[0].to_string().contains("the PDB of 19041.804"), "{}", sessions.warnings[0]);
}

#[test]
fn a_new_build_is_read_by_what_the_debuggers_data_say() {
    let mut kernel = kernel(made::NEWEST);
    let sessions = read(&kernel, None).unwrap();
    let names: Vec<_> = sessions.sessions.iter().map(|s| (s.id, s.events(), s.events_lost, s.ipt.is_some())).collect();
    assert_eq!(
        names,
        [(2, 5, Some(0), false), (3, 1, Some(7), false), (20, 0, Some(0), false), (63, 0, Some(0), false)]
    );
    assert!(sessions.sessions[0].reference.is_some(), "all kernels of the family have it at one place");
    assert!(
        sessions.warnings[0].to_string().contains("a silo state whose layout is not known"),
        "{:?}",
        sessions.warnings
    );
    // Without that table and without a PDB nothing is known, and nothing is guessed.
    kernel.has_debugger_data = false;
    let unknown = read(&kernel, None).unwrap_err();
    assert_eq!(unknown.pdb.unwrap().guid, Guid(*b"kernel of a test"));
}

#[test]
fn containers_have_sessions_of_their_own() {
    for layout in [made::W14393, made::W19041B, made::W22000B] {
        let mut kernel = kernel(layout);
        let mut session = made::Session::new(2, "of a container");
        session.buffers = vec![Buffer::current(0, 1, &[event(2_000_000, 9)])];
        kernel.container = vec![session];
        let types = types(&kernel);
        let sessions = read(&kernel, Some(&types)).unwrap();
        assert_eq!(sessions.warnings, []);
        let states: Vec<_> = sessions.silos.iter().map(|silo| (silo.state, silo.is_host, silo.sessions)).collect();
        assert_eq!(states, [(Some(made::at::STATE), true, 4), (Some(made::at::CONTAINER), false, 1)]);
        let last = sessions.sessions.last().unwrap();
        assert_eq!(
            (last.name.as_deref(), last.silo, last.events()),
            (Some("of a container"), Some(made::at::CONTAINER), 1)
        );
        // Two sessions have this id now; their contexts tell them apart.
        let choose = |text: &str| sessions.choose(text).map(|session| session.context.unwrap());
        let refused = choose("2").unwrap_err();
        assert!(refused.is_ambiguous(), "{refused}");
        let context = last.context.unwrap();
        assert!(refused.to_string().contains(&format!("2 ({context:#x})")), "{refused}");
        assert_eq!(choose(&format!("{context:#x}")), Ok(context));
        assert_eq!(choose("OF A CONTAINER"), Ok(context));
        assert!(!choose("no such").unwrap_err().is_ambiguous());
        // Without types only the host is known.
        let host = read(&kernel, None).unwrap();
        assert_eq!((host.silos.len(), host.has_all_silos), (1, false));
    }
}

/// The events of a trace: tick, and the first byte of the payload.
pub(crate) fn events(file: &[u8]) -> Vec<(i64, u8)> {
    let trace = etl_file::Trace::parse(file).unwrap();
    let buffers = trace.buffers().skip(1).map(Result::unwrap);
    let events = buffers.flat_map(|buffer| buffer.plain_events().unwrap().map(Result::unwrap).collect::<Vec<_>>());
    events.map(|raw| raw.parse().unwrap()).map(|event| (event.timestamp.unwrap().0, event.payload[0])).collect()
}

#[test]
fn a_saved_session_is_a_trace_in_order_of_time() {
    for layout in LAYOUTS {
        let kernel = kernel(layout);
        let machine = kernel.machine();
        let pages = Pages::of(&machine);
        let types = types(&kernel);
        let sessions = etw_sessions::read(&pages, &facts(&machine, Some(&types))).unwrap();
        let save = |session: &Session| etw_sessions::save(session, &sessions.machine, &pages, Vec::new()).unwrap();
        let (file, saved) = save(&sessions.sessions[0]);
        assert_eq!((saved.bytes, saved.buffers, saved.events), (file.len() as u64, 4, 6));
        let expected = [(1_000_000, 1), (3_000_000, 3), (4_000_000, 4), (5_000_000, 5), (6_000_000, 6)];
        assert_eq!(events(&file), expected, "{}", layout.build);
        let trace = etl_file::Trace::parse(&file).unwrap();
        let header = trace.header();
        assert_eq!((header.logger_name.as_str(), header.build), ("Circular Kernel Context Logger", layout.build));
        assert_eq!((header.start.0, header.start_time.0), (1_000_000, 132_583_450_000_000_000));
        assert_eq!((header.perf_frequency, header.cpu_mhz, header.timer_resolution), (10_000_000, 3593, 156_250));
        assert_eq!((header.boot_time.0, header.time_zone_bias), (132_583_449_000_000_000, 60));
        assert_eq!((header.mode.0, header.processors), (0x0200_0480, 2));
        assert_eq!(header.end_time.0, 132_583_451_000_000_000, "the dump's time is later than the last event");
        let sequence: Vec<i64> = trace.buffers().map(|buffer| buffer.unwrap().header().sequence).collect();
        assert_eq!(sequence, [0, 1, 2, 3]);
        let (empty, saved) = save(&sessions.sessions[3]);
        assert_eq!((events(&empty), saved.buffers, saved.events), (vec![], 1, 1));
        // An event of a session that counts system time.
        let (security, _) = save(&sessions.sessions[1]);
        assert_eq!(events(&security), [(132_583_450_000_000_100, 1)]);
    }
}
