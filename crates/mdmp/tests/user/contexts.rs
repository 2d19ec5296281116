//! Contexts of the three architectures, register by register through the `minidump` crate.

use mdmp::user::{Architecture, Dump, SystemInfo, Thread};
use mdmp::{Context, amd64, arm64, x86};
use minidump::{Minidump, MinidumpMiscInfo, MinidumpSystemInfo, MinidumpThreadList};

/// Every register holds another value; the reader must find each under its own name.
fn check(architecture: Architecture, context: impl Into<Context>, expected: &[(&str, u64)]) {
    let mut dump = Dump::new(SystemInfo::new(architecture, 10, 0, 19041));
    dump.threads.push(Thread::new(1, 0x1000, context));
    let file = dump.plan().unwrap().to_vec().unwrap();
    let read = Minidump::read(&file[..]).unwrap();
    let system = read.get_stream::<MinidumpSystemInfo>().unwrap();
    let misc = read.get_stream::<MinidumpMiscInfo>().ok();
    let threads = read.get_stream::<MinidumpThreadList<'_>>().unwrap();
    let context = threads.threads[0].context(&system, misc.as_ref()).unwrap();
    for &(name, value) in expected {
        assert_eq!(context.get_register(name), Some(value), "{architecture:?}: {name}");
    }
    let unnamed = context.registers().find(|(name, _)| !expected.iter().any(|(known, _)| known == name));
    assert_eq!(unnamed, None, "{architecture:?}: a register that the test does not know");
}

/// Names with values 0x1111…, 0x2222… and so on, cut to so many bits.
fn numbered(names: &[&'static str], mask: u64) -> Vec<(&'static str, u64)> {
    names.iter().zip(1u64..).map(|(name, number)| (*name, (0x0101_0101_0101_0101 * number) & mask)).collect()
}

#[test]
fn x64() {
    let names = [
        "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
        "rip",
    ];
    let expected = numbered(&names, u64::MAX);
    let mut context = amd64::Context::user(0, 0);
    let fields = [
        &mut context.rax,
        &mut context.rcx,
        &mut context.rdx,
        &mut context.rbx,
        &mut context.rsp,
        &mut context.rbp,
        &mut context.rsi,
        &mut context.rdi,
        &mut context.r8,
        &mut context.r9,
        &mut context.r10,
        &mut context.r11,
        &mut context.r12,
        &mut context.r13,
        &mut context.r14,
        &mut context.r15,
        &mut context.rip,
    ];
    for (field, (_, value)) in fields.into_iter().zip(&expected) {
        *field = (*value).into();
    }
    check(Architecture::AMD64, context, &expected);
}

#[test]
fn arm64() {
    let names: Vec<&'static str> = "x0 x1 x2 x3 x4 x5 x6 x7 x8 x9 x10 x11 x12 x13 x14 x15 x16 x17 x18 x19 x20 x21 x22 \
                                    x23 x24 x25 x26 x27 x28 fp lr sp pc"
        .split_whitespace()
        .collect();
    let expected = numbered(&names, u64::MAX);
    let mut context = arm64::Context::new(0, 0);
    let others = [&mut context.fp, &mut context.lr, &mut context.sp, &mut context.pc];
    for (field, (_, value)) in context.x.iter_mut().chain(others).zip(&expected) {
        *field = (*value).into();
    }
    check(Architecture::ARM64, context, &expected);
}

#[test]
fn x86() {
    let names = ["eip", "esp", "ebp", "ebx", "esi", "edi", "eax", "ecx", "edx", "eflags"];
    let expected = numbered(&names, u32::MAX.into());
    let mut context = x86::Context::new(0, 0);
    let fields = [
        &mut context.eip,
        &mut context.esp,
        &mut context.ebp,
        &mut context.ebx,
        &mut context.esi,
        &mut context.edi,
        &mut context.eax,
        &mut context.ecx,
        &mut context.edx,
        &mut context.e_flags,
    ];
    for (field, (_, value)) in fields.into_iter().zip(&expected) {
        *field = (*value as u32).into();
    }
    check(Architecture::X86, context, &expected);
}
