//! Kernel triage dumps (`PAGEDU64`, DumpType 4), the "small memory dumps" of Windows: for WinDbg a kernel target with
//! `nt!`, for the writer a header, a few blocks of state, a driver list and any ranges of virtual memory.
//!
//! ```
//! use mdmp::kernel::{Driver, Dump, Synthetic};
//! use mdmp::{MemoryRange, Protection, amd64};
//!
//! let base = 0xfffff804_12340000;
//! let code = [0x33, 0xc0, 0xc3];
//! let context = amd64::Context::kernel(base + 0x1000, 0xffffae00_00008000);
//! let mut dump = Dump::synthetic(Synthetic::new(base, context));
//! dump.system.build = 26100;
//! dump.drivers.push(Driver::new(r"\SystemRoot\system32\ntoskrnl.exe", base, 0x1046000));
//! dump.memory.push(MemoryRange::from_slice(base + 0x1000, Protection::EXECUTE_READ, &code));
//!
//! let plan = dump.plan()?;
//! let mut file = Vec::new();
//! plan.write_to(&mut file)?;
//! assert_eq!(file.len() as u64, plan.len());
//!
//! let triage = mdmp::read::Triage::parse(&file)?;
//! assert_eq!(triage.drivers().next().unwrap()?.name, r"\SystemRoot\system32\ntoskrnl.exe");
//! # Ok::<(), mdmp::Error>(())
//! ```

mod debugger_data;
mod drivers;
mod dump;
mod fields;
mod header;
pub mod raw;
mod synthetic;

pub use debugger_data::{AMD64_19041, DebuggerData, FieldOffset, Variable};
pub(crate) use drivers::MAX_NAME;
pub use drivers::{Driver, UnloadedDriver};
pub use dump::{CallStack, DataPage, Dump, State};
pub use fields::{DumpType, Machine, Parts};
pub use header::{Anchors, Bugcheck, Exception, System};
pub use synthetic::Synthetic;
