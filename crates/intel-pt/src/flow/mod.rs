//! Instruction flow: which instructions were executed, from packets and an image of memory.
//!
//! | word | means |
//! | --- | --- |
//! | [`Code`] | the image: bytes at addresses, some of which may be missing |
//! | [`Blocks`] | the code decoded so far, as blocks that end at branches |
//! | [`Walker`] | the position in packets and code; small, so that it can be cloned and tried |
//! | [`Visitor`] | gets blocks, branches and events in the order of execution |
//! | [`Instructions`] | the same as an iterator over single instructions, slower and easier to use |
//! | [`Stop`] | why a run of the walk ended; after an error the next run resynchronises and goes on |
//! | [`Space`] | an address space: what CR3 selects. Kernel code needs only one |
//! | [`Quality`], [`Evidence`] | how much was followed, and what confirmed it |
//!
//! The rules are those of the Intel SDM, volume 3, "Intel Processor Trace": conditional branches take TNT bits,
//! indirect branches TIPs (which may be *deferred*: written after TNT bits younger than they), returns are *compressed*
//! to a TNT bit when they go back to the call that the processor remembers, and a FUP with a TIP is an interrupt. The
//! walk is lazy: it goes no further than the packets prove.
//!
//! # Untrusted input
//!
//! Any packets over any code: no panic, no endless loop, and work in proportion to the packets. Code that loops without a
//! packet is noticed, and [`Options::budget`] bounds straight runs. In total a walk passes at most
//! [`Walker::FIRST_STEPS`] blocks without a packet, and [`Walker::STEPS_PER_BYTE`] for each byte read; what is given up
//! then is an error with its place. Memory is the code cache (at most [`Blocks::MAX_BLOCKS`] blocks).
//!
//! # Example
//!
//! ```
//! use intel_pt::flow::{Blocks, Code, Ranges, Stop, Walker};
//!
//! // 1000: jz +1; 1002: nop; 1003: jmp rax
//! let code: &[(u64, &[u8])] = &[(0x1000, &[0x74, 0x01, 0x90, 0xff, 0xe0])];
//! let mut trace = [0x02, 0x82].repeat(8); // PSB
//! trace.extend([0x99, 0x01]); // MODE.Exec: 64-bit
//! trace.extend([0x7d, 0x00, 0x10, 0, 0, 0, 0]); // FUP 0x1000
//! trace.extend([0x02, 0x23]); // PSBEND
//! trace.extend([0x06]); // TNT: one branch, taken
//! trace.extend([0x2d, 0x00, 0x10]); // TIP 0x1000
//!
//! let mut blocks = Blocks::new(code);
//! let mut ranges = Ranges::default();
//! let stop = Walker::new(&trace).run(&mut blocks, &mut ranges);
//! assert_eq!(stop, Stop::End);
//! assert_eq!(ranges.list(), [(0x1000, 0x1002), (0x1003, 0x1005)]);
//! ```

mod bits;
mod blocks;
mod checks;
mod circle;
mod code;
mod display;
mod error;
mod events;
mod follow;
mod instructions;
mod options;
mod paths;
mod quality;
mod reach;
mod resync;
mod stack;
mod state;
mod table;
mod visit;
mod walk;
mod way;
mod work;

pub use blocks::Blocks;
pub use checks::{Checks, Finding, Knowledge, NoKnowledge, follows_call};
pub use code::{Code, Space};
pub use error::{Error, ErrorKind, Found, Need, Stop};
pub use events::Event;
pub use instructions::{Instruction, Instructions, Step};
pub use options::{Options, Resume};
pub use quality::{Evidence, Quality};
pub use stack::ReturnStack;
pub use table::{Block, BlockId, Exit, Far, Table};
pub use visit::{Branch, BranchKind, Nothing, Ranges, Visitor};
pub use walk::Walker;
