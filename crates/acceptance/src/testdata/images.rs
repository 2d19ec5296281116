//! Kernel images: what the loader does to each, by the tables that it carries.

use anyhow::{Result, ensure};
use pe_image::{Counts, MappedImage, PeFile, Policy};
use testkit::image::{At, Driver, PdbSpec, SiteSpec, kernel};

use super::Sample;

pub fn samples() -> Vec<Sample> {
    let counts = |imports, indirect, switches| {
        format!("{imports} import sites, {indirect} indirect branches, {switches} switch jumps listed")
    };
    let sample =
        |name, shows, answer, driver: Driver| Sample { name, shows, answer, bytes: driver.build().bytes, found };
    vec![
        sample(
            "images/ntoskrnl.exe",
            "a kernel: exports, and the sections that hold the stubs of retpoline",
            counts(0, 0, 0),
            kernel(&["ExAllocatePool2", "ExFreePool", "KeBugCheck", "IoCallDriver"]),
        ),
        sample("images/hal.dll", "nothing but forwarders to the kernel", counts(0, 0, 0), hal()),
        sample("images/imports.sys", "import optimization: two calls and a jump", counts(3, 0, 0), imports()),
        sample("images/retpoline.sys", "retpoline: indirect branches and a switch", counts(0, 2, 1), retpoline()),
        sample("images/plain.sys", "no dynamic value relocation table", counts(0, 0, 0), plain()),
    ]
}

fn rsds(path: &str) -> Option<PdbSpec> {
    Some(PdbSpec::Rsds { guid: "6d6b6475-6d70-7465-7374-646174610002".into(), age: 1, path: path.into() })
}

fn hal() -> Driver {
    let mut driver = Driver::new("hal.dll");
    for name in ["KeStallExecutionProcessor", "HalGetBusData"] {
        driver.forward(name, &format!("ntoskrnl.{name}"));
    }
    driver
}

fn imports() -> Driver {
    let mut driver = Driver::new("imports.sys");
    driver.pdb = rsds("imports.pdb");
    let text = driver.code(".text", 0x200);
    let allocate = driver.import("ntoskrnl.exe", "ExAllocatePool2");
    let free = driver.import("ntoskrnl.exe", "ExFreePool");
    let site = |call, import| SiteSpec::Import { call, import };
    driver.site(At(text, 0x10), site(true, allocate));
    driver.site(At(text, 0x40), site(true, free));
    driver.site(At(text, 0x80), site(false, free));
    driver
}

fn retpoline() -> Driver {
    let mut driver = Driver::new("retpoline.sys");
    driver.pdb = rsds("retpoline.pdb");
    let text = driver.code(".text", 0x200);
    driver.site(At(text, 0x10), SiteSpec::Indirect { call: true, rex: false, cfg: true });
    driver.site(At(text, 0x40), SiteSpec::Indirect { call: false, rex: false, cfg: true });
    driver.site(At(text, 0x80), SiteSpec::Switch(0));
    driver
}

fn plain() -> Driver {
    let mut driver = Driver::new("plain.sys");
    (driver.dvrt_version, driver.guard_flags) = (None, 0);
    driver.code(".text", 0x100);
    driver
}

fn found(file: &[u8]) -> Result<String> {
    let pe = PeFile::parse(file)?;
    let Counts { import, indirect, switch, .. } =
        MappedImage::new(pe.clone(), 0xffff_f804_1234_0000, Policy::default()).counts();
    let unexpected = import.unexpected_bytes + indirect.unexpected_bytes + switch.unexpected_bytes;
    ensure!(unexpected == 0, "{unexpected} sites hold other code than the table says");
    let (imports, indirect, switches) = (import.listed, indirect.listed, switch.listed);
    Ok(format!("{imports} import sites, {indirect} indirect branches, {switches} switch jumps listed"))
}
