//! Pages of a whole system, of hostile names, of any numbers.

use mkdump::report::Status;
use mkdump::report::ipt::{ConfirmedReport, QualityReport};

use super::{Choice, Module, Page, Sites, Snapshot, Votes, render};

fn module(name: &str, base: u64, size: u64) -> Module {
    Module {
        name: name.to_owned(),
        base,
        size,
        status: Status::Included,
        reason: None,
        file: Some(format!("modules/{name}")),
        have: None,
        key: Some(format!("4D5E6F70{size:x}")),
        pdb: Some(format!("{} 6D6B6475-6D70-4465-8D6F-0000{size:08X} 1", name.replace(".sys", ".pdb"))),
        included: size / 10 * 9,
        sites: Sites::default(),
        heat: Vec::new(),
    }
}

fn snapshot(number: usize) -> Snapshot {
    Snapshot {
        number,
        time: Some(number as f64 * 1.7),
        cpu: Some(number as u16 % 16),
        process: ["System (4)", "svchost.exe (1044)"][number % 2].to_owned(),
        thread: format!("{}", 4000 + number % 5 * 4),
        event: "CSwitch".to_owned(),
        bytes: 32_768,
        hits: 4_000 + number as u64 * 37,
        gaps: number as u64 % 3,
        followed: Some(quality(32_768, [1.0, 0.97, 0.84][number % 3], number as u64 % 3)),
    }
}

/// Packets of so many bytes, this share of which was followed, with so many contradictions.
fn quality(bytes: u64, share: f64, out_of_step: u64) -> QualityReport {
    let (returns, branches, addresses) = (bytes / 40, bytes / 90, bytes / 400);
    QualityReport {
        bytes,
        followed: (bytes as f64 * share) as u64,
        share_followed: Some(share),
        out_of_step,
        out_of_step_per_mib: Some(out_of_step as f64 * 1_048_576.0 / bytes as f64),
        confirmed: ConfirmedReport { returns, branches, addresses, bits: returns + branches + 16 * addresses },
        doubt: None,
    }
}

fn votes(module: &str) -> Votes {
    Votes { module: module.to_owned(), verdict: "on".to_owned(), on: 21, off: 0, either: 4, neither: 1 }
}

/// A system with this many modules. Only a few of them have files.
fn mostly_missing(count: u64) -> Page {
    let modules = (0..count).map(|number| {
        let mut module = module(&format!("driver{number:04}.sys"), 0xffff_f805_1000_0000 + number * 0x8_0000, 0x4_2000);
        if number % 50 != 0 {
            (module.status, module.file, module.included) = (Status::Missing, None, 0);
            module.reason = Some("no file of that name or identity found".to_owned());
            module.heat = if number % 7 == 0 { vec![(number % 60, number * 3 + 1)] } else { Vec::new() };
        }
        module
    });
    Page { modules: modules.collect(), ..system() }
}

#[test]
fn a_thousand_modules_stay_a_page_of_a_few_screens() {
    let html = render(&mostly_missing(1_000));
    assert!(html.contains("20 of 1,000 modules are in the dump; 980 are missing."));
    assert!(html.len() < 2_500_000, "{} bytes", html.len());
    // Each module is listed in one table only.
    assert_eq!(html.matches("</span>driver0001.sys<td").count(), 1);
    keep("thousand.html", &html);
}

#[test]
fn the_order_is_that_of_what_a_reader_needs() {
    let html = render(&system());
    let ids = [
        "filter",
        "verdict",
        "missing",
        "next",
        "map",
        "heat",
        "votes",
        "snapshots",
        "threads",
        "present",
        "warnings",
        "facts",
    ];
    let places: Vec<_> = ids.map(|id| html.find(&format!("id=\"{id}\"")).unwrap_or_else(|| panic!("{id}"))).into();
    assert!(places.is_sorted(), "{places:?}");
    // What costs most stands first, with what was found in its place.
    let missing = &html[places[2]..places[3]];
    let at = |name: &str| missing.find(&format!("</span>{name}<")).unwrap_or_else(|| panic!("{name}"));
    let page = system();
    let hits = |name: &str| page.modules.iter().find(|module| module.name == name).unwrap().hits();
    let mut absent = ["vendorgpu.sys", "SgrmAgent.sys", "vendornic.sys", "storport.sys"];
    absent.sort_by_key(|name| at(name));
    assert!(absent.map(hits).is_sorted_by(|a, b| a >= b), "{absent:?}");
    assert!(missing.contains("have 10.0.19041.508, a different build"));
}

#[test]
fn one_of_a_kind_is_not_a_plural() {
    let modules =
        vec![Module { status: Status::Missing, ..module("a.sys", 0x1000, 0x1000) }, module("b.sys", 0x9000, 0x1000)];
    let page = Page { modules, warnings: vec!["w".into()], ..Page::default() };
    let html = render(&page);
    for text in ["1 of 2 modules are in the dump; 1 is missing.", "1 warning<", "1 module, the most costly first"] {
        assert!(html.contains(text), "{text}");
    }
    assert_eq!(super::intel_pt::total(1, 5), "1 snapshot, 5 B");
    let none = render(&Page {
        modules: vec![Module { status: Status::Missing, ..module("a.sys", 0x1000, 0x1000) }],
        ..Page::default()
    });
    assert!(none.contains("None of the module files was found, so the dump contains no code."));
}

/// A system as large as a real one, made up: names that many systems have, sizes and bases that none has.
fn system() -> Page {
    const NAMES: &str = "ntoskrnl.exe hal.dll kd.dll mcupdate.dll CLFS.SYS tm.sys PSHED.dll BOOTVID.dll FLTMGR.SYS msrpc.sys \
        ksecdd.sys clipsp.sys cmimcext.sys werkernel.sys ntosext.sys CI.dll cng.sys Wdf01000.sys WDFLDR.SYS acpiex.sys \
        WppRecorder.sys mssecflt.sys SgrmAgent.sys ACPI.sys WMILIB.SYS WindowsTrustedRT.sys intelpep.sys pcw.sys msisadrv.sys \
        pci.sys vdrvroot.sys pdc.sys CEA.sys partmgr.sys spaceport.sys volmgr.sys volmgrx.sys mountmgr.sys storahci.sys \
        storport.sys EhStorClass.sys fileinfo.sys Wof.sys WdFilter.sys Ntfs.sys Fs_Rec.sys ndis.sys NETIO.SYS ksecpkg.sys \
        tcpip.sys fwpkclnt.sys wfplwfs.sys fvevol.sys volume.sys volsnap.sys rdyboost.sys mup.sys iorate.sys disk.sys \
        CLASSPNP.SYS crashdmp.sys cdrom.sys filecrypt.sys tbs.sys Null.SYS Beep.SYS dxgkrnl.sys watchdog.sys BasicDisplay.sys \
        BasicRender.sys Npfs.SYS Msfs.SYS tdx.sys TDI.SYS netbt.sys afunix.sys afd.sys vwififlt.sys pacer.sys ndiscap.sys \
        netbios.sys rdbss.sys csc.sys nsiproxy.sys npsvctrig.sys mssmbios.sys dfsc.sys fastfat.SYS bam.sys ahcache.sys \
        CompositeBus.sys kdnic.sys umbus.sys CAD.sys vendorgpu.sys HDAudBus.sys portcls.sys drmk.sys ks.sys USBXHCI.SYS \
        ucx01000.sys vendornic.sys intelppm.sys acpipagr.sys wmiacpi.sys UEFI.sys NdisVirtualBus.sys swenum.sys rdpbus.sys \
        usbhub3.sys USBD.SYS HdAudio.sys ksthunk.sys hidusb.sys HIDCLASS.SYS HIDPARSE.SYS kbdhid.sys kbdclass.sys mouhid.sys \
        mouclass.sys dump_diskdump.sys dump_storahci.sys dump_dumpfve.sys dxgmms2.sys monitor.sys luafv.sys wcifs.sys \
        cldflt.sys storqosflt.sys mslldp.sys lltdio.sys rspndr.sys nwifi.sys ndisuio.sys HTTP.sys bowser.sys mpsdrv.sys \
        mrxsmb.sys mrxsmb20.sys srvnet.sys srv2.sys Ndu.sys peauth.sys tcpipreg.sys condrv.sys rassstp.sys agilevpn.sys";
    let mut seed = 12_345u64;
    let mut random = |limit: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % limit
    };
    let mut modules: Vec<Module> = Vec::new();
    let mut base = 0xffff_f803_2a40_0000;
    for (index, name) in NAMES.split_whitespace().enumerate() {
        let size = match index {
            0 => 0x104_7000,
            _ if name == "vendorgpu.sys" => 0x251_0000,
            _ if ["tcpip.sys", "Ntfs.sys", "dxgkrnl.sys", "CI.dll"].contains(&name) => {
                0x2c_0000 + random(0xa0) * 0x1000
            }
            _ => 0x8000 + random(0x18) * random(0x28) * 0x1000,
        };
        if index == 1 || index == 64 {
            base += if index == 1 { 0x20_0000 } else { 0x140_0000 };
        }
        modules.push(module(name, base, size));
        base += size + random(6) * 0x1_0000;
    }
    let mut session = 0xffff_9a51_0f00_0000;
    for (name, size) in
        [("win32k.sys", 0x9_a000), ("win32kfull.sys", 0x3b_6000), ("win32kbase.sys", 0x2e_2000), ("cdd.dll", 0x4_8000)]
    {
        modules.push(module(name, session, size));
        session += size + 0x4_0000;
    }
    for (index, module) in modules.iter_mut().enumerate() {
        module.sites = Sites {
            optimized: module.size / 0x400 / (1 + random(4)),
            indirect: module.size / 0x8000 * random(3),
            ..Sites::default()
        };
        if index == 0 || random(5) < 2 {
            // A few places in each module, a few modules much more than the rest.
            let pages = module.size / 0x1000;
            let share = [1, 1, 2, 3, 5, 9, 40, 160][random(8) as usize] * if index == 0 { 900 } else { 1 };
            let mut heat = std::collections::BTreeMap::new();
            for _ in 0..3 + random(5) {
                let (centre, spread) = (random(pages), 2 + pages / 14);
                for _ in 0..spread.min(60) {
                    let page = (centre + random(spread) * random(spread) / spread) % pages;
                    *heat.entry(page).or_insert(0) += 1 + share * random(12) * random(12) / 8;
                }
            }
            module.heat = heat.into_iter().collect();
        }
        let absent = |status, reason: &str, module: &mut Module| {
            (module.status, module.reason, module.file) = (status, Some(reason.to_owned()), None);
            (module.included, module.sites) = (0, Sites::default());
        };
        match module.name.as_str() {
            "vendorgpu.sys" | "SgrmAgent.sys" | "vendornic.sys" => {
                absent(Status::Missing, "no file of that name in the directories given", module);
            }
            "storport.sys" => {
                absent(
                    Status::Mismatch,
                    "modules/storport.sys: TimeDateStamp is 0x5eadbeef, wanted is 0x4d5e6f70",
                    module,
                );
                module.have = Some("10.0.19041.508".to_owned());
            }
            name if name.starts_with("dump_") => {
                absent(Status::Excluded, "a copy of another driver under a second name", module);
            }
            _ if index == 0 => module.included = module.size - 0x9000,
            _ => {}
        }
    }
    let fact = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    Page {
        source: "boot-with-ipt.etl".to_owned(),
        output: "boot-with-ipt.dmp".to_owned(),
        format: "user minidump".to_owned(),
        bytes: modules.iter().map(|module| module.included).sum::<u64>() + 0x2_3000,
        facts: vec![
            fact("Windows", "10.0.19045.4780"),
            fact("Processors", "16, x64"),
            fact("Recorded", "2024-05-17 08:31:07 UTC"),
            fact("Covers", "42.7 s"),
            fact("Events", "1,204,518, none lost"),
            fact("Intel PT", "24 snapshots, 768 KiB"),
        ],
        choices: vec![
            Choice {
                name: "Import optimization".to_owned(),
                mode: "on".to_owned(),
                reason: "64 of 64 witnesses in the Intel PT data, in 31 modules".to_owned(),
            },
            Choice {
                name: "Retpoline".to_owned(),
                mode: "off".to_owned(),
                reason: "no packet names an address in a stub".to_owned(),
            },
        ],
        hashes: vec![(
            "boot-with-ipt.etl".to_owned(),
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        )],
        shortcomings: vec!["4 modules are missing".to_owned()],
        snapshots: (0..24).map(snapshot).collect(),
        quality: Some(quality(786_432, 0.93, 23)),
        votes: ["tcpip.sys", "Ntfs.sys", "ndis.sys"].map(votes).into(),
        gaps: vec!["snapshot 3, offset 0x1c40: not a packet".to_owned()],
        modules,
        has_ipt: true,
        unknown: (0..9).map(|page| (0xffff_f803_6100_0000 + page * 0x3_1000, 900 / (page + 1))).collect(),
        warnings: vec![
            "boot-with-ipt.etl: buffer at 0x1c40000: sequence numbers 911 to 913 are missing".to_owned(),
            "storport.sys: a file of that name was found, of another build".to_owned(),
        ],
        next: vec![
            fact("open it", "windbg -z boot-with-ipt.dmp -y srv*C:\\symbols*https://symbols.example"),
            fact("get what is missing", "mkdump fetch --etl boot-with-ipt.etl --modules modules --list"),
        ],
    }
}

#[test]
fn a_whole_system_renders() {
    let page = system();
    let html = render(&page);
    for module in &page.modules {
        assert!(html.contains(&module.name), "{}", module.name);
    }
    for text in
        ["boot-with-ipt.dmp", "64 of 64 witnesses", "fffff803`2a400000", "another build", "sequence numbers 911"]
    {
        assert!(html.contains(text), "{text}");
    }
    assert!(!html.contains("http://") && !html.contains("src="), "the page loads nothing");
    assert!(html.len() < 900_000, "{} bytes", html.len());
    keep("system.html", &html);
}

#[test]
fn how_well_packets_were_followed_is_drawn() {
    let good = render(&system());
    for text in [
        "Intel PT data followed",
        ">93%",
        "23 contradictions (31 per MiB)",
        "<i class=\"included\" style=\"width:84.0%\">",
    ] {
        assert!(good.contains(text), "{text}");
    }
    assert!(!good.contains("not reliable"));
    let doubt = Some("the code is not what ran, so do not rely on it".to_owned());
    let mut page = system();
    page.quality = Some(QualityReport { doubt: doubt.clone(), ..quality(786_432, 0.2, 9_000) });
    page.snapshots[3].followed = Some(QualityReport { doubt, ..quality(32_768, 0.2, 900) });
    let bad = render(&page);
    let verdict = &bad[bad.find("id=\"verdict\"").unwrap()..bad.find("id=\"missing\"").unwrap()];
    assert!(verdict.contains("Intel PT data not reliable</b>: the code is not what ran"), "{verdict}");
    assert_eq!(bad.matches("class=\"n doubt\"").count(), 2, "the share and the contradictions of one snapshot");
    // Without code nothing is followed.
    page.quality = None;
    page.snapshots.iter_mut().for_each(|snapshot| snapshot.followed = None);
    assert!(!render(&page).contains("data followed"));
}

/// Keeps a page for `cargo xtask browser`, which also makes the pictures of the documentation from it.
fn keep(name: &str, html: &str) {
    if let Some(directory) = std::env::var_os("MKDUMP_SAMPLE_PAGES") {
        std::fs::write(std::path::Path::new(&directory).join(name), html).unwrap();
    }
}

#[test]
fn hostile_names_stay_text() {
    let hostile = "</title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u{202e}gpj\u{7}.sys";
    let mut page = system();
    let text = || hostile.to_owned();
    page.modules = vec![
        Module {
            heat: vec![(0, 5)],
            reason: Some(text()),
            file: Some(text()),
            key: Some(text()),
            pdb: Some(text()),
            ..module(hostile, 0x1000, 0x80_0000)
        },
        Module {
            status: Status::Missing,
            reason: Some(text()),
            have: Some(text()),
            ..module(hostile, 0x90_0000, 0x1000)
        },
    ];
    (page.source, page.output, page.format) = (text(), text(), text());
    page.snapshots = vec![Snapshot { process: text(), thread: text(), event: text(), ..snapshot(0) }];
    page.votes = vec![Votes { module: text(), verdict: text(), ..votes("m") }];
    (page.gaps, page.hashes, page.shortcomings) = (vec![text()], vec![(text(), text())], vec![text()]);
    (page.facts, page.next, page.warnings) = (vec![(text(), text())], vec![(text(), text())], vec![text()]);
    page.choices = vec![Choice { name: text(), mode: text(), reason: text() }];
    let html = render(&page);
    keep("hostile.html", &html);
    assert_eq!(html.matches("<script").count(), 1, "the page's own");
    assert!(!html.contains("<img") && !html.contains('\u{202e}') && !html.contains('\u{7}'));
    assert!(html.contains("&lt;/title&gt;&lt;script&gt;alert(1)"));
}

#[test]
fn any_addresses_and_sizes_render() {
    let far = |base, size| Module { heat: vec![(0, 1), (u64::MAX, u64::MAX / 4)], ..module("m.sys", base, size) };
    for modules in [
        vec![],
        vec![far(0, 0)],
        vec![far(u64::MAX, 1), far(u64::MAX - 5, u64::MAX), far(0, u64::MAX)],
        (0..300).map(|index| far(index << 55, 0x1000)).collect(),
        (0..300).map(|index| far(index * 0x10, 0x1_0000)).collect(),
    ] {
        let html = render(&Page { modules, has_ipt: true, ..Page::default() });
        assert!(html.len() < 1_400_000, "{}", html.len());
        assert!(!html.contains("NaN") && !html.contains("inf\""));
    }
}
