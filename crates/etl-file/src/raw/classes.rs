//! The two forms of a kernel event: under a hook id, as a session logs it, and under a class GUID with the hook's low byte
//! as its type, as the API's relogger writes it and as consumers see it on Windows.

use super::{HookId, ProviderGuid};
use crate::guid::Guid;

/// The class of each group of hooks, by the hook's high byte (Geoff Chappell's table of hook ids, after what sechost.dll
/// hands to consumers). That group 0x1f is Intel Processor Trace's is inferred.
const CLASSES: [Guid; 32] = [
    ProviderGuid::EVENT_TRACE,
    ProviderGuid::DISK_IO,
    ProviderGuid::PAGE_FAULT,
    ProviderGuid::PROCESS,
    ProviderGuid::FILE_IO,
    ProviderGuid::THREAD,
    ProviderGuid::TCP_IP,
    ProviderGuid::JOB,
    ProviderGuid::UDP_IP,
    ProviderGuid::REGISTRY,
    ProviderGuid::DBG_PRINT,
    ProviderGuid::SYSTEM_CONFIG,
    ProviderGuid::LAST_BRANCH,
    ProviderGuid::WNF,
    ProviderGuid::POOL,
    ProviderGuid::PERF_INFO,
    ProviderGuid::HEAP,
    ProviderGuid::OBJECT,
    ProviderGuid::POWER,
    ProviderGuid::MOD_BOUND,
    ProviderGuid::IMAGE,
    ProviderGuid::DPC,
    ProviderGuid::CC,
    ProviderGuid::CRIT_SEC,
    ProviderGuid::STACK_WALK,
    ProviderGuid::UMS,
    ProviderGuid::ALPC,
    ProviderGuid::SPLIT_IO,
    ProviderGuid::THREAD_POOL,
    ProviderGuid::HYPERVISOR,
    ProviderGuid::HYPERVISOR_X,
    ProviderGuid::IPT,
];

impl HookId {
    /// The class that an event of this kind has on Windows, if its group is known.
    ///
    /// ```
    /// use etl_file::{HookId, ProviderGuid};
    /// assert_eq!(HookId::PROCESS_START.class(), Some(ProviderGuid::PROCESS));
    /// assert_eq!(HookId::IMAGE_LOAD.class(), Some(ProviderGuid::IMAGE));
    /// assert_eq!(HookId(0xff00).class(), None);
    /// ```
    pub fn class(self) -> Option<Guid> {
        match self {
            // Its hook is in the process group, its class is that of all image events.
            Self::IMAGE_LOAD => Some(ProviderGuid::IMAGE),
            _ => CLASSES.get(usize::from(self.group())).copied(),
        }
    }

    /// The kind of kernel event that a class and a type in it stand for; `None` for a class that is not the kernel's.
    /// The inverse of [`Self::class`], given [`Self::opcode`].
    pub fn of_class(class: Guid, opcode: u8) -> Option<Self> {
        let group = CLASSES.iter().position(|known| *known == class)?;
        if class == ProviderGuid::IMAGE && opcode == Self::IMAGE_LOAD.opcode() {
            return Some(Self::IMAGE_LOAD);
        }
        Some(Self((group as u16) << 8 | u16::from(opcode)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hook_of_a_known_group_comes_back_from_its_class() {
        for hook in (0..=u16::MAX).map(HookId) {
            let back = hook.class().and_then(|class| HookId::of_class(class, hook.opcode()));
            let expected = match hook.0 {
                // The class of images and the type of a load: the hook is 0x030a.
                0x140a => Some(HookId::IMAGE_LOAD),
                0x0000..0x2000 => Some(hook),
                _ => None,
            };
            assert_eq!(back, expected, "{hook:?}");
        }
    }
}
