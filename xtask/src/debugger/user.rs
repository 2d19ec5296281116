//! What a user minidump must show in the engine.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::check::{Check, Suite, address};
use super::modules::{Module, System};
use super::rig::{Rig, windows_path};
use super::server::Server;
use super::store::{self, Contents};
use crate::outcome::Outcome;

/// Opens `dump` with symbols from a store that holds PDBs only, and again with the symbols coming over HTTP.
pub fn check(rig: &Rig, system: &System, work: &Path, dump: &Path, name: &str, outcome: &mut Outcome) -> Result<()> {
    let store = work.join("store");
    store::build(&store, system, Contents::PdbsOnly)?;

    let local = format!("srv*{}", windows_path(&store));
    let suite = Suite { name, dump, symbols: &local, opening: opening(), checks: checks(system)? };
    suite.run(rig, outcome)?;

    over_http(rig, system, work, &store, dump, name, outcome)
}

fn over_http(
    rig: &Rig,
    system: &System,
    work: &Path,
    store: &Path,
    dump: &Path,
    name: &str,
    outcome: &mut Outcome,
) -> Result<()> {
    let server = Server::start(store)?;
    let name = format!("{name}, symbols over HTTP");
    // A fresh cache directory, or the engine would not need to ask.
    let cache = work.join("symcache");
    if cache.exists() {
        std::fs::remove_dir_all(&cache)?;
    }
    std::fs::create_dir_all(&cache)?;
    let symbols = format!("srv*{}*{}", windows_path(&cache), server.url());
    let checks = vec![
        Check::new(".reload /f mkfilter.sys").lacks("*could not be loaded*"),
        Check::new("lm m mkfilter").has("mkfilter (*pdb symbols)*symcache*"),
        Check::new("x mkfilter!CallKernel").has("mkfilter!CallKernel"),
    ];
    Suite { name: &name, dump, symbols: &symbols, opening: opening(), checks }.run(rig, outcome)?;

    let pdb = system.module("mkfilter.sys")?.image.pdb.clone().context("mkfilter.sys names no PDB")?;
    let wanted = format!("/{}/{}/{}", pdb.name, pdb.key(), pdb.name);
    if server.asked().iter().any(|(path, status)| *path == wanted && *status == 200) {
        println!("ok      {name}: GET {wanted}");
        outcome.add_pass();
    } else {
        outcome.add_failure(format!("{name}: the engine did not fetch {wanted}; it asked for {:?}", server.asked()));
    }
    Ok(())
}

/// Opened without a complaint about the dump.
fn opening() -> Check {
    Check::new("(opening)")
        .has("[rig] OpenDumpFile hr=00000000")
        .has("[rig] WaitForEvent hr=00000000")
        .has("[rig] debuggee class=2 qualifier=1024 machine=8664")
        .lacks("WARNING*")
        .lacks("*Teb*")
        .lacks("*missing*")
        .lacks("*Unable to verify timestamp*")
        .lacks("*GetContextState failed*")
}

fn checks(system: &System) -> Result<Vec<Check>> {
    let kernel = system.module("ntoskrnl.exe")?;
    let library = system.module("mklib.sys")?;
    let filter = system.module("mkfilter.sys")?;
    let far = system.module("mkfar.sys")?;

    let mut checks = vec![Check::new(".reload /f").lacks("*ERROR*").lacks("*WARNING*")];
    checks.push(system.modules.iter().fold(Check::new("lm"), |check, module| {
        let start = address(module.base);
        let end = address(module.base + u64::from(module.image.size));
        check.has(format!("{start} {end} {} (*pdb symbols)", name_of(module)))
    }));
    for module in &system.modules {
        let pdb = module.image.pdb.as_ref().context("a module names no PDB")?;
        checks.push(
            Check::new(format!("lmv m {}", name_of(module)))
                .has(format!("*{}*{}*{}", pdb.name, pdb.key(), pdb.name))
                .has(format!("CheckSum: {:08X}", module.image.checksum))
                .has(format!("ImageSize: {:08X}", module.image.size))
                .has(format!("*({:08X})", module.image.timestamp)),
        );
    }

    // The rewritten sites: (function, imported name, slot symbol's module, target).
    let file = kernel.address("NtCreateFile")?;
    let counter = kernel.address("KeQueryPerformanceCounter")?;
    checks.push(site(filter, "CallKernel", "call", "ntoskrnl!NtCreateFile", file)?);
    checks.push(site(filter, "CallHal", "call", "ntoskrnl!KeQueryPerformanceCounter", counter)?);
    checks.push(site(filter, "CallDriver", "call", "mklib!LibAdd", library.address("LibAdd")?)?);
    checks.push(site(filter, "CallOrdinal", "call", "mklib!LibByOrdinal", library.address("LibByOrdinal")?)?);
    let complete = kernel.address("IofCompleteRequest")?;
    checks.push(site(filter, "JumpKernel", "jmp", "ntoskrnl!IofCompleteRequest", complete)?);
    let across = filter.site_in("CallAcrossPage")?;
    ensure!(across & 0xfff > 0xff4, "the site at {across:#x} was meant to cross a page");
    let pool = kernel.address("ExAllocatePoolWithTag")?;
    checks.push(site(filter, "CallAcrossPage", "call", "ntoskrnl!ExAllocatePoolWithTag", pool)?);
    let debugger = system.module("kdcom.dll")?.address("KdDebuggerInitialize0")?;
    checks.push(site(kernel, "KiInitializeDebugger", "call", "kdcom!KdDebuggerInitialize0", debugger)?);
    checks.push(site(library, "DriverEntry", "call", "ntoskrnl!ExAllocatePoolWithTag", pool)?);

    // Out of reach: as linked, through the import table.
    let site = far.site_in("CallFar")?;
    checks.push(
        Check::new(format!("u {} L2", address(site)))
            .has("48ff15* call qword ptr [mkfar!*NtCreateFile*")
            .has("0f1f440000 nop dword ptr [rax+rax]")
            .lacks("*mov r10*"),
    );
    // A relocated operand in code: the address of a variable at this base.
    let variable = filter.address("FilterCount")?;
    checks.push(
        Check::new("u mkfilter!LoadAbsolute L2")
            .has(format!("48b8* mov rax,offset mkfilter!FilterCount ({})", address(variable)))
            .has("c3 ret"),
    );
    let start = filter.address("CallKernel")?;
    checks.push(Check::new("uf mkfilter!CallKernel").has("mkfilter!CallKernel*:").has("*mov r10,*").has("*c3*ret"));
    checks.push(Check::new(format!("ln {}", address(start))).has("mkfilter!CallKernel"));
    checks.push(Check::new("x ntoskrnl!Nt*").has(format!("{} ntoskrnl!NtCreateFile*", address(file))));
    checks.push(Check::new("x mkfilter!Call*").has(format!("{} mkfilter!CallKernel*", address(start))));
    checks.push(Check::new(format!("db {} L2", address(filter.base))).has("4d 5a*MZ"));
    let site = filter.site_in("CallKernel")?;
    checks.push(Check::new(format!("db {} L3", address(site))).has("4c 8b 15"));
    checks.push(Check::new("k").has("Child-SP").has("RetAddr").lacks("*Unable*"));
    checks.push(Check::new("r").has("rax=").has("rip=").has("efl=").lacks("*failed*"));
    checks.push(Check::new("~").has("Id:"));
    checks.push(Check::new("vertarget").has("Windows*Version 26100 MP (4 procs) Free x64"));
    Ok(checks)
}

/// A site made direct: `mov r10,[slot]` and right behind it the call or jump to its target.
fn site(module: &Module, function: &str, verb: &str, target: &str, address_of_target: u64) -> Result<Check> {
    let site = module.site_in(function)?;
    let opcode = if verb == "call" { "e8" } else { "e9" };
    Ok(Check::new(format!("u {} L2", address(site)))
        .has(format!("{} 4c8b15* mov r10,qword ptr [{}!", address(site), name_of(module)))
        .has(format!("{} {opcode}* {verb} {target} ({})", address(site + 7), address(address_of_target))))
}

/// The module's name in the engine: the file name without its extension.
fn name_of(module: &Module) -> String {
    module.image.name().split('.').next().unwrap_or_default().to_owned()
}
