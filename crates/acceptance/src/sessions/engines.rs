//! Microsoft's engines: they lack the extension that lists sessions, but read structures by the PDB, so they show that the
//! dump, the page tables and the PDB are what the C file says.

use std::path::Path;

use anyhow::Result;
use xtask::outcome::Outcome;

use super::kernel::Made;
use crate::debugger::check::{Check, Suite, address};
use crate::debugger::rig::{Rig, windows_path};
use session_kernels::truth::{BUFFER_SIZE, State};

/// Opens a dump in both engines, and asks for each session and each buffer.
pub fn check(rig: &Rig, place: &str, made: &Made, dump: &Path, outcome: &mut Outcome) -> Result<()> {
    let mut checks = vec![Check::new("lm").has("nt *private pdb symbols")];
    for session in &made.sessions {
        let expression =
            |member: &str| format!("?? ((nt!_WMI_LOGGER_CONTEXT*)@@masm(nt!{}))->{member}", session.symbol);
        // The engine's text is not Unicode.
        let name = session.name.trim_start_matches(|c: char| !c.is_ascii());
        checks.push(Check::new(expression("LoggerName")).has(format!("{name}\"")));
        checks.push(Check::new(expression("LoggerId")).has(format!("unsigned int {}", number(session.id.into()))));
        if let Some(list) = made.member(session, "GlobalList")? {
            let (first, last) = ends(made, session)?;
            checks.push(Check::new(expression("GlobalList")).has(format!(
                "[ 0x{} - 0x{} ]",
                address(first),
                address(last)
            )));
            checks.push(
                Check::new(format!("? @@c++(&{})", &expression("GlobalList")[3..])).has(format!("= {}", address(list))),
            );
        }
        for (index, buffer) in session.buffers.iter().enumerate() {
            let at = made.buffer(session, index)?;
            let (saved, current) = buffer.offsets();
            let state = match buffer.state {
                State::Current => "1 ( EtwBufferStateGeneralLogging )",
                _ => "0 ( EtwBufferStateFree )",
            };
            let header = Check::new(format!("dt nt!_WMI_BUFFER_HEADER {at:#x}"))
                .has(format!("BufferSize : {BUFFER_SIZE:#x}"))
                .has(format!("State : {state}"))
                .has(format!("SavedOffset : {}", number(saved)))
                .has(format!("CurrentOffset : {}", number(current)))
                .has(format!("SequenceNumber : 0n{}", buffer.sequence));
            checks.push(header);
        }
    }
    let directory = windows_path(&made.dir);
    Suite {
        name: place,
        dump,
        symbols: &|_| directory.clone(),
        opening: Check::new("opening").has("Kernel base = 0x").lacks("could not be read").lacks("ERROR: *exited"),
        checks,
    }
    .run(rig, outcome)
}

/// A number as the engines print it: one digit needs no prefix.
fn number(value: u32) -> String {
    if value < 10 { value.to_string() } else { format!("{value:#x}") }
}

/// The first and the last link of a session's list.
fn ends(made: &Made, session: &session_kernels::truth::Session) -> Result<(u64, u64)> {
    let link = |index: usize| -> Result<u64> {
        Ok(match session.ring {
            session_kernels::truth::Ring::Direct => made.buffer(session, index)? + 0x38,
            session_kernels::truth::Ring::Nodes => made.address(&format!("{}Node{index}", session.symbol))? + 0x10,
        })
    };
    Ok((link(0)?, link(session.buffers.len() - 1)?))
}
