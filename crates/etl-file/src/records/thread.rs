//! Thread events: group 0x05 (ntwmi.h in phnt, WMI_THREAD_INFORMATION; Microsoft Learn "Thread_TypeGroup1").

use super::{LifeEvent, Record};
use crate::error::Result;
use crate::event::Event;

/// A thread.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ThreadRecord {
    /// What happened to it.
    pub life: LifeEvent,
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Name, from version 4 on; often empty.
    pub name: String,
}

pub(super) fn parse<'d>(event: &Event<'d>, life: LifeEvent) -> Result<Record<'d>> {
    let version = event.version;
    event.read("thread event", |bytes, width| {
        let (first, second) = (bytes.u32(0)?, bytes.u32(4)?);
        // Version 0 has the thread first.
        let (pid, tid) = if version == 0 { (second, first) } else { (first, second) };
        // Behind the ids: seven pointers (stacks, start addresses, TEB), the service tag, four bytes of priorities.
        let name = if version >= 4 { bytes.utf16(8 + 7 * width + 8).0 } else { String::new() };
        Some(Record::Thread(ThreadRecord { life, pid, tid, name }))
    })
}
