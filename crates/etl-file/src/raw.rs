//! On-disk values under their vendor names.

use std::fmt;

/// Bytes of the fixed part of TRACE_LOGFILE_HEADER, 32-bit form (evntrace.h).
pub(crate) const LOG_HEADER_32: usize = 0x110;
/// The same, 64-bit form.
pub(crate) const LOG_HEADER_64: usize = 0x118;

/// Kind of a kernel event: group in the high byte, type in the low one (ntwmi.h in phnt, WMI_LOG_TYPE_* and
/// PERFINFO_LOG_TYPE_*).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HookId(pub u16);

impl fmt::Debug for HookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}
