//! Generated kernel-like programs, the machine that runs them, and the Intel PT packets that hardware would write.
//!
//! | file | is |
//! | --- | --- |
//! | `rng` | a small seeded random generator, so that a seed names a program for ever |
//! | `program` | modules, functions, import sites; the bytes as linked and as in memory |
//! | `body` | what stands in a function, before addresses are known |
//! | `lower` | each item as bytes and as operations, in the form that the module's mode asks for |
//! | `transfer` | what the interpreter says of calls and returns |
//! | `execute` | the interpreter: it knows the operations and never disassembles |
//! | `packet` | single packets, byte by byte |
//! | `overridden` | functions that a kernel of Windows 11 24H2 overrides, and its page of shared code |
//! | `overrides` | what a machine makes of calls of such functions |
//! | `mixed` | long traces of packets alone, with and without timing |
//! | `system` | a program as an installed system: PE files, and traces that name them |
//! | `varied` | programs and runs in which every mode comes up |
//! | `emit` | the processor's trace unit: TNT packing, deferred TIPs, return compression, PSB+ |
//!
//! ```
//! use testkit::pt::{Machine, Program, Shape};
//!
//! let program = Program::generate(&Shape::default(), 7);
//! let run = Machine::default().run(&program, 1000, 7);
//! assert!(run.packets.starts_with(&[0x02, 0x82]));
//! assert_eq!(run.executed[0], program.entry);
//! ```

mod body;
mod emit;
mod execute;
mod lower;
mod mixed;
mod overridden;
mod overrides;
mod packet;
mod program;
mod rng;
mod sites;
mod system;
mod transfer;
mod varied;

pub use emit::{Hardware, Unit};
pub use execute::{Machine, Run};
pub use mixed::{Timing, mixed_trace, timed_trace};
pub use overrides::{GUARDED_CALLS, Overridden, OverriddenCall, Overrides, SharedPage};
pub use packet::{Compression, PacketWriter};
pub use program::{Module, Optimization, Program, Shape};
pub use rng::Rng;
pub use sites::{Form, ImportSite, ListedBranch, StubPages};
pub use system::{InstalledFile, System};
pub use transfer::{Transfer, What};
pub use varied::varied_run;
