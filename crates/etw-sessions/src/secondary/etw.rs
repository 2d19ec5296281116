//! The block of secondary data with the kernel's sessions.
//!
//! ```text
//! block    u32 timer resolution @0, u32 NtBuildNumber @4, u32 MHz @8, i64 boot time @10, i64 ticks a second @18
//! session  u32 01EBAFE1 @0, id @4, mode @8, clock @c, buffer size @10, bytes of the name @14, i64 start time @18,
//!          i64 reference time @20, i64 reference tick @28, name @30, without NUL
//! buffers  of that session, each cut at the end of its data
//! ```
//!
//! Up to Windows 11 22000 the kernel copies the name with as many bytes of its surroundings behind it; later ones do not.
//! What follows tells the two apart.

use etl_file::{FileTime, Tick};

use crate::buffer::{HEADER, Header, MAX_BUFFER, MIN_BUFFER, SessionBuffer};
use crate::machine::Machine;
use crate::memory::{Reader, long, utf16, word};
use crate::session::{LeftOut, Reference, Session, SessionSource, Sessions};
use crate::warning::{Warning, Warnings};

const SIGNATURE: u32 = 0x01eb_afe1;
const BLOCK: usize = 0x20;
const SESSION: usize = 0x30;
/// The kernel cannot name a session with more bytes.
const LONGEST_NAME: usize = 2048;

/// Reads the sessions of the block, which begins at `file_offset` of the dump's file. Addresses of buffers are positions
/// in the block, which serves as their memory.
pub fn read(block: &[u8], file_offset: u64, processors: u32, time: FileTime) -> Sessions {
    let mut warnings = Warnings::default();
    let machine = Machine {
        build: word(block, 4) & 0xffff,
        processors,
        timer_resolution: word(block, 0),
        cpu_mhz: word(block, 8),
        boot_time: FileTime(long(block, 0x10) as i64),
        perf_frequency: long(block, 0x18) as i64,
        time_zone_bias: 0,
        time,
    };
    let mut parser = Parser { block, at: BLOCK, factor: if machine.build <= 22000 { 2 } else { 1 } };
    let mut sessions: Vec<Session> = Vec::new();
    while parser.at < block.len() {
        let place = file_offset.saturating_add(parser.at as u64);
        let found = match parser.session() {
            Ok(session) => {
                sessions.push(session);
                continue;
            }
            Err(found) => found,
        };
        let structure = match sessions.last() {
            Some(session) => format!("ETW block behind session {}", session.id),
            None => "ETW block".to_owned(),
        };
        warnings.push(Warning::in_file(place, structure, found, "a session, or a buffer of the one before"));
        break;
    }
    if block.len() < BLOCK {
        let found = format!("{:#x} bytes", block.len());
        warnings.push(Warning::in_file(file_offset, "ETW block", found, "at least 0x20"));
    }
    Sessions {
        source: SessionSource::SecondaryData,
        machine,
        silos: Vec::new(),
        has_all_silos: false,
        sessions,
        warnings: warnings.finish(),
    }
}

struct Parser<'b> {
    block: &'b [u8],
    at: usize,
    /// How often the name's bytes are there, as this kernel should have it.
    factor: usize,
}

/// What begins behind a session's header, best first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Follows {
    Buffer,
    End,
    Session,
}

impl Parser<'_> {
    fn word(&self, offset: usize) -> u32 {
        word(self.block, self.at + offset)
    }

    fn session(&mut self) -> Result<Session, String> {
        let rest = self.block.len() - self.at;
        if rest < SESSION {
            return Err(format!("{rest:#x} bytes"));
        }
        if self.word(0) != SIGNATURE {
            return Err(format!("{:#010x}", self.word(0)));
        }
        let (id, size, name) = (self.word(4), self.word(0x10), self.word(0x14) as usize);
        if !(MIN_BUFFER..=MAX_BUFFER).contains(&size) {
            return Err(format!("session {id} with buffers of {size:#x} bytes"));
        }
        if name > LONGEST_NAME || name % 2 != 0 {
            return Err(format!("session {id} with a name of {name:#x} bytes"));
        }
        let start = self.at + SESSION;
        let follows = |factor: usize| Some((self.follows(start.checked_add(factor * name)?, id, size)?, factor));
        // Where both are possible the kernel's build decides.
        let both = [self.factor, 3 - self.factor];
        let best =
            both.into_iter().filter_map(follows).reduce(|best, other| if other.0 < best.0 { other } else { best });
        let Some((_, factor)) = best else {
            return Err(format!("session {id} with a name of {name:#x} bytes, behind which nothing can be read"));
        };
        let time = |offset: usize| FileTime(long(self.block, self.at + offset) as i64);
        let mut session = Session {
            id,
            name: Some(utf16(&self.block[start..start + name])),
            context: None,
            silo: None,
            mode: self.word(8),
            clock: self.word(0xc),
            buffer_size: size,
            number_of_buffers: None,
            minimum_buffers: None,
            maximum_buffers: None,
            buffers_available: None,
            buffers_written: None,
            events_lost: None,
            buffers_lost: None,
            real_time_buffers_lost: None,
            flush_timer: None,
            log_file: None,
            maximum_file_size: None,
            start_time: Some(time(0x18)),
            reference: Some(Reference { time: time(0x20), tick: Tick(long(self.block, self.at + 0x28) as i64) }),
            flags: None,
            is_paged: None,
            consumers: None,
            kernel_classes: None,
            ipt: None,
            buffers: Vec::new(),
            left_out: LeftOut::default(),
        };
        self.at = start + factor * name;
        let mut seen = 0;
        while let Some((header, end)) = self.buffer(self.at, id, size) {
            match header.skip() {
                None => {
                    let buffer = SessionBuffer::read(Reader(&self.block), self.at as u64, &header);
                    session.buffers.push(buffer);
                }
                Some(skip) => session.left_out.add(skip),
            }
            seen += 1;
            self.at = end;
        }
        session.number_of_buffers = Some(seen);
        Ok(session)
    }

    fn follows(&self, at: usize, id: u32, size: u32) -> Option<Follows> {
        if at == self.block.len() {
            return Some(Follows::End);
        }
        if self.buffer(at, id, size).is_some() {
            return Some(Follows::Buffer);
        }
        (at < self.block.len() && word(self.block, at) == SIGNATURE).then_some(Follows::Session)
    }

    /// The buffer at a position, and where its bytes end.
    fn buffer(&self, at: usize, id: u32, size: u32) -> Option<(Header, usize)> {
        let bytes = self.block.get(at..at.checked_add(HEADER as usize)?)?;
        let header = Header::parse(bytes);
        let length = if header.current <= header.size { header.current } else { header.saved };
        let end = at.checked_add(length as usize)?;
        let is_one = header.size == size
            && u32::from(header.session) == id
            && (HEADER..=size).contains(&length)
            && end <= self.block.len();
        is_one.then_some((header, end))
    }
}
