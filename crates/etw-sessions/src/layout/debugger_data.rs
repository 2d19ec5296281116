//! What the kernel tells debuggers of its trace sessions: `EtwpDebuggerData`.
//!
//! ```text
//!   KDDEBUGGER_DATA64 + 330 ──► 20 02 2c 08 04 38 .. n  c  id .. .. nm md sz gl   16 bytes: size, version, offsets
//!                               pointer to the array of contexts                 in buffers, then in contexts
//!                               pointer to the host's silo state
//! ```
//!
//! That its bytes are offsets is inferred: in two public debugger sessions each equals the PDB's value. So only the form
//! that was seen is taken, which is version 2 of 32 bytes with a buffer's known offsets.

use super::context;
use crate::kernel::Kernel;
use crate::memory::{Reader, is_kernel, long};
use crate::types::{StructLayout, names};
use crate::warning::{Warning, Warnings};

/// `KDDEBUGGER_DATA64.EtwpDebuggerData`, and where its tag and size are.
const IN_KDBG: u32 = 0x330;
const KDBG_TAG: u32 = 0x10;
/// Size, version, then a buffer's State, CurrentOffset, SavedOffset and GlobalEntry.
const KNOWN: [u8; 6] = [0x20, 2, 0x2c, 0x08, 0x04, 0x38];

/// The table as far as it is understood.
pub(super) struct DebuggerData {
    pub address: u64,
    /// The array of contexts.
    pub array: u64,
    /// The host's silo state.
    pub state: u64,
    /// Members of contexts.
    pub members: [(&'static str, u32); 7],
}

impl DebuggerData {
    /// Reads the table where the debugger's data, or a symbol, says it is.
    pub fn read(kernel: &Kernel<'_>, symbol: Option<u64>, reader: Reader<'_>, warnings: &mut Warnings) -> Option<Self> {
        let address = in_kdbg(kernel, reader, warnings).or(symbol)?;
        let Some(bytes) = reader.bytes::<32>(address, 0) else {
            warnings.push(Warning::at(address, names::DEBUGGER_DATA, "memory that the dump does not hold", "32 bytes"));
            return None;
        };
        if bytes[..6] != KNOWN {
            let found = format!("{:02x?}", &bytes[..16]);
            let allowed = "version 2 in 32 bytes; other versions are not understood";
            warnings.push(Warning::at(address, names::DEBUGGER_DATA, found, allowed));
            return None;
        }
        let at = |index: usize| u32::from(bytes[index]);
        let members = [
            (context::NUMBER_OF_BUFFERS, at(7)),
            (context::CLOCK_TYPE, at(8)),
            (context::LOGGER_ID, at(9)),
            (context::LOGGER_NAME, at(12)),
            (context::LOGGER_MODE, at(13)),
            (context::BUFFER_SIZE, at(14)),
            (context::GLOBAL_LIST, at(15)),
        ];
        let (array, state) = (long(&bytes, 16), long(&bytes, 24));
        if !is_kernel(array) || !is_kernel(state) {
            let found = format!("pointers {array:#x} and {state:#x}");
            warnings.push(Warning::at(address, names::DEBUGGER_DATA, found, "addresses of the kernel"));
            return None;
        }
        Some(Self { address, array, state, members })
    }

    /// True when a layout says of every member what the table says.
    pub fn agrees(&self, layout: &StructLayout) -> bool {
        self.members.iter().all(|(member, offset)| layout.offset(member) == Some(*offset))
    }

    /// What the table says, as a layout.
    pub fn layout(&self) -> StructLayout {
        let members = self.members.iter().map(|(member, offset)| ((*member).to_owned(), *offset)).collect();
        StructLayout { size: None, members }
    }
}

fn in_kdbg(kernel: &Kernel<'_>, reader: Reader<'_>, warnings: &mut Warnings) -> Option<u64> {
    let block = kernel.debugger_data?;
    match reader.bytes::<8>(block, KDBG_TAG) {
        None => {
            warnings.push(Warning::at(block, "KDDEBUGGER_DATA64", "memory that the dump does not hold", "its block"));
            return None;
        }
        Some([b'K', b'D', b'B', b'G', size @ ..]) if u32::from_le_bytes(size) >= IN_KDBG + 8 => {}
        // Blocks of Windows 7 and 8 end before it.
        Some([b'K', b'D', b'B', b'G', ..]) => return None,
        Some(other) => {
            let allowed = "\"KDBG\"; a block that is encoded cannot be read";
            warnings.push(Warning::at(block, "KDDEBUGGER_DATA64.OwnerTag", format!("{:02x?}", &other[..4]), allowed));
            return None;
        }
    }
    reader.pointer(block, IN_KDBG)
}
