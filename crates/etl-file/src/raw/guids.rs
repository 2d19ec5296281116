//! GUIDs of event classes and providers.

use crate::guid::Guid;

/// The GUIDs that this crate knows, by their vendor names (evntrace.h, ntwmi.h in phnt, TraceEvent;
/// Geoff Chappell's table of hook ids for the classes of kernel events).
#[derive(Clone, Copy, Debug)]
pub struct ProviderGuid;

impl ProviderGuid {
    /// The log file itself: EventTraceGuid.
    pub const EVENT_TRACE: Guid = Guid::new(0x68fdd900, 0x4a3e, 0x11d1, [0x84, 0xf4, 0, 0, 0xf8, 0x04, 0x64, 0xe3]);
    /// Image loads: ImageLoadGuid.
    pub const IMAGE: Guid = Guid::new(0x2cb15d1d, 0x5fc1, 0x11d2, [0xab, 0xe1, 0x00, 0xa0, 0xc9, 0x11, 0xf5, 0x18]);
    /// Processes: ProcessGuid.
    pub const PROCESS: Guid = Guid::new(0x3d6fa8d0, 0xfe05, 0x11d0, [0x9d, 0xda, 0x00, 0xc0, 0x4f, 0xd7, 0xba, 0x7c]);
    /// Threads: ThreadGuid.
    pub const THREAD: Guid = Guid::new(0x3d6fa8d1, 0xfe05, 0x11d0, [0x9d, 0xda, 0x00, 0xc0, 0x4f, 0xd7, 0xba, 0x7c]);
    /// System configuration: EventTraceConfigGuid.
    pub const SYSTEM_CONFIG: Guid =
        Guid::new(0x01853a65, 0x418f, 0x4f36, [0xae, 0xfc, 0xdc, 0x0f, 0x1d, 0x2f, 0xd2, 0x35]);
    /// Performance information: PerfInfoGuid.
    pub const PERF_INFO: Guid = Guid::new(0xce1dbfb4, 0x137e, 0x4da6, [0x87, 0xb0, 0x3f, 0x59, 0xaa, 0x10, 0x2c, 0xbc]);
    /// Stack walks: StackWalkGuid.
    pub const STACK_WALK: Guid =
        Guid::new(0xdef2fe46, 0x7bd6, 0x4b80, [0xbd, 0x94, 0xf5, 0x7f, 0xe2, 0x0d, 0x0c, 0xe3]);
    /// Last branch records: LastBranchRecordProviderGuid.
    pub const LAST_BRANCH: Guid =
        Guid::new(0x99134383, 0x5248, 0x43fc, [0x83, 0x4b, 0x52, 0x94, 0x54, 0xe7, 0x5d, 0xf3]);
    /// Intel Processor Trace: IptGuid. That the event carries it in a relogged file is inferred.
    pub const IPT: Guid = Guid::new(0xff1fd2fd, 0x6008, 0x42bb, [0x9e, 0x75, 0x00, 0xa2, 0x00, 0x51, 0xf3, 0xbe]);
    /// KernelTraceControl: the task of image and debug-information events that a merge adds.
    pub const IMAGE_ID: Guid = Guid::new(0xb3e675d7, 0x2554, 0x4f18, [0x83, 0x0b, 0x27, 0x62, 0x73, 0x25, 0x60, 0xde]);
    /// KernelTraceControl: the task of system configuration events that a merge adds.
    pub const SYSTEM_CONFIG_EX: Guid =
        Guid::new(0x9b79ee91, 0xb5fd, 0x41c0, [0xa2, 0x43, 0x42, 0x48, 0xe2, 0x66, 0xe9, 0xd0]);
    /// Microsoft-Windows-Kernel-Process.
    pub const KERNEL_PROCESS: Guid =
        Guid::new(0x22fb2cd6, 0x0e7b, 0x422b, [0xa0, 0xc7, 0x2f, 0xad, 0x1f, 0xd0, 0xe7, 0x16]);
    /// Disk input and output: DiskIoGuid.
    pub const DISK_IO: Guid = Guid::new(0x3d6fa8d4, 0xfe05, 0x11d0, [0x9d, 0xda, 0x00, 0xc0, 0x4f, 0xd7, 0xba, 0x7c]);
    /// Page faults and virtual memory: PageFaultGuid.
    pub const PAGE_FAULT: Guid =
        Guid::new(0x3d6fa8d3, 0xfe05, 0x11d0, [0x9d, 0xda, 0x00, 0xc0, 0x4f, 0xd7, 0xba, 0x7c]);
    /// File input and output: FileIoGuid.
    pub const FILE_IO: Guid = Guid::new(0x90cbdc39, 0x4a3e, 0x11d1, [0x84, 0xf4, 0x00, 0x00, 0xf8, 0x04, 0x64, 0xe3]);
    /// TCP: TcpIpGuid.
    pub const TCP_IP: Guid = Guid::new(0x9a280ac0, 0xc8e0, 0x11d1, [0x84, 0xe2, 0x00, 0xc0, 0x4f, 0xb9, 0x98, 0xa2]);
    /// Jobs: JobGuid.
    pub const JOB: Guid = Guid::new(0x3282fc76, 0xfeed, 0x498e, [0x8a, 0xa7, 0xe7, 0x0f, 0x45, 0x9d, 0x43, 0x0e]);
    /// UDP: UdpIpGuid.
    pub const UDP_IP: Guid = Guid::new(0xbf3a50c5, 0xa9c9, 0x4988, [0xa0, 0x05, 0x2d, 0xf0, 0xb7, 0xc8, 0x0f, 0x80]);
    /// The registry: RegistryGuid.
    pub const REGISTRY: Guid = Guid::new(0xae53722e, 0xc863, 0x11d2, [0x86, 0x59, 0x00, 0xc0, 0x4f, 0xa3, 0x21, 0xa1]);
    /// Debug messages: DbgPrintGuid.
    pub const DBG_PRINT: Guid = Guid::new(0x13976d09, 0xa327, 0x438c, [0x95, 0x0b, 0x7f, 0x03, 0x19, 0x28, 0x15, 0xc7]);
    /// Windows notification facility: WnfGuid.
    pub const WNF: Guid = Guid::new(0x42695762, 0xea50, 0x497a, [0x90, 0x68, 0x5c, 0xbb, 0xb3, 0x5e, 0x0b, 0x95]);
    /// Kernel pool: PoolGuid.
    pub const POOL: Guid = Guid::new(0x0268a8b6, 0x74fd, 0x4302, [0x9d, 0xd0, 0x6e, 0x8f, 0x17, 0x95, 0xc0, 0xcf]);
    /// Heaps: HeapGuid.
    pub const HEAP: Guid = Guid::new(0x222962ab, 0x6180, 0x4b88, [0xa8, 0x25, 0x34, 0x6b, 0x75, 0xf2, 0xa2, 0x4a]);
    /// Objects and handles: ObjectGuid.
    pub const OBJECT: Guid = Guid::new(0x89497f50, 0xeffe, 0x4440, [0x8c, 0xf2, 0xce, 0x6b, 0x1c, 0xdc, 0xac, 0xa7]);
    /// Power: PowerGuid.
    pub const POWER: Guid = Guid::new(0xe43445e0, 0x0903, 0x48c3, [0xb8, 0x78, 0xff, 0x0f, 0xcc, 0xeb, 0xdd, 0x04]);
    /// Module binding: ModBoundGuid.
    pub const MOD_BOUND: Guid = Guid::new(0xa9152f00, 0x3f58, 0x4bee, [0x92, 0xa1, 0x70, 0xc7, 0xd0, 0x79, 0xd5, 0xdd]);
    /// Deferred procedure calls: DpcGuid.
    pub const DPC: Guid = Guid::new(0xb2d14872, 0x7c5b, 0x463d, [0x84, 0x19, 0xee, 0x9b, 0xf7, 0xd2, 0x3e, 0x04]);
    /// The cache manager: CcGuid.
    pub const CC: Guid = Guid::new(0x7687a439, 0xf752, 0x45b8, [0xb7, 0x41, 0x32, 0x1a, 0xec, 0x0f, 0x8d, 0xf9]);
    /// Critical sections: CritSecGuid.
    pub const CRIT_SEC: Guid = Guid::new(0x3ac66736, 0xcc59, 0x4cff, [0x81, 0x15, 0x8d, 0xf5, 0x0e, 0x39, 0x81, 0x6b]);
    /// User-mode scheduling: UmsEventGuid.
    pub const UMS: Guid = Guid::new(0x9aec974b, 0x5b8e, 0x4118, [0x9b, 0x92, 0x31, 0x86, 0xd8, 0x00, 0x2c, 0xe5]);
    /// Local procedure calls: ALPCGuid.
    pub const ALPC: Guid = Guid::new(0x45d8cccd, 0x539f, 0x4b72, [0xa8, 0xb7, 0x5c, 0x68, 0x31, 0x42, 0x60, 0x9a]);
    /// Split input and output: SplitIoGuid.
    pub const SPLIT_IO: Guid = Guid::new(0xd837ca92, 0x12b9, 0x44a5, [0xad, 0x6a, 0x3a, 0x65, 0xb3, 0x57, 0x8a, 0xa8]);
    /// Thread pools: ThreadPoolGuid.
    pub const THREAD_POOL: Guid =
        Guid::new(0xc861d0e2, 0xa2c1, 0x4d36, [0x9f, 0x9c, 0x97, 0x0b, 0xab, 0x94, 0x3a, 0x12]);
    /// The hypervisor: HypervisorTraceGuid.
    pub const HYPERVISOR: Guid =
        Guid::new(0x7f2a405c, 0x69b5, 0x4bf9, [0xa1, 0xf5, 0x30, 0xe8, 0xf1, 0xaf, 0xab, 0x5e]);
    /// The hypervisor, extended: HypervisorXTraceGuid.
    pub const HYPERVISOR_X: Guid =
        Guid::new(0x2ce9a149, 0xeffe, 0x42f0, [0xa6, 0x35, 0xa1, 0xd3, 0x9e, 0x26, 0xc8, 0xf2]);
    /// Microsoft-Windows-Kernel-LiveDump.
    pub const KERNEL_LIVE_DUMP: Guid =
        Guid::new(0xbef2aa8e, 0x81cd, 0x11e2, [0xa7, 0xbb, 0x5e, 0xac, 0x61, 0x88, 0x70, 0x9b]);

    /// The name of a class or provider that this crate knows.
    pub fn name(guid: Guid) -> Option<&'static str> {
        NAMES.iter().find(|(_, known)| *known == guid).map(|(name, _)| *name)
    }

    /// The class or provider of a name that this crate knows, in whatever case.
    ///
    /// ```
    /// use etl_file::ProviderGuid;
    /// assert_eq!(ProviderGuid::named("microsoft-windows-kernel-process"), Some(ProviderGuid::KERNEL_PROCESS));
    /// assert_eq!(ProviderGuid::named("Registry"), Some(ProviderGuid::REGISTRY));
    /// ```
    pub fn named(name: &str) -> Option<Guid> {
        NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, guid)| *guid)
    }
}

/// Kernel classes by their vendor names without "Guid", providers by their manifests'.
const NAMES: &[(&str, Guid)] = &[
    ("EventTrace", ProviderGuid::EVENT_TRACE),
    ("Image", ProviderGuid::IMAGE),
    ("Process", ProviderGuid::PROCESS),
    ("Thread", ProviderGuid::THREAD),
    ("SystemConfig", ProviderGuid::SYSTEM_CONFIG),
    ("PerfInfo", ProviderGuid::PERF_INFO),
    ("StackWalk", ProviderGuid::STACK_WALK),
    ("LastBranchRecord", ProviderGuid::LAST_BRANCH),
    ("Ipt", ProviderGuid::IPT),
    ("ImageId", ProviderGuid::IMAGE_ID),
    ("SystemConfigEx", ProviderGuid::SYSTEM_CONFIG_EX),
    ("Microsoft-Windows-Kernel-Process", ProviderGuid::KERNEL_PROCESS),
    ("DiskIo", ProviderGuid::DISK_IO),
    ("PageFault", ProviderGuid::PAGE_FAULT),
    ("FileIo", ProviderGuid::FILE_IO),
    ("TcpIp", ProviderGuid::TCP_IP),
    ("Job", ProviderGuid::JOB),
    ("UdpIp", ProviderGuid::UDP_IP),
    ("Registry", ProviderGuid::REGISTRY),
    ("DbgPrint", ProviderGuid::DBG_PRINT),
    ("Wnf", ProviderGuid::WNF),
    ("Pool", ProviderGuid::POOL),
    ("Heap", ProviderGuid::HEAP),
    ("Object", ProviderGuid::OBJECT),
    ("Power", ProviderGuid::POWER),
    ("ModBound", ProviderGuid::MOD_BOUND),
    ("Dpc", ProviderGuid::DPC),
    ("Cc", ProviderGuid::CC),
    ("CritSec", ProviderGuid::CRIT_SEC),
    ("Ums", ProviderGuid::UMS),
    ("Alpc", ProviderGuid::ALPC),
    ("SplitIo", ProviderGuid::SPLIT_IO),
    ("ThreadPool", ProviderGuid::THREAD_POOL),
    ("Hypervisor", ProviderGuid::HYPERVISOR),
    ("HypervisorX", ProviderGuid::HYPERVISOR_X),
    ("Microsoft-Windows-Kernel-LiveDump", ProviderGuid::KERNEL_LIVE_DUMP),
];
