//! Process events: group 0x03 (ntwmi.h in phnt, WMI_PROCESS_INFORMATION; Microsoft Learn "Process_TypeGroup1").
//!
//! ```text
//!   version 1            2 and above
//!   P page directory     P unique process key
//!   u32 pid              u32 pid
//!   u32 parent           u32 parent
//!   u32 session          u32 session
//!   i32 exit status      i32 exit status
//!                        P directory table base    (3 and above)
//!                        u32 flags                 (4 and above)
//!   SID: u32 0, or two pointers and a SID of 8 + 4 n bytes
//!   image name: ASCII; command line: UTF-16 (from 2 on)
//! ```

use super::Record;
use crate::bytes::Bytes;
use crate::error::Result;
use crate::event::Event;

/// What happened to a process or thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum LifeEvent {
    /// It started.
    Start,
    /// It was there when the trace started.
    RundownStart,
    /// It was there when the trace ended.
    RundownEnd,
    /// It ended.
    End,
}

impl LifeEvent {
    pub(super) fn of(opcode: u8) -> Option<Self> {
        Some(match opcode {
            1 => Self::Start,
            2 => Self::End,
            3 => Self::RundownStart,
            4 => Self::RundownEnd,
            _ => return None,
        })
    }
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ProcessRecord {
    /// What happened to it.
    pub life: LifeEvent,
    /// Process id.
    pub pid: u32,
    /// Parent's process id.
    pub parent: u32,
    /// Session id.
    pub session: u32,
    /// Exit status; meaningful when it has ended.
    pub exit_status: i32,
    /// CR3 of its kernel page tables.
    pub directory_table_base: Option<u64>,
    /// Image file name.
    pub name: String,
    /// Command line; empty when not logged.
    pub command_line: String,
}

pub(super) fn parse<'d>(event: &Event<'d>, life: LifeEvent) -> Result<Record<'d>> {
    let version = event.version;
    if version == 0 {
        return Ok(Record::Other);
    }
    event.read("process event", |bytes, width| {
        let mut at = width + 16;
        let mut directory_table_base = None;
        if version == 1 {
            directory_table_base = Some(bytes.pointer(0, width)?);
        } else if version >= 3 {
            directory_table_base = Some(bytes.pointer(at, width)?);
            at += width;
        }
        if version >= 4 {
            bytes.u32(at)?;
            at += 4;
        }
        let (name, next) = bytes.text(after_sid(bytes, at, width)?);
        Some(Record::Process(ProcessRecord {
            life,
            pid: bytes.u32(width)?,
            parent: bytes.u32(width + 4)?,
            session: bytes.u32(width + 8)?,
            exit_status: bytes.u32(width + 12)? as i32,
            directory_table_base: directory_table_base.filter(|&base| base != 0),
            name,
            command_line: if version >= 2 { bytes.utf16(next).0 } else { String::new() },
        }))
    })
}

/// Where the SID at `at` ends: 4 zero bytes, or a TOKEN_USER (two pointers) and a SID.
fn after_sid(bytes: Bytes<'_>, at: usize, width: usize) -> Option<usize> {
    if bytes.u32(at)? == 0 {
        return Some(at + 4);
    }
    let sid = at + 2 * width;
    // SID: revision, count of sub-authorities, 6 bytes of authority, 4 bytes per sub-authority.
    Some(sid + 8 + 4 * usize::from(bytes.u8(sid + 1)?))
}
