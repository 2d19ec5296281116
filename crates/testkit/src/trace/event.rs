//! Events: every kind of header, around a payload.

use crate::Asm;

/// The kind of an event's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    /// SYSTEM_TRACE_HEADER, 32-bit.
    System32,
    /// SYSTEM_TRACE_HEADER, 64-bit.
    System64,
    /// The same without processor times, 32-bit.
    Compact32,
    /// The same without processor times, 64-bit.
    Compact64,
    /// PERFINFO_TRACE_HEADER, 32-bit.
    Perfinfo32,
    /// PERFINFO_TRACE_HEADER, 64-bit.
    Perfinfo64,
    /// EVENT_TRACE_HEADER, 32-bit.
    Full32,
    /// EVENT_TRACE_HEADER, 64-bit.
    Full64,
    /// EVENT_INSTANCE_GUID_HEADER, 32-bit.
    Instance32,
    /// EVENT_INSTANCE_GUID_HEADER, 64-bit.
    Instance64,
    /// EVENT_HEADER, 32-bit.
    Event32,
    /// EVENT_HEADER, 64-bit.
    Event64,
    /// A header of type 13, whose layout nobody knows.
    Error,
    /// A WPP message.
    Wpp,
    /// A header type that Windows does not have, sized like most.
    Unknown(u8),
}

/// An event. The constructors fill in what an ordinary one has; a test changes the fields that it is about.
#[derive(Clone, Debug)]
pub struct Event {
    /// Kind of header.
    pub header: Header,
    /// Hook id, for SYSTEM, COMPACT and PERFINFO.
    pub hook: u16,
    /// GUID of class or provider, for the others.
    pub guid: String,
    /// Type in the class, or event id; message number of a WPP message.
    pub id: u16,
    /// Version of the payload.
    pub version: u16,
    /// Timestamp.
    pub tick: i64,
    /// Thread in the header.
    pub thread: u32,
    /// Process in the header.
    pub process: u32,
    /// PMC counters of a PERFINFO header, up to 7.
    pub counters: Vec<u64>,
    /// PEBS index of a PERFINFO header.
    pub pebs: Option<u64>,
    /// Extended items of an EVENT_HEADER: type and data.
    pub extended: Vec<(u16, Vec<u8>)>,
    /// Flags of an EVENT_HEADER besides that of extended items; 0x100 is an event of a class.
    pub flags: u16,
    /// Opcode of an EVENT_HEADER.
    pub opcode: u8,
    /// OptionFlags of a WPP message.
    pub options: u16,
    /// What the event carries.
    pub payload: Vec<u8>,
}

impl Event {
    /// A kernel event.
    pub fn hook(header: Header, hook: u16, version: u16, tick: i64, payload: Vec<u8>) -> Self {
        Self {
            header,
            hook,
            guid: "00000000-0000-0000-0000-000000000000".to_owned(),
            id: 0,
            version,
            tick,
            thread: 0x1c,
            process: 4,
            counters: Vec::new(),
            pebs: None,
            extended: Vec::new(),
            flags: 0,
            opcode: 0,
            options: 0,
            payload,
        }
    }

    /// An event of a class (FULL, INSTANCE) or provider (EVENT_HEADER).
    pub fn class(header: Header, guid: &str, id: u16, version: u16, tick: i64, payload: Vec<u8>) -> Self {
        Self { guid: guid.to_owned(), id, ..Self::hook(header, 0, version, tick, payload) }
    }

    /// A WPP message with the options given; 0x2a is GUID, timestamp and thread with process.
    pub fn wpp(options: u16, guid: &str, number: u16, tick: i64, payload: Vec<u8>) -> Self {
        Self { options, ..Self::class(Header::Wpp, guid, number, 0, tick, payload) }
    }

    /// Header and payload, without padding.
    pub fn encode(&self) -> Vec<u8> {
        let mut asm = Asm::new();
        match self.header {
            Header::System32 => self.system(&mut asm, 1, true),
            Header::System64 => self.system(&mut asm, 2, true),
            Header::Compact32 => self.system(&mut asm, 3, false),
            Header::Compact64 => self.system(&mut asm, 4, false),
            Header::Perfinfo32 => self.perfinfo(&mut asm, 16),
            Header::Perfinfo64 => self.perfinfo(&mut asm, 17),
            Header::Full32 => self.full(&mut asm, 10, false),
            Header::Full64 => self.full(&mut asm, 20, false),
            Header::Instance32 => self.full(&mut asm, 11, true),
            Header::Instance64 => self.full(&mut asm, 21, true),
            Header::Event32 => self.event(&mut asm, 18),
            Header::Event64 => self.event(&mut asm, 19),
            Header::Error => {
                asm.u16(0).u8(13).u8(0xc0);
            }
            Header::Unknown(kind) => {
                asm.u16(0).u8(kind).u8(0xc0).u32(0);
            }
            Header::Wpp => self.message(&mut asm),
        }
        asm.bytes(&self.payload);
        let mut bytes = asm.finish();
        let size = u16::try_from(bytes.len()).expect("an event is at most 65,535 bytes");
        let at = match self.header {
            Header::System32 | Header::System64 | Header::Compact32 | Header::Compact64 => 4,
            Header::Perfinfo32 | Header::Perfinfo64 => 4,
            _ => 0,
        };
        bytes[at..at + 2].copy_from_slice(&size.to_le_bytes());
        bytes
    }

    fn system(&self, asm: &mut Asm, kind: u8, times: bool) {
        asm.u16(self.version).u8(kind).u8(0xc0).u16(0).u16(self.hook);
        asm.u32(self.thread).u32(self.process).i64(self.tick);
        if times {
            asm.u32(11).u32(22);
        }
    }

    fn perfinfo(&self, asm: &mut Asm, kind: u8) {
        assert!(self.counters.len() <= 7, "the header counts up to 7 counters");
        let pebs = if self.pebs.is_some() { 0x8000 } else { 0 };
        asm.u16(self.version | pebs | (self.counters.len() as u16) << 8).u8(kind).u8(0xc0);
        asm.u16(0).u16(self.hook).i64(self.tick);
        for &word in self.pebs.iter().chain(&self.counters) {
            asm.u64(word);
        }
    }

    fn full(&self, asm: &mut Asm, kind: u8, instance: bool) {
        asm.u16(0).u8(kind).u8(0xc0).u8(self.id as u8).u8(0).u16(self.version);
        asm.u32(self.thread).u32(self.process).i64(self.tick).guid(&self.guid).u64(0);
        if instance {
            asm.u32(7).u32(6).guid("11111111-2222-3333-4444-555555555555");
        }
    }

    fn event(&self, asm: &mut Asm, kind: u8) {
        asm.u16(0).u8(kind).u8(0xc0).u16(self.flags | u16::from(!self.extended.is_empty())).u16(0);
        asm.u32(self.thread).u32(self.process).i64(self.tick).guid(&self.guid);
        asm.u16(self.id).u8(self.version as u8).u8(11).u8(4).u8(self.opcode).u16(0).u64(0x8000_0000_0000_0000);
        asm.u64(0).guid("66666666-7777-8888-9999-aaaaaaaaaaaa");
        for (index, (kind, data)) in self.extended.iter().enumerate() {
            let total = (8 + data.len()).next_multiple_of(8);
            let more = index + 1 < self.extended.len();
            asm.u16(total as u16).u16(*kind).u16(more.into()).u16(data.len() as u16);
            asm.bytes(data).align(8, 0);
        }
    }

    fn message(&self, asm: &mut Asm) {
        asm.u16(0).u8(0).u8(0x90).u16(self.id).u16(self.options);
        if self.options & 0x01 != 0 {
            asm.u32(99);
        }
        if self.options & 0x02 != 0 {
            asm.guid(&self.guid);
        } else if self.options & 0x04 != 0 {
            asm.u32(0xc0de);
        }
        if self.options & 0x08 != 0 {
            asm.i64(self.tick);
        }
        if self.options & 0x20 != 0 {
            asm.u32(self.thread).u32(self.process);
        }
    }
}
