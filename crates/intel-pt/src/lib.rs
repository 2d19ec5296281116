//! Intel Processor Trace: packets, and the instruction flow that they describe.
//!
//! A processor that traces itself writes *packets* of 1 to 16 bytes into a buffer. Most are one or a few bytes: the
//! outcome of conditional branches (TNT), the targets of indirect branches and returns (TIP), the place of an
//! interrupt (FUP). Addresses are compressed against the last one written (*last IP*), so packets can be decoded only
//! after a synchronisation point, the *PSB*. A trace buffer is usually a *ring*: its oldest bytes are in the middle of the
//! buffer, and usually begin in the middle of a packet.
//!
//! | to | use |
//! | --- | --- |
//! | put a ring in order | [`ring::parts`], [`ring::rotate`] |
//! | find synchronisation points | [`sync_forward`], [`sync_backward`] |
//! | read packets with their offsets, gaps included | [`Packets`] |
//! | read or write one packet | [`decode`], [`encode`] |
//! | follow compressed addresses | [`LastIp`] |
//! | collect every address at gigabytes per second | [`scan`](scan()) |
//! | follow the executed instructions over an image of memory | the module `flow` |
//!
//! This part of the crate needs neither `std` nor an allocator. Instruction flow (the feature `flow`, on by default)
//! needs both. The feature `serde` makes packets and results serializable. Facts are from the Intel Software Developer's Manual, volume 3, chapter "Intel Processor Trace" (SDM),
//! and from what the decoders libipt and Linux perf accept.
//!
//! # Untrusted bytes
//!
//! Any bytes may be given to any function: nothing panics, every step consumes at least one byte or ends, and nothing
//! is allocated. Damage stays local: it is reported with its offset and reason, and reading goes on at the next PSB.
//!
//! # Example
//!
//! ```
//! use intel_pt::{Ip, LastIp, Packet, Packets, encode};
//!
//! // A synchronisation point, then two branches to addresses that share their upper 48 bits.
//! let mut trace = Vec::new();
//! let mut written = LastIp::after_psb();
//! trace.extend_from_slice(&encode(&Packet::Psb)?);
//! trace.extend_from_slice(&encode(&Packet::PsbEnd)?);
//! for target in [0xffff_f803_1234_5678, 0xffff_f803_1234_9abc] {
//!     let ip = written.compress(target);
//!     written.update(ip);
//!     trace.extend_from_slice(&encode(&Packet::Tip(ip))?);
//! }
//! assert_eq!(trace.len(), 16 + 2 + 7 + 3, "the second address needs 2 bytes");
//!
//! let mut last = LastIp::unknown();
//! let mut targets = Vec::new();
//! for item in Packets::new(&trace) {
//!     match item {
//!         Ok((_, Packet::Psb)) => last = LastIp::after_psb(),
//!         Ok((_, Packet::Tip(ip))) => targets.extend(last.update(ip)),
//!         Ok(_) => {}
//!         Err(gap) => eprintln!("{gap}"), // The iterator goes on at the next PSB.
//!     }
//! }
//! assert_eq!(targets, [0xffff_f803_1234_5678, 0xffff_f803_1234_9abc]);
//! # Ok::<(), intel_pt::Unencodable>(())
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(not(any(test, feature = "flow")), no_std)]

/// The examples of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod bytes;
mod decode;
mod encode;
mod error;
mod last_ip;
mod opcode;
mod packet;
mod packets;
pub mod ring;
mod scan;
mod sync;

#[cfg(feature = "flow")]
pub mod flow;

pub use decode::{BlockContext, decode};
pub use encode::{Encoded, encode};
pub use error::{Error, Reason, Unencodable};
pub use last_ip::{Ip, LastIp};
pub use packet::{CfeKind, CodeWidth, EvdKind, Exec, Mode, Packet, Payload, Pip, Pwre, Pwrx, Tnt, Trigger, Tsx, Vmcs};
pub use packets::Packets;
pub use scan::{Hit, HitKind, Totals, scan, scan_with_gaps};
pub use sync::{sync_backward, sync_forward};
