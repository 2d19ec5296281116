//! The command as its users meet it: run as a program, judged by what it prints, writes and returns.
#![forbid(unsafe_code)]

mod conduct;
mod documents;
mod events;
mod extracts;
#[cfg(feature = "fetch")]
mod fetching;
mod outputs;
mod recordings;
mod support;
mod wrong_use;
