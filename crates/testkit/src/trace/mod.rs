//! ETW trace files (.etl) of every kind: builds the buffers, the log-file header and the events from numbers and texts.
//!
//! ```
//! use testkit::trace::{Compression, Module, TraceFile};
//!
//! let mut trace = TraceFile::new();
//! trace.compression = Compression::Xpress;
//! trace.kernel_base(0, 1_000, 0xffff_f800_0000_0000);
//! trace.module(0, 2_000, &Module::kernel(r"\SystemRoot\system32\ntoskrnl.exe", 0xffff_f800_0000_0000, 0x104_6000));
//! trace.ipt(1, 3_000, (4, 8), &[0x02, 0x82], 0);
//! let bytes = trace.finish();
//! assert_eq!(bytes[0x30..0x34], bytes[4..8], "FilledBytes and SavedOffset agree");
//! ```

mod compress;
mod event;
mod payload;
mod self_describing;
mod set;
mod shaped;

pub use compress::{Compression, lznt1, xpress, xpress_huffman};
pub use event::{Event, Header};
pub use payload::{Module, Payload, Rsds};
pub use self_describing::SelfDescribing;
pub use set::RecordingSet;
pub use shaped::{shaped_buffer, shaped_file, shaped_trace};

use crate::Asm;

/// Bytes of a buffer's header.
pub const BUFFER_HEADER: usize = 0x48;

/// Mode bit: compressed.
const MODE_COMPRESSED: u32 = 0x0400_0000;

/// A trace file under construction. The fields are what the log-file header will say; [`TraceFile::new`] sets them to
/// those of an ordinary kernel trace of Windows 11, and a test changes what it is about.
#[derive(Clone, Debug)]
pub struct TraceFile {
    /// 4 or 8.
    pub pointer_size: u8,
    /// Bytes per buffer.
    pub buffer_size: usize,
    /// Windows major, minor and build.
    pub windows: (u8, u8, u32),
    /// NumberOfProcessors.
    pub processors: u32,
    /// LogFileMode; the compressed bit is added where it is due.
    pub mode: u32,
    /// 1 QPC, 2 system time, 3 processor cycles.
    pub clock: u32,
    /// Ticks per second of the performance counter.
    pub perf_frequency: i64,
    /// CpuSpeedInMHz.
    pub cpu_mhz: u32,
    /// Timestamp of the header event.
    pub start_tick: i64,
    /// FILETIME of the start.
    pub start_time: i64,
    /// FILETIME of the end; 0 for a file that was never finalised.
    pub end_time: i64,
    /// FILETIME of the boot.
    pub boot_time: i64,
    /// BuffersWritten; `None` for the true number, and 0 for a file that was never finalised.
    pub buffers_written: Option<u32>,
    /// EventsLost.
    pub events_lost: u32,
    /// BuffersLost.
    pub buffers_lost: u32,
    /// LoggerName.
    pub logger_name: String,
    /// LogFileName.
    pub log_file_name: String,
    /// How buffers after the first are compressed.
    pub compression: Compression,
    /// Every n-th buffer stays plain in a compressed file; 0 for none.
    pub plain_every: usize,
    /// Sequence number of the first buffer after the header.
    pub first_sequence: i64,
    /// Windows 7 buffers: the processor is a byte, with an alignment of 8 behind it.
    pub windows7: bool,
    /// Buffers as a crash dump holds them: never sealed, and only CurrentOffset says where events end.
    pub unsealed: bool,
    /// Turns the buffers behind the first: as many go from the front to the end, as in a circular file that wrapped.
    pub rotate: usize,
    /// Zero buffers behind the last: space that was reserved.
    pub preallocated: usize,
    /// Events of the header buffer, behind the log-file header.
    pub header_events: Vec<Event>,
    buffers: Vec<Buffer>,
    next_sequence: i64,
}

/// One buffer: whose events, and their bytes.
#[derive(Clone, Debug)]
struct Buffer {
    processor: u16,
    sequence: Option<i64>,
    open: bool,
    body: Vec<u8>,
}

impl Default for TraceFile {
    fn default() -> Self {
        Self::new()
    }
}

impl TraceFile {
    /// A kernel trace of 64-bit Windows 11, 10 MHz performance counter, 64 KiB buffers, no events.
    pub fn new() -> Self {
        Self {
            pointer_size: 8,
            buffer_size: 0x1_0000,
            windows: (10, 0, 26100),
            processors: 4,
            mode: 0x1_0001,
            clock: 1,
            perf_frequency: 10_000_000,
            cpu_mhz: 3000,
            start_tick: 1_000_000,
            start_time: 133_536_383_990_000_000,
            end_time: 133_536_384_990_000_000,
            boot_time: 133_536_000_000_000_000,
            buffers_written: None,
            events_lost: 0,
            buffers_lost: 0,
            logger_name: "Relogger".to_owned(),
            log_file_name: "[multiple files]".to_owned(),
            compression: Compression::None,
            plain_every: 0,
            first_sequence: 1,
            windows7: false,
            unsealed: false,
            rotate: 0,
            preallocated: 0,
            header_events: Vec::new(),
            buffers: Vec::new(),
            next_sequence: 0,
        }
    }

    /// Appends an event to its processor's open buffer, or to a new one when it does not fit.
    pub fn log(&mut self, processor: u16, event: Event) -> &mut Self {
        let bytes = event.encode();
        let size = bytes.len().next_multiple_of(8);
        assert!(BUFFER_HEADER + size <= self.buffer_size, "an event of {size} bytes does not fit any buffer");
        let room = self.buffer_size - BUFFER_HEADER - size;
        let found = self.buffers.iter_mut().find(|buffer| buffer.open && buffer.processor == processor);
        let buffer = match found {
            Some(buffer) if buffer.body.len() <= room => buffer,
            Some(full) => {
                full.open = false;
                return self.log(processor, event);
            }
            None => {
                self.buffers.push(Buffer { processor, sequence: None, open: true, body: Vec::new() });
                self.buffers.last_mut().expect("just pushed")
            }
        };
        buffer.body.extend_from_slice(&bytes);
        // Padding is never defined; bytes that look like a marker make sure that nobody reads it.
        buffer.body.resize(buffer.body.len().next_multiple_of(8), 0xc0);
        self
    }

    /// Closes a processor's open buffer: its next event begins another.
    pub fn flush(&mut self, processor: u16) -> &mut Self {
        self.buffers.iter_mut().filter(|buffer| buffer.processor == processor).for_each(|buffer| buffer.open = false);
        self
    }

    /// Closes all open buffers.
    pub fn flush_all(&mut self) -> &mut Self {
        self.buffers.iter_mut().for_each(|buffer| buffer.open = false);
        self
    }

    /// Appends a buffer with the body given, and a sequence number of its own if one is.
    pub fn buffer(&mut self, processor: u16, sequence: Option<i64>, body: Vec<u8>) -> &mut Self {
        self.buffers.push(Buffer { processor, sequence, open: false, body });
        self
    }

    /// Buffers so far, the first one with the log-file header included.
    pub fn buffers(&self) -> usize {
        1 + self.buffers.len()
    }

    /// Logs a payload in the usual form of its kind: see [`Payload`].
    pub fn payload(&mut self, processor: u16, tick: i64, payload: &Payload) -> &mut Self {
        let event = payload.event(tick, self.pointer_size);
        self.log(processor, event)
    }

    /// The base of the kernel image.
    pub fn kernel_base(&mut self, processor: u16, tick: i64, base: u64) -> &mut Self {
        self.payload(processor, tick, &Payload::KernelBase(base))
    }

    /// A module's rundown event, and with debug information the events that a merge adds.
    pub fn module(&mut self, processor: u16, tick: i64, module: &Module) -> &mut Self {
        self.image(processor, tick, 0x1403, module)
    }

    /// A module's load event, with what a merge adds.
    pub fn load(&mut self, processor: u16, tick: i64, module: &Module) -> &mut Self {
        self.image(processor, tick, 0x030a, module)
    }

    /// A module's unload event.
    pub fn unload(&mut self, processor: u16, tick: i64, module: &Module) -> &mut Self {
        self.payload(processor, tick, &Payload::Image { hook: 0x1402, version: 3, module: module.clone() })
    }

    /// An image event with the hook given, and what a merge adds to a module with debug information.
    pub fn image(&mut self, processor: u16, tick: i64, hook: u16, module: &Module) -> &mut Self {
        self.payload(processor, tick, &Payload::Image { hook, version: 3, module: module.clone() });
        if module.rsds.is_some() {
            self.payload(processor, tick, &Payload::ImageId(module.clone()));
            self.payload(processor, tick, &Payload::DebugId(module.clone()));
        }
        self
    }

    /// What a kernel trace says about its system: processors, make, revision, build lab and a volume.
    pub fn system(&mut self, tick: i64, computer: &str, revision: u16) -> &mut Self {
        let (major, minor, build) = self.windows;
        let version = [u16::from(major), u16::from(minor), build as u16, revision];
        let lab = format!("{build}.{revision}.amd64fre.testkit.261121-0000");
        self.payload(0, tick, &Payload::ConfigCpu { computer: computer.to_owned(), processors: self.processors });
        for index in 0..self.processors {
            self.payload(0, tick, &Payload::ConfigProcessor { index });
        }
        self.payload(0, tick, &Payload::DeviceFamily { version });
        self.payload(0, tick, &Payload::BuildInfo { lab, product: "Windows 11 Pro".to_owned() });
        let (nt, dos) = (r"\Device\HarddiskVolume3\".to_owned(), r"C:\".to_owned());
        self.payload(0, tick, &Payload::Volume { nt, dos })
    }

    /// An Intel PT snapshot of (process, thread) and the context switch to that thread which triggered it, as the
    /// kernel logs them: the trigger first, then the data with a PERFINFO64 header. Data beyond one event's limit is
    /// split over several.
    pub fn ipt(&mut self, processor: u16, tick: i64, owner: (u32, u32), data: &[u8], ring_offset: u32) -> &mut Self {
        // An event is at most 0xFFF8 bytes, with a header of 16 and a fixed part of 32.
        const LIMIT: usize = 65_480;
        self.payload(processor, tick, &Payload::ContextSwitch { new: owner.1, old: 0 });
        let limit = LIMIT.min(self.buffer_size - BUFFER_HEADER - 64);
        for (index, piece) in data.chunks(limit).enumerate() {
            let ipt = Payload::Ipt { trigger: tick, owner, options: 0x0106_0011, ring_offset, data: piece.to_vec() };
            self.payload(processor, tick + 1 + index as i64, &ipt);
        }
        self
    }

    /// The file.
    pub fn finish(&self) -> Vec<u8> {
        let mut this = self.clone();
        this.next_sequence = this.first_sequence;
        let turn = this.rotate.min(this.buffers.len());
        let mut data: Vec<Vec<u8>> = Vec::new();
        for (index, buffer) in self.buffers.iter().enumerate() {
            let sequence = buffer.sequence.unwrap_or_else(|| {
                this.next_sequence += 1;
                this.next_sequence - 1
            });
            data.push(this.encode_buffer(index, buffer, sequence));
        }
        data.rotate_left(turn);
        let mut file = this.encode_header_buffer();
        file.extend(data.concat());
        file.resize(file.len() + this.preallocated * this.buffer_size, 0);
        file
    }

    fn encode_buffer(&self, index: usize, buffer: &Buffer, sequence: i64) -> Vec<u8> {
        let filled = BUFFER_HEADER + buffer.body.len();
        let stays_plain = self.plain_every > 0 && index.is_multiple_of(self.plain_every);
        let packed = match self.compression {
            Compression::None => None,
            _ if stays_plain => None,
            method => Some(method.compress(&buffer.body)),
        };
        let size = packed.as_ref().map_or(self.buffer_size, |packed| BUFFER_HEADER + packed.len());
        let flags = if packed.is_some() { 0x40 } else { 0 };
        let mut asm = Asm::new();
        self.buffer_header(&mut asm, size, filled, (buffer.processor, sequence), flags);
        match packed {
            Some(packed) => asm.bytes(&packed),
            // The unused tail is sealed, unless the buffer comes out of a crash dump: then old bytes are there.
            None => asm.bytes(&buffer.body).pad_to(size, if self.unsealed { 0x5a } else { 0xff }),
        };
        asm.finish()
    }

    /// `filled`: header and events, once decompressed. The flag 1, last buffer of a flush, marks the first buffer here.
    fn buffer_header(&self, asm: &mut Asm, size: usize, filled: usize, (processor, sequence): (u16, i64), flags: u16) {
        let kind = if flags & 1 != 0 { 4 } else { 0 };
        let index_flag = if self.windows7 { 0 } else { 0x20 };
        let processor = if self.windows7 { 0x0800 | processor } else { processor };
        // State: general logging is 1; in the first buffer of a compressed file it holds the format.
        let state = if kind == 4 { self.compression.format() } else { 3 };
        // A buffer that was never flushed has only its live cursor.
        let current = filled as u32;
        let filled = if self.unsealed && kind != 4 { 0 } else { current };
        asm.u32(size as u32).u32(filled).u32(current).i32(0);
        asm.i64(self.start_tick.wrapping_add(sequence)).i64(sequence).u64(0xffff_9a00_dead_0000);
        asm.u16(processor).u16(if self.mode & 0x1_0000 != 0 { 0 } else { 0x1c });
        asm.u32(state).u32(filled).u16(flags | index_flag).u16(kind).fill(0xee, 16);
    }

    fn encode_header_buffer(&self) -> Vec<u8> {
        let wide = self.pointer_size == 8;
        let compressed = self.compression != Compression::None;
        let written = self.buffers_written.unwrap_or(1 + self.buffers.len() as u32);
        let mut log = Asm::new();
        log.u32(self.buffer_size as u32).u8(self.windows.0).u8(self.windows.1).u8(1).u8(5);
        log.u32(self.windows.2).u32(self.processors).i64(self.end_time).u32(156_250).u32(0);
        log.u32(self.mode | if compressed { MODE_COMPRESSED } else { 0 }).u32(written);
        log.u32(1).u32(self.pointer_size.into()).u32(self.events_lost).u32(self.cpu_mhz);
        log.pointer(0, self.pointer_size.into()).pointer(0, self.pointer_size.into());
        // TIME_ZONE_INFORMATION: only its bias matters.
        log.i32(-60).fill(0, 168).fill(0, 4);
        log.i64(self.boot_time).i64(self.perf_frequency).i64(self.start_time).u32(self.clock).u32(self.buffers_lost);
        assert_eq!(log.len(), if wide { 0x118 } else { 0x110 });
        log.utf16z(&self.logger_name).utf16z(&self.log_file_name);

        let header = if wide { Header::System64 } else { Header::System32 };
        let first = Event::hook(header, 0x0000, 2, self.start_tick, log.finish());
        let mut body = Vec::new();
        for event in std::iter::once(&first).chain(&self.header_events) {
            body.extend(event.encode());
            body.resize(body.len().next_multiple_of(8), 0);
        }
        let filled = BUFFER_HEADER + body.len();
        // In a compressed file the first buffer is only as large as it must be.
        let size = if compressed { filled.next_multiple_of(512) } else { self.buffer_size };
        let mut asm = Asm::new();
        self.buffer_header(&mut asm, size, filled, (0, 0), 0x01);
        asm.bytes(&body).pad_to(size, 0xff);
        asm.finish()
    }
}
