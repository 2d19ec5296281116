//! The C file of a kernel: its structures member by member, and its globals with what is in them.
//!
//! The compiler lays out the pointers between them and writes the PDB, so no reader shares a line with what made its
//! input.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Result, ensure};
use testkit::trace::{Event, Header};

use super::layouts::{Kernel, Layout};
use super::truth::{BOOT_TIME, BUFFER_SIZE, Buffer, MAXIMUM_INCREMENT, MEGAHERTZ, Ring, Session};

/// A member's C declaration with `@` for its name, and its size.
type Declaration = (&'static str, u32);

/// Members whose type matters to a reader. Readers ignore the types of all others.
const CONTEXT_TYPES: &[(&[&str], Declaration)] = &[
    (&["LoggerId", "BufferSize", "MaximumEventSize", "LoggerMode", "LoggerStatus", "ClockType"], ("u32 @", 4)),
    (&["FlushTimer", "FlushThreshold", "MinimumBuffers", "MaximumBuffers", "EventsLost"], ("u32 @", 4)),
    (&["BuffersAvailable", "NumberOfBuffers", "AcceptNewEvents"], ("i32 @", 4)),
    (&["PeakBuffersCount", "BuffersWritten", "LogBuffersLost", "MaximumFileSize", "FileCounter"], ("u32 @", 4)),
    (&["RealTimeBuffersDelivered", "RealTimeBuffersLost", "LocalSequence", "PoolType"], ("u32 @", 4)),
    (&["LastFlushedBuffer", "FailureReason", "ProviderInfoSize", "NumConsumers", "Flags2"], ("u32 @", 4)),
    (&["RequestFlag", "RealtimeBuffersSaved"], ("u32 @", 4)),
    (&["CollectionOn", "CompressionOn"], ("u8 @", 1)),
    (&["GlobalList", "Consumers", "BufferQueue"], ("struct _LIST_ENTRY @", 16)),
    (&["OverflowQueue", "HookIdMap"], ("void *@[2]", 16)),
    (&["LoggerName", "LogFileName", "LogFilePattern"], ("struct _UNICODE_STRING @", 16)),
    (&["NewLogFileName", "RealtimeLogfileName"], ("struct _UNICODE_STRING @", 16)),
    (&["InstanceGuid"], ("struct _GUID @", 16)),
    (&["ReferenceTime", "RealtimeReferenceTime"], ("struct _ETW_REF_CLOCK @", 16)),
    (&["StartTime", "ByteOffset", "BufferSequenceNumber"], ("i64 @", 8)),
    (&["SiloState"], ("struct _ETW_SILODRIVERSTATE *@", 8)),
    (&["IptData"], ("struct _ETW_IPT_SUPPORT *@", 8)),
    (&["LoggerThread", "StackCache", "PmcData", "LbrData", "ScratchArray", "LogFileHandle"], ("void *@", 8)),
    (&["Flags"], (FLAGS, 4)),
];

const FLAGS: &str = "union { u32 @; struct { u32 Persistent : 1, AutoLogger : 1, FsReady : 1, RealTime : 1, Wow : 1, \
     KernelTrace : 1, NoMoreEnable : 1, StackTracing : 1; }; }";

const SILO_TYPES: &[(&[&str], Declaration)] = &[
    (&["Silo", "SiloGlobals", "EtwpLoggerRundown", "ProcessorBlocks"], ("void *@", 8)),
    (&["MaxLoggers"], ("u32 @", 4)),
    (&["EtwpLoggerContext"], ("struct _WMI_LOGGER_CONTEXT **@", 8)),
    (&["WmipLoggerContext"], ("struct _WMI_LOGGER_CONTEXT *@[64]", 512)),
    (&["EtwpSecurityLoggers"], ("u16 @[8]", 16)),
    (&["EtwpSecurityProviderEnableMask"], ("u8 @", 1)),
    (&["EtwpSecurityProviderPID", "PartitionType"], ("u32 @", 4)),
    (&["EtwpCounters"], ("struct _ETW_COUNTERS @", 16)),
    (&["LogfileBytesWritten", "QpcOffsetFromRoot"], ("i64 @", 8)),
    (&["PartitionId", "ParentId"], ("struct _GUID @", 16)),
    (&["PartitionName"], ("char *@", 8)),
    (&["PartitionNameSize"], ("u16 @", 2)),
];

/// Structures that are alike in every kernel.
const PRELUDE: &str = include_str!("types.h");

/// The C file of a kernel with these sessions.
pub fn generate(kernel: &Kernel, sessions: &[Session]) -> Result<String> {
    let mut c = String::from(PRELUDE);
    structure(&mut c, "_ETW_SILODRIVERSTATE", &kernel.silo, SILO_TYPES)?;
    structure(&mut c, "_WMI_LOGGER_CONTEXT", &kernel.context, CONTEXT_TYPES)?;
    let place = |name: &str| kernel.places.get(name).copied();
    writeln!(
        c,
        "struct _KPRCB {{ u8 Fill0[8]; void *CurrentThread; u8 Fill1[{}]; u32 MHz; u8 Fill2[{}]; }};",
        place("prcb.MHz").unwrap_or(0x44) - 16,
        0x800 - 4 - place("prcb.MHz").unwrap_or(0x44)
    )?;
    if let Some(offset) = place("globals.EtwSiloState") {
        writeln!(
            c,
            "struct _ESERVERSILO_GLOBALS {{ u8 Fill[{offset}]; struct _ETW_SILODRIVERSTATE *EtwSiloState; }};"
        )?;
    }
    if let Some(offset) = place("job.ServerSiloGlobals") {
        writeln!(c, "struct _EJOB {{ u8 Fill[{offset}]; struct _ESERVERSILO_GLOBALS *ServerSiloGlobals; }};")?;
    }
    c += "#pragma pack(pop)\n";
    for session in sessions {
        writeln!(c, "extern struct _WMI_LOGGER_CONTEXT {};", session.symbol)?;
    }
    writeln!(c, "extern struct _ETW_SILODRIVERSTATE HostState;")?;
    array(&mut c, kernel, sessions)?;
    silo(&mut c, kernel)?;
    for session in sessions {
        buffers(&mut c, session)?;
        context(&mut c, kernel, session)?;
    }
    globals(&mut c, kernel)?;
    Ok(c)
}

/// A structure with each member at its offset, and its size asserted.
fn structure(c: &mut String, name: &str, layout: &Layout, types: &[(&[&str], Declaration)]) -> Result<()> {
    let mut by_offset: BTreeMap<u32, Vec<(&str, Declaration)>> = BTreeMap::new();
    for (&member, &offset) in layout {
        let found = types.iter().find(|(members, _)| members.contains(&member));
        if let Some((_, declaration)) = found {
            by_offset.entry(offset).or_default().push((member, *declaration));
        }
    }
    let size = layout["(size)"];
    writeln!(c, "struct {name} {{")?;
    let mut at = 0;
    for (&offset, members) in &by_offset {
        ensure!(offset >= at, "{name}: {members:?} at {offset:#x} begins inside the member before it");
        if offset > at {
            writeln!(c, "    u8 Fill{at:x}[{}];", offset - at)?;
        }
        ensure!(members.len() == 1, "{name}: {members:?} are at one offset");
        let (member, (declaration, bytes)) = members[0];
        writeln!(c, "    {};", declaration.replace('@', member))?;
        at = offset + bytes;
    }
    ensure!(at <= size, "{name}: {at:#x} bytes, of {size:#x}");
    if at < size {
        writeln!(c, "    u8 Fill{at:x}[{}];", size - at)?;
    }
    writeln!(c, "}};\n_Static_assert(sizeof(struct {name}) == {size:#x}, \"\");")?;
    for (offset, members) in by_offset {
        writeln!(c, "_Static_assert(__builtin_offsetof(struct {name}, {}) == {offset:#x}, \"\");", members[0].0)?;
    }
    Ok(())
}

/// Elements of the array of contexts: free slots have bit 0 set, those behind the last session were never used.
fn slots(sessions: &[Session]) -> String {
    let last = sessions.iter().map(|session| session.id).max().unwrap_or_default();
    let slot = |id| {
        sessions
            .iter()
            .find(|session| session.id == id)
            .map_or("(void *)1".into(), |session| format!("&{}", session.symbol))
    };
    (0..=last).map(slot).collect::<Vec<String>>().join(", ")
}

fn array(c: &mut String, kernel: &Kernel, sessions: &[Session]) -> Result<()> {
    if kernel.has_inline_array() {
        return Ok(());
    }
    // Windows 10 has it as a global, later kernels in pool.
    let name = if kernel.has_array_pointer() { "Contexts" } else { "WmipLoggerContext" };
    writeln!(c, "struct _WMI_LOGGER_CONTEXT *{name}[{}] = {{ {} }};", kernel.slots(), slots(sessions))?;
    Ok(())
}

fn silo(c: &mut String, kernel: &Kernel) -> Result<()> {
    writeln!(c, "struct _ETW_SILODRIVERSTATE HostState __attribute__((aligned(64))) = {{")?;
    let mut set = |member: &str, value: &str| -> Result<()> {
        if kernel.silo.contains_key(member) {
            writeln!(c, "    .{member} = {value},")?;
        }
        Ok(())
    };
    set("MaxLoggers", &kernel.slots().to_string())?;
    set("EtwpLoggerContext", "Contexts")?;
    set("WmipLoggerContext", &format!("{{ {} }}", slots(&super::truth::sessions())))?;
    set("EtwpCounters", "{ 1234, { 5, 6 }, 3 }")?;
    set("EtwpSecurityLoggers", "{ 3 }")?;
    set("EtwpSecurityProviderPID", "812")?;
    c.push_str("};\n");
    if kernel.has_silo_array() {
        c.push_str("struct _ETW_SILODRIVERSTATE *EtwpHostSiloState = &HostState;\n");
    }
    Ok(())
}

/// The buffers of a session, and the nodes they hang on.
fn buffers(c: &mut String, session: &Session) -> Result<()> {
    let name = session.symbol;
    let count = session.buffers.len();
    for (index, buffer) in session.buffers.iter().enumerate() {
        let padding = buffer.page_offset.max(1);
        let tail = BUFFER_SIZE - buffer.end();
        write!(c, "struct Buffer{name}{index} {{ struct _WMI_BUFFER_HEADER h;")?;
        for (number, event) in buffer.events.iter().enumerate() {
            let size = event.encode().len();
            let room = size.next_multiple_of(8);
            if event.header == Header::Event64 {
                let rest = room - 80;
                write!(c, " struct _EVENT_HEADER e{number}; u8 d{number}[{}];", rest.max(1))?;
                ensure!(rest > 0 || event.payload.is_empty(), "a payload without room");
                ensure!(rest > 0, "an event without payload cannot be written as C");
            } else {
                write!(c, " u8 e{number}[{room}];")?;
            }
        }
        writeln!(c, " u8 tail[{tail}]; }};")?;
        let begins = buffer.page_offset;
        writeln!(c, "struct Placed{name}{index} {{ u8 before[{padding}]; struct Buffer{name}{index} b; }};")?;
        // A buffer at the start of its page has nothing before it.
        if begins == 0 {
            writeln!(c, "extern struct Buffer{name}{index} {name}Buffer{index};")?;
        } else {
            writeln!(c, "extern struct Placed{name}{index} {name}Buffer{index};")?;
        }
    }
    let header = |index: usize| {
        let path = if session.buffers[index].page_offset == 0 { "" } else { ".b" };
        format!("{name}Buffer{index}{path}.h")
    };
    let entry = |index: usize| match session.ring {
        Ring::Direct => format!("&{}.GlobalEntry", header(index)),
        Ring::Nodes => format!("&{name}Node{index}.Links"),
    };
    let neighbour = |index: usize, forward: bool| {
        let at = if forward { index + 1 } else { index.wrapping_sub(1) };
        if at < count { entry(at) } else { format!("&{name}.GlobalList") }
    };
    if session.ring == Ring::Nodes {
        for index in 0..count {
            writeln!(c, "extern struct Node {name}Node{index};")?;
        }
        for index in 0..count {
            writeln!(
                c,
                "struct Node {name}Node{index} __attribute__((aligned(16))) = {{ 0, 0x6e777445, 0, {{ {}, {} }}, &{} }};",
                neighbour(index, true),
                neighbour(index, false),
                header(index)
            )?;
        }
    }
    for (index, buffer) in session.buffers.iter().enumerate() {
        let links = match session.ring {
            Ring::Direct => format!("{{ {}, {} }}", neighbour(index, true), neighbour(index, false)),
            // What is left of older links leads nowhere.
            Ring::Nodes => "{ (void *)0xffffc00000001000, (void *)0xffffc00000001000 }".to_owned(),
        };
        definition(c, session, index, buffer, &links)?;
    }
    Ok(())
}

fn definition(c: &mut String, session: &Session, index: usize, buffer: &Buffer, links: &str) -> Result<()> {
    let name = session.symbol;
    let (saved, current) = buffer.offsets();
    let (references, state, flag) = buffer.header();
    let kind = if buffer.page_offset == 0 { "Buffer" } else { "Placed" };
    write!(c, "struct {kind}{name}{index} {name}Buffer{index} __attribute__((aligned(4096))) = {{ ")?;
    c.push_str(if buffer.page_offset == 0 { "" } else { ".b = { " });
    writeln!(
        c,
        ".h = {{ {BUFFER_SIZE}, {saved}, {{ {current} }}, {references}, {}, {}, {{ 0 }}, {{ {}, {} }}, {state}, 0, {flag}, 0, {{ {links} }} }},",
        buffer.time(),
        buffer.sequence,
        buffer.processor,
        session.id
    )?;
    for (number, event) in buffer.events.iter().enumerate() {
        match event.header {
            Header::Event64 => typed(c, number, event)?,
            _ => writeln!(c, "    .e{number} = {{ {} }},", bytes(&event.encode()))?,
        }
    }
    // Bytes of an earlier use, after the end of the buffer's data.
    writeln!(c, "    .tail = {{ 0 }},{} }};", if buffer.page_offset == 0 { "" } else { " }" })?;
    Ok(())
}

/// An `EVENT_HEADER` as the compiler writes it.
fn typed(c: &mut String, number: usize, event: &Event) -> Result<()> {
    let encoded = event.encode();
    writeln!(
        c,
        "    .e{number} = {{ {}, {{ 0xc013 }}, {}, 0, {}, {}, {}, {}, {{ {}, {}, 11, 4, {}, 0, 0x8000000000000000 }}, 0, {} }},",
        encoded.len(),
        event.flags,
        event.thread,
        event.process,
        event.tick,
        guid(&encoded[24..40]),
        event.id,
        event.version,
        event.opcode,
        guid(&encoded[64..80])
    )?;
    writeln!(c, "    .d{number} = {{ {} }},", bytes(&event.payload))?;
    Ok(())
}

fn guid(bytes: &[u8]) -> String {
    let number =
        |range: std::ops::Range<usize>| bytes[range].iter().rev().fold(0u32, |all, &b| all << 8 | u32::from(b));
    format!("{{ {:#x}, {:#x}, {:#x}, {{ {} }} }}", number(0..4), number(4..6), number(6..8), self::bytes(&bytes[8..]))
}

fn bytes(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "0".to_owned();
    }
    bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(",")
}

/// A context and its strings.
fn context(c: &mut String, kernel: &Kernel, session: &Session) -> Result<()> {
    let name = session.symbol;
    for (what, text) in [("Name", session.name), ("File", session.file)] {
        let units: Vec<String> = text.encode_utf16().chain([0]).map(|unit| unit.to_string()).collect();
        writeln!(c, "u16 {name}{what}[] = {{ {} }};", units.join(","))?;
    }
    let string = |what: &str, text: &str| {
        let bytes = 2 * text.encode_utf16().count();
        format!("{{ {bytes}, {}, 0, {name}{what} }}", bytes + 2)
    };
    writeln!(c, "struct _WMI_LOGGER_CONTEXT {name} __attribute__((aligned(64))) = {{")?;
    let count = session.buffers.len();
    let first = match session.ring {
        _ if count == 0 => format!("&{name}.GlobalList"),
        Ring::Direct => format!("&{}.GlobalEntry", buffer_header(session, 0)),
        Ring::Nodes => format!("&{name}Node0.Links"),
    };
    let last = match session.ring {
        _ if count == 0 => format!("&{name}.GlobalList"),
        Ring::Direct => format!("&{}.GlobalEntry", buffer_header(session, count - 1)),
        Ring::Nodes => format!("&{name}Node{}.Links", count - 1),
    };
    let reference = session.reference();
    let mut values = vec![
        ("LoggerId", session.id.to_string()),
        ("BufferSize", BUFFER_SIZE.to_string()),
        ("MaximumEventSize", (BUFFER_SIZE - 0x48).to_string()),
        ("LoggerMode", format!("{:#x}", session.mode)),
        ("AcceptNewEvents", "1".into()),
        ("GlobalList", format!("{{ {first}, {last} }}")),
        ("LoggerName", string("Name", session.name)),
        ("ClockType", session.clock.to_string()),
        ("FlushTimer", session.flush_timer.to_string()),
        ("MinimumBuffers", "2".into()),
        ("BuffersAvailable", "1".into()),
        ("NumberOfBuffers", count.to_string()),
        ("MaximumBuffers", "24".into()),
        ("EventsLost", session.events_lost.to_string()),
        ("PeakBuffersCount", count.to_string()),
        ("BuffersWritten", "9".into()),
        ("LogBuffersLost", session.buffers_lost.to_string()),
        ("ReferenceTime", format!("{{ {}, {} }}", reference.0, reference.1)),
        ("CollectionOn", "1".into()),
        ("StartTime", (super::truth::REFERENCE.0 + 1).to_string()),
        ("Flags", format!("{:#x}", session.flags)),
        ("SiloState", "&HostState".into()),
    ];
    if !session.file.is_empty() {
        values.push(("LogFileName", string("File", session.file)));
    }
    for (member, value) in values {
        if kernel.context.contains_key(member) {
            writeln!(c, "    .{member} = {value},")?;
        }
    }
    c.push_str("};\n");
    Ok(())
}

fn buffer_header(session: &Session, index: usize) -> String {
    let path = if session.buffers[index].page_offset == 0 { "" } else { ".b" };
    format!("{}Buffer{index}{path}.h", session.symbol)
}

/// What debuggers look for in every kernel.
fn globals(c: &mut String, kernel: &Kernel) -> Result<()> {
    let at = |member: &str| kernel.context.get(member).copied().unwrap_or_default();
    let (list, number) = (at("GlobalList"), at("NumberOfBuffers"));
    let (array, state) = match () {
        () if kernel.has_inline_array() => ("HostState.WmipLoggerContext", "&HostState"),
        () if kernel.has_array_pointer() => ("Contexts", "&HostState"),
        () => ("WmipLoggerContext", "&HostState"),
    };
    writeln!(
        c,
        "struct {{ u8 Bytes[16]; void *Contexts, *State; }} EtwpDebuggerData __attribute__((aligned(8))) = {{ {{ \
         0x20, 2, 0x2c, 8, 4, 0x38, 0xc, {number:#x}, {:#x}, 0, {:#x}, 0x10, {:#x}, 0xc, 4, {list:#x} }}, {array}, {state} }};",
        at("ClockType"),
        list + 0x10,
        at("LoggerName")
    )?;
    if kernel.places.contains_key("globals.EtwSiloState") {
        c.push_str("struct _ESERVERSILO_GLOBALS PspHostSiloGlobals = { .EtwSiloState = &HostState };\n");
    }
    if kernel.places.contains_key("job.ServerSiloGlobals") {
        c.push_str("struct _EJOB SomeJob;\n");
    }
    c.push_str("struct _ETW_IPT_SUPPORT SomeIptSupport;\nstruct _EVENT_HEADER SomeEvent;\n");
    writeln!(c, "i64 KeBootTime = {BOOT_TIME};\nu32 KeMaximumIncrement = {MAXIMUM_INCREMENT};")?;
    writeln!(c, "u32 NtBuildNumber = {:#x};", 0xf000_0000 | kernel.build())?;
    writeln!(c, "u8 Threads[2][0x400] __attribute__((aligned(64))) = {{ {{ 6 }}, {{ 6 }} }};")?;
    writeln!(
        c,
        "struct _KPRCB Prcbs[2] __attribute__((aligned(64))) = {{ {{ .CurrentThread = Threads[0], .MHz = {MEGAHERTZ} }}, {{ .CurrentThread = Threads[1], .MHz = {MEGAHERTZ} }} }};"
    )?;
    writeln!(c, "#define BUILD {}", kernel.build())?;
    c.push_str(GLOBALS);
    Ok(())
}

/// The globals that are alike in every kernel.
const GLOBALS: &str = include_str!("globals.c");
