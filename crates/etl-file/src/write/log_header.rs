//! The log-file header's event.

use super::event::Sink;
use super::{Error, Result};
use crate::clock::Tick;
use crate::log_header::LogHeader;
use crate::raw::{HeaderKind, LOG_HEADER_32, LOG_HEADER_64};

/// Bytes of SYSTEM_TRACE_HEADER.
const HEADER: usize = 32;
/// TIME_ZONE_INFORMATION after its bias, and the padding that follows it.
const TIME_ZONE_REST: [u8; 172] = [0; 172];

/// The event with TRACE_LOGFILE_HEADER: in the 64-bit form unless the header states pointers of 4 bytes.
pub(super) fn encode(header: &LogHeader) -> Result<Vec<u8>> {
    let wide = header.pointer_size != 4;
    let kind = if wide { HeaderKind::SYSTEM64 } else { HeaderKind::SYSTEM32 };
    let mut out = Vec::with_capacity(0x200);
    let mut to = Sink { out: &mut out };
    // Version 2, hook 0; the size follows below.
    to.u16(2).u8(kind.0 as u8).u8(0xc0).u16(0).u16(0).u32(0).u32(0);
    let Tick(start) = header.start;
    to.i64(start).u64(0);
    // Format 1.5, as Windows 10 and 11 write it (measured).
    to.u32(header.buffer_size).u8(header.os_major).u8(header.os_minor).u8(1).u8(5);
    to.u32(header.build).u32(header.processors).i64(header.end_time.0).u32(header.timer_resolution);
    to.u32(header.maximum_file_size).u32(header.mode.0).u32(header.buffers_written);
    // StartBuffers.
    to.u32(1).u32(header.pointer_size).u32(header.events_lost).u32(header.cpu_mhz);
    // Pointers to the two names, meaningless in a file.
    to.bytes(if wide { &[0; 16] } else { &[0; 8] });
    to.u32(header.time_zone_bias as u32).bytes(&TIME_ZONE_REST);
    to.i64(header.boot_time.0).i64(header.perf_frequency).i64(header.start_time.0);
    to.u32(header.clock.0).u32(header.buffers_lost);
    debug_assert_eq!(to.out.len(), HEADER + if wide { LOG_HEADER_64 } else { LOG_HEADER_32 });
    to.utf16(&header.logger_name).utf16(&header.log_file_name);
    let size = u16::try_from(out.len()).map_err(|_| Error::size("log-file header", out.len() as u64, 0xffff))?;
    out[4..6].copy_from_slice(&size.to_le_bytes());
    out.resize(out.len().next_multiple_of(8), 0);
    Ok(out)
}
