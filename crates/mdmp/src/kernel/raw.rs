//! The on-disk structures of a 64-bit kernel dump, field by field, at alignment 1.
//!
//! Names and order are those of the public headers (`ntdddk.h`'s dump structures as Ghidra's `pagedump` package and
//! Microsoft's `windows` metadata publish them; `KDDEBUGGER_DATA64` is in `debugger_data.rs`). All offsets were
//! checked against a triage dump that Windows 10 build 19041 wrote. Everything is little-endian.
//!
//! ```text
//! 0x0000  DUMP_HEADER64          0x2000 bytes; what was not written holds "PAGE"
//! 0x2000  TRIAGE_DUMP64          0x80 bytes: absolute 32-bit offsets of all that follows
//!         Mm block, unloaded drivers, KPRCB, EPROCESS, ETHREAD, call stack, KDDEBUGGER_DATA64,
//!         drivers, strings, data block table, data of the blocks
//!         "TRGD"                 ends the dump proper; other components' data ("DumpBlob") may follow
//! ```

use zerocopy::byteorder::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `DUMP_HEADER64.Signature`, "PAGE"; also the filler of everything unwritten.
pub const SIGNATURE: u32 = u32::from_le_bytes(*b"PAGE");
/// `DUMP_HEADER64.ValidDump`, "DU64": addresses have 64 bits.
pub const VALID_DUMP64: u32 = u32::from_le_bytes(*b"DU64");
/// What `TRIAGE_DUMP64.ValidOffset` points at, and the last 4 bytes of the dump proper.
pub const TRIAGE_VALID: u32 = u32::from_le_bytes(*b"TRGD");

/// Offset of `TRIAGE_DUMP64`: right after `DUMP_HEADER64`.
pub const TRIAGE_OFFSET: u64 = size_of::<Header64>() as u64;
/// Offset of `DUMP_HEADER64.ContextRecord`.
pub const CONTEXT_OFFSET: u32 = 0x348;
/// Size of the union that holds `DUMP_HEADER64.ContextRecord`.
pub const CONTEXT_SPACE: usize = 3000;
/// Offset of `DUMP_HEADER64.Exception`.
pub const EXCEPTION_OFFSET: u32 = 0xf00;

/// `DUMP_HEADER64`: the first two pages of every 64-bit kernel dump.
#[derive(Clone, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Header64 {
    /// [`SIGNATURE`].
    pub signature: U32,
    /// [`VALID_DUMP64`].
    pub valid_dump: U32,
    /// 15 for a free build, 12 for a checked one.
    pub major_version: U32,
    /// Build number of Windows.
    pub minor_version: U32,
    /// Physical address of the page table root (CR3) of the system process.
    pub directory_table_base: U64,
    /// Address of `MmPfnDatabase`, the variable.
    pub pfn_data_base: U64,
    /// Address of `PsLoadedModuleList`, the list head.
    pub ps_loaded_module_list: U64,
    /// Address of `PsActiveProcessHead`, the list head.
    pub ps_active_process_head: U64,
    /// `IMAGE_FILE_MACHINE_*`.
    pub machine_image_type: U32,
    /// Processors in use.
    pub number_processors: U32,
    /// Bugcheck code.
    pub bug_check_code: U32,
    /// Alignment.
    pub pad0: U32,
    /// The bugcheck's parameters.
    pub bug_check_parameters: [U64; 4],
    /// Text that a debugger may have put there.
    pub version_user: [u8; 32],
    /// Address of `KdDebuggerDataBlock`.
    pub kd_debugger_data_block: U64,
    /// `PHYSICAL_MEMORY_DESCRIPTOR64`: runs of present pages (full dumps only).
    pub physical_memory_block: [u8; 700],
    /// Alignment.
    pub pad1: U32,
    /// Context of the processor at the bugcheck, or of the exception that led to it.
    pub context_record: [u8; CONTEXT_SPACE],
    /// Exception that the dump stands for.
    pub exception: ExceptionRecord64,
    /// 1 full, 2 kernel summary, 4 triage, 5 bitmap full, 6 bitmap kernel, 7 automatic, 8 to 10 newer page maps.
    pub dump_type: U32,
    /// Alignment.
    pub pad2: U32,
    /// Size in bytes that the writer planned for; in triage dumps it need not equal the file's size.
    pub required_dump_space: U64,
    /// When the dump was made: FILETIME.
    pub system_time: U64,
    /// Free text, NUL-terminated.
    pub comment: [u8; 128],
    /// Time since boot in units of 100 ns.
    pub system_up_time: U64,
    /// Which parts a triage dump has: `TRIAGE_DUMP_*` bits.
    pub mini_dump_fields: U32,
    /// State of the callbacks' data.
    pub secondary_data_state: U32,
    /// 1 workstation, 2 domain controller, 3 server.
    pub product_type: U32,
    /// `VER_SUITE_*` bits.
    pub suite_mask: U32,
    /// What the writer says went wrong; 0 for nothing.
    pub writer_status: U32,
    /// Not used.
    pub unused1: u8,
    /// Version of the debugger's secondary data.
    pub kd_secondary_version: u8,
    /// Not used.
    pub unused2: [u8; 2],
    /// `DUMP_FILE_ATTRIBUTES`.
    pub attributes: U32,
    /// Number of this boot.
    pub boot_id: U32,
    /// Not used.
    pub reserved: [u8; 4008],
}

/// `EXCEPTION_RECORD64`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct ExceptionRecord64 {
    /// NTSTATUS.
    pub code: U32,
    /// 1 when execution cannot continue.
    pub flags: U32,
    /// Address of a nested record.
    pub record: U64,
    /// Where it happened.
    pub address: U64,
    /// How many parameters count.
    pub number_parameters: U32,
    /// Alignment.
    pub pad: U32,
    /// The parameters.
    pub information: [U64; 15],
}

/// `TRIAGE_DUMP64`. All offsets count from the start of the file; 0 means absent.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Triage64 {
    /// Service pack and its build; 0 since Windows 10.
    pub service_pack_build: U32,
    /// Bytes of the dump proper, up to and including "TRGD".
    pub size_of_dump: U32,
    /// Where "TRGD" lies.
    pub valid_offset: U32,
    /// Where the context lies: inside the header.
    pub context_offset: U32,
    /// Where the exception record lies: inside the header.
    pub exception_offset: U32,
    /// Where the memory manager's facts lie.
    pub mm_offset: U32,
    /// Where the unloaded drivers lie.
    pub unloaded_drivers_offset: U32,
    /// Where the current processor's `KPRCB` lies.
    pub prcb_offset: U32,
    /// Where the current `EPROCESS` lies.
    pub process_offset: U32,
    /// Where the current `ETHREAD` lies.
    pub thread_offset: U32,
    /// Where the current kernel stack's bytes lie.
    pub call_stack_offset: U32,
    /// How many bytes of stack there are.
    pub size_of_call_stack: U32,
    /// Where the drivers lie.
    pub driver_list_offset: U32,
    /// How many drivers.
    pub driver_count: U32,
    /// Where the names lie.
    pub string_pool_offset: U32,
    /// Bytes of names.
    pub string_pool_size: U32,
    /// Where the name of the driver to blame lies.
    pub broken_driver_offset: U32,
    /// Options that the writer obeyed.
    pub triage_options: U32,
    /// Address of the first byte at `call_stack_offset`: the stack pointer.
    pub top_of_stack: U64,
    /// Used on IA-64 only.
    pub architecture_specific: [u8; 16],
    /// Address of one page that matters to the bugcheck.
    pub data_page_address: U64,
    /// Where that page lies.
    pub data_page_offset: U32,
    /// How much of it there is.
    pub data_page_size: U32,
    /// Where `KDDEBUGGER_DATA64` lies.
    pub debugger_data_offset: U32,
    /// Its size.
    pub debugger_data_size: U32,
    /// Where the table of data blocks lies.
    pub data_blocks_offset: U32,
    /// How many data blocks.
    pub data_blocks_count: U32,
}

/// `DUMP_DRIVER_ENTRY64`: a name and a `KLDR_DATA_TABLE_ENTRY`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DriverEntry64 {
    /// Where the name's `DUMP_STRING` lies.
    pub name_offset: U32,
    /// Alignment.
    pub pad0: U32,
    /// `InLoadOrderLinks`, `ExceptionTable`, its size and `GpValue`, `NonPagedDebugInfo`.
    pub links: [U64; 6],
    /// `DllBase`.
    pub base: U64,
    /// `EntryPoint`.
    pub entry_point: U64,
    /// `SizeOfImage`.
    pub size_of_image: U32,
    /// Alignment.
    pub pad1: U32,
    /// `FullDllName` and `BaseDllName`: addresses that mean nothing here.
    pub names: [U64; 4],
    /// `Flags`.
    pub flags: U32,
    /// `LoadCount` and `u1`.
    pub load_count: U32,
    /// `SectionPointer`.
    pub section: U64,
    /// `CheckSum` of the optional header.
    pub checksum: U32,
    /// `CoverageSectionSize`.
    pub coverage_size: U32,
    /// `CoverageSection`, where newer systems keep the image's `TimeDateStamp` in the low half.
    pub timestamp: U32,
    /// High half of the above.
    pub pad2: U32,
}

/// `DUMP_UNLOADED_DRIVERS64`.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct UnloadedDriver64 {
    /// Bytes of the name.
    pub name_length: U16,
    /// Bytes that the name may have.
    pub name_maximum: U16,
    /// Alignment.
    pub pad: U32,
    /// Address of the name: means nothing here.
    pub name_buffer: U64,
    /// The name's first 12 characters.
    pub name: [U16; 12],
    /// First address.
    pub start: U64,
    /// First address after it.
    pub end: U64,
}

/// `TRIAGE_DATA_BLOCK`: bytes of the dumped machine's virtual memory.
#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct DataBlock {
    /// First address.
    pub address: U64,
    /// Where the bytes lie.
    pub offset: U32,
    /// How many.
    pub size: U32,
}

const _: () = assert!(size_of::<Header64>() == 0x2000);
const _: () = assert!(std::mem::offset_of!(Header64, kd_debugger_data_block) == 0x80);
const _: () = assert!(std::mem::offset_of!(Header64, context_record) == CONTEXT_OFFSET as usize);
const _: () = assert!(std::mem::offset_of!(Header64, exception) == EXCEPTION_OFFSET as usize);
const _: () = assert!(std::mem::offset_of!(Header64, dump_type) == 0xf98);
const _: () = assert!(std::mem::offset_of!(Header64, mini_dump_fields) == 0x1038);
const _: () = assert!(size_of::<ExceptionRecord64>() == 0x98);
const _: () = assert!(size_of::<Triage64>() == 0x80);
const _: () = assert!(std::mem::offset_of!(Triage64, top_of_stack) == 0x48);
const _: () = assert!(std::mem::offset_of!(Triage64, data_blocks_offset) == 0x78);
const _: () = assert!(size_of::<DriverEntry64>() == 0x90);
const _: () = assert!(std::mem::offset_of!(DriverEntry64, base) == 0x38);
const _: () = assert!(std::mem::offset_of!(DriverEntry64, size_of_image) == 0x48);
const _: () = assert!(std::mem::offset_of!(DriverEntry64, flags) == 0x70);
const _: () = assert!(std::mem::offset_of!(DriverEntry64, checksum) == 0x80);
const _: () = assert!(std::mem::offset_of!(DriverEntry64, timestamp) == 0x88);
const _: () = assert!(size_of::<UnloadedDriver64>() == 0x38);
const _: () = assert!(size_of::<DataBlock>() == 16);
