//! What is in every made kernel: its trace sessions, their buffers in each state, and the events.
//!
//! The C file is written from these values, and everything that reads the dumps is held against them.

use testkit::trace::{Event, Header, Module, Payload};

/// FILETIME at which the sessions began, and the performance counter then.
pub const REFERENCE: (i64, i64) = (132_583_450_998_268_742, 6_129_139);
/// FILETIME of the boot.
pub const BOOT_TIME: i64 = 132_583_450_995_000_000;
/// `KeMaximumIncrement`, 100 ns.
pub const MAXIMUM_INCREMENT: u32 = 156_250;
/// `KPRCB.MHz`.
pub const MEGAHERTZ: u32 = 3593;
/// Ticks of the performance counter per second.
pub const FREQUENCY: u64 = 10_000_000;
/// FILETIME of the dump.
pub const DUMP_TIME: u64 = 132_583_451_029_877_657;
/// Bytes of a buffer of every session.
pub const BUFFER_SIZE: u32 = 0x2000;
/// Bytes of a buffer's header.
pub const HEADER: u32 = 0x48;
/// Processors.
pub const PROCESSORS: u32 = 2;

/// How the buffers of a session hang on its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ring {
    /// By their own links.
    Direct,
    /// By a node of pool for each.
    Nodes,
}

/// A session.
#[derive(Clone, Debug)]
pub struct Session {
    /// `LoggerId`, which is its place in the array.
    pub id: u16,
    /// The name of the context in C.
    pub symbol: &'static str,
    /// `LoggerName`.
    pub name: &'static str,
    /// `LogFileName`, empty where there is none.
    pub file: &'static str,
    /// `LoggerMode`.
    pub mode: u32,
    /// `ClockType`.
    pub clock: u32,
    /// `Flags`.
    pub flags: u32,
    /// `EventsLost`.
    pub events_lost: u32,
    /// `LogBuffersLost`.
    pub buffers_lost: u32,
    /// `FlushTimer`, seconds.
    pub flush_timer: u32,
    /// Shape of the list.
    pub ring: Ring,
    /// Its buffers, in the list's order.
    pub buffers: Vec<Buffer>,
}

impl Session {
    /// `ReferenceTime`: FILETIME, and the session's clock then.
    pub fn reference(&self) -> (i64, i64) {
        if self.clock == 2 { (REFERENCE.0, REFERENCE.0) } else { REFERENCE }
    }

    /// Every event with its processor, sorted: what any reader finds, in an order that does not depend on it.
    pub fn events(&self) -> Vec<(u16, Vec<u8>)> {
        let of = |buffer: &Buffer| -> Vec<(u16, Vec<u8>)> {
            buffer.events.iter().map(|event| (buffer.processor, event.encode())).collect()
        };
        let mut events: Vec<_> = self.buffers.iter().flat_map(of).collect();
        events.sort();
        events
    }
}

/// In which state the kernel left a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Never used.
    Unused,
    /// A processor writes into it.
    Current,
    /// Given back after a flush by a timer.
    Flushed,
    /// Given back because an event of this many bytes did not fit.
    Full(u32),
}

/// A buffer.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// Processor.
    pub processor: u16,
    /// State.
    pub state: State,
    /// `SequenceNumber`.
    pub sequence: i64,
    /// Where it begins in its first page.
    pub page_offset: u32,
    /// Events.
    pub events: Vec<Event>,
}

impl Buffer {
    fn new(processor: u16, state: State, sequence: i64, events: Vec<Event>) -> Buffer {
        Buffer { processor, state, sequence, page_offset: 0, events }
    }

    /// Where its data ends: behind the last event and its padding.
    pub fn end(&self) -> u32 {
        let sizes = self.events.iter().map(|event| (event.encode().len() as u32).next_multiple_of(8));
        HEADER + sizes.sum::<u32>()
    }

    /// `SavedOffset`, `CurrentOffset`.
    pub fn offsets(&self) -> (u32, u32) {
        match self.state {
            State::Unused | State::Current => (0, self.end()),
            State::Flushed => (self.end(), BUFFER_SIZE + self.end()),
            State::Full(size) => {
                assert!(self.end() + size > BUFFER_SIZE, "an event of {size} bytes fits");
                (self.end(), self.end() + size)
            }
        }
    }

    /// `ReferenceCount`, `State`, `BufferFlag`.
    pub fn header(&self) -> (u32, u32, u16) {
        match self.state {
            State::Unused => (0, 0, 0x100),
            State::Current => (15, 1, 0),
            State::Flushed | State::Full(_) => (0, 0, 0),
        }
    }

    /// `TimeStamp`.
    pub fn time(&self) -> i64 {
        match self.state {
            State::Unused | State::Current => 0,
            State::Flushed | State::Full(_) => self.events.last().map_or(0, |event| event.tick + 5),
        }
    }
}

/// The sessions of every kernel.
pub fn sessions() -> Vec<Session> {
    vec![circular(), log_file(), cycles()]
}

/// The kernel's own session: image, process and thread events, on two processors.
fn circular() -> Session {
    let tick = |index: i64| REFERENCE.1 + 1_000_000 + index * 100;
    let module = |index: u64| {
        let path = format!(r"\SystemRoot\System32\drivers\made{index}.sys");
        Module::kernel(&path, 0xffff_f800_2000_0000 + index * 0x10_0000, 0x9000)
    };
    let image =
        |index: i64, hook| Payload::Image { hook, version: 3, module: module(index as u64) }.event(tick(index), 8);
    let thread = |index: i64| {
        Payload::Thread { opcode: 1, pid: 4, tid: index as u32, name: String::new() }.event(tick(index), 8)
    };
    let older = (0..48).map(|index| image(index, 0x1403)).collect();
    // The event that did not fit is the first of the buffer after it.
    let newer: Vec<Event> = (50..58).map(thread).chain([image(60, 0x030a), image(61, 0x1402)]).collect();
    let did_not_fit = newer[0].encode().len() as u32;
    let last = (70..75).map(thread).collect();
    Session {
        id: 2,
        symbol: "LogA",
        name: "Circular Kernel Context Logger",
        file: "",
        mode: 0x0280_0480,
        clock: 1,
        flags: 1 << 5,
        events_lost: 0,
        buffers_lost: 0,
        flush_timer: 0,
        ring: Ring::Direct,
        buffers: vec![
            Buffer::new(0, State::Full(did_not_fit), 7, older),
            Buffer::new(0, State::Unused, 0, Vec::new()),
            // Its number is lower than that of the older buffer.
            Buffer::new(0, State::Current, 3, newer),
            Buffer { page_offset: 0x800, ..Buffer::new(1, State::Flushed, 8, last) },
        ],
    }
}

/// A session of providers with a log file.
fn log_file() -> Session {
    const PROVIDER: &str = "c4636a1e-7986-4646-bf10-7bc3b4a76e8e";
    let event = |index: i64| {
        let payload = (0..(index + 1) as u8 * 3).collect();
        let tick = REFERENCE.0 + 5_000_000 + index * 10_000;
        let event = Event::class(Header::Event64, PROVIDER, 500 + index as u16, 2, tick, payload);
        // EVENT_HEADER_FLAG_64_BIT_HEADER.
        Event { flags: 0x40, ..event }
    };
    Session {
        id: 5,
        symbol: "LogB",
        name: "EventLog-Made",
        file: r"C:\Windows\System32\LogFiles\made.etl",
        mode: 0x1880_0180,
        clock: 2,
        flags: 0b1010,
        events_lost: 17,
        buffers_lost: 3,
        flush_timer: 60,
        ring: Ring::Nodes,
        buffers: vec![Buffer::new(0, State::Current, 1, (0..21).map(event).collect())],
    }
}

/// A session by the processor's clock, nothing in it yet, with a name beyond ASCII.
fn cycles() -> Session {
    Session {
        id: 41,
        symbol: "LogC",
        name: "\u{dc}berwachung",
        file: "",
        mode: 0x8080_0002,
        clock: 3,
        flags: 0,
        events_lost: 0,
        buffers_lost: 0,
        flush_timer: 1,
        ring: Ring::Nodes,
        buffers: vec![
            Buffer::new(1, State::Unused, 0, Vec::new()),
            Buffer { page_offset: 0x800, ..Buffer::new(0, State::Unused, 0, Vec::new()) },
        ],
    }
}
