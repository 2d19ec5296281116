//! What the engines must print about the generated system.

use std::path::Path;

use anyhow::{Context, Result};
use xtask::outcome::Outcome;

use super::check::{Check, Suite, address};
use super::rig::{Engine, Rig, windows_path};
use super::server::Server;
use super::store::{self, Contents};
use crate::system::{PdbId, Site, System};

/// A dump, and what is different about it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// What it is called, and the dump's file name.
    pub name: &'static str,
    /// Options of the build.
    pub options: &'static [&'static str],
    /// How the engines see it.
    pub target: Target,
    /// Whether data sections are there too: pointers and bound import slots.
    pub whole_images: bool,
}

/// How an engine sees a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A user minidump: the kernel is one module among others, called by its file name.
    User,
    /// A kernel triage dump: the kernel is `nt`.
    Kernel,
}

impl Target {
    /// A module's name in the engine.
    fn called(self, name: &str) -> &str {
        if self == Target::Kernel && name == "ntoskrnl" { "nt" } else { name }
    }

    /// Opened without a complaint about the dump.
    fn opening(self) -> Check {
        let check = Check::new("(opening)")
            .has("[rig] OpenDumpFile hr=00000000")
            .has("[rig] WaitForEvent hr=00000000")
            .lacks("*WARNING*")
            .lacks("*Teb *")
            .lacks("*TEB *")
            .lacks("*missing*")
            .lacks("*Invalid*")
            .lacks("*Unable to verify timestamp*")
            .lacks("*GetContextState failed*");
        match self {
            Target::User => check.has("[rig] debuggee class=2 qualifier=1024 machine=8664"),
            Target::Kernel => {
                check.has("[rig] debuggee class=1 qualifier=1024 machine=8664").has("*Mini Kernel Dump File*")
            }
        }
    }
}

/// Opens `dump` with symbols from a store that holds PDBs only, and again with the symbols coming over HTTP.
pub fn check(case: &Case, rig: &Rig, system: &System, work: &Path, dump: &Path, outcome: &mut Outcome) -> Result<()> {
    let Case { name, target, .. } = *case;
    let store = work.join("store");
    store::build(&store, system, Contents::PdbsOnly)?;
    let symbols = |_: Engine| format!("srv*{}", windows_path(&store));
    let mut checks = checks(system, target)?;
    if case.whole_images {
        checks.extend(data_checks(system)?);
    }
    Suite { name, dump, symbols: &symbols, opening: target.opening(), checks }.run(rig, outcome)?;

    over_http(case, rig, system, work, dump, outcome)
}

/// The same dump with an empty cache and a symbol server for each engine: two engines that download one file into one
/// cache at the same time get in each other's way.
fn over_http(case: &Case, rig: &Rig, system: &System, work: &Path, dump: &Path, outcome: &mut Outcome) -> Result<()> {
    let name = format!("{}, symbols over HTTP", case.name);
    let places = Engine::ALL.map(|engine| -> Result<_> {
        let cache = work.join(format!("symcache-{}", engine.version()));
        if cache.exists() {
            std::fs::remove_dir_all(&cache)?;
        }
        std::fs::create_dir_all(&cache)?;
        Ok((engine, cache, Server::start(&work.join("store"))?))
    });
    let places = places.into_iter().collect::<Result<Vec<_>>>()?;
    let symbols = |wanted: Engine| {
        let place = places.iter().find(|(engine, ..)| *engine == wanted);
        place.map_or_else(String::new, |(_, cache, server)| format!("srv*{}*{}", windows_path(cache), server.url()))
    };
    let checks = vec![
        Check::new(".reload /f mkfilter.sys").lacks("*could not be loaded*"),
        Check::new("lm m mkfilter").has("mkfilter (private pdb symbols)*symcache*"),
        Check::new("x mkfilter!CallKernel").has("mkfilter!CallKernel"),
    ];
    Suite { name: &name, dump, symbols: &symbols, opening: case.target.opening(), checks }.run(rig, outcome)?;

    let pdb = system.module("mkfilter.sys")?.image.pdb.clone().context("mkfilter.sys names no PDB")?;
    let wanted = format!("/{}/{}/{}", pdb.name, pdb.key(), pdb.name);
    for (engine, _, server) in &places {
        let place = format!("{name}, dbgeng {}", engine.version());
        if server.asked().iter().any(|(path, status)| *path == wanted && *status == 200) {
            println!("ok      {place}: GET {wanted}");
            outcome.add_pass();
        } else {
            outcome
                .add_failure(format!("{place}: the engine did not fetch {wanted}; it asked for {:?}", server.asked()));
        }
    }
    Ok(())
}

fn checks(system: &System, target: Target) -> Result<Vec<Check>> {
    let kernel = system.module("ntoskrnl.exe")?;
    let filter = system.module("mkfilter.sys")?;
    let nt = target.called("ntoskrnl");

    let mut checks = vec![Check::new(".reload /f").lacks("*ERROR*").lacks("*WARNING*")];
    checks.push(system.modules.iter().fold(Check::new("lm"), |check, module| {
        let start = address(module.base);
        let end = address(module.base + u64::from(module.image.size));
        let pdb = module.image.pdb.as_ref().map(PdbId::key).unwrap_or_default();
        check.has(format!("{start} {end} {} (*pdb symbols)*{pdb}*", target.called(&module.name())))
    }));
    checks.push(Check::new("lm m mkfilter").has("mkfilter (private pdb symbols)"));
    for module in &system.modules {
        let pdb = module.image.pdb.as_ref().context("a module names no PDB")?;
        checks.push(
            Check::new(format!("lmv m {}", target.called(&module.name())))
                .has(format!("*{}*{}*{}", pdb.name, pdb.key(), pdb.name))
                .has(format!("CheckSum: {:08X}", module.image.checksum))
                .has(format!("ImageSize: {:08X}", module.image.size))
                .has(format!("*({:08X})", module.image.timestamp)),
        );
    }
    for site in system.sites()? {
        checks.push(disassembled(&site, target));
    }

    // A relocated operand in code: the address of a variable at this base.
    let variable = filter.address("FilterCount")?;
    checks.push(
        Check::new("u mkfilter!LoadAbsolute L2")
            .has(format!("48b8* mov rax,offset mkfilter!FilterCount ({})", address(variable)))
            .has("c3 ret"),
    );
    let start = filter.address("CallKernel")?;
    let site = filter.site_in("CallKernel")?;
    checks.push(
        Check::new("uf mkfilter!CallKernel")
            .has("mkfilter!CallKernel*:")
            .has(format!("{} 4c8b15* mov r10,*", address(site)))
            .has(format!("{} e8* call {nt}!NtCreateFile", address(site + 7)))
            .has("c3 ret"),
    );
    checks.push(
        Check::new(format!("ln {}", address(start + 4))).has(format!("({}) mkfilter!CallKernel+0x4", address(start))),
    );
    let create = address(kernel.address("NtCreateFile")?);
    checks.push(Check::new(format!("x {nt}!Nt*")).has(format!("{create} {nt}!NtCreateFile*")));
    checks.push(Check::new("x mkfilter!Call*").has(format!("{} mkfilter!CallKernel*", address(start))));
    checks.push(
        Check::new(format!("u {nt}!NtCreateFile L1")).has(format!("{nt}!NtCreateFile*:")).has(format!("{create} *")),
    );
    checks.push(Check::new(format!("db {} L2", address(filter.base))).has(format!("{} 4d 5a", address(filter.base))));
    checks.push(Check::new(format!("db {} L3", address(site))).has(format!("{} 4c 8b 15", address(site))));
    checks.push(Check::new("k").has("Child-SP RetAddr*Call Site").lacks("*Unable*"));
    // All of r: integer registers, instruction pointer, flags.
    checks.push(Check::new("r").has("rax=").has("rip=").has("r15=").has("efl=").lacks("*failed*").lacks("*error*"));
    checks.push(Check::new("r rip").has("rip=").lacks("*failed*"));
    checks.push(Check::new("vertarget").has("Windows*Version 26100*Free x64"));
    checks.extend(match target {
        Target::User => vec![Check::new("~").has("Id:*Suspend:*Teb:")],
        Target::Kernel => vec![
            Check::new("vertarget").has(format!("Kernel base = 0x{}*", address(kernel.base))),
            Check::new(".bugcheck").has("Bugcheck code"),
        ],
    });
    Ok(checks)
}

/// What data sections must hold: import slots bound, and pointers relocated.
fn data_checks(system: &System) -> Result<Vec<Check>> {
    let kernel = system.module("ntoskrnl.exe")?;
    let create = address(kernel.address("NtCreateFile")?);
    let counter = address(kernel.address("KeQueryPerformanceCounter")?);
    Ok(vec![
        Check::new("dps mkfilter!_imp_NtCreateFile L1").has(format!("{create} ntoskrnl!NtCreateFile")),
        Check::new("dps mkfilter!_imp_KeQueryPerformanceCounter L1")
            .has(format!("{counter} ntoskrnl!KeQueryPerformanceCounter")),
        Check::new("dps mkfar!_imp_NtCreateFile L1").has(format!("{create} ntoskrnl!NtCreateFile")),
        Check::new("dps ntoskrnl!KiServiceTable L2")
            .has(format!("{counter} ntoskrnl!KeQueryPerformanceCounter"))
            .has(format!("{create} ntoskrnl!NtCreateFile")),
    ])
}

/// A site made direct, `mov r10,[slot]` and right behind it the call or jump to its target; or, out of reach, a site as
/// linked.
fn disassembled(site: &Site, target: Target) -> Check {
    let check = Check::new(format!("u {} L2", address(site.address)));
    let module = target.called(&site.module);
    if !site.is_direct {
        return check
            .has(format!("{} 48ff15* call qword ptr [{module}!", address(site.address)))
            .has("0f1f440000 nop dword ptr [rax+rax]")
            .lacks("*mov r10*");
    }
    let (opcode, verb) = if site.is_jump { ("e9", "jmp") } else { ("e8", "call") };
    let (reached_module, function) = site.target.split_once('!').unwrap_or_default();
    let reached = format!("{}!{function} ({})", target.called(reached_module), address(site.reached));
    check
        .has(format!("{} 4c8b15* mov r10,qword ptr [{module}!", address(site.address)))
        .has(format!("{} {opcode}* {verb} {reached}", address(site.address + 7)))
}
