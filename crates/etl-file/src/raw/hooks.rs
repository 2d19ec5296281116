//! Kernel event kinds.

use std::fmt;

/// Kind of a kernel event: group in the high byte, type in the low one (ntwmi.h in phnt, WMI_LOG_TYPE_* and
/// PERFINFO_LOG_TYPE_*; Geoff Chappell's table of hook ids).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct HookId(pub u16);

macro_rules! hooks {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $text:literal;)*) => {
        impl HookId {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The name that event viewers use, if the kind is known.
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    other => minor_name(other),
                }
            }
        }
    };
}

hooks! {
    /// The log-file header.
    LOG_HEADER = 0x0000, "Header";
    /// Group masks of the session.
    LOG_HEADER_EXTENSION = 0x0005, "HeaderExtension";
    /// Debug information of a binary that logs WPP messages: GUID, age, name.
    DBGID_RSDS = 0x0040, "DbgIdRSDS";
    /// Build lab string.
    BUILD_LAB = 0x0042, "BuildLab";
    /// A process started.
    PROCESS_START = 0x0301, "ProcessStart";
    /// A process ended.
    PROCESS_END = 0x0302, "ProcessEnd";
    /// A process that ran when the trace started.
    PROCESS_DC_START = 0x0303, "ProcessDCStart";
    /// A process that ran when the trace ended.
    PROCESS_DC_END = 0x0304, "ProcessDCEnd";
    /// An image was loaded. A hook of the process group, though everything else about images is in group 0x14
    /// (measured in every kernel trace).
    IMAGE_LOAD = 0x030a, "ImageLoad";
    /// A process was terminated.
    PROCESS_TERMINATE = 0x030b, "ProcessTerminate";
    /// A thread started.
    THREAD_START = 0x0501, "ThreadStart";
    /// A thread ended.
    THREAD_END = 0x0502, "ThreadEnd";
    /// A thread that ran when the trace started.
    THREAD_DC_START = 0x0503, "ThreadDCStart";
    /// A thread that ran when the trace ended.
    THREAD_DC_END = 0x0504, "ThreadDCEnd";
    /// A context switch.
    CONTEXT_SWITCH = 0x0524, "CSwitch";
    /// Processors, memory and names of the system.
    CONFIG_CPU = 0x0b0a, "SystemConfigCPU";
    /// Windows version with revision, and device form.
    CONFIG_DEVICE_FAMILY = 0x0b21, "SystemConfigDeviceFamily";
    /// One processor's make.
    CONFIG_PROCESSOR = 0x0b23, "SystemConfigProcessor";
    /// Last branch records.
    LAST_BRANCH = 0x0c20, "LastBranchRecord";
    /// A sample of the instruction pointer.
    SAMPLED_PROFILE = 0x0f2e, "SampledProfile";
    /// An image was unloaded.
    IMAGE_UNLOAD = 0x1402, "ImageUnload";
    /// An image that was loaded when the trace started.
    IMAGE_DC_START = 0x1403, "ImageDCStart";
    /// An image that was loaded when the trace ended.
    IMAGE_DC_END = 0x1404, "ImageDCEnd";
    /// Base of the kernel image.
    KERNEL_BASE = 0x1421, "KernelBase";
    /// The hypervisor's hypercall page.
    HYPERCALL_PAGE = 0x1422, "HypercallPage";
    /// Return addresses of an event.
    STACK_WALK = 0x1820, "StackWalk";
    /// Intel Processor Trace data (reverse-engineered; see the record's documentation).
    IPT = 0x1f20, "IntelProcessorTrace";
}

/// Further kinds that are frequent or likely triggers of Intel PT snapshots, and have no constant.
fn minor_name(hook: u16) -> Option<&'static str> {
    Some(match hook {
        0x0008 => "RundownComplete",
        0x0020 => "GroupMasksEnd",
        0x0050 => "PartitionInfo",
        0x010a => "DiskRead",
        0x010b => "DiskWrite",
        0x010e => "DiskFlush",
        0x020a => "HardFault",
        0x0327 => "ProcessDefunct",
        0x0532 => "ReadyThread",
        0x0539 => "ThreadSetBasePriority",
        0x0548 => "ThreadSetName",
        0x0f32 => "ISR-MSI",
        0x0f33 => "SysClEnter",
        0x0f34 => "SysClExit",
        0x0f42 => "ThreadedDPC",
        0x0f43 => "ISR",
        0x0f44 => "DPC",
        0x0f45 => "TimerDPC",
        0x0f2f => "PmcCounterProfile",
        0x1420 => "ImageRelocation",
        _ => return None,
    })
}

impl HookId {
    /// The group, such as 0x03 for processes.
    pub fn group(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// The type inside the group.
    pub fn opcode(self) -> u8 {
        self.0 as u8
    }
}

impl fmt::Display for HookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "hook {:#06x}", self.0),
        }
    }
}

impl fmt::Debug for HookId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#06x}", self.0)
    }
}
