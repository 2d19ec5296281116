//! `KDDEBUGGER_DATA64` (wdbgexts.h): where a debugger finds the kernel's variables and the fields of its structures.
//!
//! The debugger trusts this block more than symbols: it is how it goes from a processor's number to its registers.
//!
//! ```text
//! KiProcessorBlock[n] ──► KPRCB ─+OffsetPrcbContext──► pointer ──► CONTEXT    (dbgeng 10, measured)
//!                           └─+OffsetPrcbCurrentThread ──► ETHREAD ─+OffsetKThreadApcProcess──► EPROCESS
//! ```

/// Bytes of the block as Windows 10 writes it.
pub const SIZE: usize = 0x380;
/// `DBGKD_DEBUG_DATA_HEADER64.OwnerTag`.
pub const OWNER_TAG: u32 = u32::from_le_bytes(*b"KDBG");

/// A 64-bit field of the block: the address of a kernel variable, by its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variable(pub u16);

#[expect(missing_docs, reason = "the names are the kernel's own")]
impl Variable {
    pub const KERN_BASE: Variable = Variable(0x18);
    pub const PS_LOADED_MODULE_LIST: Variable = Variable(0x48);
    pub const PS_ACTIVE_PROCESS_HEAD: Variable = Variable(0x50);
    pub const KE_TIME_INCREMENT: Variable = Variable(0x78);
    pub const KE_BUGCHECK_CALLBACK_LIST_HEAD: Variable = Variable(0x80);
    pub const KI_BUGCHECK_DATA: Variable = Variable(0x88);
    pub const MM_PFN_DATABASE: Variable = Variable(0xc0);
    pub const MM_PAGE_SIZE: Variable = Variable(0x138);
    pub const NT_BUILD_LAB: Variable = Variable(0x208);
    pub const KI_PROCESSOR_BLOCK: Variable = Variable(0x218);
    pub const MM_UNLOADED_DRIVERS: Variable = Variable(0x220);
    pub const MM_LAST_UNLOADED_DRIVER: Variable = Variable(0x228);
}

/// A 16-bit field of the block: the offset of a structure's field, or a structure's size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldOffset(pub u16);

#[expect(missing_docs, reason = "the names are the header's own")]
impl FieldOffset {
    pub const KTHREAD_NEXT_PROCESSOR: FieldOffset = FieldOffset(0x298);
    pub const KTHREAD_TEB: FieldOffset = FieldOffset(0x29a);
    pub const KTHREAD_KERNEL_STACK: FieldOffset = FieldOffset(0x29c);
    pub const KTHREAD_INITIAL_STACK: FieldOffset = FieldOffset(0x29e);
    pub const KTHREAD_APC_PROCESS: FieldOffset = FieldOffset(0x2a0);
    pub const KTHREAD_STATE: FieldOffset = FieldOffset(0x2a2);
    pub const SIZE_EPROCESS: FieldOffset = FieldOffset(0x2a8);
    pub const EPROCESS_PEB: FieldOffset = FieldOffset(0x2aa);
    pub const EPROCESS_PARENT_CID: FieldOffset = FieldOffset(0x2ac);
    pub const EPROCESS_DIRECTORY_TABLE_BASE: FieldOffset = FieldOffset(0x2ae);
    pub const SIZE_PRCB: FieldOffset = FieldOffset(0x2b0);
    pub const PRCB_DPC_ROUTINE: FieldOffset = FieldOffset(0x2b2);
    pub const PRCB_CURRENT_THREAD: FieldOffset = FieldOffset(0x2b4);
    pub const PRCB_MHZ: FieldOffset = FieldOffset(0x2b6);
    pub const PRCB_CPU_TYPE: FieldOffset = FieldOffset(0x2b8);
    pub const PRCB_VENDOR_STRING: FieldOffset = FieldOffset(0x2ba);
    pub const PRCB_PROC_STATE_CONTEXT: FieldOffset = FieldOffset(0x2bc);
    pub const PRCB_NUMBER: FieldOffset = FieldOffset(0x2be);
    pub const SIZE_ETHREAD: FieldOffset = FieldOffset(0x2c0);
    pub const PRCB_CONTEXT: FieldOffset = FieldOffset(0x338);
}

/// Offsets and sizes of Windows 10 19041 to 19045 on x64: the fields above with the values that build's own block has
/// (measured). A synthetic dump uses them whatever its build: the debugger takes them from this block.
pub const AMD64_19041: [(FieldOffset, u16); 20] = [
    (FieldOffset::KTHREAD_NEXT_PROCESSOR, 0x218),
    (FieldOffset::KTHREAD_TEB, 0xf0),
    (FieldOffset::KTHREAD_KERNEL_STACK, 0x58),
    (FieldOffset::KTHREAD_INITIAL_STACK, 0x28),
    (FieldOffset::KTHREAD_APC_PROCESS, 0xb8),
    (FieldOffset::KTHREAD_STATE, 0x184),
    (FieldOffset::SIZE_EPROCESS, 0xa40),
    (FieldOffset::EPROCESS_PEB, 0x550),
    (FieldOffset::EPROCESS_PARENT_CID, 0x540),
    (FieldOffset::EPROCESS_DIRECTORY_TABLE_BASE, 0x28),
    (FieldOffset::SIZE_PRCB, 0xaf00),
    (FieldOffset::PRCB_DPC_ROUTINE, 0x312a),
    (FieldOffset::PRCB_CURRENT_THREAD, 0x8),
    (FieldOffset::PRCB_MHZ, 0x44),
    (FieldOffset::PRCB_CPU_TYPE, 0x40),
    (FieldOffset::PRCB_VENDOR_STRING, 0x8590),
    (FieldOffset::PRCB_PROC_STATE_CONTEXT, 0x1f0),
    (FieldOffset::PRCB_NUMBER, 0x24),
    (FieldOffset::SIZE_ETHREAD, 0x898),
    (FieldOffset::PRCB_CONTEXT, 0x85c0),
];

/// The block as bytes, with its fields by name. Shorter blocks of older systems read as 0 where they end.
#[derive(Clone, PartialEq, Eq)]
pub struct DebuggerData {
    bytes: Vec<u8>,
}

impl DebuggerData {
    /// A block that says nothing yet but its own size, with both list pointers at its own `address`, as on a machine
    /// that was never connected to a debugger.
    pub fn new(address: u64) -> DebuggerData {
        let mut bytes = vec![0; SIZE];
        bytes[..8].copy_from_slice(&address.to_le_bytes());
        bytes[8..16].copy_from_slice(&address.to_le_bytes());
        bytes[16..20].copy_from_slice(&OWNER_TAG.to_le_bytes());
        bytes[20..24].copy_from_slice(&(SIZE as u32).to_le_bytes());
        DebuggerData { bytes }
    }

    /// The block that a dump holds.
    pub fn from_bytes(bytes: &[u8]) -> DebuggerData {
        DebuggerData { bytes: bytes.to_vec() }
    }

    /// The block as it lies in a dump.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// `OwnerTag`; "KDBG" in a block that is one.
    pub fn owner_tag(&self) -> u32 {
        u32::from_le_bytes(self.get(16))
    }

    /// The address of a kernel variable; 0 when unknown.
    pub fn variable(&self, variable: Variable) -> u64 {
        u64::from_le_bytes(self.get(variable.0.into()))
    }

    /// A structure's offset or size; 0 when unknown.
    pub fn offset(&self, field: FieldOffset) -> u16 {
        u16::from_le_bytes(self.get(field.0.into()))
    }

    /// Sets the address of a kernel variable; ignored when the block ends before it.
    pub fn set_variable(&mut self, variable: Variable, value: u64) -> &mut DebuggerData {
        self.put(variable.0.into(), &value.to_le_bytes());
        self
    }

    /// Sets a structure's offset or size; ignored when the block ends before it.
    pub fn set_offset(&mut self, field: FieldOffset, value: u16) -> &mut DebuggerData {
        self.put(field.0.into(), &value.to_le_bytes());
        self
    }

    fn get<const N: usize>(&self, at: usize) -> [u8; N] {
        self.bytes.get(at..at + N).map_or([0; N], |bytes| bytes.try_into().expect("the slice has N bytes"))
    }

    fn put(&mut self, at: usize, value: &[u8]) {
        if let Some(field) = self.bytes.get_mut(at..at + value.len()) {
            field.copy_from_slice(value);
        }
    }
}

impl std::fmt::Debug for DebuggerData {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DebuggerData")
            .field("size", &self.bytes.len())
            .field("kernel_base", &format_args!("{:#x}", self.variable(Variable::KERN_BASE)))
            .field("processor_block", &format_args!("{:#x}", self.variable(Variable::KI_PROCESSOR_BLOCK)))
            .field("prcb_context", &format_args!("{:#x}", self.offset(FieldOffset::PRCB_CONTEXT)))
            .finish()
    }
}
