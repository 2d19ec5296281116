//! The trace sessions in a dump: from the kernel's memory where the dump has it, else from what lies behind the dump.

use std::io::Write;

use etl_file::FileTime;
use etw_sessions::{
    Guid, Kernel, KernelTypes, Memory, PdbKey, SaveError, Saved, Session, Sessions, UnknownLayout, secondary,
};

use super::{Content, Dump, ReadMemory};

/// The sessions of a dump, with the memory that their buffers are in.
#[derive(Debug)]
pub struct DumpSessions<'d> {
    /// The sessions.
    pub sessions: Sessions,
    /// Why the kernel's own structures were not read, when the sessions come from what lies behind a dump that has them.
    pub instead: Option<UnknownLayout>,
    memory: SessionMemory<'d>,
}

#[derive(Debug)]
enum SessionMemory<'d> {
    Dump(&'d Dump<'d>),
    Block(&'d [u8]),
}

/// Why a dump's sessions cannot be listed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoSessions {
    /// It is a user minidump, which has none of the kernel's memory.
    #[error("a user minidump has no trace sessions: they are in kernel dumps")]
    UserMinidump,
    /// It is a triage dump without the kernel's copy of its sessions.
    #[error("this triage dump has no copy of trace sessions; a full or kernel memory dump has the sessions themselves")]
    NoCopy {
        /// What is damaged behind the dump.
        warnings: Vec<etw_sessions::Warning>,
    },
    /// The layout of the kernel's structures is not known.
    #[error(transparent)]
    Unknown(#[from] UnknownLayout),
}

impl Memory for Dump<'_> {
    fn read(&self, address: u64, out: &mut [u8]) -> usize {
        ReadMemory::read(self, address, out)
    }
}

impl DumpSessions<'_> {
    /// Writes a session's buffers as a trace.
    ///
    /// # Errors
    /// When the session's clock cannot be told, or the output fails.
    pub fn save<W: Write>(&self, session: &Session, out: W) -> Result<(W, Saved), SaveError> {
        let memory: &dyn Memory = match &self.memory {
            SessionMemory::Dump(dump) => *dump,
            SessionMemory::Block(block) => block,
        };
        etw_sessions::save(session, &self.sessions.machine, memory, out)
    }
}

impl<'a> Dump<'a> {
    /// The trace sessions of a kernel dump. `types` is what the kernel's PDB says; it must be the PDB that the kernel's
    /// image names.
    ///
    /// # Errors
    /// When the dump is not a kernel's, or no known layout fits.
    pub fn sessions<'d>(&'d self, types: Option<&KernelTypes>) -> Result<DumpSessions<'d>, NoSessions>
    where
        'a: 'd,
    {
        match &self.content {
            Content::User(_) => Err(NoSessions::UserMinidump),
            Content::Triage(triage) => {
                let offset = u64::from(triage.raw().size_of_dump.get());
                self.copied(triage.secondary(), offset).map_err(|warnings| NoSessions::NoCopy { warnings })
            }
            Content::Pages(pages) => {
                let machine = &self.snapshot.machine;
                let base = self.snapshot.kernel_base.unwrap_or(0);
                let kernel = Kernel {
                    base,
                    build: machine.os.build,
                    pdb: self.snapshot.modules.iter().find(|module| module.base == base).and_then(|module| {
                        let id = module.pdb.as_ref()?.id;
                        Some(PdbKey { guid: Guid(id.guid.0), age: id.age })
                    }),
                    types,
                    debugger_data: Some(pages.debugger_data).filter(|address| *address != 0),
                    held: pages.file.len() as u64,
                    processors: machine.processors.unwrap_or(1),
                    time: self.time(),
                };
                let unknown = match etw_sessions::read(self, &kernel) {
                    Ok(sessions) => {
                        return Ok(DumpSessions { sessions, instead: None, memory: SessionMemory::Dump(self) });
                    }
                    Err(unknown) => unknown,
                };
                let (offset, behind) = pages.behind();
                match self.copied(behind, offset) {
                    Ok(copied) => Ok(DumpSessions { instead: Some(unknown), ..copied }),
                    Err(_) => Err(unknown.into()),
                }
            }
        }
    }

    fn time(&self) -> FileTime {
        FileTime(self.snapshot.time.and_then(|time| i64::try_from(time).ok()).unwrap_or(0))
    }

    /// The sessions that the kernel copied when it stopped, from the bytes behind the dump's own.
    fn copied<'d>(&self, behind: &'d [u8], offset: u64) -> Result<DumpSessions<'d>, Vec<etw_sessions::Warning>> {
        let (blocks, mut warnings) = secondary::blocks(behind, offset);
        let block = blocks.iter().find(|block| block.guid == secondary::ETW_GUID && !block.data.is_empty());
        let Some(range) = block.map(|block| block.data.clone()) else { return Err(warnings) };
        let at = offset.saturating_add(range.start as u64);
        let block = &behind[range];
        let processors = self.snapshot.machine.processors.unwrap_or(1);
        let mut sessions = secondary::read(block, at, processors, self.time());
        sessions.warnings.append(&mut warnings);
        Ok(DumpSessions { sessions, instead: None, memory: SessionMemory::Block(block) })
    }
}
