//! ELF core files and raw directories.

use mdmp::elf::Core;
use mdmp::user::{Architecture, Module, Thread};
use mdmp::{Fill, MemoryRange, Protection, RawDirectory, amd64, arm64, x86};

/// Sets fields of a value: the structs of this crate may gain fields, so tests cannot write them as literals.
macro_rules! set {
    ($start:expr, $($field:ident = $value:expr),* $(,)?) => {{
        let mut value = $start;
        $(value.$field = $value;)*
        value
    }};
}

fn range(start: u64, bytes: &'static [u8], protection: Protection) -> MemoryRange<'static> {
    MemoryRange::from_slice(start, protection, bytes)
}

/// Just enough of a reader: class, segments, notes.
struct Elf<'a> {
    file: &'a [u8],
    wide: bool,
}

impl Elf<'_> {
    fn number(&self, at: usize, size: usize) -> u64 {
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(&self.file[at..at + size]);
        u64::from_le_bytes(bytes)
    }

    /// Type, flags, offset, address, file size, memory size, alignment.
    fn segments(&self) -> Vec<[u64; 7]> {
        let word = if self.wide { 8 } else { 4 };
        let (table, size) = if self.wide { (32, 56) } else { (28, 32) };
        let table = self.number(table, word) as usize;
        let mut count = self.number(if self.wide { 56 } else { 44 }, 2);
        if count == 0xffff {
            let section = self.number(if self.wide { 40 } else { 32 }, word) as usize;
            count = self.number(section + if self.wide { 44 } else { 28 }, 4);
        }
        let order = if self.wide {
            [(0, 4), (4, 4), (8, 8), (16, 8), (32, 8), (40, 8), (48, 8)]
        } else {
            [(0, 4), (24, 4), (4, 4), (8, 4), (16, 4), (20, 4), (28, 4)]
        };
        (0..count as usize)
            .map(|index| order.map(|(at, width)| self.number(table + index * size + at, width)))
            .collect()
    }

    /// Type and content.
    fn notes(&self) -> Vec<(u64, Vec<u8>)> {
        let note = self.segments().into_iter().find(|segment| segment[0] == 4).unwrap();
        let (mut at, end) = (note[2] as usize, (note[2] + note[4]) as usize);
        let mut notes = Vec::new();
        while at < end {
            let (name, size, kind) =
                (self.number(at, 4) as usize, self.number(at + 4, 4) as usize, self.number(at + 8, 4));
            assert_eq!(&self.file[at + 12..at + 12 + name], b"CORE\0");
            let content = at + 12 + name.next_multiple_of(4);
            notes.push((kind, self.file[content..content + size].to_vec()));
            at = content + size.next_multiple_of(4);
        }
        assert_eq!(at, end);
        notes
    }
}

fn halves(bytes: &[u8]) -> Vec<u16> {
    bytes.chunks_exact(2).map(|half| u16::from_le_bytes([half[0], half[1]])).collect()
}

#[test]
fn elf_64() {
    let base = 0xffff_f804_1234_0000;
    let core = set!(
        Core::new(Architecture::AMD64),
        memory = vec![
            range(base + 0x1000, b"code", Protection::EXECUTE_READ),
            range(base, b"head", Protection::READ_ONLY),
            range(0x1000, b"data", Protection::READ_WRITE),
        ],
        modules = vec![Module::new("b.sys", base + 0x10_0000, 0x2000), Module::new("a.sys", base, 0x2000)],
        threads = vec![Thread::new(7, 1, amd64::Context::kernel(base + 0x1234, 0x8000))]
    );
    let file = core.plan().unwrap().to_vec().unwrap();
    assert_eq!(&file[..8], b"\x7fELF\x02\x01\x01\x03");
    assert_eq!(file[16..20], [4, 0, 62, 0], "ET_CORE, EM_X86_64");
    // e_phoff; e_ehsize, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx (gABI, "ELF Header").
    assert_eq!(file[32..40], 64u64.to_le_bytes());
    assert_eq!(halves(&file[52..64]), [64, 56, 4, 64, 0, 0]);
    let elf = Elf { file: &file, wide: true };
    let loads: Vec<_> = elf.segments().into_iter().filter(|segment| segment[0] == 1).collect();
    let found: Vec<_> =
        loads.iter().map(|load| (load[3], load[1], &file[load[2] as usize..(load[2] + load[4]) as usize])).collect();
    assert_eq!(found, [(0x1000, 6, &b"data"[..]), (base, 4, b"head"), (base + 0x1000, 5, b"code")]);
    assert!(loads.iter().all(|load| load[4] == load[5] && load[2] % 0x1000 == 0));

    let notes = elf.notes();
    assert_eq!(notes.iter().map(|note| note.0).collect::<Vec<_>>(), [1, 0x4649_4c45]);
    let status = &notes[0].1;
    assert_eq!(status.len(), 336);
    assert_eq!(status[32..36], 7u32.to_le_bytes(), "pr_pid");
    assert_eq!(status[112 + 16 * 8..][..8], (base + 0x1234u64).to_le_bytes(), "rip");
    assert_eq!(status[112 + 19 * 8..][..8], 0x8000u64.to_le_bytes(), "rsp");
    let files = &notes[1].1;
    let words: Vec<u64> = files[..64].chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect();
    assert_eq!(words, [2, 0x1000, base, base + 0x2000, 0, base + 0x10_0000, base + 0x10_2000, 0]);
    assert_eq!(&files[64..], b"a.sys\0b.sys\0");
}

#[test]
fn elf_32_and_arm64() {
    let core = set!(
        Core::new(Architecture::X86),
        memory = vec![
            range(x86::extend(0x8123_0000), b"code!", Protection::EXECUTE_READ),
            range(0x1000, b"x", Protection::READ_ONLY),
        ],
        modules = vec![Module::new("drv.sys", x86::extend(0x8123_0000), 0x1000)],
        threads = vec![Thread::new(7, 1, x86::Context::new(0x8123_0001, 0x8000))]
    );
    let file = core.plan().unwrap().to_vec().unwrap();
    let elf = Elf { file: &file, wide: false };
    assert_eq!((file[4], file[18]), (1, 3), "ELFCLASS32, EM_386");
    assert_eq!(halves(&file[40..52]), [52, 32, 3, 40, 0, 0]);
    let loads: Vec<_> =
        elf.segments().into_iter().filter(|segment| segment[0] == 1).map(|s| (s[3], s[1], s[4])).collect();
    assert_eq!(loads, [(0x1000, 4, 1), (0x8123_0000, 5, 5)]);
    let notes = elf.notes();
    assert_eq!(notes[0].1.len(), 144);
    assert_eq!(notes[0].1[72 + 12 * 4..][..4], 0x8123_0001u32.to_le_bytes(), "eip");
    assert_eq!(notes[1].1[8..16], [0, 0, 0x23, 0x81, 0, 0x10, 0x23, 0x81]);

    let core = set!(
        Core::new(Architecture::ARM64),
        memory = vec![],
        modules = vec![],
        threads = vec![Thread::new(7, 1, arm64::Context::new(0x1234, 0x8000))]
    );
    let file = core.plan().unwrap().to_vec().unwrap();
    assert_eq!(file[18], 183);
    let status = &Elf { file: &file, wide: true }.notes()[0].1;
    assert_eq!(status.len(), 392);
    assert_eq!(status[112 + 32 * 8..][..8], 0x1234u64.to_le_bytes(), "pc");
}

#[test]
fn more_segments_than_16_bits_count() {
    let memory: Vec<_> =
        (0..70_000u64).map(|index| MemoryRange::new(index * 0x2000, 1, Protection::READ_ONLY, Fill(1))).collect();
    let core = set!(Core::new(Architecture::AMD64), memory = memory, modules = vec![], threads = vec![]);
    let plan = core.plan().unwrap();
    // The table alone: the ranges lie on pages of their own and need not be written here.
    let mut head = Head { bytes: Vec::new() };
    let _ = plan.write_to(&mut head);
    let segments = Elf { file: &head.bytes, wide: true }.segments();
    assert_eq!(segments.len(), 70_001);
    assert_eq!(segments[70_000][3], 69_999 * 0x2000);
}

/// Takes the first 8 MiB.
struct Head {
    bytes: Vec<u8>,
}

impl std::io::Write for Head {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes.len() >= 8 << 20 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn elf_refuses() {
    let core = |architecture, memory, threads| {
        set!(Core::new(architecture), memory = memory, modules = vec![], threads = threads)
    };
    let overlap = vec![range(0x1000, b"1234", Protection::READ_ONLY), range(0x1003, b"4", Protection::READ_ONLY)];
    let wide = vec![range(0x1_0000_0000, b"1", Protection::READ_ONLY)];
    let thread = vec![Thread::new(1, 1, arm64::Context::new(0, 0))];
    for (core, word) in [
        (core(Architecture::AMD64, overlap, vec![]), "overlap"),
        (core(Architecture::AMD64, vec![range(1, b"", Protection::READ_ONLY)], vec![]), "p_memsz"),
        (core(Architecture::X86, wide, vec![]), "p_vaddr"),
        (core(Architecture::ARM, vec![], vec![]), "e_machine"),
        (core(Architecture::AMD64, vec![], thread), "NT_PRSTATUS"),
    ] {
        let text = core.plan().unwrap_err().to_string();
        assert!(text.contains(word) || (word == "p_memsz" && text.contains("size")), "{word}: {text}");
    }
}

#[test]
fn raw_directory() {
    let base = 0xffff_f804_1234_0000;
    let modules = [Module::new("\\SystemRoot\\my \"drv\":1.sys", base, 0x2000), Module::new("..", 0x9000, 0x1000)];
    let memory = [
        range(base + 0x1000, b"code", Protection::EXECUTE_READ),
        range(0x1000, b"data", Protection::READ_WRITE),
        range(0x9000, b"dots", Protection::READ_ONLY),
    ];
    let directory = RawDirectory::new(&memory, &modules).unwrap();
    let names: Vec<_> = directory.files.iter().map(|file| (file.name.as_str(), file.range.address)).collect();
    assert_eq!(
        names,
        [
            ("memory-0000000000001000.bin", 0x1000),
            ("_..-0000000000009000.bin", 0x9000),
            ("my__drv__1.sys-fffff80412341000.bin", base + 0x1000),
        ]
    );
    assert_eq!(
        directory.ptxed_args,
        "--raw memory-0000000000001000.bin:0x1000\n--raw _..-0000000000009000.bin:0x9000\n\
         --raw my__drv__1.sys-fffff80412341000.bin:0xfffff80412341000\n"
    );
    assert_eq!(
        directory.manifest,
        r#"{"files":[
{"file":"memory-0000000000001000.bin","address":"0x1000","size":"0x4","protection":"0x4","module":null},
{"file":"_..-0000000000009000.bin","address":"0x9000","size":"0x4","protection":"0x2","module":".."},
{"file":"my__drv__1.sys-fffff80412341000.bin","address":"0xfffff80412341000","size":"0x4","protection":"0x20","module":"\\SystemRoot\\my \"drv\":1.sys"}
],"modules":[
{"name":"..","base":"0x9000","size":"0x1000","timestamp":"0x0","checksum":"0x0"},
{"name":"\\SystemRoot\\my \"drv\":1.sys","base":"0xfffff80412340000","size":"0x2000","timestamp":"0x0","checksum":"0x0"}
]}
"#
    );
    let overlap = [range(0x1000, b"1234", Protection::READ_ONLY), range(0x1003, b"4", Protection::READ_ONLY)];
    assert!(RawDirectory::new(&overlap, &[]).is_err());
    // A module ends before the first address after it, however high it lies.
    let edges = [range(base + 0x1fff, b"1", Protection::READ_ONLY), range(base + 0x2000, b"2", Protection::READ_ONLY)];
    let names = RawDirectory::new(&edges, &modules[..1]).unwrap().files.into_iter().map(|file| file.name);
    let names: Vec<String> = names.collect();
    assert_eq!(names, ["my__drv__1.sys-fffff80412341fff.bin", "memory-fffff80412342000.bin"]);
    let control = RawDirectory::new(&[], &[Module::new("a\u{1}\u{1f} .sys", base, 0x1000)]).unwrap().manifest;
    assert!(control.contains(r#""name":"a\u0001\u001f .sys""#), "{control}");
}
