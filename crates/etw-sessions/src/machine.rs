//! What a kernel's memory says of the machine.

use etl_file::FileTime;

use crate::kernel::Kernel;
use crate::layout::known_kernels;
use crate::memory::Reader;
use crate::types::names;

/// What a session's log-file header says of the machine; 0 where the dump does not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// Build of Windows.
    pub build: u32,
    /// Logical processors.
    pub processors: u32,
    /// Resolution of the timer, in units of 100 ns.
    pub timer_resolution: u32,
    /// Nominal speed of a processor.
    pub cpu_mhz: u32,
    /// When the machine was started.
    pub boot_time: FileTime,
    /// Ticks of the performance counter in a second.
    pub perf_frequency: i64,
    /// Minutes to add to local time to get UTC.
    pub time_zone_bias: i32,
    /// When the dump was made.
    pub time: FileTime,
}

/// The page that the kernel shares with processes, `_KUSER_SHARED_DATA`.
const SHARED: u64 = 0xffff_f780_0000_0000;
const TIME_ZONE_BIAS: u32 = 0x20;
const PERF_FREQUENCY: u32 = 0x300;
/// `KDDEBUGGER_DATA64.KiProcessorBlock` and `.OffsetPrcbMhz`.
const PROCESSOR_BLOCK: u32 = 0x218;
const OFFSET_PRCB_MHZ: u32 = 0x2b6;
/// Units of 100 ns in a minute.
const MINUTE: i64 = 600_000_000;

/// Reads what the memory says of the machine.
pub(crate) fn machine(kernel: &Kernel<'_>, reader: Reader<'_>) -> Machine {
    let row = kernel.pdb.and_then(|pdb| known_kernels().iter().find(|row| row.pdb == Some(pdb)));
    let symbol = |name: &str| {
        let from_pdb = kernel.types.and_then(|types| types.symbols.get(name));
        let rva = from_pdb.or_else(|| row.and_then(|row| row.symbols.get(name)))?;
        kernel.base.checked_add(u64::from(*rva))
    };
    let prcb = || {
        let block = kernel.debugger_data?;
        let prcb = reader.pointer(reader.pointer(block, PROCESSOR_BLOCK)?, 0)?;
        let from_types = || kernel.types?.structures.get(names::PROCESSOR)?.offset("MHz");
        let from_block = || reader.u16(block, OFFSET_PRCB_MHZ).filter(|offset| *offset != 0).map(u32::from);
        let offset = from_types().or_else(|| row?.prcb_mhz).or_else(from_block)?;
        reader.u32(prcb, offset)
    };
    let bias = reader.i64(SHARED, TIME_ZONE_BIAS).map_or(0, |bias| bias / MINUTE);
    Machine {
        build: kernel.build,
        processors: kernel.processors,
        timer_resolution: symbol(names::MAXIMUM_INCREMENT).and_then(|at| reader.u32(at, 0)).unwrap_or(0),
        cpu_mhz: prcb().unwrap_or(0),
        boot_time: FileTime(symbol(names::BOOT_TIME).and_then(|at| reader.i64(at, 0)).unwrap_or(0)),
        perf_frequency: reader.i64(SHARED, PERF_FREQUENCY).filter(|ticks| *ticks > 0).unwrap_or(0),
        // A day and a half is more than any place on Earth has.
        time_zone_bias: i32::try_from(bias).ok().filter(|bias| bias.abs() <= 36 * 60).unwrap_or(0),
        time: kernel.time,
    }
}
