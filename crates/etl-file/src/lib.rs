//! Reader of ETW trace files (.etl) on any operating system: buffers, events, typed kernel records, modules over time.
#![forbid(unsafe_code)]
