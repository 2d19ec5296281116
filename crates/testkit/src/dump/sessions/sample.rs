//! The kernel with sessions of the samples and of the guide's examples.

use super::{Buffer, Kernel, Ring, Session, W19041B};
use crate::trace::{Event, Header, Module, Payload};

/// Three sessions: the circular one with the drivers that came and went last, a log of the system, and one for Intel PT.
pub fn sample() -> Kernel {
    let mut kernel = Kernel::new(W19041B);
    // The performance counter's ticks, ten million a second; the machine stopped 99 s after the reference time.
    let image = |tick: i64, hook: u16, name: &str, base: u64| {
        let module = Module::kernel(&format!(r"\SystemRoot\System32\drivers\{name}"), base, 0x9000);
        Payload::Image { hook, version: 3, module }.event(1_000_000 + tick, 8).encode()
    };
    let mut circular = Session::new(2, "Circular Kernel Context Logger");
    circular.classes = Some(0x7);
    circular.buffers = vec![
        Buffer::unused(),
        Buffer::current(
            0,
            1,
            &[
                image(600_000_000, 0x030a, "helper.sys", 0xffff_f804_1900_0000),
                image(700_000_000, 0x1402, "helper.sys", 0xffff_f804_1900_0000),
            ],
        ),
        Buffer::flushed(
            0,
            4,
            0x2000,
            &[
                image(100_000_000, 0x030a, "gone.sys", 0xffff_f804_1700_0000),
                image(200_000_000, 0x1402, "gone.sys", 0xffff_f804_1700_0000),
            ],
        ),
        Buffer::full(1, 5, 0x2000, &[image(300_000_000, 0x030a, "late.sys", 0xffff_f804_1800_0000)]),
    ];
    let mut log = Session::new(10, "EventLog-System");
    (log.mode, log.clock, log.ring) = (0x9880_0180, 2, Ring::Nodes);
    log.reference = (132_583_450_000_000_000, 132_583_450_000_000_000);
    (log.flush_timer, log.log_file) = (1, r"%SystemRoot%\System32\Winevt\Logs\System.etl".into());
    let event = |seconds: i64, id: u16| {
        let guid = "331c3b3a-2005-44c2-ac5e-77220c37d6b4";
        let tick = 132_583_450_000_000_000 + seconds * 10_000_000;
        Event::class(Header::Event64, guid, id, 0, tick, vec![0; 16]).encode()
    };
    log.buffers = vec![Buffer::current(0, 1, &[event(1, 172), event(2, 172), event(3, 105)]), Buffer::unused()];
    let mut ipt = Session::new(20, "ipt");
    (ipt.flags, ipt.ipt, ipt.ring) = (1 << 26, Some((0x21, vec![0x0524, 0x0f2e])), Ring::Nodes);
    ipt.buffers = vec![Buffer::unused(), Buffer::unused()];
    kernel.sessions = vec![circular, log, ipt];
    kernel
}
