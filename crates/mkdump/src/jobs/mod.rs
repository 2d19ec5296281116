//! What can be done with a system: each job takes it and gives a result.

pub(crate) mod build_dump;
pub mod check;
pub(crate) mod ipt;
pub(crate) mod modules;
pub(crate) mod sessions;
pub(crate) mod threads;
