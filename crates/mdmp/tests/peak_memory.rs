//! Writing a big dump takes little memory: measured in a process of its own, which is this test binary again.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::process::Command;

use mdmp::user::{Architecture, Dump, Module, SystemInfo};
use mdmp::{Fill, Memory, MemoryRange, Protection};

const LIMIT_KIB: u64 = 32 << 10;
const MIB: u64 = 1 << 20;
const MODULE: u64 = 4 * MIB;
const REQUEST: &str = "MDMP_PEAK_MEMORY_MIB";

#[test]
fn peak_anonymous_memory_does_not_grow_with_the_dump() {
    if anonymous_kib().is_none() {
        eprintln!("SKIPPED: this system does not tell a process's anonymous memory");
        return;
    }
    // 1 GiB of pattern that is stored, 8 GiB of zeros that are holes.
    for (mib, holes) in [(1 << 10, false), (8 << 10, true)] {
        let peak = run(mib, holes);
        println!("{mib} MiB: peak anonymous memory {peak} KiB");
        assert!(peak < LIMIT_KIB, "{mib} MiB: {peak} KiB, allowed are {LIMIT_KIB}");
    }
    // The measurement itself: a process that does keep its dump in memory is found out.
    let peak = run(0, false);
    assert!(peak > LIMIT_KIB, "a process that holds 64 MiB was measured at {peak} KiB");
}

/// The highest anonymous memory, KiB, of a process that writes so many MiB; 0 holds 64 MiB instead.
fn run(mib: u64, holes: bool) -> u64 {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "child", "--nocapture"]);
    command.env(REQUEST, format!("{mib} {holes}"));
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let peak =
        text.lines().find_map(|line| line.split_once("peak anonymous KiB: ")).unwrap_or_else(|| panic!("{text}"));
    peak.1.trim().parse().unwrap()
}

#[test]
#[ignore = "the process that peak_anonymous_memory_does_not_grow_with_the_dump measures"]
fn child() {
    let request = std::env::var(REQUEST).expect("started by the other test");
    let (mib, holes) = request.split_once(' ').unwrap();
    let (mib, holes): (u64, bool) = (mib.parse().unwrap(), holes.parse().unwrap());
    let peak = if mib == 0 {
        let held = vec![1u8; 64 << 20];
        let peak = anonymous_kib().unwrap();
        drop(held);
        peak
    } else {
        write(mib, holes)
    };
    println!("peak anonymous KiB: {peak}");
}

fn write(mib: u64, holes: bool) -> u64 {
    let mut dump = Dump::new(SystemInfo::new(Architecture::AMD64, 10, 0, 19041));
    for index in 0..mib * MIB / MODULE {
        let base = 0xffff_f800_0000_0000 + index * 2 * MODULE;
        dump.modules.push(Module::new(format!("drv{index}.sys"), base, MODULE as u32));
        dump.memory.push(if holes {
            MemoryRange::new(base, MODULE, Protection::EXECUTE_READ, Fill(0))
        } else {
            MemoryRange::new(base, MODULE, Protection::EXECUTE_READ, Pattern(base))
        });
    }
    dump.add_placeholder(1, 0xffff_f800_0000_0000).unwrap();
    let plan = dump.plan().unwrap();
    assert!(plan.len() > mib * MIB);
    let path = std::env::temp_dir().join(format!("mdmp-peak-{}.dmp", std::process::id()));
    let mut out = Output { file: File::create(&path).unwrap(), len: 0 };
    let mut peak = 0;
    let written = plan.write_with(&mut out, &mut |_| peak = peak.max(anonymous_kib().unwrap()));
    let len = out.file.metadata().unwrap().len();
    std::fs::remove_file(&path).unwrap();
    assert_eq!((written.unwrap(), len), (plan.len(), plan.len()));
    peak
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

/// A file in which zeros are holes.
struct Output {
    file: File,
    len: u64,
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.iter().all(|&byte| byte == 0) {
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

/// Anonymous resident memory of this process; `None` where the system does not say.
fn anonymous_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}
