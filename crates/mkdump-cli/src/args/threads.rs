//! `mkdump threads`: its arguments.

use std::path::PathBuf;

use clap::Args;

use super::exit;
use super::values::number;

/// One line a paragraph: clap breaks lines where the terminal's width asks for it.
const AFTER: &str = "\
A triage dump shows one thread, but Windows also captures memory around the pointers in registers and on stacks, which often includes other threads' objects. They are found by the pointer to their process, KTHREAD.Process, whose offset is in the kernel's PDB. Without a PDB the offsets of Windows 10 19041 to 19045 (x64) are used. The PDB is looked up by its GUID in the symbol stores of --modules and _NT_SYMBOL_PATH; to use one from anywhere else, pass --pdb.

Columns: the thread object's address; how it was found (current; cpuN: it was running there; bugcheckN: a bugcheck parameter; listed: by --address; scanned: a pointer to its process, with ? when nothing but that pointer shows it); process and thread id; the process object; the stack pointer; how much of the stack was captured from there on; the limits of the stack.

Examples:
  mkdump threads 010126-9000-01.dmp
  mkdump threads mini.dmp --pdb ntkrnlmp.pdb --address ffffc08b`dea1a080
  mkdump --from-dump mini.dmp --modules dir --threads -o out.dmp";

/// `mkdump threads`.
#[derive(Clone, Debug, Args)]
#[command(after_help = format!("{AFTER}\n\n{}", exit::THREADS))]
pub struct ThreadsCommand {
    /// A kernel triage dump; several of one boot are merged
    #[arg(required = true, value_name = "DUMP")]
    pub dumps: Vec<PathBuf>,
    /// The kernel's PDB
    #[arg(long, value_name = "FILE")]
    pub pdb: Option<PathBuf>,
    /// Symbol store to look for the kernel's PDB in; the kernel's own file there may name it; repeatable
    #[arg(short, long, value_name = "DIR")]
    pub modules: Vec<PathBuf>,
    /// Offset of KTHREAD.Process, as 0x220 or 544, whatever the PDB says
    #[arg(long, value_name = "N", value_parser = offset)]
    pub process_offset: Option<u32>,
    /// Addresses of thread objects, hexadecimal, separated by commas; repeatable
    #[arg(long, value_name = "ADDRESS,…", value_delimiter = ',', value_parser = address)]
    pub address: Vec<u64>,
    /// Addresses of further process objects whose threads are looked for, hexadecimal, separated by commas; repeatable
    #[arg(long, value_name = "ADDRESS,…", value_delimiter = ',', value_parser = address)]
    pub process: Vec<u64>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// An address as debuggers print it: hexadecimal, with `0x` or without, a backtick allowed.
fn address(text: &str) -> Result<u64, String> {
    let digits = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text).replace('`', "");
    let sound = (1..=16).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let value = sound.then(|| u64::from_str_radix(&digits, 16).ok()).flatten();
    value.ok_or_else(|| {
        "allowed are up to 16 hexadecimal digits, such as ffffc08b`dea1a080 or 0xffffc08bdea1a080".into()
    })
}

/// The largest offset that is taken: thread objects have some 0x900 bytes.
const LARGEST_OFFSET: u32 = 0xffff;

fn offset(text: &str) -> Result<u32, String> {
    let value = number(text).filter(|value| *value <= LARGEST_OFFSET && value.is_multiple_of(8));
    value.ok_or_else(|| "allowed are multiples of 8 up to 0xfff8, as 0x220 or 544".into())
}

#[cfg(test)]
mod tests {
    use super::{address, offset};

    #[test]
    fn addresses_are_taken_as_debuggers_print_them() {
        for text in ["ffffc08b`dea1a080", "0xffffc08bdea1a080", "FFFFC08BDEA1A080"] {
            assert_eq!(address(text), Ok(0xffff_c08b_dea1_a080), "{text}");
        }
        for text in ["", "0x", "+1", "nt!x", "1ffffc08bdea1a080", "-1"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn offsets_are_decimal_unless_they_say_otherwise() {
        assert_eq!((offset("0x220"), offset("544")), (Ok(0x220), Ok(0x220)));
        for text in ["220h", "0x221", "0x10000", "-8", "0x+8", ""] {
            assert!(offset(text).is_err(), "{text}");
        }
    }
}
