//! What a set of Intel PT packets says about the code that ran: from the forms that people have packets in, over an
//! address map, to the modules that the packets touch and the code that they execute.
//!
//! The crate takes plain values: packets with facts about them ([`snapshot::Snapshot`]), an
//! [`AddressMap`](address_map::AddressMap), code as [`intel_pt::flow::Code`]. It knows neither traces nor dumps nor
//! files of modules, and opens nothing.
//!
//! | module | answers |
//! | --- | --- |
//! | [`input`] | which bytes are packets, in the order in which they were written? |
//! | [`choose`] | which snapshots are asked for? |
//! | [`touched`] | which modules and pages do the packets name? |
//! | [`executed`] | how many instructions ran in each module? |
//! | [`flow`] | what ran, in order? |
//! | [`transfers`] | which calls and returns does the flow make? |
//! | [`calls`] | which function called which? |
//! | [`functions`] | how often was each entered, and how many instructions ran in it? |
//! | [`coverage`] | which code ran at all? |
//! | [`word28`] | what does the event's last field mean? |
//! | [`quality`] | is that to be believed? |
#![forbid(unsafe_code)]

pub mod calls;
pub mod choose;
pub mod coverage;
pub mod executed;
pub mod flow;
pub mod functions;
mod hex;
pub mod input;
pub mod quality;
pub mod snapshot;
pub mod touched;
pub mod transfers;
pub mod word28;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
