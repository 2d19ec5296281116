//! Takes a good user minidump apart. Panics on a bad one: a test that reads nonsense should stop.

/// A user minidump as plain values, and the bytes that were seen on the way.
#[derive(Debug, Default)]
pub struct Parsed {
    /// Version field of the header.
    pub version: u32,
    /// Seconds since 1970.
    pub timestamp: u32,
    /// MINIDUMP_TYPE.
    pub flags: u64,
    /// Type, size and offset of each directory entry.
    pub directory: Vec<(u32, u32, u32)>,
    /// The 56 bytes of SystemInfo.
    pub system_info: Vec<u8>,
    /// Its CSD string.
    pub csd_version: String,
    /// The bytes of MiscInfo.
    pub misc_info: Vec<u8>,
    /// ModuleList.
    pub modules: Vec<Module>,
    /// UnloadedModuleList.
    pub unloaded: Vec<Unloaded>,
    /// ThreadList.
    pub threads: Vec<Thread>,
    /// ThreadNames.
    pub thread_names: Vec<(u32, String)>,
    /// Exception.
    pub exception: Option<Exception>,
    /// Address and bytes, of either list, in the list's order.
    pub memory: Vec<(u64, Vec<u8>)>,
    /// MemoryInfoList.
    pub regions: Vec<Region>,
    /// HandleData.
    pub handles: Vec<Handle>,
    /// CommentA and CommentW.
    pub comments: Vec<String>,
    /// Type and bytes of every other stream.
    pub others: Vec<(u32, Vec<u8>)>,
    /// Offset and size of everything that was read.
    pub seen: Vec<(u64, u64)>,
}

/// MINIDUMP_MODULE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Module {
    /// BaseOfImage.
    pub base: u64,
    /// SizeOfImage.
    pub size: u32,
    /// CheckSum.
    pub checksum: u32,
    /// TimeDateStamp.
    pub timestamp: u32,
    /// Name.
    pub name: String,
    /// VS_FIXEDFILEINFO, 13 words.
    pub version: Vec<u32>,
    /// CodeView record.
    pub codeview: Vec<u8>,
}

/// MINIDUMP_UNLOADED_MODULE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unloaded {
    /// BaseOfImage.
    pub base: u64,
    /// SizeOfImage.
    pub size: u32,
    /// CheckSum.
    pub checksum: u32,
    /// TimeDateStamp.
    pub timestamp: u32,
    /// Name.
    pub name: String,
}

/// MINIDUMP_THREAD.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Thread {
    /// ThreadId, SuspendCount, PriorityClass, Priority.
    pub words: [u32; 4],
    /// Teb.
    pub teb: u64,
    /// Address of the stack.
    pub stack: u64,
    /// Its bytes, by the descriptor's own offset; none when that is 0.
    pub stack_bytes: Vec<u8>,
    /// Size in the descriptor.
    pub stack_size: u32,
    /// Offset of the context.
    pub context_offset: u32,
    /// The context's bytes.
    pub context: Vec<u8>,
}

/// MINIDUMP_EXCEPTION_STREAM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    /// ThreadId.
    pub thread: u32,
    /// ExceptionCode and ExceptionFlags.
    pub code_flags: (u32, u32),
    /// ExceptionRecord and ExceptionAddress.
    pub nested_address: (u64, u64),
    /// The first NumberParameters of ExceptionInformation.
    pub parameters: Vec<u64>,
    /// The context's bytes.
    pub context: Vec<u8>,
}

/// MINIDUMP_MEMORY_INFO.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// BaseAddress.
    pub base: u64,
    /// AllocationBase.
    pub allocation_base: u64,
    /// AllocationProtect.
    pub allocation_protect: u32,
    /// RegionSize.
    pub size: u64,
    /// State, Protect, Type.
    pub state_protect_type: [u32; 3],
}

/// MINIDUMP_HANDLE_DESCRIPTOR.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    /// Handle.
    pub handle: u64,
    /// TypeName.
    pub type_name: Option<String>,
    /// ObjectName.
    pub object_name: Option<String>,
    /// Attributes, GrantedAccess, HandleCount, PointerCount.
    pub words: [u32; 4],
}

impl Parsed {
    /// Takes `file` apart.
    pub fn new(file: &[u8]) -> Parsed {
        let mut reader = Reader { file, seen: Vec::new() };
        let mut parsed = Parsed::default();
        let mut at = 0;
        assert_eq!(reader.take(&mut at, 4), b"MDMP");
        parsed.version = reader.u32(&mut at);
        let streams = reader.u32(&mut at);
        let directory = reader.u32(&mut at);
        assert_eq!(reader.u32(&mut at), 0, "CheckSum");
        parsed.timestamp = reader.u32(&mut at);
        parsed.flags = reader.u64(&mut at);
        let mut at = u64::from(directory);
        for _ in 0..streams {
            let entry = (reader.u32(&mut at), reader.u32(&mut at), reader.u32(&mut at));
            parsed.directory.push(entry);
        }
        for (kind, size, offset) in parsed.directory.clone() {
            parsed.stream(&mut reader, kind, size.into(), offset.into());
        }
        parsed.seen = reader.seen;
        parsed
    }

    /// Offset and size of runs of bytes that nothing points to.
    pub fn unseen(&self, len: u64) -> Vec<(u64, u64)> {
        let mut seen = self.seen.clone();
        seen.sort_unstable();
        let mut end = 0;
        let mut gaps = Vec::new();
        for (offset, size) in seen.into_iter().chain([(len, 0)]) {
            if offset > end {
                gaps.push((end, offset - end));
            }
            end = end.max(offset + size);
        }
        gaps
    }

    fn stream(&mut self, reader: &mut Reader<'_>, kind: u32, size: u64, offset: u64) {
        let mut at = offset;
        let end = offset + size;
        match kind {
            3 => {
                for _ in 0..reader.u32(&mut at) {
                    self.threads.push(reader.thread(&mut at));
                }
            }
            4 => {
                for _ in 0..reader.u32(&mut at) {
                    self.modules.push(reader.module(&mut at));
                }
            }
            5 => {
                for _ in 0..reader.u32(&mut at) {
                    let start = reader.u64(&mut at);
                    let bytes = reader.location(&mut at);
                    self.memory.push((start, bytes));
                }
            }
            6 => {
                self.exception = Some(reader.exception(&mut at));
            }
            7 => {
                self.system_info = reader.take(&mut at, 56).to_vec();
                let csd = u32::from_le_bytes(self.system_info[24..28].try_into().unwrap());
                self.csd_version = reader.string(csd.into());
            }
            9 => {
                let count = reader.u64(&mut at);
                let mut data = reader.u64(&mut at);
                for _ in 0..count {
                    let (start, size) = (reader.u64(&mut at), reader.u64(&mut at));
                    self.memory.push((start, reader.take(&mut data, size).to_vec()));
                }
            }
            10 => {
                let text = reader.take(&mut at, size);
                assert_eq!(text.last(), Some(&0));
                self.comments.push(String::from_utf8(text[..text.len() - 1].to_vec()).unwrap());
            }
            11 => {
                let text = reader.take(&mut at, size);
                assert_eq!(text[text.len() - 2..], [0, 0]);
                self.comments.push(utf16(&text[..text.len() - 2]));
            }
            12 => {
                let head = [(); 4].map(|()| reader.u32(&mut at));
                assert_eq!((head[0], head[1], head[3]), (16, 32, 0));
                for _ in 0..head[2] {
                    self.handles.push(reader.handle(&mut at));
                }
            }
            14 => {
                let head = [(); 3].map(|()| reader.u32(&mut at));
                assert_eq!(head[..2], [12, 24]);
                for _ in 0..head[2] {
                    self.unloaded.push(reader.unloaded(&mut at));
                }
            }
            15 => {
                self.misc_info = reader.take(&mut at, size).to_vec();
                assert_eq!(self.misc_info[..4], (size as u32).to_le_bytes(), "SizeOfInfo");
            }
            16 => {
                assert_eq!((reader.u32(&mut at), reader.u32(&mut at)), (16, 48));
                for _ in 0..reader.u64(&mut at) {
                    self.regions.push(reader.region(&mut at));
                }
            }
            24 => {
                for _ in 0..reader.u32(&mut at) {
                    let (thread, name) = (reader.u32(&mut at), reader.u64(&mut at));
                    self.thread_names.push((thread, reader.string(name)));
                }
            }
            other => self.others.push((other, reader.take(&mut at, size).to_vec())),
        }
        assert_eq!(at, end, "stream {kind}: DataSize");
    }
}

struct Reader<'a> {
    file: &'a [u8],
    seen: Vec<(u64, u64)>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, at: &mut u64, size: u64) -> &'a [u8] {
        self.seen.push((*at, size));
        let bytes = &self.file[*at as usize..(*at + size) as usize];
        *at += size;
        bytes
    }

    fn u32(&mut self, at: &mut u64) -> u32 {
        u32::from_le_bytes(self.take(at, 4).try_into().unwrap())
    }

    fn u64(&mut self, at: &mut u64) -> u64 {
        u64::from_le_bytes(self.take(at, 8).try_into().unwrap())
    }

    fn string(&mut self, offset: u64) -> String {
        let mut at = offset;
        let length = self.u32(&mut at);
        let text = self.take(&mut at, length.into());
        assert_eq!(self.take(&mut at, 2), [0, 0], "terminator of the string at {offset:#x}");
        utf16(text)
    }

    fn optional_string(&mut self, at: &mut u64) -> Option<String> {
        let offset = self.u32(at);
        (offset != 0).then(|| self.string(offset.into()))
    }

    fn location(&mut self, at: &mut u64) -> Vec<u8> {
        let (size, offset) = (self.u32(at), self.u32(at));
        self.take(&mut offset.into(), size.into()).to_vec()
    }

    fn thread(&mut self, at: &mut u64) -> Thread {
        let words = [(); 4].map(|()| self.u32(at));
        let (teb, stack) = (self.u64(at), self.u64(at));
        let (stack_size, offset) = (self.u32(at), self.u32(at));
        let stack_bytes = match offset {
            0 => Vec::new(),
            _ => self.take(&mut offset.into(), stack_size.into()).to_vec(),
        };
        let context_offset = u32::from_le_bytes(self.file[*at as usize + 4..][..4].try_into().unwrap());
        let context = self.location(at);
        Thread { words, teb, stack, stack_bytes, stack_size, context_offset, context }
    }

    fn module(&mut self, at: &mut u64) -> Module {
        let base = self.u64(at);
        let [size, checksum, timestamp, name] = [(); 4].map(|()| self.u32(at));
        let name = self.string(name.into());
        let version = (0..13).map(|_| self.u32(at)).collect();
        let codeview = self.location(at);
        assert_eq!(self.take(at, 24), [0; 24], "MiscRecord and reserved fields");
        Module { base, size, checksum, timestamp, name, version, codeview }
    }

    fn unloaded(&mut self, at: &mut u64) -> Unloaded {
        let base = self.u64(at);
        let [size, checksum, timestamp, name] = [(); 4].map(|()| self.u32(at));
        Unloaded { base, size, checksum, timestamp, name: self.string(name.into()) }
    }

    fn exception(&mut self, at: &mut u64) -> Exception {
        let thread = self.u32(at);
        assert_eq!(self.u32(at), 0);
        let code_flags = (self.u32(at), self.u32(at));
        let nested_address = (self.u64(at), self.u64(at));
        let count = self.u32(at) as usize;
        assert_eq!(self.u32(at), 0);
        let mut parameters = [(); 15].map(|()| self.u64(at)).to_vec();
        parameters.truncate(count);
        Exception { thread, code_flags, nested_address, parameters, context: self.location(at) }
    }

    fn region(&mut self, at: &mut u64) -> Region {
        let (base, allocation_base) = (self.u64(at), self.u64(at));
        let (allocation_protect, pad) = (self.u32(at), self.u32(at));
        let size = self.u64(at);
        let [state, protect, kind, pad2] = [(); 4].map(|()| self.u32(at));
        assert_eq!((pad, pad2), (0, 0));
        Region { base, allocation_base, allocation_protect, size, state_protect_type: [state, protect, kind] }
    }

    fn handle(&mut self, at: &mut u64) -> Handle {
        let handle = self.u64(at);
        let (type_name, object_name) = (self.optional_string(at), self.optional_string(at));
        Handle { handle, type_name, object_name, words: [(); 4].map(|()| self.u32(at)) }
    }
}

fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> = bytes.chunks(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
    String::from_utf16(&units).unwrap()
}
