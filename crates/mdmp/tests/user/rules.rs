//! Values that a reader refuses are errors at plan time, and the error says what and why.

use mdmp::user::{
    Architecture, CodeView, Comment, Dump, Exception, IptThread, IptTrace, MemoryListKind, MiscInfo, Module, RawStream,
    Stream, StreamType, SystemInfo, Thread, UnloadedModule,
};
use mdmp::{AddressRange, Blob, BlobId, Error, Fill, Layout, MemoryRange, Protection, arm64};

fn good() -> Dump<'static> {
    let mut dump = Dump::new(SystemInfo::new(Architecture::AMD64, 10, 0, 19041));
    dump.modules.push(Module::new("drv.sys", 0x1_4000_0000, 0x2000));
    dump.memory.push(MemoryRange::new(0x1_4000_0000, 0x2000, Protection::EXECUTE_READ, Fill(0xcc)));
    dump.add_placeholder(1, 0x1_4000_1000).unwrap();
    dump
}

/// Spoils a good dump and expects an error with all of `words` in its text.
#[track_caller]
fn check(words: &[&str], spoil: impl FnOnce(&mut Dump<'static>)) {
    let mut dump = good();
    dump.plan().expect("the dump was good before");
    spoil(&mut dump);
    let error = dump.plan().expect_err("the plan should refuse");
    assert!(error.is_plan(), "{error:?}");
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
}

#[test]
fn threads() {
    check(&["ThreadList", "at least one", "dbgeng"], |dump| dump.threads.clear());
    check(&["thread 0", "ThreadId", "0x0"], |dump| dump.threads[0].id = 0);
    check(&["thread 1", "ThreadId", "each once"], |dump| dump.threads.push(dump.threads[0].clone()));
    check(&["Teb"], |dump| dump.threads[0].teb = 0);
    check(&["Stack", "breakpad"], |dump| dump.threads[0].stack = AddressRange::new(0x5000, 0x10));
    check(&["ThreadContext", "ARM64", "AMD64"], |dump| {
        dump.threads.push(Thread::new(2, 1, arm64::Context::new(0, 0)));
    });
    let exception = Exception::new(1, 0, 0);
    check(&["Exception: ThreadId", "0x9"], |dump| {
        dump.exception = Some(set!(exception.clone(), thread_id = 9));
    });
    check(&["NumberParameters", "16"], |dump| {
        dump.exception = Some(set!(exception.clone(), parameters = vec![0; 16]));
    });
    let mut dump = good();
    dump.exception = Some(set!(exception.clone(), parameters = vec![0; 15]));
    assert!(dump.plan().is_ok(), "15 parameters are allowed");
}

#[test]
fn memory() {
    let range = |start, size| MemoryRange::new(start, size, Protection::READ_ONLY, Fill(0));
    check(&["0x140000000+0x2000", "0x140001fff+0x1", "overlap"], |dump| dump.memory.push(range(0x1_4000_1fff, 1)));
    check(&["memory range at 0x5000", "0x0"], |dump| dump.memory.push(range(0x5000, 0)));
    check(&["memory range at 0xfffffffffffffff0"], |dump| dump.memory.push(range(u64::MAX - 15, 17)));
    for address in [0x8000_0000, 0x1_0000_0000, 0xffff_f804_0000_0000] {
        let mut dump = Dump::new(SystemInfo::new(Architecture::X86, 10, 0, 19041));
        dump.memory.push(range(address, 1));
        dump.add_placeholder(1, 0).unwrap();
        let text = dump.plan().unwrap_err().to_string();
        assert!(text.contains("sign-extended"), "{text}");
        dump.memory[0].address = mdmp::x86::extend(address as u32);
        dump.plan().unwrap();
    }
    // The last byte of the address space is memory like any other.
    let mut dump = good();
    dump.memory.push(range(u64::MAX - 15, 16));
    assert!(dump.plan().is_ok());
}

#[test]
fn offsets_that_do_not_fit() {
    let big = |size| MemoryRange::new(0x10_0000_0000, size, Protection::READ_ONLY, Fill(0));
    check(&["MemoryList", "32-bit file offset", "0xffffffff"], |dump| {
        dump.memory_list = MemoryListKind::List32;
        dump.memory.insert(0, big(0xffff_ffff));
    });
    check(&["MemoryList", "32-bit size", "0x100000000"], |dump| {
        dump.memory_list = MemoryListKind::List32;
        dump.memory.push(big(0x1_0000_0000));
    });
    check(&["memory at 0x0", "0xffffffffffffffff"], |dump| {
        dump.threads[0].stack = None;
        dump.memory = vec![MemoryRange::new(0, u64::MAX, Protection::READ_ONLY, Fill(0))];
    });
    // TraceSize counts a header of 28 bytes per thread, and stands in a stream that has 8 bytes before it.
    let ipt = |sizes: &[u64]| {
        let thread = |&size| IptThread::new(1, MemoryRange::new(0, size, Protection::READ_ONLY, Fill(0)));
        set!(IptTrace::default(), threads = sizes.iter().map(thread).collect())
    };
    check(&["IptTrace: TraceSize", "0xfffffff8", "0xfffffff7"], |dump| dump.ipt = Some(ipt(&[0x1000, 0xffff_efc0])));
    // One byte less is a size that the field can hold; what follows the stream then lies beyond 32-bit offsets.
    check(&["32-bit file offset"], |dump| dump.ipt = Some(ipt(&[0x1000, 0xffff_efbf])));
    // The same memory in the other list is fine, and Auto finds that out.
    let mut dump = good();
    dump.memory.insert(0, big(0x1_0000_0000));
    assert_eq!(dump.memory_list_kind(), MemoryListKind::List64);
    assert!(dump.plan().unwrap().len() > 0x1_0000_0000);
    dump.memory[0].size = Dump::LIST32_LIMIT - 0x2000 - 0x2000;
    assert_eq!(dump.memory_list_kind(), MemoryListKind::List32);
    assert!(dump.plan().unwrap().len() <= u32::MAX.into());
    dump.memory[0].size += 1;
    assert_eq!(dump.memory_list_kind(), MemoryListKind::List64);
}

#[test]
fn texts_and_modules() {
    check(&["module: name", "NUL"], |dump| dump.modules[0].name = "a\0b".into());
    check(&["CodeView", "NUL"], |dump| {
        dump.modules[0].codeview = Some(CodeView::Rsds { guid: [0; 16], age: 1, pdb: "a\0.pdb".into() });
    });
    check(&["Comment", "NUL"], |dump| dump.comments.push(Comment::Wide("\0".into())));
    check(&["BuildString", "259"], |dump| {
        dump.misc_info = Some(set!(MiscInfo::default(), build_string = Some("x".repeat(260))));
    });
    check(&["drv.sys", "SizeOfImage"], |dump| dump.modules[0].size = 0);
    check(&["drv.sys", "SizeOfImage"], |dump| dump.modules[0].base = u64::MAX - 0xfff);
    check(&["gone.sys", "SizeOfImage"], |dump| {
        dump.unloaded_modules.push(UnloadedModule::new("gone.sys", 0, 0));
    });
    check(&["SystemInfo: CPU", "AMD64"], |dump| {
        dump.system_info.cpu = SystemInfo::new(Architecture::X86, 10, 0, 19041).cpu;
    });
}

#[test]
fn streams_of_ones_own() {
    let own = |kind| Box::new(RawStream::new(StreamType(kind), [1, 2, 3]));
    check(&["StreamType", "ModuleList"], |dump| dump.streams.push(own(4)));
    check(&["StreamType", "Unused"], |dump| dump.streams.push(own(0)));
    check(&["StreamType", "0x99990000"], |dump| {
        dump.streams.push(own(0x9999_0000));
        dump.streams.push(own(0x9999_0000));
    });

    /// Points to a blob that it never places.
    struct Dangling;
    impl<'a> Stream<'a> for Dangling {
        fn stream_type(&self) -> StreamType {
            StreamType(0x9999_0001)
        }

        fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error> {
            let nowhere = layout.declare();
            let mut blob = Blob::new("dangling stream");
            blob.u32(0).rva32(nowhere);
            Ok(layout.push(blob))
        }
    }
    check(&["dangling stream", "+0x4"], |dump| dump.streams.push(Box::new(Dangling)));
}

#[test]
fn placeholder_keeps_off_used_addresses() {
    let mut dump = good();
    for id in 2..20 {
        dump.add_placeholder(id, 0).unwrap();
    }
    let file = dump.plan().unwrap().to_vec().unwrap();
    let parsed = testkit::dump::user::Parsed::new(&file);
    for thread in &parsed.threads {
        let (_, teb) = parsed.memory.iter().find(|(start, _)| *start == thread.teb).unwrap();
        assert_eq!(teb[0x30..0x38], thread.teb.to_le_bytes());
        assert_eq!(thread.stack_bytes.len(), 0x1000);
    }
    let findings = mdmp::validate(&file).unwrap().findings;
    let rules: Vec<&str> = findings.iter().map(|finding| finding.rule.id).collect();
    assert_eq!(rules, ["misc-info", "no-codeview"], "this dump has neither, and nothing else is wrong");
    let arm = Dump::new(SystemInfo::new(Architecture::ARM, 10, 0, 19041)).add_placeholder(1, 0);
    assert!(arm.unwrap_err().to_string().contains("ARM"));
}
