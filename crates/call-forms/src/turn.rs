//! Turns: how a walk goes on from an import site in one form, or from a junction on one way.

use intel_pt::flow::{Found, Walker};

use crate::arrival::{Arrival, Form};
use crate::decision::{FirstJump, Junction, Leads, Routes};

/// Bytes of a direct branch, `E8` or `E9` and a distance.
const BRANCH: u64 = 5;

/// A way to go on.
#[derive(Clone, Copy)]
pub(crate) enum Turn<'i> {
    /// From an import site to the imported function.
    Form { arrival: Arrival, target: u64, form: Form },
    /// From a junction.
    Way { junction: Junction, routes: &'i Routes, way: usize },
}

/// What is assumed on a way: all sites of a module have one form, and all junctions of a decision go one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Assumption {
    /// Of a module.
    Form(usize, Form),
    /// Of a decision.
    Way(usize, usize),
}

/// Whether the packets allow a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    Yes,
    No,
    /// They end, or are lost.
    Unknown,
}

/// What must hold for the next indirect jump: whether it goes to one of these functions.
pub(crate) type NextJump<'i> = Option<(bool, &'i [u64])>;

impl<'i> Turn<'i> {
    /// What it assumes.
    pub fn assumes(&self) -> Assumption {
        match self {
            Self::Form { arrival, form, .. } => Assumption::Form(arrival.importer, *form),
            Self::Way { routes, way, .. } => Assumption::Way(routes.decision, *way),
        }
    }

    /// Goes there. `next` is what must hold for the next indirect jump, before and after.
    pub fn take(&self, walker: &mut Walker<'_>, next: &mut NextJump<'i>) -> Taken {
        match *self {
            Self::Form { arrival, target, form } => match arrival.enter(walker, target, form) {
                true => Taken::Yes,
                false => Taken::No,
            },
            Self::Way { junction, routes, way } => {
                let way = routes.ways[way];
                let to = match way.leads {
                    Leads::To(to) => to,
                    Leads::Tip => match walker.take_tip() {
                        Ok((_, to)) if next.take().is_none_or(|(expected, among)| among.contains(&to) == expected) => {
                            to
                        }
                        Ok(_) | Err(Found::Tnt | Found::Fup | Found::Psb | Found::TipPge) => return Taken::No,
                        Err(_) => return Taken::Unknown,
                    },
                };
                match way.first {
                    FirstJump::Any => {}
                    FirstJump::ToDispatch => *next = Some((true, &routes.dispatch)),
                    FirstJump::Elsewhere => *next = Some((false, &routes.dispatch)),
                }
                match junction.call {
                    true => walker.call(to, junction.va.wrapping_add(BRANCH)),
                    false => walker.jump(to),
                }
                Taken::Yes
            }
        }
    }
}
