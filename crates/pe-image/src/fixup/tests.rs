//! Encodings against sites that were seen in running kernels.

use crate::addr::Va;
use crate::fixup::{LinkedImport, SiteForm, recognise};

/// Sites in public WinDbg disassemblies: site, slot, target, the 12 bytes in memory, and which import it is.
const SEEN: [(u64, u64, u64, &str, &str); 7] = [
    (
        0xfffff800243b2e97,
        0xfffff800243d8028,
        0xfffff800242ff6d0,
        "4c8b158a510200e82dc8f4ff",
        "stornvme: storport!StorPortExtendedFunction",
    ),
    (
        0xfffff807797f16c4,
        0xfffff807797fb0d0,
        0xfffff8077981b020,
        "4c8b15059a0000e850990200",
        "disk: CLASSPNP!ClassSendSrbSynchronous",
    ),
    (
        0xfffff8043c1e929f,
        0xfffff8043c2f8868,
        0xfffff804a9607320,
        "4c8b15c2f51000e875e0416d",
        "storport: nt!IoGetIoAttributionHandle",
    ),
    (
        0xfffff8040b8d8990,
        0xfffff8040b91c258,
        0xfffff80409647010,
        "4c8b15c1380400e874e6d6fd",
        "storport: nt!ExFreePoolWithTag",
    ),
    (
        0xfffff803125b61c5,
        0xfffff803125ac140,
        0xfffff8030d2549e0,
        "4c8b15745fffffe80fe8c9fa",
        "storport: nt!KeInitializeSpinLock",
    ),
    (
        0xfffff805674194bf,
        0xfffff805674a38e8,
        0xfffff8056181d8d0,
        "4c8b1522a40800e8054440fa",
        "ndis: nt!KeAcquireSpinLockRaiseToDpc",
    ),
    (
        0xfffff800350c90e6,
        0xfffff8003509a160,
        0xfffff800a33eb4f0,
        "4c8b157310fdffe8fe23326e",
        "FLTMGR: nt!KeEnterCriticalRegion",
    ),
];

fn bytes(hex: &str) -> [u8; 12] {
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

#[test]
fn sites_seen_in_running_kernels() {
    for (site, slot, target, after, import) in SEEN {
        // What the linker must have written there.
        let displacement = i32::try_from(slot.wrapping_sub(site + 7) as i64).unwrap();
        let mut linked = [0x48, 0xff, 0x15, 0, 0, 0, 0, 0x0f, 0x1f, 0x44, 0, 0];
        linked[3..7].copy_from_slice(&displacement.to_le_bytes());
        assert_eq!(recognise(&linked, site), Some(SiteForm::ImportLinked { call: true, slot: Va(slot) }), "{import}");

        let linked = LinkedImport::parse(&linked).unwrap();
        let distance = Va(site + 12).rel32_to(Va(target)).unwrap();
        assert_eq!(linked.direct(distance), bytes(after), "{import}");
        assert_eq!(
            recognise(&bytes(after), site),
            Some(SiteForm::ImportDirect { call: true, slot: Va(slot), target: Va(target) }),
            "{import}"
        );
    }
}

#[test]
fn forms_that_only_their_target_can_tell() {
    let check = |bytes: &[u8], expected| assert_eq!(recognise(bytes, 0x1000_u64), expected, "{bytes:02x?}");
    let target = Va(0x1000 + 5 + 0x10);
    check(&[0xe8, 0x10, 0, 0, 0, 0x90], Some(SiteForm::Indirect { call: true, target }));
    check(&[0xe9, 0x10, 0, 0, 0, 0xcc], Some(SiteForm::Indirect { call: false, target }));
    check(&[0xe8, 0x10, 0, 0, 0, 0xcc], Some(SiteForm::Switch { target }));
    check(&[0xe8, 0x10, 0, 0, 0], Some(SiteForm::Branch { call: true, target }));
    check(&[0xe9, 0x10, 0, 0, 0, 0x90], Some(SiteForm::Branch { call: false, target }));
    check(&[0xe8, 0x10, 0, 0], None);
    check(&[0x90; 12], None);
    check(&[], None);
}
