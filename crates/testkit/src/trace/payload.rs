//! Payloads of the events that readers of a kernel trace look at.

use super::event::{Event, Header};
use crate::Asm;

/// Debug information of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rsds {
    /// Name of the PDB.
    pub name: String,
    /// GUID as text with hyphens.
    pub guid: String,
    /// Age.
    pub age: u32,
}

/// A module as image events describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// Path, as the kernel gives it.
    pub path: String,
    /// Process: 0 for the kernel.
    pub process: u32,
    /// Address.
    pub base: u64,
    /// SizeOfImage.
    pub size: u64,
    /// TimeDateStamp.
    pub timestamp: u32,
    /// CheckSum.
    pub checksum: u32,
    /// Debug information, if a merge adds it.
    pub rsds: Option<Rsds>,
}

impl Module {
    /// A kernel module with a made-up stamp and checksum that follow from its base.
    pub fn kernel(path: &str, base: u64, size: u64) -> Self {
        let timestamp = 0x6000_0000 | (base >> 12) as u32 & 0x0fff_ffff;
        Self { path: path.to_owned(), process: 0, base, size, timestamp, checksum: timestamp ^ 0x1111, rsds: None }
    }

    /// The same with debug information.
    #[must_use]
    pub fn with_pdb(mut self, name: &str, guid: &str, age: u32) -> Self {
        self.rsds = Some(Rsds { name: name.to_owned(), guid: guid.to_owned(), age });
        self
    }

    /// The same with the stamp and checksum given.
    #[must_use]
    pub fn with_identity(mut self, timestamp: u32, checksum: u32) -> Self {
        (self.timestamp, self.checksum) = (timestamp, checksum);
        self
    }

    /// The same in a process.
    #[must_use]
    pub fn in_process(mut self, process: u32) -> Self {
        self.process = process;
        self
    }
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// Image event: 0x030a load, 0x1402 unload, 0x1403 and 0x1404 rundown; version 0 to 3.
    Image {
        /// Hook id.
        hook: u16,
        /// 0 to 3; 2 and 3 differ in the signature bytes only.
        version: u16,
        /// Which.
        module: Module,
    },
    /// Base of the kernel image.
    KernelBase(u64),
    /// A merge's note: size and stamp.
    ImageId(Module),
    /// A merge's note: debug information.
    DebugId(Module),
    /// A merge's note: version strings.
    FileVersion {
        /// Which.
        module: Module,
        /// Ten texts.
        strings: Vec<String>,
    },
    /// Processors and names.
    ConfigCpu {
        /// Computer name.
        computer: String,
        /// How many.
        processors: u32,
    },
    /// One processor's make.
    ConfigProcessor {
        /// Which.
        index: u32,
    },
    /// Windows version.
    DeviceFamily {
        /// Major, minor, build, revision.
        version: [u16; 4],
    },
    /// Build lab, added by a merge.
    BuildInfo {
        /// Lab string.
        lab: String,
        /// Product.
        product: String,
    },
    /// Names of a volume, added by a merge.
    Volume {
        /// NT path.
        nt: String,
        /// DOS path.
        dos: String,
    },
    /// Process event, version 4: opcode 1 start, 2 end, 3 and 4 rundown.
    Process {
        /// What happened.
        opcode: u8,
        /// Process id.
        pid: u32,
        /// Page tables.
        directory_table_base: u64,
        /// ASCII image name.
        name: String,
        /// Command line.
        command_line: String,
        /// With a SID of this many sub-authorities.
        sid: Option<u8>,
    },
    /// Thread event, version 4: opcode as for processes.
    Thread {
        /// What happened.
        opcode: u8,
        /// Process id.
        pid: u32,
        /// Thread id.
        tid: u32,
        /// Name.
        name: String,
    },
    /// Context switch.
    ContextSwitch {
        /// The thread that comes.
        new: u32,
        /// The thread that goes.
        old: u32,
    },
    /// Sample.
    SampledProfile {
        /// Where.
        address: u64,
        /// Who.
        tid: u32,
    },
    /// Stack of an event.
    StackWalk {
        /// That event's timestamp.
        tick: i64,
        /// Its process and thread.
        owner: (u32, u32),
        /// Return addresses.
        frames: Vec<u64>,
    },
    /// Last branch records.
    LastBranches {
        /// Timestamp of the event they belong to.
        tick: i64,
        /// Its process and thread.
        owner: (u32, u32),
        /// From and to, newest first.
        branches: Vec<(u64, u64)>,
    },
    /// Intel PT data.
    Ipt {
        /// Timestamp of the event that triggered it.
        trigger: i64,
        /// Process and thread.
        owner: (u32, u32),
        /// Options word.
        options: u64,
        /// The word behind the size.
        ring_offset: u32,
        /// Packets.
        data: Vec<u8>,
    },
}

/// KernelTraceControl's image task.
const IMAGE_ID: &str = "b3e675d7-2554-4f18-830b-2762732560de";
/// KernelTraceControl's configuration task.
const SYSTEM_CONFIG_EX: &str = "9b79ee91-b5fd-41c0-a243-4248e266e9d0";

/// The class GUID that stands for a hook's group when an event is relogged through the API.
const CLASSES: [(u16, &str); 10] = [
    (0x030a, "2cb15d1d-5fc1-11d2-abe1-00a0c911f518"),
    (0x1400, "2cb15d1d-5fc1-11d2-abe1-00a0c911f518"),
    (0x0300, "3d6fa8d0-fe05-11d0-9dda-00c04fd7ba7c"),
    (0x0500, "3d6fa8d1-fe05-11d0-9dda-00c04fd7ba7c"),
    (0x0b00, "01853a65-418f-4f36-aefc-dc0f1d2fd235"),
    (0x0c00, "99134383-5248-43fc-834b-529454e75df3"),
    (0x0f00, "ce1dbfb4-137e-4da6-87b0-3f59aa102cbc"),
    (0x1800, "def2fe46-7bd6-4b80-bd94-f57fe20d0ce3"),
    (0x1f00, "ff1fd2fd-6008-42bb-9e75-00a20051f3be"),
    (0x0000, "68fdd900-4a3e-11d1-84f4-0000f80464e3"),
];

impl Payload {
    /// The event in its usual form: image and configuration events under a SYSTEM header, samples and traces under a
    /// PERFINFO one, and what a merge adds under a FULL one.
    pub fn event(&self, tick: i64, pointer_size: u8) -> Event {
        let bytes = self.encode(pointer_size);
        let pick = |wide: Header, narrow: Header| if pointer_size == 8 { wide } else { narrow };
        let full = pick(Header::Full64, Header::Full32);
        let (hook, version, perfinfo) = match self {
            Self::ImageId(_) => return Event::class(full, IMAGE_ID, 0, 2, tick, bytes),
            Self::DebugId(_) => return Event::class(full, IMAGE_ID, 36, 2, tick, bytes),
            Self::FileVersion { .. } => return Event::class(full, IMAGE_ID, 64, 0, tick, bytes),
            Self::BuildInfo { .. } => return Event::class(full, SYSTEM_CONFIG_EX, 32, 0, tick, bytes),
            Self::Volume { .. } => return Event::class(full, SYSTEM_CONFIG_EX, 35, 0, tick, bytes),
            Self::Image { hook, version, .. } => (*hook, *version, false),
            Self::KernelBase(_) => (0x1421, 2, true),
            Self::ConfigCpu { .. } => (0x0b0a, 3, false),
            Self::ConfigProcessor { .. } => (0x0b23, 2, false),
            Self::DeviceFamily { .. } => (0x0b21, 2, false),
            Self::Process { opcode, .. } => (0x0300 | u16::from(*opcode), 4, false),
            Self::Thread { opcode, .. } => (0x0500 | u16::from(*opcode), 4, false),
            Self::ContextSwitch { .. } => (0x0524, 4, true),
            Self::SampledProfile { .. } => (0x0f2e, 2, true),
            Self::StackWalk { .. } => (0x1820, 2, true),
            Self::LastBranches { .. } => (0x0c20, 2, true),
            Self::Ipt { .. } => (0x1f20, 2, true),
        };
        let header = match perfinfo {
            true => pick(Header::Perfinfo64, Header::Perfinfo32),
            false => pick(Header::System64, Header::System32),
        };
        Event::hook(header, hook, version, tick, bytes)
    }

    /// The event as the API's relogger writes it: a FULL header with the class GUID of its hook's group.
    pub fn relogged(&self, tick: i64, pointer_size: u8) -> Event {
        let event = self.event(tick, pointer_size);
        let full = if pointer_size == 8 { Header::Full64 } else { Header::Full32 };
        let group = event.hook & 0xff00;
        match CLASSES.iter().find(|(hook, _)| event.hook == *hook || group == *hook) {
            Some((_, guid)) if event.hook != 0 => {
                Event::class(full, guid, event.hook & 0xff, event.version, tick, event.payload)
            }
            _ => event,
        }
    }

    /// The payload's bytes.
    pub fn encode(&self, pointer_size: u8) -> Vec<u8> {
        let width = usize::from(pointer_size);
        let mut asm = Asm::new();
        match self {
            Self::Image { version, module, .. } => image(&mut asm, *version, module, width),
            Self::KernelBase(base) => {
                asm.pointer(*base, width);
            }
            Self::ImageId(module) => {
                asm.pointer(module.base, width).pointer(module.size, width).u32(module.process).u32(module.timestamp);
                asm.utf16z(module.path.rsplit('\\').next().unwrap_or_default());
            }
            Self::DebugId(module) => {
                let rsds = module.rsds.as_ref().expect("a DbgID event needs debug information");
                asm.pointer(module.base, width).u32(module.process).guid(&rsds.guid).u32(rsds.age).cstr(&rsds.name);
            }
            Self::FileVersion { module, strings } => {
                asm.u32(module.size as u32).u32(module.timestamp);
                strings.iter().for_each(|text| {
                    asm.utf16z(text);
                });
            }
            Self::ConfigCpu { computer, processors } => {
                asm.u32(3000).u32(*processors).u32(16_384).u32(4096).u32(65_536);
                asm.utf16z(computer).pad_to(532, 0).utf16z("WORKGROUP").pad_to(800, 0);
                asm.pointer(1, width).pointer(0x7fff_fffe_ffff, 8.min(width));
                asm.u16(9).u16(6).u16(0xb701).u8(1).u8(1).u32(4800);
            }
            Self::ConfigProcessor { index } => {
                asm.u32(*index).u32(0xbfff).u32(3000).utf16z("Intel(R) Core(TM) testkit").pad_to(140, 0);
                asm.utf16z("Intel64 Family 6 Model 183 Stepping 1").pad_to(396, 0);
                asm.utf16z("GenuineIntel").pad_to(428, 0);
            }
            Self::DeviceFamily { version } => {
                version.iter().rev().for_each(|&part| {
                    asm.u16(part);
                });
                asm.u32(3).u32(0);
            }
            Self::BuildInfo { lab, product } => {
                asm.i64(133_000_000_000_000_000).utf16z(lab).utf16z(product);
            }
            Self::Volume { nt, dos } => {
                asm.utf16z(nt).utf16z(dos);
            }
            Self::Process { pid, directory_table_base, name, command_line, sid, .. } => {
                asm.pointer(0xffff_9a00_0000_1080, 8.min(width)).u32(*pid).u32(4).u32(1).i32(259);
                asm.pointer(*directory_table_base, width).u32(0);
                match sid {
                    None => asm.u32(0),
                    Some(count) => {
                        asm.pointer(0xee, width).pointer(0, width);
                        asm.u8(1).u8(*count).bytes(&[0, 0, 0, 0, 0, 5]).fill(0x33, 4 * usize::from(*count))
                    }
                };
                asm.cstr(name).utf16z(command_line).u16(0).u16(0);
            }
            Self::Thread { pid, tid, name, .. } => {
                asm.u32(*pid).u32(*tid);
                for word in 0..7 {
                    asm.pointer(0x1000 * word, width);
                }
                asm.u32(0).bytes(&[8, 0, 5, 2]).utf16z(name);
            }
            Self::ContextSwitch { new, old } => {
                asm.u32(*new).u32(*old).fill(0, 16);
            }
            Self::SampledProfile { address, tid } => {
                asm.pointer(*address, width).u32(*tid).u16(1).u16(0);
            }
            Self::StackWalk { tick, owner, frames } => {
                asm.i64(*tick).u32(owner.0).u32(owner.1);
                frames.iter().for_each(|&frame| {
                    asm.pointer(frame, width);
                });
            }
            Self::LastBranches { tick, owner, branches } => {
                asm.i64(*tick).u32(owner.0).u32(owner.1).u32(0).fill(0, if width == 8 { 4 } else { 0 });
                for &(from, to) in branches {
                    asm.pointer(from, width).pointer(to, width).pointer(0, width);
                }
            }
            Self::Ipt { trigger, owner, options, ring_offset, data } => {
                asm.i64(*trigger).u32(owner.0).u32(owner.1).u64(*options).u32(data.len() as u32).u32(*ring_offset);
                asm.bytes(data);
            }
        }
        asm.finish()
    }
}

fn image(asm: &mut Asm, version: u16, module: &Module, width: usize) {
    asm.pointer(module.base, width);
    if version == 0 {
        asm.u32(module.size as u32).utf16z(&module.path);
        return;
    }
    asm.pointer(module.size, width).u32(module.process);
    if version >= 2 {
        asm.u32(module.checksum).u32(module.timestamp);
        asm.u32(if version >= 3 { 0x0c | 1 << 8 } else { 0 }).pointer(module.base, width).fill(0, 16);
    }
    asm.utf16z(&module.path);
}
