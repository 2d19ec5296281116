//! One recording in two files, as loggers leave it before a merge: the kernel's session and a user session that began two
//! seconds later.

use super::{Module, Payload, TraceFile};

/// One second of the performance counter.
const SECOND: i64 = 10_000_000;
/// PSB and padding.
const DATA: [u8; 24] = [
    0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0, 0, 0, 0, 0, 0,
    0, 0,
];

/// The two files of a recording.
#[derive(Clone, Debug)]
pub struct RecordingSet {
    /// The kernel's session: `ntoskrnl.exe` and `a.sys` by its rundown; `b.sys` loaded after 5 seconds, unloaded after 6;
    /// at its base `c.sys` from second 7 on. One piece of Intel PT data.
    pub kernel: TraceFile,
    /// The user session: the same loads and the unload, a few ticks later; its own rundown, which has `a.sys` and, at the
    /// end, `c.sys`; `d.sys`, which only it saw. One piece of Intel PT data.
    pub user: TraceFile,
}

impl RecordingSet {
    /// Names of the modules that both files together tell of, each once, in the order of their bases, then of time.
    pub const MODULES: [&'static str; 5] = ["ntoskrnl.exe", "a.sys", "b.sys", "c.sys", "d.sys"];

    /// The set.
    pub fn new() -> Self {
        let module = |name: &str, base: u64, stamp: u32| {
            Module::kernel(&format!(r"\SystemRoot\System32\drivers\{name}"), base, 0x8000).with_identity(stamp, 0)
        };
        let nt = module("ntoskrnl.exe", 0xffff_f800_1000_0000, 1);
        let a = module("a.sys", 0xffff_f800_2000_0000, 2);
        let b = module("b.sys", 0xffff_f800_3000_0000, 3);
        let c = module("c.sys", 0xffff_f800_3000_0000, 4);
        let d = module("d.sys", 0xffff_f800_4000_0000, 5);

        let mut kernel = TraceFile::new();
        (kernel.mode, kernel.logger_name) = (0x1, "NT Kernel Logger".to_owned());
        let start = kernel.start_tick;
        let at = |seconds: i64| start + seconds * SECOND;
        kernel.kernel_base(0, at(0), nt.base).module(0, at(0), &nt).module(0, at(0), &a);
        kernel.load(1, at(5), &b).unload(1, at(6), &b).load(1, at(7), &c);
        kernel.ipt(1, at(8), (4, 8), &DATA, 0);

        let mut user = TraceFile::new();
        // One buffer list for all processors: NumberOfProcessors says 1 then.
        (user.mode, user.processors, user.logger_name) = (0x1000_0001, 1, "User session".to_owned());
        user.start_tick = at(2);
        user.start_time += 2 * SECOND;
        user.payload(0, at(2), &Payload::Image { hook: 0x1403, version: 3, module: a.clone() });
        user.load(0, at(5) + 3, &b).unload(0, at(6) + 4, &b).load(0, at(7) + 5, &c).load(0, at(8), &d);
        user.payload(0, at(9), &Payload::Image { hook: 0x1404, version: 3, module: c.clone() });
        user.ipt(2, at(9), (4, 12), &DATA, 0);
        Self { kernel, user }
    }
}

impl Default for RecordingSet {
    fn default() -> Self {
        Self::new()
    }
}
