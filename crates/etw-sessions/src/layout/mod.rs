//! Where the kernel's structures have their members, and how that is found out.

mod debugger_data;
mod find;
mod probe;
mod table;

pub(crate) use find::find;
pub use find::{Found, Layout};
pub use probe::Slots;
pub(crate) use probe::{entries, is_free, slots};
pub use table::{KnownKernel, known_kernels};

/// Members of `_WMI_LOGGER_CONTEXT`.
pub(crate) mod context {
    pub const LOGGER_ID: &str = "LoggerId";
    pub const BUFFER_SIZE: &str = "BufferSize";
    pub const LOGGER_MODE: &str = "LoggerMode";
    pub const GLOBAL_LIST: &str = "GlobalList";
    pub const LOGGER_NAME: &str = "LoggerName";
    pub const LOG_FILE_NAME: &str = "LogFileName";
    pub const CLOCK_TYPE: &str = "ClockType";
    pub const FLUSH_TIMER: &str = "FlushTimer";
    pub const MINIMUM_BUFFERS: &str = "MinimumBuffers";
    pub const BUFFERS_AVAILABLE: &str = "BuffersAvailable";
    pub const NUMBER_OF_BUFFERS: &str = "NumberOfBuffers";
    pub const MAXIMUM_BUFFERS: &str = "MaximumBuffers";
    pub const EVENTS_LOST: &str = "EventsLost";
    pub const BUFFERS_WRITTEN: &str = "BuffersWritten";
    pub const LOG_BUFFERS_LOST: &str = "LogBuffersLost";
    pub const REAL_TIME_BUFFERS_LOST: &str = "RealTimeBuffersLost";
    pub const MAXIMUM_FILE_SIZE: &str = "MaximumFileSize";
    pub const POOL_TYPE: &str = "PoolType";
    pub const REFERENCE_TIME: &str = "ReferenceTime";
    pub const NUM_CONSUMERS: &str = "NumConsumers";
    pub const START_TIME: &str = "StartTime";
    pub const FLAGS: &str = "Flags";
    pub const IPT_DATA: &str = "IptData";
    pub const SILO_STATE: &str = "SiloState";

    /// Without these a context cannot be read.
    pub const REQUIRED: [&str; 8] =
        [LOGGER_ID, BUFFER_SIZE, LOGGER_MODE, GLOBAL_LIST, LOGGER_NAME, CLOCK_TYPE, NUMBER_OF_BUFFERS, REFERENCE_TIME];
}

/// Members of `_ETW_SILODRIVERSTATE`.
pub(crate) mod silo {
    pub const MAX_LOGGERS: &str = "MaxLoggers";
    pub const LOGGER_CONTEXT: &str = "EtwpLoggerContext";
    pub const INLINE_CONTEXT: &str = "WmipLoggerContext";
    pub const SYSTEM_LOGGER_SETTINGS: &str = "SystemLoggerSettings";
}
