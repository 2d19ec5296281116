//! Threads, their contexts and stacks, and the exception.

use std::collections::HashSet;

use super::memory::Memory;
use super::subject::Dump;
use crate::AddressRange;
use crate::user::{Architecture, StreamType};
use crate::validate::rules;

/// Size of a context, offset of its flags, the architecture's bit in them.
fn context_layout(architecture: Architecture) -> Option<(u32, u64, u32)> {
    match architecture {
        Architecture::AMD64 => Some((1232, 0x30, 0x10_0000)),
        Architecture::ARM64 => Some((912, 0, 0x40_0000)),
        Architecture::X86 => Some((716, 0, 0x1_0000)),
        _ => None,
    }
}

pub(super) fn check(dump: &mut Dump<'_, '_>, memory: &Memory) {
    let mut ids = HashSet::new();
    check_list(dump, memory, &mut ids);
    if ids.is_empty() {
        let offset = dump.directory.find(StreamType::THREAD_LIST).map_or(0, |entry| entry.at);
        dump.findings.add(&rules::THREAD, offset, || "no thread".into());
    }
    check_exception(dump, &ids);
}

fn check_list(dump: &mut Dump<'_, '_>, memory: &Memory, ids: &mut HashSet<u32>) -> Option<()> {
    let entry = dump.stream(StreamType::THREAD_LIST, 4)?;
    for at in dump.list(entry, 48, "ThreadList", &rules::THREAD_LIST_PADDING)? {
        let id = dump.bytes.u32(at, "thread: ThreadId").ok()?;
        if id == 0 {
            dump.findings.add(&rules::THREAD_ID, at, || "thread: ThreadId is 0, allowed is at least 1".into());
        }
        if !ids.insert(id) {
            dump.findings.add(&rules::THREAD_ID_TWICE, at, || format!("thread: ThreadId {id:#x} stands there again"));
        }
        let teb = dump.bytes.u64(at + 16, "thread: Teb").ok()?;
        check_teb(dump, memory, at, id, teb);
        let stack = dump.bytes.u64(at + 24, "thread: Stack").ok()?;
        let size = dump.bytes.u32(at + 32, "thread: Stack").ok()?;
        let range = AddressRange::new(stack, size.into());
        if !range.is_some_and(|range| memory.contains(range)) {
            dump.findings.add(&rules::STACK, at + 24, || {
                format!("thread {id:#x}: Stack {stack:#x}+{size:#x} is not in the dump's memory")
            });
        }
        check_context(dump, at + 40, id);
    }
    Some(())
}

fn check_teb(dump: &mut Dump<'_, '_>, memory: &Memory, at: u64, id: u32, teb: u64) {
    if teb == 0 {
        dump.findings.add(&rules::THREAD_TEB, at + 16, || format!("thread {id:#x}: Teb is 0"));
        return;
    }
    let field = if dump.architecture == Some(Architecture::X86) { (0x18, 4) } else { (0x30, 8) };
    let field = teb.checked_add(field.0).and_then(|address| AddressRange::new(address, field.1));
    if !field.is_some_and(|field| memory.contains(field)) {
        let message = || format!("thread {id:#x}: the self pointer of Teb {teb:#x} is not in the dump's memory");
        dump.findings.add(&rules::TEB_MEMORY, at + 16, message);
    }
}

/// `at` is the file offset of the location descriptor.
fn check_context(dump: &mut Dump<'_, '_>, at: u64, id: u32) -> Option<()> {
    let size = dump.bytes.u32(at, "ThreadContext").ok()?;
    let offset = u64::from(dump.bytes.u32(at + 4, "ThreadContext").ok()?);
    if size == 0 {
        // No registers were captured: readers show zeros.
        return None;
    }
    let context = dump.bytes.slice(offset, size.into(), "ThreadContext").map(|_| ());
    dump.findings.take(&rules::CONTEXT, context)?;
    if !offset.is_multiple_of(16) {
        let message = || format!("thread {id:#x}: context at {offset:#x}, allowed are multiples of 16");
        dump.findings.add(&rules::CONTEXT_ALIGN, at, message);
    }
    let (least, flags, bit) = context_layout(dump.architecture?)?;
    // Extended state (XSAVE) may follow, so more is fine.
    let found = if size >= least { dump.bytes.u32(offset + flags, "context: ContextFlags").ok()? } else { 0 };
    if size < least || found & bit == 0 {
        dump.findings.add(&rules::CONTEXT, offset, || {
            format!(
                "thread {id:#x}: context of {size} bytes with ContextFlags {found:#x}, \
                 allowed are at least {least} bytes with {bit:#x}"
            )
        });
    }
    Some(())
}

fn check_exception(dump: &mut Dump<'_, '_>, threads: &HashSet<u32>) -> Option<()> {
    let at = u64::from(dump.stream(StreamType::EXCEPTION, 168)?.offset);
    let id = dump.bytes.u32(at, "Exception: ThreadId").ok()?;
    if !threads.contains(&id) {
        let message = || format!("Exception: ThreadId is {id:#x}, allowed are the ids of the thread list");
        dump.findings.add(&rules::EXCEPTION_THREAD, at, message);
    }
    check_context(dump, at + 160, id)
}
