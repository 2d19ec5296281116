//! Writes Intel PT packets byte by byte. The numbers here are from the Intel SDM's packet pictures, written out where
//! they are used, so that they cannot agree with a decoder's table by sharing it.

use crate::Asm;

/// How an address is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As hardware does: the shortest form that the last address allows.
    Shortest,
    /// No address at all (IPBytes 0).
    Suppressed,
    /// The low 16 bits (IPBytes 1), whatever the rest.
    Low16,
    /// The low 32 bits (IPBytes 2), whatever the rest.
    Low32,
    /// 48 bits, to be sign-extended (IPBytes 3).
    Signed48,
    /// The low 48 bits (IPBytes 4), whatever the rest.
    Low48,
    /// 64 bits (IPBytes 6).
    Full,
    /// A reserved value of IPBytes (5 or 7), which no processor writes.
    Reserved(u8),
}

/// A stream of packets under construction. It keeps the last address, as hardware does.
///
/// ```
/// use testkit::pt::{Compression, PacketWriter};
///
/// let mut trace = PacketWriter::new();
/// trace.psb().psbend().tip(0x1234, Compression::Shortest).tnt(&[true, false]);
/// assert_eq!(trace.finish()[16..], [0x02, 0x23, 0x2d, 0x34, 0x12, 0x0c]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct PacketWriter {
    asm: Asm,
    last: u64,
}

impl PacketWriter {
    /// An empty stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes so far: the offset of the next packet.
    pub fn len(&self) -> usize {
        self.asm.len()
    }

    /// True before the first byte.
    pub fn is_empty(&self) -> bool {
        self.asm.is_empty()
    }

    /// The finished bytes.
    pub fn finish(self) -> Vec<u8> {
        self.asm.finish()
    }

    /// Bytes as they are: damage, or a packet of the future.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.asm.bytes(bytes);
        self
    }

    /// PAD.
    pub fn pad(&mut self) -> &mut Self {
        self.raw(&[0x00])
    }

    /// Short TNT, oldest branch first: 1 to 6.
    pub fn tnt(&mut self, branches: &[bool]) -> &mut Self {
        assert!((1..=6).contains(&branches.len()), "a short TNT has 1 to 6 branches");
        let payload = stop_bit_then(branches);
        self.raw(&[(payload << 1) as u8])
    }

    /// Long TNT, oldest branch first: 1 to 47.
    pub fn long_tnt(&mut self, branches: &[bool]) -> &mut Self {
        assert!((1..=47).contains(&branches.len()), "a long TNT has 1 to 47 branches");
        let payload = stop_bit_then(branches);
        self.raw(&[0x02, 0xa3]).raw(&payload.to_le_bytes()[..6])
    }

    /// TIP.
    pub fn tip(&mut self, ip: u64, form: Compression) -> &mut Self {
        self.address(0b01101, ip, form)
    }

    /// TIP.PGE.
    pub fn pge(&mut self, ip: u64, form: Compression) -> &mut Self {
        self.address(0b10001, ip, form)
    }

    /// TIP.PGD.
    pub fn pgd(&mut self, ip: u64, form: Compression) -> &mut Self {
        self.address(0b00001, ip, form)
    }

    /// FUP.
    pub fn fup(&mut self, ip: u64, form: Compression) -> &mut Self {
        self.address(0b11101, ip, form)
    }

    /// PSB; forgets the last address.
    pub fn psb(&mut self) -> &mut Self {
        self.last = 0;
        for _ in 0..8 {
            self.raw(&[0x02, 0x82]);
        }
        self
    }

    /// PSBEND.
    pub fn psbend(&mut self) -> &mut Self {
        self.raw(&[0x02, 0x23])
    }

    /// MODE, as its leaf (bits 7:5) and the 5 bits below.
    pub fn mode(&mut self, leaf: u8, bits: u8) -> &mut Self {
        assert!(leaf < 8 && bits < 32);
        self.raw(&[0x99, leaf << 5 | bits])
    }

    /// PIP: CR3 (multiple of 32) and the non-root bit.
    pub fn pip(&mut self, cr3: u64, non_root: bool) -> &mut Self {
        let payload = (cr3 >> 4) & !1 | u64::from(non_root);
        self.raw(&[0x02, 0x43]).raw(&payload.to_le_bytes()[..6])
    }

    /// CBR: the core-to-bus ratio.
    pub fn cbr(&mut self, ratio: u8) -> &mut Self {
        self.raw(&[0x02, 0x03, ratio, 0])
    }

    /// TSC: 56 bits.
    pub fn tsc(&mut self, tsc: u64) -> &mut Self {
        self.raw(&[0x19]).raw(&tsc.to_le_bytes()[..7])
    }

    /// MTC.
    pub fn mtc(&mut self, counter: u8) -> &mut Self {
        self.raw(&[0x59, counter])
    }

    /// TMA: the crystal clock's low 16 bits, and 9 bits of fast counter.
    pub fn tma(&mut self, ctc: u16, fast: u16) -> &mut Self {
        assert!(fast < 512);
        let (ctc, fast) = (ctc.to_le_bytes(), fast.to_le_bytes());
        self.raw(&[0x02, 0x73, ctc[0], ctc[1], 0, fast[0], fast[1]])
    }

    /// CYC, as short as it can be.
    pub fn cyc(&mut self, cycles: u64) -> &mut Self {
        let mut rest = cycles / 32;
        self.raw(&[((cycles % 32) as u8) << 3 | if rest > 0 { 0b111 } else { 0b011 }]);
        while rest > 0 {
            let bits = (rest % 128) as u8;
            rest /= 128;
            self.raw(&[bits << 1 | u8::from(rest > 0)]);
        }
        self
    }

    /// VMCS: the physical address (multiple of 4096).
    pub fn vmcs(&mut self, base: u64) -> &mut Self {
        self.raw(&[0x02, 0xc8]).raw(&(base / 4096).to_le_bytes()[..5])
    }

    /// OVF.
    pub fn ovf(&mut self) -> &mut Self {
        self.raw(&[0x02, 0xf3])
    }

    /// TraceStop.
    pub fn stop(&mut self) -> &mut Self {
        self.raw(&[0x02, 0x83])
    }

    /// MNT.
    pub fn mnt(&mut self, payload: u64) -> &mut Self {
        self.raw(&[0x02, 0xc3, 0x88]).raw(&payload.to_le_bytes())
    }

    /// PTW with 4 bytes.
    pub fn ptw4(&mut self, payload: u32, fup_follows: bool) -> &mut Self {
        self.raw(&[0x02, if fup_follows { 0x92 } else { 0x12 }]).raw(&payload.to_le_bytes())
    }

    /// PTW with 8 bytes.
    pub fn ptw8(&mut self, payload: u64, fup_follows: bool) -> &mut Self {
        self.raw(&[0x02, if fup_follows { 0xb2 } else { 0x32 }]).raw(&payload.to_le_bytes())
    }

    /// EXSTOP.
    pub fn exstop(&mut self, fup_follows: bool) -> &mut Self {
        self.raw(&[0x02, if fup_follows { 0xe2 } else { 0x62 }])
    }

    /// MWAIT.
    pub fn mwait(&mut self, hints: u32, extensions: u32) -> &mut Self {
        self.raw(&[0x02, 0xc2]).raw(&hints.to_le_bytes()).raw(&extensions.to_le_bytes())
    }

    /// PWRE: C-state and sub C-state, 0 to 15 each.
    pub fn pwre(&mut self, state: u8, sub_state: u8, hardware: bool) -> &mut Self {
        assert!(state < 16 && sub_state < 16);
        self.raw(&[0x02, 0x22, if hardware { 0x08 } else { 0 }, state * 16 + sub_state])
    }

    /// PWRX: last and deepest C-state and wake reason, 0 to 15 each.
    pub fn pwrx(&mut self, last: u8, deepest: u8, wake: u8) -> &mut Self {
        assert!(last < 16 && deepest < 16 && wake < 16);
        self.raw(&[0x02, 0xa2, last * 16 + deepest, wake, 0, 0, 0])
    }

    /// BBP: opens a block of items of 4 or 8 bytes.
    pub fn bbp(&mut self, kind: u8, four_bytes: bool) -> &mut Self {
        assert!(kind < 32);
        self.raw(&[0x02, 0x63, if four_bytes { 0x80 + kind } else { kind }])
    }

    /// BIP with 4 bytes: only in a block opened for that.
    pub fn bip4(&mut self, id: u8, payload: u32) -> &mut Self {
        assert!(id < 32);
        self.raw(&[id * 8 + 4]).raw(&payload.to_le_bytes())
    }

    /// BIP with 8 bytes: only in a block opened for that.
    pub fn bip8(&mut self, id: u8, payload: u64) -> &mut Self {
        assert!(id < 32);
        self.raw(&[id * 8 + 4]).raw(&payload.to_le_bytes())
    }

    /// BEP: closes a block.
    pub fn bep(&mut self, fup_follows: bool) -> &mut Self {
        self.raw(&[0x02, if fup_follows { 0xb3 } else { 0x33 }])
    }

    /// CFE.
    pub fn cfe(&mut self, kind: u8, vector: u8, fup_follows: bool) -> &mut Self {
        assert!(kind < 32);
        self.raw(&[0x02, 0x13, if fup_follows { 0x80 + kind } else { kind }, vector])
    }

    /// EVD.
    pub fn evd(&mut self, kind: u8, payload: u64) -> &mut Self {
        assert!(kind < 32);
        self.raw(&[0x02, 0x53, kind]).raw(&payload.to_le_bytes())
    }

    /// TRIG.
    pub fn trig(&mut self, triggers: u8, multiple: bool, instructions: Option<u16>, fup_follows: bool) -> &mut Self {
        let flags = 0x80 * u8::from(fup_follows) + 0x40 * u8::from(instructions.is_some()) + 0x20 * u8::from(multiple);
        self.raw(&[0xd9, flags, triggers]);
        if let Some(count) = instructions {
            self.raw(&count.to_le_bytes());
        }
        self
    }

    /// PSB+ as hardware writes it in 64-bit kernel code, tracing on at `ip`.
    pub fn psb_plus(&mut self, tsc: u64, ip: u64) -> &mut Self {
        self.psb().tsc(tsc).cbr(30).mode(1, 0).mode(0, 1).fup(ip, Compression::Signed48).psbend()
    }

    fn address(&mut self, opcode: u8, ip: u64, form: Compression) -> &mut Self {
        let differs = self.last ^ ip;
        let canonical = (ip as i64) << 16 >> 16 == ip as i64;
        let (ip_bytes, len, now) = match form {
            Compression::Shortest if differs < 1 << 16 => (1, 2, ip),
            Compression::Shortest if differs < 1 << 32 => (2, 4, ip),
            Compression::Shortest if canonical => (3, 6, ip),
            Compression::Shortest if differs < 1 << 48 => (4, 6, ip),
            Compression::Shortest | Compression::Full => (6, 8, ip),
            Compression::Suppressed => (0, 0, self.last),
            Compression::Low16 => (1, 2, splice(self.last, ip, 16)),
            Compression::Low32 => (2, 4, splice(self.last, ip, 32)),
            Compression::Signed48 => (3, 6, ((ip << 16) as i64 >> 16) as u64),
            Compression::Low48 => (4, 6, splice(self.last, ip, 48)),
            Compression::Reserved(value) => (value, 6, self.last),
        };
        self.last = now;
        self.raw(&[ip_bytes * 32 + opcode]).raw(&ip.to_le_bytes()[..len])
    }
}

/// A 1, then the branches, the oldest first.
fn stop_bit_then(branches: &[bool]) -> u64 {
    branches.iter().fold(1, |bits, &taken| bits * 2 + u64::from(taken))
}

/// `high` with its low `bits` bits from `low`.
fn splice(high: u64, low: u64, bits: u32) -> u64 {
    high >> bits << bits | low & ((1 << bits) - 1)
}

#[cfg(test)]
mod tests {
    use super::{Compression, PacketWriter};

    #[test]
    fn addresses_are_compressed_as_hardware_does() {
        let mut trace = PacketWriter::new();
        trace.psb();
        let start = trace.len();
        for ip in [0xffff_f803_1000_0000, 0xffff_f803_1000_1234, 0xffff_f803_2000_1234] {
            trace.tip(ip, Compression::Shortest);
        }
        assert_eq!(
            trace.finish()[start..],
            [0x6d, 0, 0, 0, 0x10, 0x03, 0xf8, 0x2d, 0x34, 0x12, 0x4d, 0x34, 0x12, 0, 0x20]
        );
    }
}
