//! Imports, exports, forwarders and the rules by which modules serve under other names.

use pe_image::{ApiSets, ImportName, Module, ModuleId, Modules, PeFile, Policy, Rule, Rva, Unbound, Va, recognise};
use testkit::image::{At, Driver, ExportSpec, ImportSpec, api_set_schema, api_set_schema_with_aliases, kernel};

const BASE: u64 = 0xffff_f800_0000_0000;

/// Modules at `BASE`, `BASE + 0x100000`, … under the given names; `None` for a module whose file is missing.
fn with_modules(drivers: &[(&str, Option<Driver>)], check: impl FnOnce(&Modules<'_>)) {
    let built: Vec<_> = drivers.iter().map(|(_, driver)| driver.as_ref().map(Driver::build)).collect();
    let files: Vec<_> =
        built.iter().map(|built| built.as_ref().map(|built| PeFile::parse(&built.bytes).unwrap())).collect();
    let modules = drivers.iter().zip(&files).enumerate().map(|(number, ((name, _), file))| {
        let base = BASE + 0x10_0000 * number as u64;
        match file {
            Some(file) => Module::new(*name, base, file.clone()),
            None => Module::without_file(*name, base),
        }
    });
    check(&Modules::new(modules));
}

fn exporter(name: &str, exports: &[&str]) -> Driver {
    let mut driver = Driver::new(name);
    driver.code(".text", 0x100);
    for (number, export) in exports.iter().enumerate() {
        driver.export(export, At(0, 16 * number as u32));
    }
    driver
}

fn forwarder(name: &str, forwards: &[(&str, &str)]) -> Driver {
    let mut driver = Driver::new(name);
    driver.code(".text", 0x100);
    for (export, to) in forwards {
        driver.forward(export, to);
    }
    driver
}

/// Address and rule of an import by name (or `#ordinal`).
fn resolve(modules: &Modules<'_>, dll: &str, name: &str) -> Result<(u64, Option<Rule>), Unbound> {
    let name = match name.strip_prefix('#') {
        Some(ordinal) => ImportName::Ordinal(ordinal.parse().unwrap()),
        None => ImportName::Name(name.into()),
    };
    modules.resolve("importer.sys", dll, &name).map(|target| (target.address.0 - BASE, target.rule))
}

#[test]
fn names_ordinals_and_forwarders() {
    let mut ordinals = exporter("ordinals.sys", &["Named"]);
    ordinals.ordinal_exports.push((7, ExportSpec::At(At(0, 0x70))));
    ordinals.ordinal_exports.push((8, ExportSpec::Forward("second.#1".to_owned())));
    let drivers = [
        ("ntoskrnl.exe", Some(kernel(&["ExFreePool", "KeBugCheck"]))),
        ("ordinals.sys", Some(ordinals)),
        ("second.sys", Some(forwarder("second.sys", &[("Hop", "THIRD.Hop"), ("Out", "ntoskrnl.KeBugCheck")]))),
        ("Third.dll", Some(exporter("third.dll", &["Hop"]))),
        ("missing.sys", None),
    ];
    with_modules(&drivers, |modules| {
        let good = |dll, name| resolve(modules, dll, name).map(|(address, _)| address);
        assert_eq!(good("NTOSKRNL.exe", "KeBugCheck"), Ok(0x1010));
        assert_eq!(good("ordinals.sys", "Named"), Ok(0x10_1000));
        assert_eq!(good("ordinals.sys", "#7"), Ok(0x10_1070));
        assert_eq!(good("ordinals.sys", "#1"), Ok(0x10_1000));
        // Ordinal 8 is second's first export, which is forwarded once more.
        assert_eq!(good("ordinals.sys", "#8"), Ok(0x30_1000));
        assert_eq!(good("second.SYS", "Hop"), Ok(0x30_1000));
        assert_eq!(good("second.sys", "Out"), Ok(0x1010));

        assert_eq!(good("ordinals.sys", "#3"), Err(Unbound::NoSuchExport("ordinals.sys".into())));
        assert_eq!(good("ordinals.sys", "#0"), Err(Unbound::NoSuchExport("ordinals.sys".into())));
        assert_eq!(good("ntoskrnl.exe", "kebugcheck"), Err(Unbound::NoSuchExport("ntoskrnl.exe".into())));
        assert_eq!(good("missing.sys", "X"), Err(Unbound::NoFile("missing.sys".into())));
        assert_eq!(good("absent.sys", "X"), Err(Unbound::NotLoaded("absent.sys".into())));
    });
}

#[test]
fn forwarders_that_never_end() {
    let mut chain = vec![
        ("loop.sys".to_owned(), Some(forwarder("loop.sys", &[("A", "pool.A"), ("Self", "loop.Self")]))),
        ("pool.sys".to_owned(), Some(forwarder("pool.sys", &[("A", "loop.A"), ("Bad", "nodot"), ("Worse", "x.#q")]))),
    ];
    // link0 → link1 → … → link16 → nothing: one hop too many.
    for number in 0..20 {
        let name = format!("link{number}.sys");
        let to = format!("link{}.X", number + 1);
        chain.push((name.clone(), Some(forwarder(&name, &[("X", &to)]))));
    }
    chain.push(("link20.sys".to_owned(), Some(exporter("link20.sys", &["X"]))));
    let chain: Vec<_> = chain.iter().map(|(name, driver)| (name.as_str(), driver.clone())).collect();
    with_modules(&chain, |modules| {
        assert_eq!(resolve(modules, "loop.sys", "A"), Err(Unbound::ForwarderLoop("loop.sys".into())));
        assert_eq!(resolve(modules, "loop.sys", "Self"), Err(Unbound::ForwarderLoop("loop.sys".into())));
        assert_eq!(resolve(modules, "pool.sys", "Bad"), Err(Unbound::BadForwarder("pool.sys".into(), "nodot".into())));
        assert_eq!(resolve(modules, "pool.sys", "Worse"), Err(Unbound::BadForwarder("pool.sys".into(), "x.#q".into())));
        assert_eq!(resolve(modules, "link4.sys", "X"), Ok((0x10_0000 * 22 + 0x1000, None)));
        assert_eq!(resolve(modules, "link3.sys", "X"), Err(Unbound::ForwarderLoop("link3.sys".into())));
    });
}

#[test]
fn the_kernel_and_the_hal_under_other_names() {
    let nt = || Some(kernel(&["ExFreePool", "KeQueryPerformanceCounter"]));
    // With 5-level paging; with physical address extension; importers may say any of them.
    for name in ["ntkrla57.exe", "NTKRPAMP.EXE", "ntkrnlpa.exe"] {
        with_modules(&[(name, nt())], |modules| {
            assert_eq!(modules.kernel(), Some(ModuleId(0)), "{name}");
            for importer in ["ntoskrnl.exe", "ntkrnlmp.exe", "ntoskrnl"] {
                let expected = Ok((0x1000, Some(Rule::KernelName)));
                assert_eq!(resolve(modules, importer, "ExFreePool"), expected, "{name} as {importer}");
            }
        });
    }
    with_modules(&[("ntkrnlmp.exe", nt())], |modules| {
        assert_eq!(modules.kernel(), Some(ModuleId(0)));
        assert_eq!(resolve(modules, "ntoskrnl.exe", "ExFreePool"), Ok((0x1000, Some(Rule::KernelName))));
        let hal = Ok((0x1010, Some(Rule::HalInKernel)));
        assert_eq!(resolve(modules, "HAL.dll", "KeQueryPerformanceCounter"), hal);
        assert_eq!(resolve(modules, "HAL.dll", "HalBugCheckSystem"), Err(Unbound::NotLoaded("HAL.dll".into())));
    });
    // hal.dll is loaded and its file is missing: as if it were not there.
    with_modules(&[("ntoskrnl.exe", nt()), ("hal.dll", None)], |modules| {
        let hal = Ok((0x1010, Some(Rule::HalInKernel)));
        assert_eq!(resolve(modules, "HAL.dll", "KeQueryPerformanceCounter"), hal);
        assert_eq!(resolve(modules, "HAL.dll", "HalBugCheckSystem"), Err(Unbound::NoFile("HAL.dll".into())));
    });
    // A hal.dll with code of its own serves itself.
    let hal = exporter("hal.dll", &["KeQueryPerformanceCounter"]);
    with_modules(&[("ntoskrnl.exe", nt()), ("hal.dll", Some(hal.clone()))], |modules| {
        assert_eq!(resolve(modules, "HAL.dll", "KeQueryPerformanceCounter"), Ok((0x10_1000, None)));
    });
    with_modules(&[("ntoskrnl.exe", nt()), ("halmacpi.dll", Some(hal))], |modules| {
        let expected = Ok((0x10_1000, Some(Rule::HalName)));
        assert_eq!(resolve(modules, "HAL.dll", "KeQueryPerformanceCounter"), expected);
    });
    // A stub of forwarders leads back to the kernel.
    let stub = forwarder("hal.dll", &[("KeQueryPerformanceCounter", "ntoskrnl.KeQueryPerformanceCounter")]);
    with_modules(&[("ntoskrnl.exe", nt()), ("HAL.DLL", Some(stub))], |modules| {
        assert_eq!(resolve(modules, "hal.dll", "KeQueryPerformanceCounter"), Ok((0x1010, None)));
    });
}

/// Importers and forwarders say ntoskrnl whatever the kernel's file is called.
#[test]
fn every_name_of_the_kernel() {
    for name in ["ntoskrnl.exe", "ntkrnlmp.exe", "NTKRNLPA.EXE", "ntkrpamp.exe"] {
        let modules = [
            (name, Some(kernel(&["ExFreePool"]))),
            (
                "hal.dll",
                Some(forwarder("hal.dll", &[("HalX", "ntoskrnl.ExFreePool"), ("HalY", "ntkrnlmp.ExFreePool")])),
            ),
            // A driver whose name begins in the same way is not the kernel.
            ("ntosext.sys", Some(exporter("ntosext.sys", &["ExFreePool"]))),
        ];
        with_modules(&modules, |modules| {
            assert_eq!(modules.kernel(), Some(ModuleId(0)), "{name}");
            for wanted in ["ntoskrnl.exe", "ntkrnlmp.exe", "ntkrnlpa.exe", "ntkrpamp.exe"] {
                let rule = (!wanted.eq_ignore_ascii_case(name)).then_some(Rule::KernelName);
                assert_eq!(resolve(modules, wanted, "ExFreePool"), Ok((0x1000, rule)), "{wanted} in {name}");
            }
            assert_eq!(resolve(modules, "hal.dll", "HalX").unwrap().0, 0x1000, "{name}");
            assert_eq!(resolve(modules, "hal.dll", "HalY").unwrap().0, 0x1000, "{name}");
        });
    }
    with_modules(&[("driver.sys", Some(exporter("driver.sys", &["ExFreePool"])))], |modules| {
        assert_eq!(modules.kernel(), None);
        assert_eq!(resolve(modules, "ntoskrnl.exe", "ExFreePool"), Err(Unbound::NotLoaded("ntoskrnl.exe".into())));
    });
}

/// Each transport serves what is imported from kdcom.dll, and from KDSTUB.dll, which kdnet.dll imports from.
#[test]
fn every_debugger_transport() {
    for name in ["kd.dll", "kdnet.dll", "KDUSB.dll", "kdhvcom.dll", "kdstub.dll"] {
        with_modules(&[(name, Some(exporter(name, &["KdSendPacket"])))], |modules| {
            for wanted in ["kdcom.dll", "KDSTUB.dll"] {
                let rule = (!wanted.eq_ignore_ascii_case(name)).then_some(Rule::KdTransport);
                assert_eq!(resolve(modules, wanted, "KdSendPacket"), Ok((0x1000, rule)), "{wanted} in {name}");
            }
        });
    }
}

#[test]
fn debugger_transports() {
    let transport = exporter("kdnet.dll", &["KdSendPacket"]);
    with_modules(&[("kdnet.dll", Some(transport.clone()))], |modules| {
        assert_eq!(resolve(modules, "kdcom.dll", "KdSendPacket"), Ok((0x1000, Some(Rule::KdTransport))));
        assert_eq!(resolve(modules, "kdcom.dll", "KdNothing"), Err(Unbound::NotLoaded("kdcom.dll".into())));
    });
    with_modules(
        &[("kd.dll", Some(exporter("kd.dll", &["KdSendPacket"]))), ("kdnet.dll", Some(transport))],
        |modules| {
            assert_eq!(resolve(modules, "KDCOM.dll", "KdSendPacket"), Ok((0x1000, Some(Rule::KdTransport))));
        },
    );
}

const CONTRACT: &str = "ext-ms-win-ntos-werkernel-l1-1-1.dll";

#[test]
fn api_sets_through_the_schema() {
    let schema =
        api_set_schema(&[("ext-ms-win-ntos-werkernel-l1-1-0", "werkernel.sys"), ("ext-ms-win-ci-xbox-l1-1-0", "")]);
    let drivers = [
        ("other.sys", Some(exporter("other.sys", &["WerLive"]))),
        ("werkernel.sys", Some(exporter("werkernel.sys", &["WerLive"]))),
        ("apisetschema.dll", Some(schema.clone())),
    ];
    with_modules(&drivers, |modules| {
        // The revision after the last hyphen does not matter.
        assert_eq!(resolve(modules, CONTRACT, "WerLive"), Ok((0x10_1000, Some(Rule::ApiSet))));
        assert_eq!(resolve(modules, CONTRACT, "X"), Err(Unbound::NoSuchExport("werkernel.sys".into())));
        let unhosted = "ext-ms-win-ci-xbox-l1-1-0.dll";
        assert_eq!(resolve(modules, unhosted, "X"), Err(Unbound::NoHost(unhosted.into())));
        let unknown = "ext-ms-win-unknown-l1-1-0.dll";
        assert_eq!(resolve(modules, unknown, "X"), Err(Unbound::NoHost(unknown.into())));
    });
    let schema = schema.build();
    let file = PeFile::parse(&schema.bytes).unwrap();
    let api_sets = ApiSets::read(&file).unwrap().unwrap();
    assert_eq!(api_sets.host("EXT-MS-WIN-NTOS-WERKERNEL-L1-1-7.DLL", "x.sys").as_deref(), Some("werkernel.sys"));
}

/// A schema may name another host for one importer; and it serves although it is not among the modules.
#[test]
fn api_sets_with_a_host_for_one_importer() {
    let schema = api_set_schema_with_aliases(&[(
        "ext-ms-win-ntos-werkernel-l1-1-0",
        "werkernel.sys",
        &[("special.sys", "other.sys"), ("nobody.sys", "")],
    )]);
    let schema = schema.build();
    let schema_file = PeFile::parse(&schema.bytes).unwrap();
    let built = ["werkernel.sys", "other.sys"].map(|name| exporter(name, &["WerLive"]).build());
    let files = built.each_ref().map(|built| PeFile::parse(&built.bytes).unwrap());
    let modules = Modules::new(
        ["werkernel.sys", "other.sys"]
            .iter()
            .zip(&files)
            .enumerate()
            .map(|(number, (name, file))| Module::new(*name, BASE + 0x10_0000 * number as u64, file.clone())),
    );
    let modules = modules.with_api_sets(ApiSets::read(&schema_file).unwrap().unwrap());
    let host = |importer| modules.resolve(importer, CONTRACT, &ImportName::Name("WerLive".into()));
    assert_eq!(host("driver.sys").map(|target| target.module), Ok(ModuleId(0)));
    assert_eq!(host("SPECIAL.sys").map(|target| target.module), Ok(ModuleId(1)));
    assert_eq!(host("nobody.sys"), Err(Unbound::NoHost(CONTRACT.into())));
}

/// From the import of a contract to the direct call: the site of a driver goes to the host's function.
#[test]
fn a_call_of_an_api_set_becomes_direct() {
    let mut driver = exporter("driver.sys", &["X"]);
    let import = driver.import(CONTRACT, "WerLive");
    driver.call(At(0, 0x20), import);
    let drivers = [
        ("driver.sys", Some(driver)),
        ("werkernel.sys", Some(exporter("werkernel.sys", &["Other", "WerLive"]))),
        ("apisetschema.dll", Some(api_set_schema(&[("ext-ms-win-ntos-werkernel-l1-1-0", "werkernel.sys")]))),
    ];
    with_modules(&drivers, |modules| {
        let image = modules.image(ModuleId(0), Policy::default()).unwrap();
        let site = recognise(&image.bytes(Rva(0x1020), 12), image.address(Rva(0x1020))).unwrap();
        assert_eq!(site.target(), Some(Va(BASE + 0x10_0000 + 0x1010)));
    });
}

#[test]
fn api_sets_without_a_schema_need_one_export() {
    let drivers = [
        ("a.sys", Some(exporter("a.sys", &["One", "Two"]))),
        ("b.sys", Some(exporter("b.sys", &["Two", "Three"]))),
        ("c.sys", Some(forwarder("c.sys", &[("Three", "b.Three")]))),
    ];
    with_modules(&drivers, |modules| {
        assert_eq!(resolve(modules, CONTRACT, "One"), Ok((0x1000, Some(Rule::UniqueExport))));
        assert_eq!(resolve(modules, CONTRACT, "Two"), Err(Unbound::NotUnique(CONTRACT.into())));
        // Two exporters, one function.
        assert_eq!(resolve(modules, CONTRACT, "Three"), Ok((0x10_1010, Some(Rule::UniqueExport))));
        assert_eq!(resolve(modules, CONTRACT, "Four"), Err(Unbound::NotUnique(CONTRACT.into())));
    });
}

#[test]
fn bindings_list_slots_and_what_stays_unbound_once() {
    let mut driver = exporter("driver.sys", &["X"]);
    for (dll, name, delayed) in [
        ("gone.sys", "B", false),
        ("ntoskrnl.exe", "ExFreePool", false),
        ("gone.sys", "A", false),
        ("ntoskrnl.exe", "#1", false),
        ("gone.sys", "B", false),
        ("late.sys", "C", true),
        ("ntoskrnl.exe", "ExFreePool", true),
    ] {
        driver.imports.push(ImportSpec { dll: dll.to_owned(), name: name.to_owned(), delayed });
    }
    let slots = driver.build().slots;
    with_modules(&[("driver.sys", Some(driver)), ("ntoskrnl.exe", Some(kernel(&["ExFreePool"])))], |modules| {
        let binding = modules.bind(ModuleId(0));
        assert_eq!(binding.errors(), []);
        let unresolved: Vec<_> =
            binding.unresolved().iter().map(|slot| format!("{}!{}", slot.dll, slot.name)).collect();
        assert_eq!(unresolved, ["gone.sys!A", "gone.sys!B", "late.sys!C"]);
        assert_eq!(binding.slots().len(), 7);
        for (number, slot) in slots.iter().enumerate() {
            let slot = binding.slot_at(Rva(*slot)).unwrap();
            assert_eq!(slot.delayed, number >= 5);
            assert_eq!(slot.result.is_ok(), [1, 3, 6].contains(&number), "{number}");
        }
    });
}
