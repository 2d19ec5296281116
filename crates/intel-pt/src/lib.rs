//! Intel Processor Trace packets: decode, encode, sync, scan; instruction flow over a memory image.
#![forbid(unsafe_code)]
