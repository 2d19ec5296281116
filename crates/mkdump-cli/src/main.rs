//! The command `mkdump`: a thin shell around the library of this package.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    mkdump_cli::main()
}
