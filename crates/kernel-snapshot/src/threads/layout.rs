//! Where a thread object has its fields.

use mdmp::kernel::{DebuggerData, FieldOffset};

/// Offsets in `ETHREAD`, whose first member is `KTHREAD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadLayout {
    /// `KTHREAD.Process`.
    pub process: u32,
    /// `KTHREAD.KernelStack`. The dump's debugger data has it too, and wins.
    pub kernel_stack: u32,
    /// `KTHREAD.StackLimit`.
    pub stack_limit: u32,
    /// `KTHREAD.StackBase`.
    pub stack_base: u32,
    /// `ETHREAD.Cid`: process id, then thread id.
    pub client_id: u32,
}

impl Default for ThreadLayout {
    fn default() -> ThreadLayout {
        ThreadLayout::AMD64_19041
    }
}

impl ThreadLayout {
    /// Windows 10 19041 to 19045, x64 (checked on a dump of that build: the current thread's fields hold what other
    /// parts of the dump say).
    pub const AMD64_19041: ThreadLayout =
        ThreadLayout { process: 0x220, kernel_stack: 0x58, stack_limit: 0x30, stack_base: 0x38, client_id: 0x478 };

    /// With the fields that the dump itself states.
    pub fn or_debugger_data(mut self, data: Option<&DebuggerData>) -> ThreadLayout {
        if let Some(offset @ 1..) = data.map(|data| data.offset(FieldOffset::KTHREAD_KERNEL_STACK)) {
            self.kernel_stack = offset.into();
        }
        self
    }
}
