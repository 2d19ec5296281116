//! Packets against bytes written by testkit, round trips, damage.

use intel_pt::{
    BlockContext, CfeKind, CodeWidth, EvdKind, Exec, Ip, Mode, Packet, Packets, Payload, Pip, Pwre, Pwrx, Reason, Tnt,
    Trigger, Tsx, Vmcs, decode, encode,
};
use proptest::prelude::*;
use testkit::pt::{Compression, PacketWriter};

/// What testkit writes is read as `expected`, and `expected` is written as the same bytes.
#[track_caller]
fn check(write: impl FnOnce(&mut PacketWriter) -> &mut PacketWriter, expected: Packet, text: &str) {
    let mut writer = PacketWriter::new();
    write(&mut writer);
    let bytes = writer.finish();
    let block = match expected {
        Packet::Bip { payload: Payload::Four(_), .. } => BlockContext::Items4,
        Packet::Bip { payload: Payload::Eight(_), .. } => BlockContext::Items8,
        _ => BlockContext::Outside,
    };
    assert_eq!(decode(&bytes, block), Ok((expected, bytes.len())), "{bytes:02x?}");
    assert_eq!(&*encode(&expected).unwrap(), bytes, "{expected:?}");
    assert_eq!(words(&expected), text);
    for short in 0..bytes.len() {
        let cut = decode(&bytes[..short], block);
        assert!(matches!(cut, Err(Reason::Truncated { has, .. }) if has == short), "{short} of {bytes:02x?}: {cut:?}");
    }
}

#[test]
fn every_packet_reads_and_writes() {
    let tnt = |bits, len| Tnt::new(bits, len).unwrap();
    let kernel = 0xffff_f803_1234_5678;
    check(|w| w.pad(), Packet::Pad, "pad");
    check(|w| w.tnt(&[true, false, true]), Packet::TntShort(tnt(0b101, 3)), "tnt.8 !.!");
    check(|w| w.tnt(&[false]), Packet::TntShort(tnt(0, 1)), "tnt.8 .");
    check(|w| w.tnt(&[true; 6]), Packet::TntShort(tnt(0x3f, 6)), "tnt.8 !!!!!!");
    check(|w| w.long_tnt(&[false, true]), Packet::TntLong(tnt(1, 2)), "tnt.64 .!");
    check(|w| w.long_tnt(&[true; 47]), Packet::TntLong(tnt(!0, 47)), &format!("tnt.64 {}", "!".repeat(47)));
    check(|w| w.tip(kernel, Compression::Low16), Packet::Tip(Ip::Update16(0x5678)), "tip 1: ????????????5678");
    check(
        |w| w.pge(kernel, Compression::Low32),
        Packet::TipPge(Ip::Update32(0x1234_5678)),
        "tip.pge 2: ????????12345678",
    );
    check(
        |w| w.pgd(kernel, Compression::Signed48),
        Packet::TipPgd(Ip::SignExtend48(kernel)),
        "tip.pgd 3: fffff80312345678",
    );
    check(
        |w| w.fup(kernel, Compression::Low48),
        Packet::Fup(Ip::Update48(0xf803_1234_5678)),
        "fup 4: ????f80312345678",
    );
    check(|w| w.tip(kernel, Compression::Full), Packet::Tip(Ip::Full(kernel)), "tip 6: fffff80312345678");
    check(|w| w.pgd(kernel, Compression::Suppressed), Packet::TipPgd(Ip::Suppressed), "tip.pgd 0: ????????????????");
    check(|w| w.psb(), Packet::Psb, "psb");
    check(|w| w.psbend(), Packet::PsbEnd, "psbend");
    let exec = Exec { cs_l: true, cs_d: false, interrupts: true };
    check(|w| w.mode(0, 5), Packet::Mode(Mode::Exec(exec)), "mode.exec cs.l, if");
    check(|w| w.mode(0, 0), Packet::Mode(Mode::Exec(Exec::default())), "mode.exec");
    check(|w| w.mode(1, 2), Packet::Mode(Mode::Tsx(Tsx { in_tx: false, abort: true })), "mode.tsx abrt");
    check(|w| w.mode(5, 3), Packet::Mode(Mode::Other { leaf: 5, bits: 3 }), "mode 5: 3");
    check(|w| w.pip(0x1_2345_6fe0, true), Packet::Pip(Pip { cr3: 0x1_2345_6fe0, non_root: true }), "pip 123456fe0, nr");
    check(|w| w.cbr(0x24), Packet::Cbr(0x24), "cbr 24");
    check(|w| w.tsc(0x12_3456_789a_bcde), Packet::Tsc(0x12_3456_789a_bcde), "tsc 123456789abcde");
    check(|w| w.mtc(0x94), Packet::Mtc(0x94), "mtc 94");
    check(|w| w.tma(0x1234, 0x1ff), Packet::Tma { ctc: 0x1234, fast_counter: 0x1ff }, "tma 1234, 1ff");
    check(|w| w.cyc(0x1f), Packet::Cyc(0x1f), "cyc 1f");
    check(|w| w.cyc(0x20), Packet::Cyc(0x20), "cyc 20");
    check(|w| w.cyc(u64::MAX), Packet::Cyc(u64::MAX), "cyc ffffffffffffffff");
    check(|w| w.vmcs(0xa_bcde_f000), Packet::Vmcs(Vmcs { base: 0xa_bcde_f000 }), "vmcs abcdef000");
    check(|w| w.ovf(), Packet::Ovf, "ovf");
    check(|w| w.stop(), Packet::TraceStop, "stop");
    check(|w| w.mnt(0xa1b2), Packet::Mnt(0xa1b2), "mnt a1b2");
    check(|w| w.ptw4(7, true), Packet::Ptw { payload: Payload::Four(7), ip: true }, "ptw 0: 7, ip");
    check(|w| w.ptw8(!0, false), Packet::Ptw { payload: Payload::Eight(!0), ip: false }, "ptw 1: ffffffffffffffff");
    check(|w| w.exstop(false), Packet::Exstop { ip: false }, "exstop");
    check(|w| w.exstop(true), Packet::Exstop { ip: true }, "exstop ip");
    check(|w| w.mwait(0xb, 1), Packet::Mwait { hints: 0xb, extensions: 1 }, "mwait 0000000b, 00000001");
    check(|w| w.pwre(0, 15, true), Packet::Pwre(Pwre { state: 0, sub_state: 15, hardware: true }), "pwre c1.0, hw");
    check(|w| w.pwrx(0, 5, 4), Packet::Pwrx(Pwrx { last: 0, deepest: 5, wake: 4 }), "pwrx st: c1, c6");
    for (wake, reason) in [(0, ""), (1, "int: "), (2, ""), (8, "hw: ")] {
        check(
            |w| w.pwrx(0, 5, wake),
            Packet::Pwrx(Pwrx { last: 0, deepest: 5, wake }),
            &format!("pwrx {reason}c1, c6"),
        );
    }
    check(|w| w.bbp(4, true), Packet::Bbp { kind: 4, four_bytes: true }, "bbp 4, 4");
    check(|w| w.bbp(31, false), Packet::Bbp { kind: 31, four_bytes: false }, "bbp 1f, 8");
    check(|w| w.bip4(3, 0x55), Packet::Bip { id: 3, payload: Payload::Four(0x55) }, "bip 3: 55");
    check(|w| w.bip8(31, 0x55), Packet::Bip { id: 31, payload: Payload::Eight(0x55) }, "bip 1f: 55");
    check(|w| w.bep(false), Packet::Bep { ip: false }, "bep");
    check(|w| w.bep(true), Packet::Bep { ip: true }, "bep ip");
    check(|w| w.cfe(1, 14, true), Packet::Cfe { kind: CfeKind::INTR, ip: true, vector: 14 }, "cfe 1: 14, ip type intr");
    check(|w| w.cfe(30, 0, false), Packet::Cfe { kind: CfeKind(30), ip: false, vector: 0 }, "cfe 1e type ?");
    check(|w| w.evd(0, 0xf00), Packet::Evd { kind: EvdKind::CR2, payload: 0xf00 }, "evd 0: f00 type cr2");
    let trigger = Trigger { triggers: 0xa1, ip: true, multiple: true, instructions: Some(23) };
    check(|w| w.trig(0xa1, true, Some(23), true), Packet::Trig(trigger), "trig a1, ip, mult, icnt: 23");
    let trigger = Trigger { triggers: 1, ip: false, multiple: false, instructions: None };
    check(|w| w.trig(1, false, None, false), Packet::Trig(trigger), "trig 1");
}

/// The types of CFE and EVD packets in the SDM's tables.
#[test]
fn numbers_have_names() {
    let events = "? intr iret smi rsm sipi init vmentry vmexit vmexit_intr shutdown ? uintr uiret ?";
    let names: Vec<String> = (0..=14).map(|kind| CfeKind(kind).to_string()).collect();
    assert_eq!(names.join(" "), events);
    let names: Vec<String> = (0..=3).map(|kind| EvdKind(kind).to_string()).collect();
    assert_eq!(names.join(" "), "cr2 vmxq vmxr ?");
    let widths = [CodeWidth::Bits16, CodeWidth::Bits32, CodeWidth::Bits64].map(|width| width.to_string());
    assert_eq!(widths, ["16-bit", "32-bit", "64-bit"]);
}

#[test]
fn damage_is_named() {
    let reason = |bytes: &[u8]| decode(bytes, BlockContext::Outside).unwrap_err().to_string();
    assert_eq!(reason(&[0xc9, 1]), "no packet begins with c9");
    assert_eq!(reason(&[0x02, 0x04]), "no packet begins with 02 04");
    assert_eq!(reason(&[0x02, 0xc3, 0x00, 1]), "no packet begins with 02 c3 00");
    assert_eq!(reason(&[0xad; 9]), "packet tip: IPBytes is 0x5, allowed: 0 to 4, 6");
    assert_eq!(reason(&[0x02, 0x52, 0, 0]), "packet ptw: size is 0x2, allowed: 0 (4 bytes), 1 (8 bytes)");
    assert_eq!(reason(&[0x02, 0x82, 0x02, 0x83]), "packet psb: byte is 0x83, allowed: 82");
    assert_eq!(reason(&[0x02, 0x82, 0x03, 0x82]), "packet psb: byte is 0x3, allowed: 02");
    assert_eq!(
        reason(&[0x02, 0xa3, 1, 0, 0, 0, 0, 0]),
        "packet tnt.64: payload is 0x1, allowed: a stop bit above bit 0"
    );
    assert_eq!(reason(&[0x19, 1, 2]), "packet tsc has 8 bytes, 3 are left");
    assert_eq!(reason(&[0xff; 16]), "packet cyc: bits above 2^61 is 0x7f, allowed: a count below 2^64");
    assert_eq!(reason(&[[0x07].as_slice(), &[0x01; 20]].concat()), "packet cyc: length is 0x10, allowed: at most 15");
    // Zeros above the 64th bit are not damage.
    assert_eq!(decode(&[0x0f, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0], BlockContext::Outside), Ok((Packet::Cyc(1), 12)));
}

#[test]
fn values_out_of_range_have_no_encoding() {
    let text = |packet: Packet| encode(&packet).unwrap_err().to_string();
    assert_eq!(
        text(Packet::TntShort(Tnt::new(0, 7).unwrap())),
        "packet tnt.8 cannot hold branches 0x7, allowed: 1 to 6"
    );
    assert_eq!(text(Packet::Tsc(1 << 56)), "packet tsc cannot hold tsc 0x100000000000000, allowed: 0 to 2^56 - 1");
    for packet in [
        Packet::Tip(Ip::SignExtend48(1 << 47)),
        Packet::Fup(Ip::Update48(1 << 48)),
        Packet::Pip(Pip { cr3: 1, non_root: false }),
        Packet::Vmcs(Vmcs { base: 1 << 52 }),
        Packet::Tma { ctc: 0, fast_counter: 512 },
        Packet::Mode(Mode::Other { leaf: 1, bits: 0 }),
        Packet::Bip { id: 32, payload: Payload::Four(0) },
        Packet::Cfe { kind: CfeKind(32), ip: false, vector: 0 },
    ] {
        assert!(encode(&packet).is_err(), "{packet:?}");
    }
    assert_eq!((Tnt::new(0, 0), Tnt::new(0, 48)), (None, None));
}

#[test]
fn the_same_byte_is_a_bip_in_a_block_and_a_tnt_outside() {
    let mut trace = PacketWriter::new();
    // FUP, timing and PAD leave the block open; the TNT byte 0x06 closes it.
    trace.psb().bbp(1, true).bip4(2, 7).fup(1, Compression::Low16).cyc(1).pad().bip4(3, 8).raw(&[0x06, 0x14]);
    trace.bbp(1, false).bip8(1, 9).bep(false).raw(&[0x14]);
    let bytes = trace.finish();
    let packets: Vec<_> = Packets::new(&bytes).map(|item| words(&item.unwrap().1)).collect();
    let expected = "psb; bbp 1, 4; bip 2: 7; fup 1: ????????????0001; cyc 1; pad; bip 3: 8; tnt.8 !; tnt.8 .!.; \
                    bbp 1, 8; bip 1: 9; bep; tnt.8 .!.";
    assert_eq!(packets.join("; "), expected);
}

/// Which packets leave a block open. After one that closes it, the byte 14 is a TNT again.
#[test]
fn only_flow_and_mode_close_a_block() {
    type Write = dyn Fn(&mut PacketWriter) -> &mut PacketWriter;
    let open: [&Write; 12] = [
        &|w| w.pad(),
        &|w| w.fup(1, Compression::Low16),
        &|w| w.tsc(1),
        &|w| w.mtc(1),
        &|w| w.tma(1, 1),
        &|w| w.cyc(1),
        &|w| w.cbr(1),
        &|w| w.mnt(1),
        &|w| w.exstop(false),
        &|w| w.exstop(true),
        &|w| w.pwre(0, 0, false),
        &|w| w.pwrx(0, 0, 0),
    ];
    let closed: [&Write; 20] = [
        &|w| w.tnt(&[true]),
        &|w| w.long_tnt(&[true]),
        &|w| w.tip(1, Compression::Low16),
        &|w| w.pge(1, Compression::Low16),
        &|w| w.pgd(1, Compression::Low16),
        &|w| w.mode(0, 1),
        &|w| w.mode(1, 0),
        &|w| w.pip(0, false),
        &|w| w.vmcs(0),
        &|w| w.ovf(),
        &|w| w.psb(),
        &|w| w.psbend(),
        &|w| w.stop(),
        &|w| w.ptw4(1, false),
        &|w| w.mwait(0, 0),
        &|w| w.bep(false),
        &|w| w.bep(true),
        &|w| w.cfe(1, 0, false),
        &|w| w.evd(0, 0),
        &|w| w.trig(1, false, None, false),
    ];
    for four_bytes in [true, false] {
        for (n, (write, stays)) in
            open.iter().map(|write| (write, true)).chain(closed.iter().map(|write| (write, false))).enumerate()
        {
            let mut trace = PacketWriter::new();
            write(trace.bbp(1, four_bytes)).raw(&[0x14, 0, 0, 0, 0, 0, 0, 0, 0]);
            let bytes = trace.finish();
            let items: Vec<_> = Packets::at(&bytes, 0).map(|item| item.unwrap().1).collect();
            let item = items.iter().find(|packet| matches!(packet, Packet::Bip { .. }));
            let payload = if four_bytes { Payload::Four(0) } else { Payload::Eight(0) };
            assert_eq!(item.copied(), stays.then_some(Packet::Bip { id: 2, payload }), "packet {n}: {items:?}");
        }
    }
}

#[test]
fn a_cyc_counts_up_to_64_bits() {
    // 5 bits in the first byte and 7 in each of 8 more make 61, so 3 bits are left for the tenth.
    let cyc = |tenth: &[u8]| decode(&[[0xff].as_slice(), &[0xff; 8], tenth].concat(), BlockContext::Outside);
    assert_eq!(cyc(&[0x0e]), Ok((Packet::Cyc(u64::MAX), 10)));
    assert_eq!(cyc(&[0x0f, 0x00]), Ok((Packet::Cyc(u64::MAX), 11)));
    assert_eq!(cyc(&[0x06]), Ok((Packet::Cyc(u64::MAX >> 1), 10)));
    let overflow = |found| {
        let allowed = "a count below 2^64";
        Err(Reason::BadField { packet: "cyc", field: "bits above 2^61", found, allowed })
    };
    for bits in [8, 9, 15, 16, 0x40, 0x7f] {
        assert_eq!(cyc(&[bits << 1]), overflow(u64::from(bits)), "{bits:#x}");
    }
    assert_eq!(cyc(&[0x01, 0x02]), overflow(1), "the eleventh byte has bits 68 and up");
    let trace = |bytes: &[u8]| [[0x02, 0x82].repeat(8).as_slice(), bytes, &[0x2d, 1, 0]].concat();
    for (tenth, gaps) in [(0x0e, 0), (0x10, 1)] {
        let bytes = trace(&[[0xff].as_slice(), &[0xff; 8], &[tenth]].concat());
        assert_eq!(intel_pt::scan(&bytes, |_| {}).gaps, gaps, "the scan takes {tenth:#x} as the tenth byte");
    }
}

#[test]
fn a_packet_says_which_fields_it_has() {
    let ip = Ip::Update16(1);
    for packet in [Packet::Tip(ip), Packet::TipPge(ip), Packet::TipPgd(ip), Packet::Fup(ip)] {
        assert_eq!((packet.ip(), packet.tnt()), (Some(ip), None));
    }
    let tnt = Tnt::new(2, 2).unwrap();
    for packet in [Packet::TntShort(tnt), Packet::TntLong(tnt)] {
        assert_eq!((packet.ip(), packet.tnt()), (None, Some(tnt)));
    }
    assert_eq!(tnt.iter().collect::<Vec<_>>(), [true, false]);
    assert_eq!((Payload::Four(7).value(), Payload::Eight(9).value()), (7, 9));
    assert!(Ip::Suppressed.is_suppressed() && !ip.is_suppressed());
}

/// The text form with runs of blanks collapsed.
fn words(packet: &Packet) -> String {
    packet.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn gaps_say_where_and_why_and_reading_goes_on() {
    let mut trace = PacketWriter::new();
    trace.raw(&[0x11, 0x22, 0x33]).psb().psbend().raw(&[0xc9, 0x00, 0x00]).psb().tnt(&[true]).raw(&[0x6d, 0x01]);
    let bytes = trace.finish();
    let mut packets = Vec::new();
    let mut gaps = Vec::new();
    for item in Packets::new(&bytes) {
        match item {
            Ok((offset, packet)) => packets.push((offset, packet)),
            Err(gap) => gaps.push(gap.to_string()),
        }
    }
    assert_eq!(
        gaps,
        [
            "offset 0x0: before the first PSB; 3 bytes skipped",
            "offset 0x15: no packet begins with c9; 3 bytes skipped",
            "offset 0x29: packet tip has 7 bytes, 2 are left; 2 bytes skipped",
        ]
    );
    let taken = Packet::TntShort(Tnt::new(1, 1).unwrap());
    assert_eq!(packets, [(3, Packet::Psb), (0x13, Packet::PsbEnd), (0x18, Packet::Psb), (0x28, taken)]);
    assert_eq!(Packets::new(&[]).count(), 0);
    assert_eq!(Packets::new(&[0; 5]).count(), 1, "bytes without a PSB are one gap");
}

fn any_ip() -> impl Strategy<Value = Ip> {
    prop_oneof![
        Just(Ip::Suppressed),
        any::<u16>().prop_map(Ip::Update16),
        any::<u32>().prop_map(Ip::Update32),
        any::<i64>().prop_map(|ip| Ip::SignExtend48((ip << 16 >> 16) as u64)),
        (0u64..1 << 48).prop_map(Ip::Update48),
        any::<u64>().prop_map(Ip::Full),
    ]
}

fn any_payload() -> impl Strategy<Value = Payload> {
    prop_oneof![any::<u32>().prop_map(Payload::Four), any::<u64>().prop_map(Payload::Eight)]
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let tnt = |max: u8| (any::<u64>(), 1..=max).prop_map(|(bits, len)| Tnt::new(bits, len).unwrap());
    let flow = prop_oneof![
        Just(Packet::Pad),
        tnt(6).prop_map(Packet::TntShort),
        tnt(47).prop_map(Packet::TntLong),
        any_ip().prop_map(Packet::Tip),
        any_ip().prop_map(Packet::TipPge),
        any_ip().prop_map(Packet::TipPgd),
        any_ip().prop_map(Packet::Fup),
        Just(Packet::Psb),
        Just(Packet::PsbEnd),
        Just(Packet::Ovf),
        Just(Packet::TraceStop),
    ];
    let state = prop_oneof![
        any::<[bool; 3]>().prop_map(|[cs_l, cs_d, interrupts]| Packet::Mode(Mode::Exec(Exec {
            cs_l,
            cs_d,
            interrupts
        }))),
        any::<[bool; 2]>().prop_map(|[in_tx, abort]| Packet::Mode(Mode::Tsx(Tsx { in_tx, abort }))),
        (2u8..8, 0u8..32).prop_map(|(leaf, bits)| Packet::Mode(Mode::Other { leaf, bits })),
        (0u64..1 << 47, any::<bool>()).prop_map(|(cr3, non_root)| Packet::Pip(Pip { cr3: cr3 << 5, non_root })),
        (0u64..1 << 40).prop_map(|base| Packet::Vmcs(Vmcs { base: base << 12 })),
        any::<u8>().prop_map(Packet::Cbr),
        (0u64..1 << 56).prop_map(Packet::Tsc),
        any::<u8>().prop_map(Packet::Mtc),
        (any::<u16>(), 0u16..512).prop_map(|(ctc, fast_counter)| Packet::Tma { ctc, fast_counter }),
        (any::<u64>(), 0u32..64).prop_map(|(cycles, shift)| Packet::Cyc(cycles >> shift)),
        any::<u64>().prop_map(Packet::Mnt),
    ];
    let rare = prop_oneof![
        (any_payload(), any::<bool>()).prop_map(|(payload, ip)| Packet::Ptw { payload, ip }),
        any::<bool>().prop_map(|ip| Packet::Exstop { ip }),
        (any::<u32>(), any::<u32>()).prop_map(|(hints, extensions)| Packet::Mwait { hints, extensions }),
        (0u8..16, 0u8..16, any::<bool>()).prop_map(|(state, sub_state, hardware)| Packet::Pwre(Pwre {
            state,
            sub_state,
            hardware
        })),
        (0u8..16, 0u8..16, 0u8..16).prop_map(|(last, deepest, wake)| Packet::Pwrx(Pwrx { last, deepest, wake })),
        (0u8..32, any::<bool>()).prop_map(|(kind, four_bytes)| Packet::Bbp { kind, four_bytes }),
        (0u8..32, any_payload()).prop_map(|(id, payload)| Packet::Bip { id, payload }),
        any::<bool>().prop_map(|ip| Packet::Bep { ip }),
        (0u8..32, any::<bool>(), any::<u8>()).prop_map(|(kind, ip, vector)| Packet::Cfe {
            kind: CfeKind(kind),
            ip,
            vector
        }),
        (0u8..32, any::<u64>()).prop_map(|(kind, payload)| Packet::Evd { kind: EvdKind(kind), payload }),
        (any::<u8>(), any::<bool>(), any::<bool>(), proptest::option::of(any::<u16>())).prop_map(
            |(triggers, ip, multiple, instructions)| Packet::Trig(Trigger { triggers, ip, multiple, instructions })
        ),
    ];
    prop_oneof![flow, state, rare]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_packet_survives_encoding(packet in any_packet(), after in any::<[u8; 4]>()) {
        let block = match packet {
            Packet::Bip { payload: Payload::Four(_), .. } => BlockContext::Items4,
            Packet::Bip { payload: Payload::Eight(_), .. } => BlockContext::Items8,
            _ => BlockContext::Outside,
        };
        let encoded = encode(&packet).unwrap();
        let bytes = [&*encoded, &after].concat();
        prop_assert_eq!(decode(&bytes, block), Ok((packet, encoded.len())));
    }

    #[test]
    fn what_decodes_encodes_again(bytes in any::<[u8; 16]>(), extended in any::<bool>(), block in 0usize..3) {
        let mut bytes = bytes;
        if extended {
            bytes[0] = 2;
        }
        let block = [BlockContext::Outside, BlockContext::Items4, BlockContext::Items8][block];
        if let Ok((packet, len)) = decode(&bytes, block) {
            let again = encode(&packet).unwrap();
            prop_assert!(again.len() <= len, "only a CYC may become shorter");
            prop_assert_eq!(decode(&again, block), Ok((packet, again.len())));
        }
    }

    #[test]
    fn a_stream_reads_back(packets in proptest::collection::vec(any_packet(), 0..60)) {
        // A BIP can only be in a block of its size, which is opened for it.
        let (mut stream, mut expected, mut at) = (Vec::new(), Vec::new(), 0);
        let mut push = |packet: Packet| {
            let bytes = encode(&packet).unwrap();
            expected.push((at, packet));
            at += bytes.len();
            stream.extend_from_slice(&bytes);
        };
        for packet in packets {
            if let Packet::Bip { payload, .. } = packet {
                push(Packet::Bbp { kind: 1, four_bytes: matches!(payload, Payload::Four(_)) });
            } else if packet.tnt().is_some() {
                push(Packet::Bep { ip: false });
            }
            push(packet);
        }
        let read: Vec<_> = Packets::at(&stream, 0).map(Result::unwrap).collect();
        prop_assert_eq!(read, expected);
    }
}
