//! Intel PT data over a system: what it reaches, what ran.

pub(crate) mod analyse;
pub(crate) mod calls;
pub(crate) mod chosen;
pub(crate) mod closure;
pub(crate) mod covered;
pub(crate) mod execution;
pub(crate) mod function_sums;
pub(crate) mod functions;
pub(crate) mod named;
pub(crate) mod trace_flow;
