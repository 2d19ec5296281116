//! Function overrides applied: where calls lead, near and far of the kernel, and that no other byte changes.

use pe_image::{
    Capabilities, Counts, ImportCalls, MappedImage, Module, ModuleId, Modules, Outcome, OverrideTarget, PeFile, Policy,
    Processor, ProcessorVendor, RangeKind, Reason, Rva, Selection, SharedFunction, SiteKind, StubBlock, Va,
};
use testkit::image::{At, Built, Driver, Entry, GUARD, KERNEL_STUBS, MEMSET, OverrideSpec, SHARED_CODE, SiteSpec};
use testkit::image::{kernel, kernel_24h2};

const KERNEL_BASE: u64 = 0xffff_f804_2000_0000;
const NEAR: u64 = 0xffff_f804_3000_0000;
const FAR: u64 = 0xffff_f806_3000_0000;
const APPLIED: Policy = Policy::AS_LINKED.with_function_overrides(true);

// Offsets in the driver's code, which starts at RVA 0x1000.
const MEMSET_AT: u32 = 0x40;
const VARIANTS: [u32; 2] = [0x80, 0xc0];
const THUNK: u32 = 0x20;
/// Calls of memset; the second has its distance on both sides of a page's border, the third ends with its page.
const MEMSET_CALLS: [u32; 3] = [0x100, 0xffd, 0x1ffb];
const MEMSET_JUMP: u32 = 0x140;
const THUNK_CALLS: [u32; 2] = [0x180, 0x1fc0];

fn driver() -> Driver {
    let mut driver = Driver::new("driver.sys");
    let text = driver.code(".text", 0x3000);
    let at = |offset: u32| At(text, offset);
    let mut memset = OverrideSpec::new(at(MEMSET_AT), VARIANTS.map(at).to_vec(), MEMSET_CALLS.map(at).to_vec());
    memset.jumps.push(at(MEMSET_JUMP));
    driver
        .overrides
        .push(OverrideSpec::new(at(THUNK), vec![at(THUNK)], THUNK_CALLS.map(at).to_vec()).decided_by(GUARD));
    driver.overrides.push(memset.decided_by(MEMSET));
    driver
}

fn intel(erms: Option<bool>) -> Capabilities {
    Capabilities::of_kernel(&Processor { vendor: Some(ProcessorVendor::Intel), erms, ..Processor::default() })
}

fn block(kernel: &Driver) -> StubBlock {
    let built = kernel.build();
    let file = PeFile::parse(&built.bytes).unwrap();
    StubBlock::from_kernel(&MappedImage::new(file, KERNEL_BASE, Policy::AS_LINKED)).unwrap().unwrap()
}

/// Where the kernel has its shared code.
fn shared_code() -> u64 {
    KERNEL_BASE + u64::from(kernel_24h2(&[]).build().section_rvas[1])
}

/// The code as linked, with the distance of each call made anew: to an offset in the code, or to an address.
fn expected(built: &Built, base: u64, calls: &[(u32, u64)]) -> Vec<u8> {
    let mut code = built.bytes[0x400..0x3400].to_vec();
    for &(call, target) in calls {
        let distance = target.wrapping_sub(base + 0x1000 + u64::from(call) + 5) as u32;
        code[call as usize + 1..][..4].copy_from_slice(&distance.to_le_bytes());
    }
    code
}

/// The code of an image, which is the same in whatever pieces it is read.
fn code(image: &MappedImage<'_>) -> Vec<u8> {
    let whole = image.bytes(Rva(0x1000), 0x3000).into_owned();
    for size in [1, 3, 0x7fe, 0x1000] {
        let mut pieces = vec![0; whole.len()];
        for (number, piece) in pieces.chunks_mut(size).enumerate() {
            image.read(Rva(0x1000 + (number * size) as u32), piece);
        }
        assert!(pieces == whole, "in pieces of {size:#x}");
    }
    let streamed: Vec<u8> = image.pieces(Rva(0x1000), 0x3000).flat_map(|piece| piece.bytes.into_owned()).collect();
    assert!(streamed == whole);
    whole
}

fn all(calls: &[u32], target: u64) -> Vec<(u32, u64)> {
    calls.iter().map(|&call| (call, target)).collect()
}

#[test]
fn calls_lead_where_the_kernel_chose() {
    let built = driver().build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let block = block(&kernel_24h2(&[]));
    let guarded = u64::from(SHARED_CODE.guarded_calls[0]);
    let behind = |base: u64, reserve: u64| base + u64::from(built.size_of_image) + reserve + guarded;
    let memset_calls = [&MEMSET_CALLS[..], &[MEMSET_JUMP]].concat();
    // Base, reserve, what ERMS is; the offset of the variant of memset, and where the thunk's calls lead.
    let cases = [
        (NEAR, 0, Some(true), VARIANTS[0], shared_code() + guarded),
        (NEAR, 0x3000, Some(false), VARIANTS[1], shared_code() + guarded),
        (FAR, 0, None, VARIANTS[0], behind(FAR, 0)),
        (FAR, 0x3000, Some(true), VARIANTS[0], behind(FAR, 0x3000)),
        (FAR, 0x2801, Some(true), VARIANTS[0], behind(FAR, 0x3000)),
    ];
    for (base, reserve, erms, variant, thunk) in cases {
        let image = MappedImage::new(file.clone(), base, APPLIED)
            .with_capabilities(&intel(erms))
            .with_stubs(&block.clone().with_reserve(reserve));
        let calls = [all(&memset_calls, base + 0x1000 + u64::from(variant)), all(&THUNK_CALLS, thunk)].concat();
        assert!(code(&image) == expected(&built, base, &calls), "{base:#x} {reserve:#x} {erms:?}");

        let far = u64::from(base == FAR);
        let counts = image.counts().overrides;
        assert_eq!((counts.listed, counts.applied, counts.out_of_reach), (6, 6, 2 * far));
        assert_eq!(counts.assumed, if erms.is_none() { 4 } else { 0 });
        for site in image.sites() {
            let call = site.rva.0 - 0x1000;
            let (_, target) = calls.iter().find(|(at, _)| *at == call).unwrap();
            assert_eq!(site.outcome, Outcome::Overridden(Va(*target)), "{call:#x}");
            assert_eq!(site.kind, SiteKind::Override { number: u32::from(!THUNK_CALLS.contains(&call)) });
        }
        // The copy is there when a call leads to it, and has the kernel's bytes.
        let copies: Vec<_> = image.ranges(Selection::Code).into_iter().skip(1).collect();
        assert_eq!(copies.len() as u64, far, "{copies:x?}");
        for copy in copies {
            assert_eq!(copy.kind, RangeKind::RetpolineStubs);
            assert_eq!(
                u64::from(copy.rva.0),
                u64::from(built.size_of_image) + u64::from(reserve.next_multiple_of(0x1000))
            );
            assert_eq!(&*image.bytes(copy.rva, copy.size), block.bytes());
        }
    }
}

#[test]
fn where_each_call_may_lead() {
    let built = driver().build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let block = block(&kernel_24h2(&[]));
    let guarded = u64::from(SHARED_CODE.guarded_calls[0]);
    for (base, system, is_copy) in
        [(NEAR, shared_code() + guarded, false), (FAR, FAR + u64::from(built.size_of_image) + guarded, true)]
    {
        let image = MappedImage::new(file.clone(), base, Policy::AS_LINKED).with_stubs(&block);
        let at = |offset: u32| base + 0x1000 + u64::from(offset);
        let leads = |way: &pe_image::OverrideWays| -> Vec<(u64, bool, Vec<Option<u64>>, bool)> {
            let each = |call: &pe_image::OverrideCall| {
                (call.address.0, call.call, call.leads.iter().map(|to| to.map(|to| to.0)).collect(), call.is_copy)
            };
            way.calls.iter().map(each).collect()
        };
        let ways = image.override_ways();
        let [thunk, memset] = &ways[..] else { panic!("{ways:?}") };
        // The thunk's alternative is the thunk itself.
        assert_eq!(thunk.targets, [OverrideTarget::Original, OverrideTarget::System(0x142)]);
        assert_eq!(thunk.alternatives, [0]);
        let expected = THUNK_CALLS.map(|call| (at(call), true, vec![Some(at(THUNK)), Some(system)], is_copy));
        assert_eq!(leads(thunk), expected);

        let [first, second] = VARIANTS.map(|variant| Some(at(variant)));
        let variants = [OverrideTarget::Original, OverrideTarget::Alternative(0), OverrideTarget::Alternative(1)];
        assert_eq!((&memset.targets[..], &memset.alternatives[..]), (&variants[..], &[1, 2][..]));
        let expected =
            [(MEMSET_CALLS[0], true), (MEMSET_JUMP, false), (MEMSET_CALLS[1], true), (MEMSET_CALLS[2], true)]
                .map(|(call, is_call)| (at(call), is_call, vec![Some(at(MEMSET_AT)), first, second], false));
        assert_eq!(leads(memset), expected);

        // Without the kernel's file, what it has of its own is not known.
        let alone = MappedImage::new(file.clone(), base, Policy::AS_LINKED).override_ways();
        assert_eq!(alone[0].targets, [OverrideTarget::Original]);
        assert_eq!(alone[0].calls[0].leads, [Some(Va(at(THUNK)))]);
        let second = Policy::AS_LINKED.with_second_mapping(true);
        assert_eq!(MappedImage::new(file.clone(), base, second).override_ways(), []);
    }
    // No room for the copy: it is not known where the call leads.
    let crowded = MappedImage::new(file, FAR, Policy::AS_LINKED).with_stubs(&block.without_copy());
    assert_eq!(crowded.override_ways()[0].calls[0].leads, [Some(Va(FAR + 0x1000 + u64::from(THUNK))), None]);
}

#[test]
fn one_test_of_the_range_for_each_call() {
    let built = driver().build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let (block, guarded) = (block(&kernel_24h2(&[])), u64::from(SHARED_CODE.guarded_calls[0]));
    let target = shared_code() + guarded;
    // The end of the first call, 2 GiB below and above the function, and one page further: bases are whole pages, so that
    // a base is chosen for the call to lie within a page of the edge, and then the target is moved onto it.
    let end = |call: u32| 0x1000 + u64::from(call) + 5;
    for (below, edge) in [(true, 0x7fff_ffff_i64), (false, -0x8000_0000)] {
        for beyond in [0, 1] {
            let distance = if below { edge + beyond } else { edge - beyond };
            let base = (target as i64 - distance) as u64 - end(THUNK_CALLS[0]);
            // Any base will do for the arithmetic; a kernel has them on pages.
            let image =
                MappedImage::new(file.clone(), base, APPLIED).with_capabilities(&intel(None)).with_stubs(&block);
            let site = image.sites().find(|site| site.rva.0 == 0x1000 + THUNK_CALLS[0]).unwrap();
            let copy = base + u64::from(built.size_of_image) + guarded;
            let expected = if beyond == 0 { target } else { copy };
            assert_eq!(site.outcome, Outcome::Overridden(Va(expected)), "{distance:#x}");
            // The other call lies 0x1e40 bytes on: nearer to the function, or further away.
            let site = image.sites().find(|site| site.rva.0 == 0x1000 + THUNK_CALLS[1]).unwrap();
            let expected = if below { target } else { copy };
            assert_eq!(site.outcome, Outcome::Overridden(Va(expected)), "{distance:#x}");
        }
    }
}

#[test]
fn what_stays_as_linked_says_why() {
    let built = driver().build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let shared = block(&kernel_24h2(&[]));
    let image = |policy| MappedImage::new(file.clone(), FAR, policy).with_capabilities(&intel(Some(true)));
    let check = |image: MappedImage<'_>, memset: Option<Reason>, thunk: Option<Reason>, not_applied: u64| {
        for site in image.sites() {
            let expected = if THUNK_CALLS.contains(&(site.rva.0 - 0x1000)) { thunk } else { memset };
            match expected {
                Some(reason) => assert_eq!(site.outcome, Outcome::AsLinked(reason)),
                None => assert!(matches!(site.outcome, Outcome::Overridden(_)), "{site:?}"),
            }
        }
        let counts = image.counts().overrides;
        assert_eq!(counts.applied + counts.as_linked + counts.unexpected_bytes, counts.listed);
        assert_eq!(counts.not_applied, not_applied);
        if memset.is_some() && thunk.is_some() {
            assert!(code(&image) == expected(&built, FAR, &[]));
        }
    };
    check(image(Policy::AS_LINKED).with_stubs(&shared), Some(Reason::Policy), Some(Reason::Policy), 0);
    let second = image(APPLIED.with_second_mapping(true)).with_stubs(&shared);
    check(second, Some(Reason::SecondMapping), Some(Reason::SecondMapping), 0);
    // Without the kernel's file, without room for the copy, and with a kernel that has no shared code.
    check(image(APPLIED), None, Some(Reason::NoSharedCode), 2);
    check(image(APPLIED).with_stubs(&shared.clone().without_copy()), None, Some(Reason::NoSharedCode), 2);
    check(image(APPLIED).with_stubs(&block(&kernel(&[]))), None, Some(Reason::Original), 0);
    let no_capability = image(APPLIED).with_stubs(&shared).with_capabilities(&Capabilities::exactly(&[]));
    check(no_capability, Some(Reason::Original), Some(Reason::Original), 0);

    // Another opcode, and a call of something else.
    let mut other = built.clone();
    other.bytes[0x400 + MEMSET_CALLS[0] as usize] = 0xeb;
    other.bytes[0x401 + THUNK_CALLS[0] as usize] ^= 1;
    let file = PeFile::parse(&other.bytes).unwrap();
    let image = MappedImage::new(file, NEAR, APPLIED).with_capabilities(&intel(Some(true))).with_stubs(&shared);
    let counts = image.counts().overrides;
    assert_eq!((counts.listed, counts.applied, counts.unexpected_bytes), (6, 4, 2));
    let both = [
        all(&[&MEMSET_CALLS[1..], &[MEMSET_JUMP]].concat(), NEAR + 0x1000 + u64::from(VARIANTS[0])),
        all(&THUNK_CALLS[1..], shared_code() + u64::from(SHARED_CODE.guarded_calls[0])),
    ];
    assert!(code(&image) == expected(&other, NEAR, &both.concat()));
}

/// The distance of a call that lies in two sections, and a table that no kernel takes.
#[test]
fn across_sections_and_damaged() {
    let payload = |alternative: u32| {
        // Sizes; the override of 0x1010 with one alternative and the site 0x1ffe; a diagram of 0x13B.
        let fields = [0x20, 0x1010, 0, 4, 12, alternative, 0x1000, 12, 0x1ffe, 1, 24];
        let mut out: Vec<u8> = fields.iter().flat_map(|field: &u32| field.to_le_bytes()).collect();
        for (left, right, value) in [(2_u16, 1_u16, 0x13b_u32), (1, 1, 0), (0, 0, 0)] {
            out.extend([left.to_le_bytes(), right.to_le_bytes()].concat());
            out.extend(value.to_le_bytes());
        }
        out
    };
    for (alternative, is_sound) in [(0x1080, true), (0x7fff_0000, false)] {
        let mut driver = Driver::new("driver.sys");
        driver.code(".text", 0x1000);
        driver.code(".more", 0x1000);
        driver.entries.push(Entry { symbol: 7, payload: payload(alternative) });
        let mut built = driver.build();
        let distance = (0x1010_u32.wrapping_sub(0x2002)).to_le_bytes();
        built.bytes[0x400 + 0xffd] = 0xe8;
        built.bytes[0x400 + 0xffe..][..4].copy_from_slice(&distance);
        let file = PeFile::parse(&built.bytes).unwrap();
        let image = MappedImage::new(file, NEAR, APPLIED);
        let mut bytes = [0; 5];
        image.read(Rva(0x1ffd), &mut bytes);
        let target = 0x2002_u32.wrapping_add(u32::from_le_bytes(bytes[1..].try_into().unwrap()));
        assert_eq!((bytes[0], target), (0xe8, if is_sound { 0x1080 } else { 0x1010 }));
        let site = image.sites().next().unwrap();
        assert_eq!(site.outcome == Outcome::AsLinked(Reason::DamagedTable), !is_sound);
        let warnings: Vec<_> = image.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), usize::from(!is_sound), "{warnings:?}");
        assert!(is_sound || warnings[0].contains("Rva is 0x7fff0000"), "{warnings:?}");
    }
}

#[test]
fn overrides_name_their_choice() {
    let built = driver().build();
    let file = PeFile::parse(&built.bytes).unwrap();
    let image = MappedImage::new(file, NEAR, APPLIED).with_stubs(&block(&kernel_24h2(&[])));
    let image = image.with_capabilities(&intel(None));
    let choices: Vec<_> = image.overrides().into_iter().map(|item| (item.original, item.choice, item.counts)).collect();
    let [(thunk, first, _), (memset, second, counts)] = &choices[..] else { panic!("{choices:?}") };
    assert_eq!((*thunk, first.target, &first.assumed[..]), (Rva(0x1020), OverrideTarget::System(0x142), &[][..]));
    assert_eq!((*memset, second.target, &second.assumed[..]), (Rva(0x1040), OverrideTarget::Alternative(0), &[0][..]));
    assert_eq!((counts.listed, counts.assumed), (4, 4));
}

/// The section KSCP serves as stub block: retpoline goes on as before, and guarded calls go to its stub.
#[test]
fn shared_code_has_the_stubs_too() {
    let mut driver = driver();
    driver.site(At(0, 0x200), SiteSpec::Indirect { call: true, rex: false, cfg: true });
    let built = driver.build();
    let kernel = kernel_24h2(&["ExFreePool"]).build();
    let kernel_file = PeFile::parse(&kernel.bytes).unwrap();
    let kernel_image = MappedImage::new(kernel_file.clone(), KERNEL_BASE, Policy::AS_LINKED);
    let block = StubBlock::from_kernel(&kernel_image).unwrap().unwrap();
    let modules = Modules::new([
        Module::new("ntoskrnl.exe", KERNEL_BASE, kernel_file),
        Module::new("driver.sys", FAR, PeFile::parse(&built.bytes).unwrap()),
    ]);
    let policy = APPLIED.with_import_calls(ImportCalls::Optimized).with_retpoline(true);
    let image = modules.image(ModuleId(1), policy).unwrap().with_stubs(&block.clone().with_reserve(0x2000));
    let copy = built.size_of_image + 0x2000;
    let listed = |counts: Counts| (counts.indirect.rewritten, counts.overrides.out_of_reach);
    assert_eq!(listed(image.counts()), (1, 2));
    let bytes = image.bytes(Rva(0x1200), 6);
    let distance = (copy + KERNEL_STUBS.indirect_cfg).wrapping_sub(0x1205).to_le_bytes();
    assert_eq!(*bytes, [0xe8, distance[0], distance[1], distance[2], distance[3], 0x90]);

    // Both functions for guarded calls jump to the stub with CFG check: in the kernel and in the copy.
    let mut changed = kernel.bytes[0x600..0x1600].to_vec();
    for at in SHARED_CODE.guarded_calls {
        let distance = KERNEL_STUBS.indirect_cfg.wrapping_sub(at + 5).to_le_bytes();
        changed[at as usize] = 0xe9;
        changed[at as usize + 1..][..4].copy_from_slice(&distance);
    }
    assert!(*image.bytes(Rva(copy), 0x1000) == changed);
    let section = kernel.section_rvas[1];
    let own = kernel_image.clone().with_stubs(&block).with_policy(policy);
    assert!(*own.bytes(Rva(section), 0x1000) == changed);
    assert!(*own.with_policy(APPLIED).bytes(Rva(section), 0x1000) == kernel.bytes[0x600..0x1600]);
}

#[test]
fn the_header_of_the_shared_code() {
    let functions = |kernel: &Driver| block(kernel).shared_functions().to_vec();
    let all = functions(&kernel_24h2(&[]));
    assert_eq!(all.len(), 17);
    assert_eq!(all[0], (SharedFunction::GuardedCall, SHARED_CODE.guarded_calls[0]));
    assert_eq!(all[1], (SharedFunction::GuardedCallNoSmep, SHARED_CODE.guarded_calls[1]));
    assert_eq!(all[16], (SharedFunction::Further(37), SHARED_CODE.further + 14 * SHARED_CODE.further_stride));
    assert_eq!(functions(&kernel(&[])), []);
    // A first generation's header ends after dword 22: a function lies there.
    let mut first = kernel_24h2(&[]);
    first.sections[1].bytes[4 * 21..][..4].copy_from_slice(&0x5c_u32.to_le_bytes());
    let names: Vec<_> = functions(&first).into_iter().map(|(function, _)| function).collect();
    assert_eq!(names, [SharedFunction::GuardedCall, SharedFunction::GuardedCallNoSmep]);
    // An offset that leads out names nothing.
    let mut out = kernel_24h2(&[]);
    out.sections[1].bytes[4 * 21..][..4].copy_from_slice(&0x1_0000_u32.to_le_bytes());
    assert_eq!(functions(&out)[0].0, SharedFunction::GuardedCallNoSmep);
    let named = block(&kernel_24h2(&[]));
    assert_eq!(named.name_at(0x780).as_deref(), Some("KscpCfgDispatchUserCallTargetEsSmep"));
    assert_eq!(named.name_at(0x420).as_deref(), Some("_guard_retpoline_import_r10"));
    assert_eq!(named.name_at(0x781), None);
}
