//! Wine with a prefix of its own, and what is compiled to run in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use xtask::rust_source::RustSource;
use xtask::tools::{self, Found};
use xtask::{paths, program};

/// What is compiled for.
const TARGET: &str = "x86_64-pc-windows-gnu";
/// Linker, and compiler of the one dependency with C code.
const GCC: &str = "x86_64-w64-mingw32-gcc";
/// What has to be there, and the packages that bring it.
pub const PROGRAMS: &[(&str, &str)] = &[(GCC, "gcc-mingw-w64-x86-64"), ("wine", "wine")];
/// The parts of the standard library that are built along.
const LIBRARY: &str = "std,panic_unwind,test";

/// Wine, and what is compiled for it.
pub struct Wine {
    prefix: PathBuf,
    program: PathBuf,
    /// The test programs, by name.
    pub tests: Vec<TestProgram>,
    /// What the compiler said against our own sources.
    pub warnings: Vec<String>,
}

/// A compiled test program, and the directory in which cargo would run it.
pub struct TestProgram {
    /// The package, and the name of the test target: `symstore/index`.
    pub name: String,
    /// The executable.
    pub path: PathBuf,
    /// The package's directory.
    pub directory: PathBuf,
}

impl Wine {
    /// Finds or installs the programs, compiles the command and the tests of some packages, and makes a prefix; the reason
    /// when something cannot be had.
    pub fn set_up(rust: &RustSource, packages: &[&str]) -> Result<Found<Wine>> {
        for (name, package) in PROGRAMS {
            if let Err(reason) = tools::need(&[name], package)? {
                return Ok(Err(reason));
            }
        }
        // The tests of the command have the command itself compiled along, with the same dependencies.
        let (tests, warnings) = compile_tests(rust, packages)?;
        let program = target()?.join(TARGET).join("debug/mkdump.exe");
        let prefix = paths::work("wine")?.join("prefix");
        if !prefix.join("system.reg").is_file()
            && let Some(reason) = boot(&prefix)?
        {
            return Ok(Err(reason));
        }
        // The standard library needs one function of a DLL that Wine lacks before version 9. A Wine that has it keeps it.
        let shim = prefix.join("drive_c/windows/system32/bcryptprimitives.dll");
        if !shim.is_file() {
            compile("bcryptprimitives.c", &shim, &["-shared", "-ladvapi32"])?;
        }
        Ok(Ok(Wine { prefix, program, tests, warnings }))
    }

    /// Compiles one of `crates/acceptance/windows` into a program.
    pub fn compile(&self, source: &str, program: &Path) -> Result<()> {
        compile(source, program, &[])
    }

    /// Gives a command the environment of Wine's programs.
    pub fn environment<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command.env("WINEPREFIX", &self.prefix).env("WINEDEBUG", "-all")
    }

    /// The command as it was built for Windows.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The command under Wine.
    pub fn mkdump(&self) -> Command {
        self.run(&self.program)
    }

    /// A program under Wine.
    pub fn run(&self, program: &Path) -> Command {
        let mut wine = Command::new("wine");
        self.environment(&mut wine).arg(program);
        wine
    }
}

fn compile(source: &str, to: &Path, more: &[&str]) -> Result<()> {
    let source = paths::root().join("crates/acceptance/windows").join(source);
    program::run(Command::new(GCC).args(["-O1", "-Wall", "-Wextra", "-o"]).arg(to).arg(source).args(more))
}

/// Makes a prefix; the reason when Wine refuses.
fn boot(prefix: &Path) -> Result<Option<String>> {
    // Not under the final name until it is whole.
    let new = prefix.with_extension("new");
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    let mut boot = Command::new("wineboot");
    boot.arg("-i").env("WINEPREFIX", &new).env("WINEARCH", "win64").env("WINEDEBUG", "-all");
    // Neither Mono nor a browser engine: they would be fetched.
    boot.env("WINEDLLOVERRIDES", "mscoree,mshtml=");
    let captured = program::capture(&mut boot, Duration::from_secs(300))?;
    if !captured.success() {
        return Ok(Some(format!("wineboot: {}", captured.ending())));
    }
    program::capture(Command::new("wineserver").arg("-w").env("WINEPREFIX", &new), Duration::from_secs(60))?;
    fs::rename(&new, prefix)?;
    Ok(None)
}

/// Compiles the unit and integration tests of some packages; the programs, and the compiler's warnings.
fn compile_tests(rust: &RustSource, packages: &[&str]) -> Result<(Vec<TestProgram>, Vec<String>)> {
    let mut cargo = cargo(rust)?;
    cargo.args(["--no-run", "--lib", "--bins", "--tests", "--message-format", "json-render-diagnostics"]);
    cargo.args(packages.iter().flat_map(|name| ["-p", name]));
    println!("$ {}", program::shown(&cargo));
    let captured = program::capture(&mut cargo, Duration::from_secs(3600))?;
    if !captured.success() {
        bail!("cargo test --no-run: {}\n{}", captured.ending(), captured.stderr);
    }
    let mut programs = Vec::new();
    for line in captured.stdout.lines() {
        let message: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        let is_test = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
        let (Some(path), true) = (message["executable"].as_str(), is_test) else { continue };
        let manifest = Path::new(message["manifest_path"].as_str().context("manifest_path")?);
        let directory = manifest.parent().context("a manifest without a directory")?.to_owned();
        let package = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let target = message["target"]["name"].as_str().context("target.name")?;
        let kind = message["target"]["kind"][0].as_str().unwrap_or_default();
        let name = if kind == "test" { format!("{package}/{target}") } else { format!("{package} ({kind})") };
        programs.push(TestProgram { name, path: path.into(), directory });
    }
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    let warnings = captured.stderr.lines().filter(|line| line.starts_with("warning: ")).map(str::to_owned);
    Ok((programs, warnings.collect()))
}

/// `cargo test` for the target, with linker and C compiler.
fn cargo(rust: &RustSource) -> Result<Command> {
    let mut cargo = rust.cargo("test", TARGET, LIBRARY);
    cargo.arg("--target-dir").arg(target()?);
    cargo.env("CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER", GCC).env("CC_x86_64_pc_windows_gnu", GCC);
    cargo.env("AR_x86_64_pc_windows_gnu", "x86_64-w64-mingw32-ar");
    // Line tables, which nothing here reads, cost time and room.
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "0").env("CARGO_PROFILE_TEST_DEBUG", "0");
    Ok(cargo)
}

/// Where all of it is compiled, apart from what is compiled for this system.
fn target() -> Result<PathBuf> {
    Ok(paths::work("windows")?)
}
