//! Writes a dump of many MiB from a lazy source, and says what it cost:
//! `cargo run --release -p mdmp --example big_dump -- FILE MIB [--holes]`.
//!
//! `--holes` makes the memory all zeros and seeks over them, so that a big file takes no room on file systems with
//! holes. Prints the bytes written and, on Linux, the peak of the process's anonymous memory in KiB.

use std::error::Error;
use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use mdmp::user::{Architecture, Dump, Module, SystemInfo};
use mdmp::{Fill, Memory, MemoryRange, Protection};

const MIB: u64 = 1 << 20;
const MODULE: u64 = 4 * MIB;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let holes = arguments.iter().any(|argument| argument == "--holes");
    let [path, mib] = &arguments.iter().filter(|argument| *argument != "--holes").collect::<Vec<_>>()[..] else {
        return Err("usage: big_dump FILE MIB [--holes]".into());
    };
    let mib: u64 = mib.parse()?;

    let mut dump = Dump::new(SystemInfo::new(Architecture::AMD64, 10, 0, 19041));
    for index in 0..(mib * MIB).div_ceil(MODULE) {
        let base = 0xffff_f800_0000_0000 + index * 2 * MODULE;
        let size = MODULE.min(mib * MIB - index * MODULE);
        dump.modules.push(Module::new(format!("drv{index}.sys"), base, size as u32));
        let range = if holes {
            MemoryRange::new(base, size, Protection::EXECUTE_READ, Fill(0))
        } else {
            MemoryRange::new(base, size, Protection::EXECUTE_READ, Pattern(base))
        };
        dump.memory.push(range);
    }
    dump.add_placeholder(1, 0xffff_f800_0000_0000)?;
    let plan = dump.plan()?;
    let mut out = Output { file: File::create(path)?, holes, len: 0 };
    let mut peak = 0;
    let written = plan.write_with(&mut out, &mut |_| peak = peak.max(anonymous().unwrap_or(0)))?;
    println!("bytes {written}");
    println!("peak_anonymous_kib {peak}");
    Ok(())
}

/// The address of each 8 bytes.
struct Pattern(u64);

impl Memory for Pattern {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut address = self.0 + offset;
        for word in out.chunks_mut(8) {
            word.copy_from_slice(&address.to_le_bytes()[..word.len()]);
            address += word.len() as u64;
        }
        Ok(())
    }
}

struct Output {
    file: File,
    holes: bool,
    len: u64,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.holes && bytes.iter().all(|&byte| byte == 0) {
            self.file.seek(SeekFrom::Current(bytes.len() as i64))?;
        } else {
            self.file.write_all(bytes)?;
        }
        self.len += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.set_len(self.len)
    }
}

/// Anonymous resident memory of this process, KiB; `None` where the system does not say.
fn anonymous() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
