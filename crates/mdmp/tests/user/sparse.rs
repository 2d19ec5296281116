//! More than 4 GiB, without storing it: an output that counts and remembers the ends, and one that makes holes.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};

use mdmp::user::{Architecture, Dump, MemoryListKind, Module, SystemInfo};
use mdmp::{Fill, Memory, MemoryRange, Protection};

const GIB: u64 = 1 << 30;
const BASE: u64 = 0xffff_8000_0000_0000;

/// Zeros with the address of the page at the start of each range's first and last 8 bytes.
struct Marked {
    address: u64,
    size: u64,
}

impl Memory for Marked {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        out.fill(0);
        for at in [0, self.size - 8] {
            for (index, byte) in (self.address + at).to_le_bytes().into_iter().enumerate() {
                let place = at + index as u64;
                if place >= offset && place - offset < out.len() as u64 {
                    out[(place - offset) as usize] = byte;
                }
            }
        }
        Ok(())
    }
}

fn big(ranges: u64, size: u64) -> Dump<'static> {
    let mut dump = Dump::new(SystemInfo::new(Architecture::AMD64, 10, 0, 19041));
    for index in 0..ranges {
        let address = BASE + index * 2 * size;
        dump.modules.push(Module::new(format!("drv{index}.sys"), address, size as u32));
        dump.memory.push(MemoryRange::new(address, size, Protection::EXECUTE_READ, Marked { address, size }));
    }
    dump.add_placeholder(1, BASE).unwrap();
    dump
}

/// Seeks over zeros, so that a file system with holes stores nothing for them.
struct Holes {
    file: File,
    len: u64,
}

impl Write for Holes {
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

#[test]
fn five_gib_with_holes() {
    let dump = big(40, GIB / 8);
    let plan = dump.plan().unwrap();
    assert!(plan.len() > 5 * GIB);
    let path = std::env::temp_dir().join(format!("mdmp-sparse-{}.dmp", std::process::id()));
    let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    let mut out = Holes { file, len: 0 };
    // A file that is removed while open goes away with its last handle, however the test ends.
    #[cfg(unix)]
    std::fs::remove_file(&path).unwrap();
    assert_eq!(plan.write_to(&mut out).unwrap(), plan.len());

    let mut file = out.file;
    let read = |file: &mut File, at: u64, size: usize| {
        use io::Read;
        let mut bytes = vec![0; size];
        file.seek(SeekFrom::Start(at)).unwrap();
        file.read_exact(&mut bytes).unwrap();
        bytes
    };
    let mut checked = 0;
    for extent in plan.map() {
        if let Some(address) = extent.name.strip_prefix("memory at 0xffff") {
            let address = u64::from_str_radix(&format!("ffff{address}"), 16).unwrap();
            assert_eq!(read(&mut file, extent.offset, 8), address.to_le_bytes());
            let last = extent.offset + extent.size - 8;
            assert_eq!(read(&mut file, last, 8), (address + extent.size - 8).to_le_bytes());
            checked += 1;
        }
    }
    assert_eq!(checked, 40);

    // The head of the file, read independently: flags, the list's directory entry, its base and its table.
    let head = read(&mut file, 0, 0x10000);
    let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
    let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
    assert_eq!(u64_at(24), 0x6002);
    let last = 32 + 12 * (u32_at(8) as usize - 1);
    let (kind, size, list) = (u32_at(last), u32_at(last + 4), u32_at(last + 8) as usize);
    assert_eq!((kind, size), (9, 16 * 43), "40 ranges and the placeholder's two");
    assert_eq!(u64_at(list), 42);
    // The placeholder's stack lies past 4 GiB, where its descriptor cannot point: the field says 0 and nothing else.
    let threads = 32 + 12 * (0..u32_at(8) as usize).position(|entry| u32_at(32 + 12 * entry) == 3).unwrap();
    let stack = u32_at(threads + 8) as usize + 4 + 24;
    assert_eq!((u64_at(stack), u32_at(stack + 8), u32_at(stack + 12)), (u64_at(list + 16 + 16 * 41), 0x1000, 0));
    let mut data = u64_at(list + 8);
    for index in 0..40 {
        let (start, size) = (u64_at(list + 16 + 16 * index), u64_at(list + 24 + 16 * index));
        assert_eq!(read(&mut file, data, 8), start.to_le_bytes());
        data += size;
    }
    assert!(data > 5 * GIB);
    #[cfg(not(unix))]
    {
        drop(file);
        std::fs::remove_file(&path).unwrap();
    }
}

/// Takes the first 32 KiB and fails then.
struct Head(Vec<u8>);

impl Write for Head {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (0x8000 - self.0.len()).min(bytes.len());
        self.0.extend_from_slice(&bytes[..room]);
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// FNV-1a, and the number of bytes.
struct Hash {
    state: u64,
    len: u64,
}

impl Write for Hash {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Whole words of zeros are common here and are taken in one step; the result only needs to be repeatable.
        for word in bytes.chunks(4096) {
            let sum = word.iter().fold(0u64, |sum, &byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
            self.state = (self.state ^ sum).wrapping_mul(0x100_0000_01b3);
        }
        self.len += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_32_bit_list_reaches_to_its_limit() {
    // 3.9 GiB in the automatic choice: still MemoryList, every offset below 4 GiB.
    let size = Dump::LIST32_LIMIT / 60;
    let dump = big(59, size);
    assert_eq!(dump.memory_list_kind(), MemoryListKind::List32);
    let plan = dump.plan().unwrap();
    assert!(plan.len() < 4 * GIB && plan.len() > 59 * size);
    // Just below 4 GiB the stack's descriptor points to it, and so does the memory list.
    let stack = plan.map().filter(|extent| extent.name.starts_with("memory")).last().unwrap();
    let mut head = Head(Vec::new());
    let _ = plan.write_to(&mut head);
    let offset = (stack.offset as u32).to_le_bytes();
    assert!(stack.offset > 3 * GIB);
    assert_eq!(head.0.windows(4).filter(|bytes| *bytes == offset).count(), 2);
    let mut out = Hash { state: 0, len: 0 };
    plan.write_to(&mut out).unwrap();
    assert_eq!(out.len, plan.len());
}

#[test]
fn thousands_of_modules() {
    let mut dump = big(1, 0x1000);
    dump.modules.clear();
    dump.memory.truncate(0);
    for index in 0..20_000u64 {
        let address = BASE + index * 0x10_0000;
        dump.modules.push(Module::new(format!("module{index}.sys"), address, 0x1000));
        dump.memory.push(MemoryRange::new(address, 0x1000, Protection::EXECUTE_READ, Fill(index as u8)));
    }
    dump.threads.clear();
    dump.add_placeholder(1, BASE).unwrap();
    let mut outs = [Hash { state: 1, len: 0 }, Hash { state: 1, len: 0 }];
    for out in &mut outs {
        dump.plan().unwrap().write_to(out).unwrap();
    }
    assert_eq!((outs[0].len, outs[0].state), (outs[1].len, outs[1].state), "the same values give the same bytes");
    let file = dump.plan().unwrap().to_vec().unwrap();
    let report = mdmp::validate(&file).unwrap();
    assert_eq!(report.at_least(mdmp::Severity::Degraded).count(), 0);
    let parsed = testkit::dump::user::Parsed::new(&file);
    assert_eq!(parsed.modules[19_999].name, "module19999.sys");
    assert_eq!(parsed.memory[19_999].1[0], (19_999 % 256) as u8);
}
