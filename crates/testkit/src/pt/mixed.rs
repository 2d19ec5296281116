//! Long traces with about the mix of packets of a kernel's.

use super::{Compression, PacketWriter};

/// The timing packets of a trace: the values of TimingSettings in the options of a Windows session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// None but those of a PSB+.
    None,
    /// MTC now and then.
    Mtc,
    /// MTC, and a CYC before each TNT and each packet with an address.
    MtcAndCyc,
}

/// As [`timed_trace`], without timing.
pub fn mixed_trace(seed: u64, len: usize) -> (Vec<u8>, Vec<u64>) {
    timed_trace(Timing::None, seed, len)
}

/// A trace of at least `len` bytes: mostly TNT and TIP, short distances more often than long ones, now and then an
/// interrupt, and a PSB+ every 4 KiB. The addresses in it, in order, come beside it.
pub fn timed_trace(timing: Timing, seed: u64, len: usize) -> (Vec<u8>, Vec<u64>) {
    let mut rng = Random(seed | 1);
    let mut clock = Clock { timing, rng: Random(!seed | 1), packets: 0 };
    let mut out = PacketWriter::new();
    let mut ips = Vec::new();
    let modules: Vec<u64> = (0..24).map(|i| 0xffff_f803_1000_0000 + i * 0x73_0000 + (i / 8) * 0x2_0000_0000).collect();
    let (mut module, mut ip, mut next_psb) = (0, modules[0] + 0x1000, 0);
    while out.len() < len {
        if out.len() >= next_psb {
            next_psb = out.len() + 4096;
            out.psb_plus(0x1234_0000 + out.len() as u64, ip);
            ips.push(ip);
        }
        // A run of branches: full packets, then the rest that a TIP flushes.
        for _ in 0..rng.below(5) {
            clock.tick(&mut out).tnt(&rng.branches(6));
        }
        match rng.below(16) {
            0 => module = rng.below(modules.len() as u64) as usize,
            1 => {
                let rest = 1 + rng.below(6) as usize;
                clock.tick(&mut out).tnt(&rng.branches(rest));
                continue;
            }
            _ => {}
        }
        if rng.below(3) > 0 {
            let rest = 1 + rng.below(5) as usize;
            clock.tick(&mut out).tnt(&rng.branches(rest));
        }
        if rng.below(64) == 0 {
            clock.tick(&mut out).fup(ip, Compression::Shortest);
            ips.push(ip);
        }
        // Within the neighbourhood, within the module.
        ip = if rng.below(3) > 0 && ip >> 23 == modules[module] >> 23 {
            ip & !0xffff | rng.below(0x1_0000)
        } else {
            modules[module] + rng.below(0x70_0000)
        };
        clock.tick(&mut out).tip(ip, Compression::Shortest);
        ips.push(ip);
    }
    (out.finish(), ips)
}

/// Writes what goes before the next packet.
struct Clock {
    timing: Timing,
    rng: Random,
    packets: u64,
}

impl Clock {
    fn tick<'a>(&mut self, out: &'a mut PacketWriter) -> &'a mut PacketWriter {
        self.packets += 1;
        if self.timing != Timing::None && self.packets.is_multiple_of(64) {
            out.mtc((self.packets / 64) as u8);
        }
        if self.timing == Timing::MtcAndCyc {
            // Some tens of cycles between two packets, and now and then a wait.
            let waits = self.rng.below(64) == 0;
            out.cyc(self.rng.below(if waits { 1 << 20 } else { 80 }));
        }
        out
    }
}

/// Marsaglia's xorshift: a seed names a trace for ever.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % limit
    }

    fn branches(&mut self, count: usize) -> Vec<bool> {
        (0..count).map(|_| self.below(2) == 1).collect()
    }
}
