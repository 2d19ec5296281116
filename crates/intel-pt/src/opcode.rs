//! Opcodes, named as the SDM names its packets.

/// PAD.
pub(crate) const PAD: u8 = 0x00;
/// First byte of the two-byte opcodes below.
pub(crate) const EXT: u8 = 0x02;

/// The low 5 bits of the packets that carry an address; the high 3 are IPBytes.
pub(crate) const IP_PACKET_MASK: u8 = 0x1f;
pub(crate) const TIP: u8 = 0x0d;
pub(crate) const TIP_PGE: u8 = 0x11;
pub(crate) const TIP_PGD: u8 = 0x01;
pub(crate) const FUP: u8 = 0x1d;

pub(crate) const TSC: u8 = 0x19;
pub(crate) const MTC: u8 = 0x59;
pub(crate) const MODE: u8 = 0x99;
pub(crate) const TRIG: u8 = 0xd9;

/// CYC is known by its low 2 bits.
pub(crate) const CYC_MASK: u8 = 0x03;
pub(crate) const CYC: u8 = 0x03;
/// More bytes follow, in the first byte and in the ones after it.
pub(crate) const CYC_MORE_FIRST: u8 = 0x04;
pub(crate) const CYC_MORE: u8 = 0x01;
/// The longest CYC that libipt accepts.
pub(crate) const CYC_MAX: usize = 15;

/// BIP is known by its low 3 bits, inside a block only.
pub(crate) const BIP_MASK: u8 = 0x07;
pub(crate) const BIP: u8 = 0x04;

/// The second byte of two-byte opcodes.
pub(crate) mod ext {
    pub(crate) const CBR: u8 = 0x03;
    pub(crate) const CFE: u8 = 0x13;
    pub(crate) const PWRE: u8 = 0x22;
    pub(crate) const PSBEND: u8 = 0x23;
    pub(crate) const BEP: u8 = 0x33;
    pub(crate) const BEP_IP: u8 = 0xb3;
    pub(crate) const PIP: u8 = 0x43;
    pub(crate) const EVD: u8 = 0x53;
    pub(crate) const EXSTOP: u8 = 0x62;
    pub(crate) const EXSTOP_IP: u8 = 0xe2;
    pub(crate) const BBP: u8 = 0x63;
    pub(crate) const TMA: u8 = 0x73;
    pub(crate) const PSB: u8 = 0x82;
    pub(crate) const TRACE_STOP: u8 = 0x83;
    pub(crate) const PWRX: u8 = 0xa2;
    pub(crate) const LONG_TNT: u8 = 0xa3;
    pub(crate) const MWAIT: u8 = 0xc2;
    /// First of a three-byte opcode.
    pub(crate) const EXT2: u8 = 0xc3;
    pub(crate) const VMCS: u8 = 0xc8;
    pub(crate) const OVF: u8 = 0xf3;

    /// PTW is known by its low 5 bits; bits 6:5 are the payload's size, bit 7 says that a FUP follows.
    pub(crate) const PTW_MASK: u8 = 0x1f;
    pub(crate) const PTW: u8 = 0x12;
    pub(crate) const PTW_IP: u8 = 0x80;
}

/// The third byte of three-byte opcodes.
pub(crate) mod ext2 {
    pub(crate) const MNT: u8 = 0x88;
}

/// A PSB, whole.
pub(crate) const PSB: [u8; 16] =
    [0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82];
