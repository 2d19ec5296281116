//! What a tree is made of.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::transfers::{How, Mark};

/// What a node of a tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A function that ran.
    Function {
        /// How it was entered.
        how: How,
        /// The address where it starts, or, if that is not known, where it was entered.
        function: u64,
    },
    /// Something that happened between calls.
    Mark(Mark),
    /// Its children ran again and again, in this order.
    Loop,
}

/// A node of a tree: a function that ran, as often as it did so in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// How often it happened here, in all repetitions of what is around it.
    pub times: u64,
    /// Instructions executed in the function itself.
    pub instructions: u64,
    /// The same with those of all functions below it.
    pub total: u64,
    /// The function had not ended where the packets, or a gap, end what is known.
    pub open: bool,
    /// Calls below it that a limit kept out of the tree. Their instructions are in `total`.
    pub left_out: u64,
    /// What it called, in order.
    pub children: Vec<Node>,
    /// Nodes, with this one.
    pub(super) size: u64,
    /// Levels below this one.
    pub(super) height: usize,
    /// Alike nodes have the same.
    pub(super) shape: u64,
}

impl Node {
    pub(super) fn new(kind: Kind) -> Self {
        let (times, instructions, total, open, left_out, children) = (1, 0, 0, false, 0, Vec::new());
        let (size, height, shape) = (1, 0, 0);
        let mut node = Self { kind, times, instructions, total, open, left_out, children, size, height, shape };
        node.measure();
        node
    }

    /// A node whose children are these.
    pub(super) fn around(kind: Kind, children: Vec<Node>) -> Self {
        let mut node = Self { children, ..Self::new(kind) };
        node.total = node.children.iter().map(|child| child.total).sum();
        node.measure();
        node
    }

    /// Works out what tells nodes apart, from the kind and the children.
    pub(super) fn measure(&mut self) {
        let mut hasher = DefaultHasher::new();
        match self.kind {
            Kind::Function { how, function } => (how, function, self.open).hash(&mut hasher),
            Kind::Mark(mark) => std::mem::discriminant(&mark).hash(&mut hasher),
            Kind::Loop => {}
        }
        self.children.iter().for_each(|child| child.shape.hash(&mut hasher));
        self.shape = hasher.finish();
        self.size = 1 + self.children.iter().map(|child| child.size).sum::<u64>();
        self.height = self.children.iter().map(|child| child.height + 1).max().unwrap_or(0);
    }
}
