//! From a Windows trace and a directory of modules to a dump that debuggers open: the library behind the command.
#![deny(unsafe_code)]

pub mod catalog;
