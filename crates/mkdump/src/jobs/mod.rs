//! What can be done with a system: each job takes it and gives a result.

pub(crate) mod build_dump;
