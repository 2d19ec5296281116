//! Which events are of interest, decided from their first bytes.

use super::RawEvent;
use super::header::CLASSIC_HEADER;
use crate::bytes::Bytes;
use crate::guid::Guid;
use crate::raw::{EventTraceHeader, HeaderKind, HookId, RawEventHeader};
use std::mem::offset_of;
use std::sync::LazyLock;

/// A set of kernel event kinds, and of event classes and providers. A filter never asks for more than an event's first
/// bytes, and may let through another class whose GUID begins with the same four bytes: callers must still
/// check what it lets through.
#[derive(Clone, Debug)]
pub struct Filter {
    /// One bit per hook id.
    hooks: Box<[u64; 1024]>,
    /// data1 of the GUIDs.
    classes: Vec<u32>,
    /// Classes of the hooks, in full.
    kernel_classes: Vec<Guid>,
    /// One bit per low byte of a GUID above, which settles most events without a walk over the lists.
    low_bytes: [u64; 4],
    /// WPP messages, and events of kinds that have neither hook nor GUID.
    others: bool,
    /// Any GUID.
    every_class: bool,
}

impl Filter {
    /// Lets nothing through.
    pub fn none() -> Self {
        Self {
            hooks: Box::new([0; 1024]),
            classes: Vec::new(),
            kernel_classes: Vec::new(),
            low_bytes: [0; 4],
            others: false,
            every_class: false,
        }
    }

    /// Lets everything through.
    pub fn all() -> &'static Self {
        static ALL: LazyLock<Filter> = LazyLock::new(|| Filter {
            hooks: Box::new([u64::MAX; 1024]),
            classes: Vec::new(),
            kernel_classes: Vec::new(),
            low_bytes: [0; 4],
            others: true,
            every_class: true,
        });
        &ALL
    }

    /// Adds kernel event kinds, in both forms that [`Event::hook`](crate::Event::hook) knows.
    #[must_use]
    pub fn hooks(mut self, hooks: &[HookId]) -> Self {
        for hook in hooks {
            self.hooks[usize::from(hook.0 >> 6)] |= 1 << (hook.0 & 63);
            if let Some(class) = hook.class() {
                self.mark(class);
                if !self.kernel_classes.contains(&class) {
                    self.kernel_classes.push(class);
                }
            }
        }
        self
    }

    /// Adds event classes and providers.
    #[must_use]
    pub fn classes(mut self, guids: &[Guid]) -> Self {
        for guid in guids {
            self.classes.push(guid.data1());
            self.mark(*guid);
        }
        self
    }

    fn mark(&mut self, guid: Guid) {
        let data1 = guid.data1();
        self.low_bytes[(data1 >> 6 & 3) as usize] |= 1 << (data1 & 63);
    }

    /// True when the filter lets an event through.
    pub fn matches(&self, event: &RawEvent<'_>) -> bool {
        Bytes(event.bytes).u64(0).is_some_and(|word| self.admits(event.kind, word, event.bytes))
    }

    /// True when the event may be of interest. `word`: its first 8 bytes.
    #[inline(always)]
    pub(crate) fn admits(&self, kind: HeaderKind, word: u64, bytes: &[u8]) -> bool {
        match kind.0 {
            1..=4 | 16 | 17 => self.has_hook(HookId((word >> 48) as u16)),
            10 | 11 | 18..=21 => {
                self.every_class
                    || Bytes(bytes).u32(0x18).is_some_and(|data1| {
                        self.low_bytes[(data1 >> 6 & 3) as usize] >> (data1 & 63) & 1 != 0
                            && (self.classes.contains(&data1) || self.has_kernel_class(kind, bytes))
                    })
            }
            _ => self.others,
        }
    }

    #[inline(always)]
    fn has_hook(&self, hook: HookId) -> bool {
        self.hooks[usize::from(hook.0 >> 6)] >> (hook.0 & 63) & 1 != 0
    }

    /// True for a kernel event in class form whose hook is in the set.
    fn has_kernel_class(&self, kind: HeaderKind, bytes: &[u8]) -> bool {
        let bytes = Bytes(bytes);
        // EVENT_HEADER has its opcode elsewhere. Without the flag that says that the event is a classic one, the GUID is a
        // provider's, and such an event is not the kernel's.
        let opcode = match kind {
            HeaderKind::EVENT_HEADER32 | HeaderKind::EVENT_HEADER64 => {
                bytes.u8(offset_of!(RawEventHeader, opcode)).filter(|_| {
                    bytes.u16(offset_of!(RawEventHeader, flags)).is_some_and(|flags| flags & CLASSIC_HEADER != 0)
                })
            }
            _ => bytes.u8(offset_of!(EventTraceHeader, class_type)),
        };
        let (Some(class), Some(opcode)) = (bytes.guid(0x18), opcode) else { return false };
        self.kernel_classes.contains(&class) && HookId::of_class(class, opcode).is_some_and(|hook| self.has_hook(hook))
    }
}
