//! How an address field is put into the last IP, without a branch on its size.

const MASK_48: u64 = (1 << 48) - 1;

/// The last IP after `packet`, a TIP, TIP.PGE, TIP.PGD or FUP with an address, or its first bytes up to 9.
#[inline(always)]
pub(super) fn update(ip: u64, packet: &[u8; 9]) -> u64 {
    let [first, field @ ..] = *packet;
    let form = &FORMS[usize::from(first >> 5)];
    let value = u64::from_le_bytes(field) & form.take;
    ip & form.keep | (value ^ form.sign).wrapping_sub(form.sign)
}

/// Aligned, so that masking the opcode gives the offset of an entry without a shift.
#[repr(align(32))]
struct Form {
    /// Bits of the last IP that stay.
    keep: u64,
    /// Bits taken from the packet.
    take: u64,
    /// The bit that is copied to all above it, or 0.
    sign: u64,
}

/// By IPBytes. 0 means no address; 5 and 7 are reserved.
static FORMS: [Form; 8] = [
    Form { keep: !0, take: 0, sign: 0 },
    Form { keep: !0xffff, take: 0xffff, sign: 0 },
    Form { keep: !0xffff_ffff, take: 0xffff_ffff, sign: 0 },
    Form { keep: 0, take: MASK_48, sign: 1 << 47 },
    Form { keep: !MASK_48, take: MASK_48, sign: 0 },
    Form { keep: !0, take: 0, sign: 0 },
    Form { keep: 0, take: !0, sign: 0 },
    Form { keep: !0, take: 0, sign: 0 },
];
