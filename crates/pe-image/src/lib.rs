//! A Windows kernel PE image as the kernel has it in memory: relocated, bound, with the load-time changes to its code.
#![forbid(unsafe_code)]
