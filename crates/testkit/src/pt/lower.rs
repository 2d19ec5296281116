//! Items as bytes and as operations, in the form that the module's mode asks for.

use std::collections::HashMap;

use super::body::{FnId, Item, Odds, Via};
use super::overrides::{Leads, OverriddenCall};
use super::sites::{Form, ImportSite, ListedBranch, StubPages};

/// What an instruction does, as far as its successor and the stacks go.
#[derive(Clone, Debug)]
pub(super) struct Op {
    pub len: u64,
    pub act: Act,
}

#[derive(Clone, Debug)]
pub(super) enum Act {
    /// Goes on to the next instruction.
    Straight,
    /// As straight, and loads the register that the stubs jump through.
    Load(u64),
    /// As straight, and loads one of these sizes for memset.
    LoadSize(Vec<u32>),
    Jcc {
        to: u64,
        odds: Odds,
    },
    /// Direct; with `load`, one of them is chosen for the register first.
    Jump {
        to: u64,
        load: Vec<u64>,
    },
    Call {
        to: u64,
        load: Vec<u64>,
    },
    /// `call $+5`: pushes a return address that return compression does not count.
    CallNext,
    /// `pop rax`, `add rsp, 8`: drops the top of the stack.
    Drop,
    JumpIndirect(Vec<u64>),
    CallIndirect(Vec<u64>),
    /// `jmp r10`: through the register.
    JumpRegister,
    /// `mov [rsp], reg`: the register becomes the return address.
    SetTop,
    Ret,
    Iret,
    /// To user mode; execution is seen again at the system call entry.
    Sysret,
    FarJump(u64),
    SoftwareInterrupt,
    MovCr3,
    SwitchStack,
}

/// Where an item stands and what it may refer to.
pub(super) struct Place<'a> {
    pub va: u64,
    pub base: u64,
    pub labels: &'a [u64],
    pub function: &'a dyn Fn(FnId) -> u64,
    /// Slot address and slot value.
    pub import: &'a dyn Fn(usize) -> (u64, u64),
    pub optimized: bool,
    pub stubs: Option<&'a StubPages>,
    pub leads: Option<Leads>,
}

pub(super) struct Lowered {
    pub linked: Vec<u8>,
    pub memory: Vec<u8>,
    pub ops: Vec<(u64, Op)>,
    pub site: Option<ImportSite>,
    /// The place and kind of an indirect branch that retpoline rewrites.
    pub listed: Option<(u64, ListedBranch)>,
    pub overridden: Option<OverriddenCall>,
}

/// `item` at `place`.
pub(super) fn item(item: &Item, place: &Place<'_>) -> Lowered {
    let va = place.va;
    let plain = |bytes: Vec<u8>, act: Act| Lowered {
        ops: vec![(va, Op { len: bytes.len() as u64, act })],
        memory: bytes.clone(),
        linked: bytes,
        site: None,
        listed: None,
        overridden: None,
    };
    match item {
        Item::Label(_) => Lowered {
            linked: Vec::new(),
            memory: Vec::new(),
            ops: Vec::new(),
            site: None,
            listed: None,
            overridden: None,
        },
        Item::Straight(bytes) => plain(bytes.to_vec(), Act::Straight),
        Item::Jcc { code, to, short, odds } => {
            let to = place.labels[*to];
            let head: &[u8] = if *short { &[0x70 | code] } else { &[0x0f, 0x80 | code] };
            plain(branch(head, va, to, *short), Act::Jcc { to, odds: *odds })
        }
        Item::Loop { opcode, to, odds } => {
            let to = place.labels[*to];
            plain(branch(&[*opcode], va, to, true), Act::Jcc { to, odds: *odds })
        }
        Item::Jump { to, short } => {
            let to = place.labels[*to];
            let head: &[u8] = if *short { &[0xeb] } else { &[0xe9] };
            plain(branch(head, va, to, *short), Act::Jump { to, load: Vec::new() })
        }
        Item::TailJump(id) => {
            let to = (place.function)(*id);
            plain(branch(&[0xe9], va, to, false), Act::Jump { to, load: Vec::new() })
        }
        Item::Call(id) => {
            let to = (place.function)(*id);
            plain(branch(&[0xe8], va, to, false), Act::Call { to, load: Vec::new() })
        }
        Item::CallNext => {
            let mut lowered = plain(vec![0xe8, 0, 0, 0, 0, 0x58], Act::CallNext);
            lowered.ops = vec![(va, Op { len: 5, act: Act::CallNext }), (va + 5, Op { len: 1, act: Act::Drop })];
            lowered
        }
        Item::Import { slot, call } => import(*slot, *call, place),
        Item::Indirect { call, via, targets } => {
            let targets = targets.iter().map(|id| (place.function)(*id)).collect();
            indirect(*call, *via, targets, place)
        }
        Item::Guarded { call, targets } => {
            let targets = targets.iter().map(|id| (place.function)(*id)).collect();
            let leads = place.leads.expect("the program has a thunk");
            overridden(va, *call, true, (leads.thunk, leads.guarded(va)), targets)
        }
        Item::Memset { call, sizes } => {
            let leads = place.leads.expect("the program has a memset");
            let size = plain([0x41, 0xb8, 0x40, 0, 0, 0].to_vec(), Act::LoadSize(sizes.clone()));
            let mut lowered = overridden(va + 6, *call, false, (leads.memset, leads.chosen_memset), Vec::new());
            lowered.ops.extend(size.ops);
            lowered.linked.splice(0..0, size.linked);
            lowered.memory.splice(0..0, size.memory);
            lowered
        }
        Item::Switch { register, cases } => {
            let targets = cases.iter().map(|case| place.labels[*case]).collect();
            switch(*register, targets, place)
        }
        Item::Ret { pops } => plain(if *pops { vec![0xc2, 8, 0] } else { vec![0xc3] }, Act::Ret),
        Item::Iret => plain(vec![0x48, 0xcf], Act::Iret),
        Item::Sysret => plain(vec![0x48, 0x0f, 0x07], Act::Sysret),
        Item::FarJump(to) => plain(vec![0x48, 0xff, 0x2d, 0, 0x10, 0, 0], Act::FarJump(place.labels[*to])),
        Item::SoftwareInterrupt => plain(vec![0xcd, 0x2a], Act::SoftwareInterrupt),
        Item::MovCr3 => plain(vec![0x0f, 0x22, 0xd8], Act::MovCr3),
        Item::SwitchStack => plain(vec![0x48, 0x8b, 0x67, 0x58], Act::SwitchStack),
    }
}

fn import(slot: usize, call: bool, place: &Place<'_>) -> Lowered {
    let va = place.va;
    let (slot, target) = (place.import)(slot);
    let displacement = (slot.wrapping_sub(va + 7) as u32).to_le_bytes();
    let in_range = fits(target, va + 12) && fits(target, place.base);
    let form = match (place.stubs, place.optimized && in_range) {
        (_, true) => Form::Direct,
        (None, false) => Form::Linked,
        (Some(_), false) => Form::Stub,
    };
    let mut linked = vec![0x48, 0xff, if call { 0x15 } else { 0x25 }];
    linked.extend(displacement);
    linked.extend(if call { [0x0f, 0x1f, 0x44, 0, 0] } else { [0xcc; 5] });
    let site = ImportSite { va, slot, target, call, form, in_range };
    if form == Form::Linked {
        let act = if call { Act::CallIndirect(vec![target]) } else { Act::JumpIndirect(vec![target]) };
        let mut ops = vec![(va, Op { len: 7, act })];
        if call {
            ops.push((va + 7, Op { len: 5, act: Act::Straight }));
        }
        return Lowered { memory: linked.clone(), linked, ops, site: Some(site), listed: None, overridden: None };
    }
    let to = match (form, place.stubs) {
        (Form::Stub, Some(stubs)) => stubs.import_r10,
        _ => target,
    };
    let mut memory = vec![0x4c, 0x8b, 0x15];
    memory.extend(displacement);
    memory.extend(branch(if call { &[0xe8] } else { &[0xe9] }, va + 7, to, false));
    let ops =
        vec![(va, Op { len: 7, act: Act::Load(target) }), (va + 7, Op { len: 5, act: direct(call, to, Vec::new()) })];
    Lowered { linked, memory, ops, site: Some(site), listed: None, overridden: None }
}

fn indirect(call: bool, via: Via, targets: Vec<u64>, place: &Place<'_>) -> Lowered {
    let va = place.va;
    let linked: Vec<u8> = match (via, call) {
        (Via::Rax, true) => vec![0xff, 0xd0, 0x0f, 0x1f, 0x00],
        (Via::Rax, false) => vec![0xff, 0xe0, 0xcc, 0xcc, 0xcc],
        (Via::Cfg, true) => vec![0xff, 0x15, 0x10, 0x20, 0, 0],
        (Via::Cfg, false) => vec![0xff, 0x25, 0x10, 0x20, 0, 0],
        (Via::Unlisted, true) => vec![0xff, 0x54, 0x24, 0x20],
        (Via::Unlisted, false) => vec![0xff, 0x60, 0x08],
    };
    let listed = match via {
        Via::Rax => Some((va, ListedBranch::Rax { call })),
        Via::Cfg => Some((va, ListedBranch::Cfg { call })),
        Via::Unlisted => None,
    };
    let stub = match (place.stubs, via) {
        (Some(stubs), Via::Rax) => Some(stubs.rax),
        (Some(stubs), Via::Cfg) => Some(stubs.cfg),
        _ => None,
    };
    let Some(stub) = stub else {
        let act = if call { Act::CallIndirect(targets) } else { Act::JumpIndirect(targets) };
        let first = if matches!(via, Via::Rax) { 2 } else { linked.len() };
        let mut ops = vec![(va, Op { len: first as u64, act })];
        if first < linked.len() && call {
            ops.push((va + first as u64, Op { len: (linked.len() - first) as u64, act: Act::Straight }));
        }
        return Lowered { memory: linked.clone(), linked, ops, site: None, listed, overridden: None };
    };
    let mut memory = branch(if call { &[0xe8] } else { &[0xe9] }, va, stub, false);
    let mut ops = vec![(va, Op { len: 5, act: direct(call, stub, targets) })];
    if memory.len() < linked.len() {
        memory.push(if call { 0x90 } else { 0xcc });
        if call {
            ops.push((va + 5, Op { len: 1, act: Act::Straight }));
        }
    }
    Lowered { linked, memory, ops, site: None, listed, overridden: None }
}

fn overridden(va: u64, call: bool, is_guarded: bool, (linked, memory): (u64, u64), load: Vec<u64>) -> Lowered {
    let opcode: &[u8] = if call { &[0xe8] } else { &[0xe9] };
    Lowered {
        linked: branch(opcode, va, linked, false),
        memory: branch(opcode, va, memory, false),
        ops: vec![(va, Op { len: 5, act: direct(call, memory, load) })],
        site: None,
        listed: None,
        overridden: Some(OverriddenCall { va, call, is_guarded }),
    }
}

fn switch(register: u8, targets: Vec<u64>, place: &Place<'_>) -> Lowered {
    let va = place.va;
    let mut linked = if register < 8 { vec![0xff, 0xe0 | register] } else { vec![0x41, 0xff, 0xe0 | (register - 8)] };
    let len = linked.len() as u64;
    let listed = Some((va, ListedBranch::Switch { register }));
    linked.resize(6, 0xcc);
    let Some(stubs) = place.stubs else {
        let ops = vec![(va, Op { len, act: Act::JumpIndirect(targets) })];
        return Lowered { memory: linked.clone(), linked, ops, site: None, listed, overridden: None };
    };
    let stub = stubs.base + SWITCH + SWITCH_STEP * u64::from(register);
    let mut memory = branch(&[0xe8], va, stub, false);
    memory.push(0xcc);
    Lowered {
        linked,
        memory,
        ops: vec![(va, Op { len: 5, act: Act::Call { to: stub, load: targets } })],
        site: None,
        listed,
        overridden: None,
    }
}

fn direct(call: bool, to: u64, load: Vec<u64>) -> Act {
    if call { Act::Call { to, load } } else { Act::Jump { to, load } }
}

/// Offsets of the stubs in their page, those of 19041 where they are known.
const SWITCH: u64 = 0x80;
const SWITCH_STEP: u64 = 0x20;
const RAX_CFG: u64 = 0x2a0;
const RAX: u64 = 0x2e0;
const IMPORT_R10: u64 = 0x420;

/// The stub page at `base`, as bytes and operations.
pub(super) fn stubs(base: u64, ops: &mut HashMap<u64, Op>) -> StubPages {
    let mut page = vec![0xcc; 0x1000];
    let mut header: Vec<u32> = (0..16).map(|r| (SWITCH + SWITCH_STEP * r) as u32).collect();
    header.insert(0, 0);
    header.extend([RAX_CFG as u32, RAX as u32, IMPORT_R10 as u32]);
    for (i, dword) in header.iter().enumerate() {
        page[4 * i..4 * i + 4].copy_from_slice(&dword.to_le_bytes());
    }
    let mut put = |at: u64, parts: &[(&[u8], Act)]| {
        let mut at = at;
        for (bytes, act) in parts {
            page[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
            ops.insert(base + at, Op { len: bytes.len() as u64, act: act.clone() });
            at += bytes.len() as u64;
        }
        at
    };
    // call over the trap; the trap (pause, jump back); replace the return address; return to it.
    let trick = |at: u64, set: &'static [u8], drop: bool| -> Vec<(&'static [u8], Act)> {
        let mut parts: Vec<(&'static [u8], Act)> = vec![
            (&[0xe8, 4, 0, 0, 0], Act::Call { to: base + at + 9, load: Vec::new() }),
            (&[0xf3, 0x90], Act::Straight),
            (&[0xeb, 0xfc], Act::Jump { to: base + at + 5, load: Vec::new() }),
        ];
        if drop {
            parts.push((&[0x48, 0x83, 0xc4, 0x08], Act::Drop));
        }
        parts.push((set, Act::SetTop));
        parts.push((&[0xc3], Act::Ret));
        parts
    };
    for register in 0..16 {
        let at = SWITCH + SWITCH_STEP * register;
        put(at, &trick(at, &[0x48, 0x89, 0x04, 0x24], true));
    }
    let after = put(RAX_CFG, &[(&[0x48, 0x85, 0xc0], Act::Straight), (&[0x0f, 0x1f, 0x40, 0x00], Act::Straight)]);
    put(after, &trick(after, &[0x48, 0x89, 0x04, 0x24], false));
    put(RAX, &trick(RAX, &[0x48, 0x89, 0x04, 0x24], false));
    // Is the target retpolined? The bitmap says; if not, fence and jump.
    let slow = base + IMPORT_R10 + 0x40;
    let after = put(
        IMPORT_R10,
        &[
            (&[0x50], Act::Straight),
            (&[0x41, 0x53], Act::Straight),
            (&[0x4d, 0x0f, 0xa3, 0x1b], Act::Straight),
            (&[0x41, 0x5b], Act::Straight),
            (&[0x58], Act::Straight),
        ],
    );
    let jcc = branch(&[0x73], base + after, slow, true);
    let after = put(after, &[(&jcc, Act::Jcc { to: slow, odds: Odds::Of256(60) })]);
    put(after, &trick(after, &[0x4c, 0x89, 0x14, 0x24], false));
    put(IMPORT_R10 + 0x40, &[(&[0x0f, 0xae, 0xe8], Act::Straight), (&[0x41, 0xff, 0xe2], Act::JumpRegister)]);
    StubPages { base, bytes: page, rax: base + RAX, cfg: base + RAX_CFG, import_r10: base + IMPORT_R10 }
}

fn branch(opcode: &[u8], va: u64, to: u64, short: bool) -> Vec<u8> {
    let mut bytes = opcode.to_vec();
    let size = bytes.len() + if short { 1 } else { 4 };
    let distance = to.wrapping_sub(va + size as u64) as i64;
    if short {
        bytes.push(i8::try_from(distance).expect("a short branch was chosen for a near target") as u8);
    } else {
        let distance = i32::try_from(distance).expect("a direct branch was chosen for a target in range");
        bytes.extend(distance.to_le_bytes());
    }
    bytes
}

fn fits(to: u64, from: u64) -> bool {
    i32::try_from(to.wrapping_sub(from) as i64).is_ok()
}
