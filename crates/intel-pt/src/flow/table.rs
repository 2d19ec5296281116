//! Decoded code: blocks of instructions, and how each goes on.

use iced_x86::{Code as Opcode, FlowControl, Instruction, Mnemonic, Register};

use super::code::{ContextId, Space};

/// A block of a [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub(super) u32);

impl BlockId {
    pub(super) const NONE: Self = Self(u32::MAX);
}

/// Instructions that are executed one after another: only the last one may branch.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Block {
    /// Address of the first instruction.
    pub start: u64,
    /// Address after the last instruction.
    pub end: u64,
    /// Number of instructions; 0 when there is nothing to execute at `start` (`exit` says why).
    pub instructions: u32,
    /// How execution goes on.
    pub exit: Exit,
    /// How often a path from here was asked for before one was built.
    pub(super) heat: u8,
    /// The address space that the block was decoded in.
    pub space: Space,
    /// None when the block was invalidated: it is then never found again.
    pub(super) context: ContextId,
    /// First of `instructions` entries of the length table.
    pub(super) lengths: u32,
    /// Successors: taken (or the only one), not taken. Those of indirect branches are guesses.
    pub(super) next: [BlockId; 2],
}

impl Block {
    /// Address of the last instruction; `start` for an empty block.
    pub fn last(&self, table: &Table) -> u64 {
        let lengths = table.lengths(self);
        lengths.last().map_or(self.start, |last| self.end.wrapping_sub(u64::from(*last)))
    }

    /// True when execution goes on without a packet.
    pub(super) fn is_direct(&self) -> bool {
        matches!(self.exit, Exit::Fall | Exit::Cr3 | Exit::Jump(_) | Exit::Call(_))
    }
}

/// How execution goes on after a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// At `end`: the block is full.
    Fall,
    /// At `end`, after a load of CR3.
    Cr3,
    /// At an address, by a direct jump or a call of the next instruction.
    Jump(u64),
    /// At an address, by a direct call.
    Call(u64),
    /// At an address or the one after the branch: one TNT bit decides.
    Cond(u64),
    /// By a near indirect jump: a TIP gives the target.
    IndirectJump,
    /// By a near indirect call: a TIP gives the target.
    IndirectCall,
    /// By a near return: one TNT bit when compressed, otherwise a TIP.
    Return,
    /// By a far transfer, system call or interrupt return: a TIP gives the target, unless tracing ends there.
    Far(Far),
    /// Nothing is known of the memory at `end`.
    Missing,
    /// The bytes at `end` are not an instruction.
    Invalid,
    /// `end` is one of the addresses of [`Blocks::break_at`](super::Blocks::break_at).
    Break,
}

/// Kinds of far transfers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Far {
    /// SYSCALL, SYSENTER.
    SystemCall,
    /// SYSRET, SYSEXIT.
    SystemReturn,
    /// INT n, INT1, INT3, INTO that a TIP alone announces.
    Interrupt,
    /// IRET.
    InterruptReturn,
    /// Far call.
    Call,
    /// Far return.
    Return,
    /// Far jump.
    Jump,
    /// Entries of virtual machines, returns from system management mode, and what else changes flow.
    Other,
}

impl Far {
    fn of(instruction: &Instruction) -> Self {
        match instruction.mnemonic() {
            Mnemonic::Syscall | Mnemonic::Sysenter => Self::SystemCall,
            Mnemonic::Sysret | Mnemonic::Sysretq | Mnemonic::Sysexit | Mnemonic::Sysexitq => Self::SystemReturn,
            Mnemonic::Int | Mnemonic::Int1 | Mnemonic::Int3 | Mnemonic::Into => Self::Interrupt,
            Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq => Self::InterruptReturn,
            Mnemonic::Call => Self::Call,
            Mnemonic::Retf => Self::Return,
            Mnemonic::Jmp => Self::Jump,
            _ => Self::Other,
        }
    }
}

impl Exit {
    /// How a block with this last instruction goes on; nothing when the instruction does not end a block.
    pub(super) fn of(instruction: &Instruction) -> Option<Self> {
        let target = instruction.near_branch_target();
        match instruction.flow_control() {
            FlowControl::Next => {
                let loads = matches!(instruction.code(), Opcode::Mov_cr_r64 | Opcode::Mov_cr_r32);
                (loads && instruction.op0_register() == Register::CR3).then_some(Self::Cr3)
            }
            // XBEGIN, XABORT and XEND change flow only by an abort, and UD2 by an exception. A FUP announces both.
            FlowControl::XbeginXabortXend | FlowControl::Exception => None,
            FlowControl::ConditionalBranch => Some(Self::Cond(target)),
            FlowControl::UnconditionalBranch if instruction.is_jmp_short_or_near() => Some(Self::Jump(target)),
            FlowControl::Call if instruction.is_call_near() => {
                // A call of the next instruction only pushes its address. Return compression does not count it (SDM).
                Some(if target == instruction.next_ip() { Self::Jump(target) } else { Self::Call(target) })
            }
            FlowControl::IndirectBranch if instruction.is_jmp_near_indirect() => Some(Self::IndirectJump),
            FlowControl::IndirectCall if instruction.is_call_near_indirect() => Some(Self::IndirectCall),
            FlowControl::Return if instruction.mnemonic() == Mnemonic::Ret => Some(Self::Return),
            _ => Some(Self::Far(Far::of(instruction))),
        }
    }
}

/// The blocks decoded so far.
#[derive(Clone, Debug, Default)]
pub struct Table {
    pub(super) blocks: Vec<Block>,
    pub(super) lengths: Vec<u8>,
}

impl Table {
    /// A block. Ids are valid only within the visitor's method that got them: the table may start over later.
    #[inline]
    pub fn block(&self, id: BlockId) -> &Block {
        &self.blocks[id.0 as usize]
    }

    /// Addresses of the block's instructions.
    pub fn addresses(&self, id: BlockId) -> impl Iterator<Item = u64> + '_ {
        self.instructions(id).map(|(address, _)| address)
    }

    /// Address and length of each of the block's instructions.
    pub fn instructions(&self, id: BlockId) -> impl Iterator<Item = (u64, u8)> + '_ {
        let block = self.block(id);
        self.lengths(block).iter().scan(block.start, |at, length| {
            let address = *at;
            *at = at.wrapping_add(u64::from(*length));
            Some((address, *length))
        })
    }

    fn lengths(&self, block: &Block) -> &[u8] {
        &self.lengths[block.lengths as usize..(block.lengths + block.instructions) as usize]
    }

    pub(super) fn clear(&mut self) {
        self.blocks.clear();
        self.lengths.clear();
    }

    /// How many of the block's instructions lie before `address`, if one of them (or the block's end) is there.
    pub(super) fn instructions_before(&self, id: BlockId, address: u64) -> Option<u32> {
        let block = self.block(id);
        if address.wrapping_sub(block.start) > block.end.wrapping_sub(block.start) {
            return None;
        }
        if address == block.end {
            return Some(block.instructions);
        }
        self.addresses(id).position(|at| at == address).map(|n| n as u32)
    }

    /// Address after the first `instructions` instructions of the block, which must have at least that many.
    pub fn address_after(&self, id: BlockId, instructions: u32) -> u64 {
        let block = self.block(id);
        let lengths = &self.lengths(block)[..instructions as usize];
        block.start.wrapping_add(lengths.iter().map(|l| u64::from(*l)).sum())
    }
}
