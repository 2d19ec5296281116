//! Addresses in packets: the compressed form, and the last address against which it is expanded.

use crate::bytes::sign_extend_48;

/// The address field of a TIP, TIP.PGE, TIP.PGD or FUP as the packet has it: whole, or the low part of an address
/// whose rest is that of the address before. Named after the SDM's IPBytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Ip {
    /// IPBytes 0: no address. The last IP stays as it is.
    Suppressed,
    /// IPBytes 1: bits 15:0.
    Update16(u16),
    /// IPBytes 2: bits 31:0.
    Update32(u32),
    /// IPBytes 3: bits 47:0, the rest copies bit 47. The value here is the whole address.
    SignExtend48(u64),
    /// IPBytes 4: bits 47:0 (0 to 2^48 - 1).
    Update48(u64),
    /// IPBytes 6: the whole address.
    Full(u64),
}

impl Ip {
    /// The field IPBytes: 0, 1, 2, 3, 4 or 6.
    pub fn ip_bytes(self) -> u8 {
        match self {
            Self::Suppressed => 0,
            Self::Update16(_) => 1,
            Self::Update32(_) => 2,
            Self::SignExtend48(_) => 3,
            Self::Update48(_) => 4,
            Self::Full(_) => 6,
        }
    }

    /// True for IPBytes 0.
    pub fn is_suppressed(self) -> bool {
        self == Self::Suppressed
    }
}

/// The last IP: the address against which the next one is compressed. TIP, TIP.PGE, TIP.PGD and FUP share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LastIp {
    /// `None` before the first PSB, where the address before is not known.
    ip: Option<u64>,
}

impl LastIp {
    /// In mid-stream, before a PSB: only packets with a whole address can be used.
    pub fn unknown() -> Self {
        Self { ip: None }
    }

    /// After a PSB, which sets the last IP to 0 (SDM).
    pub fn after_psb() -> Self {
        Self { ip: Some(0) }
    }

    pub(crate) fn known(ip: u64) -> Self {
        Self { ip: Some(ip) }
    }

    /// The last IP, if it is known.
    pub fn get(self) -> Option<u64> {
        self.ip
    }

    /// Takes the next packet's address field and gives the address it means. `None` when it is suppressed, or part of an
    /// address whose rest is not known.
    #[inline]
    pub fn update(&mut self, ip: Ip) -> Option<u64> {
        let next = match ip {
            Ip::Suppressed => return None,
            Ip::Update16(low) => self.ip? & !0xffff | u64::from(low),
            Ip::Update32(low) => self.ip? & !0xffff_ffff | u64::from(low),
            Ip::SignExtend48(ip) => sign_extend_48(ip),
            Ip::Update48(low) => self.ip? & !0xffff_ffff_ffff | low & 0xffff_ffff_ffff,
            Ip::Full(ip) => ip,
        };
        self.ip = Some(next);
        self.ip
    }

    /// The shortest address field that means `ip` here. Does not change the last IP: [`update`](Self::update) does.
    pub fn compress(self, ip: u64) -> Ip {
        match self.ip {
            Some(last) if last >> 16 == ip >> 16 => Ip::Update16(ip as u16),
            Some(last) if last >> 32 == ip >> 32 => Ip::Update32(ip as u32),
            _ if sign_extend_48(ip) == ip => Ip::SignExtend48(ip),
            Some(last) if last >> 48 == ip >> 48 => Ip::Update48(ip & 0xffff_ffff_ffff),
            _ => Ip::Full(ip),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Ip, LastIp};

    #[test]
    fn partial_addresses_mean_nothing_before_a_psb() {
        let mut last = LastIp::unknown();
        for ip in [Ip::Update16(1), Ip::Update32(2), Ip::Update48(3), Ip::Suppressed] {
            assert_eq!(last.update(ip), None);
        }
        assert_eq!(last.update(Ip::SignExtend48(0xffff_f803_1234_5678)), Some(0xffff_f803_1234_5678));
        assert_eq!(last.update(Ip::Update16(0x9abc)), Some(0xffff_f803_1234_9abc));
        assert_eq!(last.update(Ip::Suppressed), None);
        assert_eq!(last.update(Ip::Update32(0x1)), Some(0xffff_f803_0000_0001));
        assert_eq!(last.update(Ip::Update48(0x8000_0000_0001)), Some(0xffff_8000_0000_0001));
        assert_eq!(last.update(Ip::Full(0x1234_8000_0000_0001)), Some(0x1234_8000_0000_0001));
    }

    #[test]
    fn compression_takes_the_shortest_field() {
        let mut last = LastIp::after_psb();
        for (ip, field) in [
            (0x1234, Ip::Update16(0x1234)),
            (0x7fff_1234, Ip::Update32(0x7fff_1234)),
            (0xffff_f803_0000_0001, Ip::SignExtend48(0xffff_f803_0000_0001)),
            (0xffff_0000_0000_0001, Ip::Update48(1)),
            (0x1234_0000_0000_0001, Ip::Full(0x1234_0000_0000_0001)),
        ] {
            assert_eq!(last.compress(ip), field);
            assert_eq!(last.update(field), Some(ip));
        }
    }
}
