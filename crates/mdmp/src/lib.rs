//! Writer of Windows minidumps (user MDMP and kernel triage) from plain values and lazily pulled memory.
#![forbid(unsafe_code)]
