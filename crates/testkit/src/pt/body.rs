//! What stands in a function, before addresses are known: items with labels, each of a size that no mode changes.

use super::overrides::Overrides;
use super::rng::Rng;

/// A function: module index and function index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct FnId {
    pub module: usize,
    pub function: usize,
}

/// How the interpreter decides a conditional branch.
#[derive(Clone, Copy, Debug)]
pub(super) enum Odds {
    /// Taken in so many of 256 cases.
    Of256(u8),
    /// Taken when the stack is deep already: it skips a call that may recurse.
    WhenDeep,
    /// Always taken, or never.
    Known(bool),
    /// Taken when the size that memset was called with is below this.
    Below(u32),
    /// Taken when it is this or more.
    AtLeast(u32),
    /// Taken when it does not have this bit.
    Without(u32),
    /// Takes 64 off the size, and is taken when so many are left.
    NextBlock,
}

/// How an indirect branch is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Via {
    /// `call rax` + 3-byte nop or `jmp rax`: a symbol-4 site, rewritten with retpoline.
    Rax,
    /// `call [rip+x]` or `jmp [rip+x]` through the CFG dispatch pointer: a symbol-4 site with CfgCheck.
    Cfg,
    /// A form that no table lists and no mode changes: `call [rsp+0x20]`, `jmp [rax+8]`.
    Unlisted,
}

#[derive(Clone, Debug)]
pub(super) enum Item {
    /// A place for branches to aim at; no bytes.
    Label(usize),
    /// A straight-line instruction.
    Straight(&'static [u8]),
    Jcc {
        code: u8,
        to: usize,
        short: bool,
        odds: Odds,
    },
    /// LOOP, LOOPE, LOOPNE or JRCXZ, always short.
    Loop {
        opcode: u8,
        to: usize,
        odds: Odds,
    },
    Jump {
        to: usize,
        short: bool,
    },
    TailJump(FnId),
    Call(FnId),
    /// `call $+5; pop rax`: a call that return compression does not count.
    CallNext,
    Import {
        slot: usize,
        call: bool,
    },
    Indirect {
        call: bool,
        via: Via,
        targets: Vec<FnId>,
    },
    /// A guarded call or jump through the module's thunk, which a kernel may override.
    Guarded {
        call: bool,
        targets: Vec<FnId>,
    },
    /// `mov r8d, size` and a call of memset, or a jump.
    Memset {
        call: bool,
        sizes: Vec<u32>,
    },
    Switch {
        register: u8,
        cases: Vec<usize>,
    },
    Ret {
        pops: bool,
    },
    Iret,
    Sysret,
    FarJump(usize),
    SoftwareInterrupt,
    MovCr3,
    SwitchStack,
}

impl Item {
    /// Bytes, the same in every mode.
    pub fn size(&self) -> usize {
        match self {
            Item::Label(_) => 0,
            Item::Straight(bytes) => bytes.len(),
            Item::Jcc { short, .. } => [6, 2][usize::from(*short)],
            Item::Loop { .. } | Item::Iret | Item::SoftwareInterrupt => 2,
            Item::Jump { short, .. } => [5, 2][usize::from(*short)],
            Item::TailJump(_) | Item::Call(_) | Item::Guarded { .. } => 5,
            Item::Memset { .. } => 11,
            Item::CallNext => 6,
            Item::Import { .. } => 12,
            Item::Indirect { call, via, .. } => match (via, call) {
                (Via::Rax, _) => 5,
                (Via::Cfg, _) => 6,
                (Via::Unlisted, true) => 4,
                (Via::Unlisted, false) => 3,
            },
            Item::Switch { .. } => 6,
            Item::Ret { pops } => [1, 3][usize::from(*pops)],
            Item::Sysret | Item::MovCr3 => 3,
            Item::FarJump(_) => 7,
            Item::SwitchStack => 4,
        }
    }
}

/// What a function ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Ordinary,
    /// Entered by interrupts, left by IRETQ.
    InterruptHandler,
    /// Entered from user mode, left by SYSRETQ.
    SystemCall,
    /// Changes CR3 and the stack, then returns into another thread.
    SwapContext,
}

/// What a function may do, besides straight code and branches.
pub(super) struct Callees<'a> {
    /// Functions of the same module that cannot call back.
    pub below: &'a [FnId],
    /// Import slots of the module.
    pub slots: usize,
    /// Functions for pointers and guarded calls: any of any module.
    pub any: &'a [FnId],
    /// Functions of the same module, recursion included.
    pub own: &'a [FnId],
    /// The thread switch, when it is in the same module.
    pub swap: Option<FnId>,
    /// Import calls among 100 statements.
    pub import_percent: u32,
    /// Guarded calls through pointers to any function, among 100 statements.
    pub dispatch_percent: u32,
    /// Calls of overridden functions, where there are any.
    pub overrides: Option<&'a Overrides>,
}

const STRAIGHT: &[&[u8]] = &[
    &[0x90],
    &[0x66, 0x90],
    &[0x31, 0xc0],
    &[0x48, 0x89, 0xc3],
    &[0x4c, 0x8b, 0xdc],
    &[0x0f, 0xb6, 0xc0],
    &[0x48, 0x83, 0xc0, 0x01],
    &[0x48, 0x83, 0xec, 0x28],
    &[0x0f, 0x1f, 0x44, 0x00, 0x00],
    &[0x48, 0x8b, 0x44, 0x24, 0x30],
    &[0xb8, 0x00, 0x02, 0xc3, 0xcc],
    &[0x48, 0x8d, 0x05, 0x10, 0x00, 0x00, 0x00],
    &[0x65, 0x48, 0x8b, 0x04, 0x25, 0x88, 0x01, 0x00, 0x00],
    &[0x48, 0xb8, 0xe8, 0x02, 0x82, 0x02, 0x82, 0x02, 0x82, 0xff],
    &[0xc5, 0xf8, 0x77],
    &[0xf3, 0x0f, 0x10, 0x00],
    &[0xf0, 0x0f, 0xb1, 0x0a],
    &[0x0f, 0xae, 0xe8],
    &[0x48, 0x0f, 0xba, 0xe0, 0x07],
    &[0xfa],
    &[0xfb],
];

/// Writes one function body.
pub(super) struct Writer<'a> {
    rng: &'a mut Rng,
    callees: &'a Callees<'a>,
    labels: usize,
}

impl<'a> Writer<'a> {
    pub fn new(rng: &'a mut Rng, callees: &'a Callees<'a>) -> Self {
        Self { rng, callees, labels: 0 }
    }

    /// The body of a function of about `statements` statements, and the number of labels in it.
    pub fn function(mut self, role: Role, statements: usize) -> (Vec<Item>, usize) {
        let mut out = vec![Item::Straight(self.rng.pick::<&[u8]>(STRAIGHT))];
        if role == Role::SwapContext {
            out.extend([Item::MovCr3, Item::SwitchStack, Item::Straight(&[0x48, 0x83, 0xc4, 0x28])]);
        } else {
            out.extend(self.block(statements, 0));
        }
        let end = match role {
            Role::InterruptHandler => Item::Iret,
            Role::SystemCall => Item::Sysret,
            Role::SwapContext => Item::Ret { pops: false },
            Role::Ordinary => self.ending(),
        };
        out.push(end);
        (out, self.labels)
    }

    fn ending(&mut self) -> Item {
        let c = self.callees;
        if c.overrides.is_some_and(|overrides| self.rng.chance(overrides.percent)) {
            return self.overridden(false);
        }
        match self.rng.below(20) {
            0 if !c.below.is_empty() => Item::TailJump(*self.rng.pick(c.below)),
            1 if c.slots > 0 => Item::Import { slot: self.rng.below(c.slots), call: false },
            2 if !c.below.is_empty() => Item::Indirect { call: false, via: self.via(), targets: self.some(c.below) },
            3 => Item::Ret { pops: true },
            _ => Item::Ret { pops: false },
        }
    }

    fn block(&mut self, statements: usize, depth: usize) -> Vec<Item> {
        let mut out = Vec::new();
        for _ in 0..statements {
            self.statement(&mut out, depth);
        }
        out
    }

    fn statement(&mut self, out: &mut Vec<Item>, depth: usize) {
        let c = self.callees;
        if c.slots > 0 && self.rng.chance(c.import_percent) {
            out.push(Item::Import { slot: self.rng.below(c.slots), call: true });
            return;
        }
        if !c.any.is_empty() && self.rng.chance(c.dispatch_percent) {
            let (via, targets) = (self.via(), self.some(c.any));
            self.guarded(out, Item::Indirect { call: true, via, targets });
            return;
        }
        if c.overrides.is_some_and(|overrides| self.rng.chance(overrides.percent)) {
            let item = self.overridden(true);
            out.push(item);
            return;
        }
        match self.rng.below(32) {
            0..=3 if depth < 3 => self.condition(out, depth),
            4..=6 if depth < 3 => self.repeat(out, depth),
            7..=9 if !c.below.is_empty() => out.push(Item::Call(*self.rng.pick(c.below))),
            10..=11 if !c.below.is_empty() => {
                let (via, targets) = (self.via(), self.some(c.below));
                out.push(Item::Indirect { call: true, via, targets });
            }
            12 if !c.own.is_empty() => {
                let callee = *self.rng.pick(c.own);
                self.guarded(out, Item::Call(callee));
            }
            13..=15 if depth < 2 => self.switch(out, depth),
            16 => out.push(Item::CallNext),
            17 if c.swap.is_some() => {
                let swap = c.swap.expect("checked by the guard");
                self.guarded(out, Item::Call(swap));
            }
            18 if self.rng.chance(40) => {
                let label = self.label();
                out.extend([Item::FarJump(label), Item::Label(label)]);
            }
            19 if self.rng.chance(40) => self.guarded(out, Item::SoftwareInterrupt),
            _ => {
                for _ in 0..self.rng.between(1, 6) {
                    out.push(Item::Straight(self.rng.pick::<&[u8]>(STRAIGHT)));
                }
            }
        }
    }

    /// A call of a function that may be overridden, or a jump.
    fn overridden(&mut self, call: bool) -> Item {
        let c = self.callees;
        match c.overrides {
            Some(_) if !c.below.is_empty() && self.rng.chance(50) => {
                Item::Guarded { call, targets: self.some(c.below) }
            }
            Some(overrides) => Item::Memset { call, sizes: overrides.sizes.clone() },
            None => Item::Ret { pops: false },
        }
    }

    fn condition(&mut self, out: &mut Vec<Item>, depth: usize) {
        let statements = self.rng.between(1, 3);
        let body = self.block(statements, depth + 1);
        let over = self.label();
        let odds = Odds::Of256(*self.rng.pick(&[10, 60, 128, 200, 245]));
        if self.rng.chance(40) {
            let other = self.block(1, depth + 1);
            let end = self.label();
            let jump = Item::Jump { to: end, short: size(&other) < 120 };
            self.branch(out, over, size(&body) + jump.size(), odds);
            out.extend(body);
            out.extend([jump, Item::Label(over)]);
            out.extend(other);
            out.push(Item::Label(end));
        } else {
            self.branch(out, over, size(&body), odds);
            out.extend(body);
            out.push(Item::Label(over));
        }
    }

    fn repeat(&mut self, out: &mut Vec<Item>, depth: usize) {
        let top = self.label();
        let statements = self.rng.between(1, 2);
        let body = self.block(statements, depth + 1);
        let odds = Odds::Of256(*self.rng.pick(&[100, 170, 220, 240]));
        let bytes = size(&body);
        out.push(Item::Label(top));
        out.extend(body);
        if bytes < 120 && self.rng.chance(20) {
            out.push(Item::Loop { opcode: *self.rng.pick(&[0xe0, 0xe1, 0xe2, 0xe3]), to: top, odds });
        } else {
            self.branch(out, top, bytes, odds);
        }
    }

    fn switch(&mut self, out: &mut Vec<Item>, depth: usize) {
        let end = self.label();
        let cases: Vec<usize> = (0..self.rng.between(2, 5)).map(|_| self.label()).collect();
        // rsp cannot hold a jump target.
        let register = *self.rng.pick(&[0, 1, 2, 3, 5, 8, 9, 11]);
        out.push(Item::Switch { register, cases: cases.clone() });
        for case in cases {
            out.push(Item::Label(case));
            let body = self.block(1, depth + 1);
            out.extend(body);
            out.push(Item::Jump { to: end, short: false });
        }
        out.push(Item::Label(end));
    }

    /// `item` behind a branch that skips it when the stack is deep, so that recursion ends.
    fn guarded(&mut self, out: &mut Vec<Item>, item: Item) {
        let over = self.label();
        self.branch(out, over, item.size(), Odds::WhenDeep);
        out.extend([item, Item::Label(over)]);
    }

    fn branch(&mut self, out: &mut Vec<Item>, to: usize, distance: usize, odds: Odds) {
        let short = distance < 120 && self.rng.chance(80);
        out.push(Item::Jcc { code: self.rng.below(16) as u8, to, short, odds });
    }

    fn via(&mut self) -> Via {
        *self.rng.pick(&[Via::Rax, Via::Cfg, Via::Unlisted])
    }

    fn some(&mut self, of: &[FnId]) -> Vec<FnId> {
        (0..self.rng.between(1, 4)).map(|_| *self.rng.pick(of)).collect()
    }

    fn label(&mut self) -> usize {
        self.labels += 1;
        self.labels - 1
    }
}

fn size(items: &[Item]) -> usize {
    items.iter().map(Item::size).sum()
}
