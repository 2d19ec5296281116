//! The processor's trace unit: what it writes for each kind of branch and event.
//!
//! Rules from the Intel SDM, volume 3, "Intel Processor Trace": TNT packing, deferred TIPs, return compression with 64
//! entries, last-IP compression, PSB+.

use std::collections::VecDeque;

use super::rng::Rng;

/// How the trace unit behaves where the architecture leaves a choice.
#[derive(Clone, Debug)]
pub struct Hardware {
    /// Long TNT packets among 100.
    pub long_tnt: u32,
    /// TIPs held back while the TNT fills, among 100.
    pub deferred: u32,
    /// Return compression, on unless DisRETC is set.
    pub compress_returns: bool,
    /// Bytes between PSBs.
    pub psb_every: usize,
    /// Timing and status packets, among 100 packets.
    pub timing: u32,
}

impl Default for Hardware {
    fn default() -> Self {
        Self { long_tnt: 30, deferred: 20, compress_returns: true, psb_every: 700, timing: 5 }
    }
}

/// The trace unit: packets written, and what is held back.
#[derive(Clone, Debug)]
pub struct Unit {
    hardware: Hardware,
    rng: Rng,
    out: Vec<u8>,
    last_ip: u64,
    last_psb: usize,
    bits: Vec<bool>,
    /// Bits at which the TNT is full: 6 or 47.
    full: usize,
    tips: Vec<u64>,
    /// Return addresses of the calls that returns may be compressed against.
    stack: VecDeque<u64>,
    /// True while packets are lost.
    lost: bool,
    off: bool,
    pub(super) deferred: usize,
    pub(super) compressed: usize,
}

const STACK: usize = 64;

impl Unit {
    /// A unit that has written nothing; `seed` decides where the architecture leaves a choice.
    pub fn new(hardware: Hardware, seed: u64) -> Self {
        Self {
            hardware,
            rng: Rng::new(seed),
            out: Vec::new(),
            last_ip: 0,
            last_psb: 0,
            bits: Vec::new(),
            full: 6,
            tips: Vec::new(),
            stack: VecDeque::new(),
            lost: false,
            off: false,
            deferred: 0,
            compressed: 0,
        }
    }

    /// The packets.
    pub fn finish(mut self) -> Vec<u8> {
        self.flush();
        self.out
    }

    /// A conditional branch.
    pub fn conditional(&mut self, taken: bool) {
        if self.bits.is_empty() {
            self.full = if self.rng.chance(self.hardware.long_tnt) { 47 } else { 6 };
        }
        self.bits.push(taken);
        if self.bits.len() >= self.full {
            self.flush();
        }
    }

    /// A near call, direct or indirect, but not `call $+5`; `next` is the address after it.
    pub fn call(&mut self, next: u64) {
        if self.lost || self.off {
            return;
        }
        if self.stack.len() == STACK {
            self.stack.pop_front();
        }
        self.stack.push_back(next);
    }

    /// A near indirect jump or call.
    pub fn indirect(&mut self, to: u64) {
        if self.rng.chance(self.hardware.deferred) {
            self.tips.push(to);
            self.deferred += 1;
        } else {
            self.far(to);
        }
    }

    /// A near return.
    pub fn ret(&mut self, to: u64) {
        let expected = self.stack.pop_back();
        if self.hardware.compress_returns && expected == Some(to) {
            self.compressed += 1;
            self.conditional(true);
        } else {
            self.far(to);
        }
    }

    /// A far transfer, or any branch whose TIP is not held back.
    pub fn far(&mut self, to: u64) {
        self.flush();
        self.ip_packet(0x0d, Some(to));
    }

    /// An interrupt or exception taken at `from`.
    pub fn interrupt(&mut self, from: u64, to: u64) {
        self.flush();
        self.ip_packet(0x1d, Some(from));
        self.ip_packet(0x0d, Some(to));
    }

    /// A new page table root.
    pub fn paging(&mut self, cr3: u64) {
        self.flush();
        self.pip(cr3);
    }

    /// A far transfer to where nothing is traced.
    pub fn disable(&mut self) {
        self.flush();
        self.ip_packet(0x01, None);
        self.off = true;
    }

    /// Packet generation ends at `ip` for a reason outside of the code.
    pub fn asynchronous_end(&mut self, ip: u64) {
        self.flush();
        self.ip_packet(0x1d, Some(ip));
        self.ip_packet(0x01, None);
        self.off = true;
    }

    /// Packet generation begins at `ip`.
    pub fn enable(&mut self, ip: u64) {
        if self.lost {
            self.packet(&[0x02, 0xf3]);
            self.lost = false;
        }
        self.off = false;
        self.stack.clear();
        if self.rng.chance(50) {
            self.packet(&[0x99, 0x01]);
        }
        self.ip_packet(0x11, Some(ip));
    }

    /// The buffer is full: nothing is written until [`Unit::overflow_ends`] or [`Unit::enable`].
    pub fn overflow(&mut self) {
        self.flush();
        self.lost = true;
    }

    /// Packets are written again, from `ip` on.
    pub fn overflow_ends(&mut self, ip: u64) {
        self.lost = false;
        self.stack.clear();
        self.packet(&[0x02, 0xf3]);
        self.ip_packet(0x1d, Some(ip));
    }

    /// True when it is time for a PSB.
    pub fn wants_psb(&self) -> bool {
        self.out.len() - self.last_psb >= self.hardware.psb_every
    }

    /// PSB+; `ip` is the current address, none while packet generation is off.
    pub fn psb(&mut self, ip: Option<u64>) {
        self.flush();
        self.last_psb = self.out.len();
        self.out.extend([0x02, 0x82].repeat(8));
        self.last_ip = 0;
        self.stack.clear();
        if self.rng.chance(50) {
            self.out.extend([0x19, 1, 2, 3, 4, 5, 6, 7]);
            self.out.extend([0x02, 0x73, 1, 2, 0, 3, 0]);
        }
        if self.rng.chance(50) {
            self.pip(0x1a_d000);
        }
        self.out.extend([0x02, 0x03, 0x1c, 0x00]);
        self.out.extend([0x99, 0x01]);
        if ip.is_some() {
            self.ip_packet(0x1d, ip);
        }
        self.out.extend([0x02, 0x23]);
        self.off = ip.is_none();
    }

    /// Writes the TNT, then the TIPs that were held back.
    pub fn flush(&mut self) {
        let bits = std::mem::take(&mut self.bits);
        if !bits.is_empty() {
            let value = bits.iter().fold(1_u64, |value, taken| value << 1 | u64::from(*taken));
            if bits.len() <= 6 {
                self.packet(&[(value << 1) as u8]);
            } else {
                let mut packet = vec![0x02, 0xa3];
                packet.extend(&value.to_le_bytes()[..6]);
                self.packet(&packet);
            }
        }
        for to in std::mem::take(&mut self.tips) {
            self.ip_packet(0x0d, Some(to));
        }
    }

    fn pip(&mut self, cr3: u64) {
        let payload = (cr3 >> 5) << 1;
        let mut packet = vec![0x02, 0x43];
        packet.extend(&payload.to_le_bytes()[..6]);
        self.packet(&packet);
    }

    fn ip_packet(&mut self, opcode: u8, ip: Option<u64>) {
        let Some(ip) = ip else {
            self.packet(&[opcode]);
            return;
        };
        let differs = ip ^ self.last_ip;
        let (code, bytes) = if differs >> 16 == 0 {
            (1, 2)
        } else if differs >> 32 == 0 {
            (2, 4)
        } else if differs >> 48 == 0 && self.rng.chance(30) {
            (4, 6)
        } else if (ip << 16) as i64 >> 16 == ip as i64 && self.rng.chance(90) {
            (3, 6)
        } else {
            (6, 8)
        };
        self.last_ip = ip;
        let mut packet = vec![opcode | code << 5];
        packet.extend(&ip.to_le_bytes()[..bytes]);
        self.packet(&packet);
    }

    fn packet(&mut self, bytes: &[u8]) {
        if self.rng.chance(self.hardware.timing) {
            let timing: [&[u8]; 5] = [&[0x59, 0x33], &[0x1b], &[0x07, 0x04], &[0x00], &[0x02, 0x03, 0x20, 0x00]];
            self.out.extend(*self.rng.pick(&timing));
        }
        self.out.extend(bytes);
    }
}
