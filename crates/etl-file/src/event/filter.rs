//! Which events are of interest, decided from their first bytes.

use crate::bytes::Bytes;
use crate::guid::Guid;
use crate::raw::{HeaderKind, HookId};
use std::sync::LazyLock;

/// A set of kernel event kinds, and of event classes and providers. A filter never asks for more than an event's first
/// bytes, and may let through another class whose GUID begins with the same four bytes: what it lets through is still
/// to be looked at.
#[derive(Clone, Debug)]
pub struct Filter {
    /// One bit per hook id.
    hooks: Box<[u64; 1024]>,
    /// data1 of the GUIDs.
    classes: Vec<u32>,
    /// One bit per low byte of a data1 above, which settles most events without a walk over the list.
    low_bytes: [u64; 4],
    /// WPP messages, and events of kinds that have neither hook nor GUID.
    others: bool,
    /// Any GUID.
    every_class: bool,
}

impl Filter {
    /// Lets nothing through.
    pub fn none() -> Self {
        Self { hooks: Box::new([0; 1024]), classes: Vec::new(), low_bytes: [0; 4], others: false, every_class: false }
    }

    /// Lets everything through.
    pub fn all() -> &'static Self {
        static ALL: LazyLock<Filter> = LazyLock::new(|| Filter {
            hooks: Box::new([u64::MAX; 1024]),
            classes: Vec::new(),
            low_bytes: [0; 4],
            others: true,
            every_class: true,
        });
        &ALL
    }

    /// Adds kernel event kinds.
    #[must_use]
    pub fn hooks(mut self, hooks: &[HookId]) -> Self {
        for hook in hooks {
            self.hooks[usize::from(hook.0 >> 6)] |= 1 << (hook.0 & 63);
        }
        self
    }

    /// Adds event classes and providers.
    #[must_use]
    pub fn classes(mut self, guids: &[Guid]) -> Self {
        for guid in guids {
            let data1 = guid.data1();
            self.classes.push(data1);
            self.low_bytes[(data1 >> 6 & 3) as usize] |= 1 << (data1 & 63);
        }
        self
    }

    /// True when the event may be of interest. `word`: its first 8 bytes.
    #[inline(always)]
    pub(crate) fn admits(&self, kind: HeaderKind, word: u64, bytes: &[u8]) -> bool {
        match kind.0 {
            1..=4 | 16 | 17 => {
                let hook = (word >> 48) as usize;
                self.hooks[hook >> 6] >> (hook & 63) & 1 != 0
            }
            10 | 11 | 18..=21 => {
                self.every_class
                    || Bytes(bytes).u32(0x18).is_some_and(|data1| {
                        self.low_bytes[(data1 >> 6 & 3) as usize] >> (data1 & 63) & 1 != 0
                            && self.classes.contains(&data1)
                    })
            }
            _ => self.others,
        }
    }
}
