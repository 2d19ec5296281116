//! Writes a small ELF core file with two kernel modules, for trying readers on:
//! `cargo run -p mdmp --example elf_core -- out.core [--arm64 | --x86]`.

use mdmp::elf::Core;
use mdmp::user::{Architecture, Module, Thread};
use mdmp::{Context, MemoryRange, Protection, amd64, arm64, x86};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut path, mut architecture) = (None, Architecture::AMD64);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--arm64" => architecture = Architecture::ARM64,
            "--x86" => architecture = Architecture::X86,
            _ => path = Some(argument),
        }
    }
    let path = path.ok_or("usage: elf_core FILE [--arm64 | --x86]")?;
    let (base, code): (u64, &[u8]) = match architecture {
        Architecture::X86 => (x86::extend(0x8123_0000), &[0xb8, 1, 0, 0, 0, 0xc3]),
        Architecture::ARM64 => (0xffff_f804_1234_0000, &[0x20, 0x00, 0x80, 0xd2, 0xc0, 0x03, 0x5f, 0xd6]),
        _ => (0xffff_f804_1234_0000, &[0xb8, 1, 0, 0, 0, 0xc3]),
    };
    let context: Context = match architecture {
        Architecture::X86 => x86::Context::new(0x8123_1000, 0x8000).into(),
        Architecture::ARM64 => arm64::Context::new(base + 0x1000, 0x8000).into(),
        _ => amd64::Context::user(base + 0x1000, 0x8000).into(),
    };
    let mut core = Core::new(architecture);
    core.memory.push(MemoryRange::from_slice(base + 0x1000, Protection::EXECUTE_READ, code));
    core.modules.push(Module::new("ntoskrnl.exe", base, 0x3000));
    core.modules.push(Module::new("fakedrv.sys", base + 0x10_0000, 0x3000));
    core.threads.push(Thread::new(1, 1, context));
    let written = core.plan()?.write_to(&mut std::fs::File::create(&path)?)?;
    println!("{path}: {written} bytes");
    Ok(())
}
