//! The diagram that chooses among the alternatives of a function override.
//!
//! ```text
//! BDD:   u32 Version (1) | u32 Size | nodes { u16 Left | u16 Right | u32 Value }
//! node:  0, 0: the original function. i, i (its own number): alternative Value.
//!        Otherwise the capability Value of the machine decides: Right when it is set, else Left.
//! ```
//!
//! The first node alone can lead out of the image: where the kernel has a function of its own for a capability, a *system
//! override*, that function takes the place of all alternatives.

use crate::addr::Rva;
use crate::bytes;
use crate::capabilities::{Capabilities, Capability};
use crate::error::{Error, Place, Result};

/// IMAGE_BDD_INFO: a binary decision diagram.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Bdd {
    /// 1 in all known files.
    pub version: u32,
    /// The nodes.
    pub nodes: Vec<BddNode>,
    /// Size: the bytes that the nodes are said to take.
    size: u32,
    rva: Rva,
}

/// IMAGE_BDD_DYNAMIC_RELOCATION: a decision, or an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BddNode {
    /// Number of the node for "no".
    pub left: u16,
    /// Number of the node for "yes".
    pub right: u16,
    /// Capability number of a decision; number of the alternative of an outcome.
    pub value: u32,
}

/// Which function a kernel calls in place of an overridden one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum OverrideTarget {
    /// The function that the file calls.
    Original,
    /// The alternative of this number.
    Alternative(u32),
    /// The kernel's own function for this capability.
    System(u32),
}

/// The end of a walk through a diagram.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct OverrideChoice {
    /// The function.
    pub target: OverrideTarget,
    /// Capabilities that were asked on the way and are assumed, not known, each once, in the order
    /// asked. With any, the choice is
    /// assumed too.
    pub assumed: Vec<u32>,
}

const STRUCTURE: &str = "IMAGE_BDD_INFO";

impl Bdd {
    pub(crate) fn parse(bytes: &[u8], rva: Rva) -> Result<Self> {
        let place = Place::Rva(rva);
        let (Some(version), Some(size)) = (bytes::u32_at(bytes, 0), bytes::u32_at(bytes, 4)) else {
            return Err(Error::truncated(place, STRUCTURE, 8, bytes.len() as u64));
        };
        let Some(nodes) = bytes[8..].get(..size as usize) else {
            let allowed = format!("at most {:#x}, what is left of the entry", bytes.len() - 8);
            return Err(Error::field(place, STRUCTURE, "BDDSize", size, allowed));
        };
        let node = |raw: &[u8]| {
            let (left, right) = (bytes::u16_at(raw, 0)?, bytes::u16_at(raw, 2)?);
            Some(BddNode { left, right, value: bytes::u32_at(raw, 4)? })
        };
        Ok(Self { version, nodes: nodes.chunks_exact(8).filter_map(node).collect(), size, rva })
    }

    /// The kernel's rules for a diagram. (It passes over a version other than 1, which no file has; here that is an error.)
    /// Gives the highest number of an alternative that it names.
    pub(crate) fn check(&self) -> Result<Option<u32>> {
        let fault = |field, found: u32, allowed: String| {
            Err(Error::field(Place::Rva(self.rva), STRUCTURE, field, found, allowed))
        };
        if self.version != 1 {
            return fault("Version", self.version, "1".to_owned());
        }
        if self.size == 0 || !self.size.is_multiple_of(8) {
            return fault("BDDSize", self.size, "a multiple of 8, not 0".to_owned());
        }
        let count = self.nodes.len();
        let mut highest = None;
        for (number, node) in self.nodes.iter().enumerate() {
            let (left, right) = (usize::from(node.left), usize::from(node.right));
            if number > 0 && (left, right) == (0, 0) {
                continue;
            }
            if number > 0 && left == number && right == number {
                highest = highest.max(Some(node.value));
                continue;
            }
            // Branches lead forward only, so that a walk ends.
            for branch in [node.left, node.right] {
                if usize::from(branch) <= number || usize::from(branch) >= count {
                    let allowed = format!("{} to {}", number + 1, count - 1);
                    return fault("branch of a node", branch.into(), allowed);
                }
            }
        }
        Ok(highest)
    }

    /// Walks the diagram as a kernel does. `has_system` says for which capabilities the kernel has a function of its own
    /// that this image may use.
    ///
    /// A diagram that breaks the rules ([`FunctionOverrides::check`](crate::FunctionOverrides::check)) may give anything;
    /// the walk ends.
    pub fn choose(&self, capabilities: &Capabilities, has_system: impl Fn(u32) -> bool) -> OverrideChoice {
        let mut assumed = Vec::new();
        let mut number = 0;
        for _ in 0..self.nodes.len() {
            let Some(&BddNode { left, right, value }) = self.nodes.get(number) else { break };
            if (left, right) == (0, 0) {
                break;
            }
            if usize::from(left) == number && left == right {
                return OverrideChoice { target: OverrideTarget::Alternative(value), assumed };
            }
            let capability = capabilities.get(value);
            let is_assumed = matches!(capability, Capability::AssumedSet | Capability::AssumedClear);
            if is_assumed && !assumed.contains(&value) {
                assumed.push(value);
            }
            if capability.is_set() && number == 0 && has_system(value) {
                return OverrideChoice { target: OverrideTarget::System(value), assumed };
            }
            number = usize::from(if capability.is_set() { right } else { left });
        }
        OverrideChoice { target: OverrideTarget::Original, assumed }
    }

    /// What must be true of a machine that chose `target`: of the capabilities that are assumed, those without whose value no
    /// walk ends there. `None` when no walk does. Takes time in proportion to the nodes for each of these capabilities.
    pub fn requirements(
        &self,
        target: OverrideTarget,
        capabilities: &Capabilities,
        has_system: impl Fn(u32) -> bool,
    ) -> Option<Vec<(u32, bool)>> {
        let is_assumed =
            |number: u32| matches!(capabilities.get(number), Capability::AssumedSet | Capability::AssumedClear);
        let leads_there = |fixed: Option<(u32, bool)>| {
            // What walks are possible at a node: those in which the capability is clear, and set.
            let possible = |value: u32| match fixed {
                Some((number, set)) if number == value => [!set, set],
                _ if is_assumed(value) => [true, true],
                _ => [!capabilities.get(value).is_set(), capabilities.get(value).is_set()],
            };
            let mut seen = vec![false; self.nodes.len()];
            let mut left = vec![0];
            while let Some(number) = left.pop() {
                let Some(&BddNode { left: clear, right: set, value }) = self.nodes.get(number) else { continue };
                if std::mem::replace(&mut seen[number], true) {
                    continue;
                }
                if (clear, set) == (0, 0) {
                    if target == OverrideTarget::Original {
                        return true;
                    }
                } else if usize::from(clear) == number && clear == set {
                    if target == OverrideTarget::Alternative(value) {
                        return true;
                    }
                } else {
                    let [may_be_clear, may_be_set] = possible(value);
                    let is_system = number == 0 && has_system(value);
                    if may_be_set && is_system && target == OverrideTarget::System(value) {
                        return true;
                    }
                    left.extend((may_be_set && !is_system).then_some(usize::from(set)));
                    left.extend(may_be_clear.then_some(usize::from(clear)));
                }
            }
            false
        };
        if !leads_there(None) {
            return None;
        }
        let mut asked: Vec<u32> = self.nodes.iter().map(|node| node.value).filter(|&value| is_assumed(value)).collect();
        asked.sort_unstable();
        asked.dedup();
        let required = |number: u32| match [false, true].map(|set| leads_there(Some((number, set)))) {
            [false, true] => Some((number, true)),
            [true, false] => Some((number, false)),
            _ => None,
        };
        Some(asked.into_iter().filter_map(required).collect())
    }
}
