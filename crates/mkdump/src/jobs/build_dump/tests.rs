//! A source that fails in the middle: the error says where and why, and no file is left, in every format.

use std::io;
use std::path::Path;

use kernel_snapshot::Silent;
use mdmp::kernel::{Driver, Dump as KernelDump, Synthetic};
use mdmp::user::{Architecture, Dump, Module, SystemInfo};
use mdmp::{Memory, MemoryRange, Protection, RawDirectory, amd64, elf};

use super::target::{write_directory, write_file};
use whole_output::{Output, OutputDirectory};

const BASE: u64 = 0xffff_f804_1234_0000;
const SIZE: u32 = 0x40_0000;

/// Memory whose second half is gone.
struct Half;

impl Memory for Half {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset + out.len() as u64 > u64::from(SIZE) / 2 {
            return Err(io::Error::other("the page is gone"));
        }
        out.fill(0xcc);
        Ok(())
    }
}

fn memory() -> Vec<MemoryRange<'static>> {
    vec![MemoryRange::new(BASE, SIZE.into(), Protection::EXECUTE_READ, Half)]
}

fn check(write: impl FnOnce(&Path) -> crate::Result<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let error = write(&dir.path().join("out")).unwrap_err();
    let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
    let error = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
    // The failing read begins in the last buffer before the half.
    let address = error.split_once("cannot read 0x").map(|(_, rest)| &rest[..16]).unwrap_or_else(|| panic!("{error}"));
    let address = u64::from_str_radix(address, 16).unwrap();
    let half = BASE + u64::from(SIZE) / 2;
    assert!((half - 0x4_0000..=half).contains(&address), "{error}");
    assert!(error.contains("the page is gone") && error.contains("out"), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "{error}");
}

#[test]
fn a_source_that_fails_leaves_no_file() {
    let modules = vec![Module::new("driver.sys", BASE, SIZE)];
    check(|path| {
        let mut dump = Dump::new(SystemInfo::new(Architecture::AMD64, 10, 0, 19041));
        (dump.modules, dump.memory) = (modules.clone(), memory());
        dump.add_placeholder(1, 0).unwrap();
        write_file(Output::create(path)?, &dump.plan().unwrap(), &Silent)
    });
    check(|path| {
        let mut dump = KernelDump::synthetic(Synthetic::new(BASE, amd64::Context::kernel(BASE, BASE)));
        dump.drivers.push(Driver::new("ntoskrnl.exe", BASE, SIZE));
        dump.memory.extend(memory());
        write_file(Output::create(path)?, &dump.plan().unwrap(), &Silent)
    });
    check(|path| {
        let mut core = elf::Core::new(Architecture::AMD64);
        (core.memory, core.modules) = (memory(), modules.clone());
        write_file(Output::create(path)?, &core.plan().unwrap(), &Silent)
    });
    check(|path| {
        let raw = RawDirectory::new(&memory(), &modules).unwrap();
        write_directory(OutputDirectory::create(path)?, &raw, &Silent)
    });
}
