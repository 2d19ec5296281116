//! Was import optimization on, was retpoline? What the user says, else what the IPT data says, else what the build of
//! Windows does by default.

use crate::report::ModeReport;
use crate::snapshot::{Architecture, Machine};

/// An answer that the user may give, or leave to the tool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Find out.
    #[default]
    Auto,
    /// Yes.
    On,
    /// No.
    Off,
}

/// The first build of Windows whose kernel can optimize imports: 1809, with the update of March 2019.
const FIRST_BUILD: u32 = 17763;

/// An answer for the whole machine, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// On or off.
    pub on: bool,
    /// One sentence.
    pub reason: String,
}

impl Mode {
    fn new(on: bool, reason: impl Into<String>) -> Self {
        Self { on, reason: reason.into() }
    }

    /// As the report has it.
    pub fn report(&self) -> ModeReport {
        ModeReport { mode: if self.on { "on" } else { "off" }, reason: self.reason.clone() }
    }
}

/// Import optimization, as far as it is decided without IPT data.
pub fn import_optimization(choice: Choice, machine: &Machine) -> Mode {
    let build = machine.os.build;
    match choice {
        Choice::On => Mode::new(true, "asked for"),
        Choice::Off => Mode::new(false, "asked for"),
        Choice::Auto if machine.architecture != Architecture::Amd64 => {
            Mode::new(false, "only x64 kernels are known to have it")
        }
        Choice::Auto if build >= FIRST_BUILD => {
            Mode::new(true, format!("Windows build {build} has it on unless switched off; no IPT data says otherwise"))
        }
        Choice::Auto => {
            Mode::new(false, format!("Windows build {build} is older than {FIRST_BUILD}, the first to have it"))
        }
    }
}

/// Retpoline, as far as it is decided without IPT data.
pub fn retpoline(choice: Choice) -> Mode {
    match choice {
        Choice::On => Mode::new(true, "asked for"),
        Choice::Off => Mode::new(false, "asked for"),
        Choice::Auto => Mode::new(false, "nothing shows that it was on"),
    }
}

#[cfg(test)]
mod tests {
    use super::{Choice, import_optimization};
    use crate::snapshot::{Architecture, Machine};

    #[test]
    fn the_build_decides_when_nobody_else_does() {
        let cases = [
            (Choice::Auto, Architecture::Amd64, 17763, true),
            (Choice::Auto, Architecture::Amd64, 17134, false),
            (Choice::Auto, Architecture::Arm64, 26100, false),
            (Choice::On, Architecture::Amd64, 9200, true),
            (Choice::Off, Architecture::Amd64, 26100, false),
        ];
        for (choice, architecture, build, expected) in cases {
            let mut machine = Machine { architecture, ..Machine::default() };
            machine.os.build = build;
            let mode = import_optimization(choice, &machine);
            assert_eq!(mode.on, expected, "{choice:?} {architecture:?} {build}: {}", mode.reason);
        }
    }
}
