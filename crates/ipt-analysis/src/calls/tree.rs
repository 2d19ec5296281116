//! The tree of one snapshot.

use intel_pt::flow::Quality;

use super::fold;
use super::node::{Kind, Node};
use crate::transfers::{How, Mark, Sink};

/// The call tree of one snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallTree {
    /// Outermost functions and what happened between them, in order. Between two gaps there is one outermost function, and
    /// those that took its frame by a jump.
    pub roots: Vec<Node>,
    /// Instructions executed.
    pub instructions: u64,
    /// Calls and gaps that [`Limits`] kept out of it.
    pub left_out: u64,
    /// How much of the packets was followed.
    pub quality: Quality,
}

/// Bounds of a tree.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Nodes after folding, and while it is built: 2^20 by default, some 150 MB.
    pub nodes: u64,
    /// Levels: 512 by default.
    pub depth: usize,
    /// Whether repeated siblings are folded.
    pub fold: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { nodes: 1 << 20, depth: 512, fold: true }
    }
}

/// Builds a tree while the flow runs.
pub(super) struct Builder {
    limits: Limits,
    tree: CallTree,
    /// What has ended in this stretch and has no caller yet.
    level: Vec<Node>,
    /// Functions that have not ended.
    stack: Vec<Node>,
    /// Frames on top of them that a limit keeps out.
    beyond: usize,
    nodes: u64,
}

impl Builder {
    pub fn new(limits: Limits) -> Self {
        Self { limits, tree: CallTree::default(), level: Vec::new(), stack: Vec::new(), beyond: 0, nodes: 0 }
    }

    pub fn finish(mut self, quality: Quality) -> CallTree {
        self.tree.quality = quality;
        self.tree
    }

    fn is_full(&self) -> bool {
        self.nodes >= self.limits.nodes || self.stack.len() >= self.limits.depth
    }

    fn leave_out(&mut self) {
        self.tree.left_out += 1;
        if let Some(top) = self.stack.last_mut() {
            top.left_out += 1;
        }
    }

    /// Adds what has ended to the function that is open.
    fn close(&mut self, node: Node) {
        let siblings = self.stack.last_mut().map_or(&mut self.level, |top| &mut top.children);
        if self.limits.fold {
            self.nodes -= fold::add(siblings, node);
        } else {
            siblings.push(node);
        }
    }

    /// Ends the innermost function that is in the tree.
    fn pop(&mut self, open: bool) {
        if let Some(mut node) = self.stack.pop() {
            node.open = open;
            node.total += node.children.iter().map(|child| child.total).sum::<u64>();
            node.measure();
            self.close(node);
        }
    }

    /// Moves what the stretch left to the tree.
    fn end_stretch(&mut self) {
        for node in std::mem::take(&mut self.level) {
            if self.limits.fold {
                self.nodes -= fold::add(&mut self.tree.roots, node);
            } else {
                self.tree.roots.push(node);
            }
        }
    }
}

impl Sink for Builder {
    fn enter(&mut self, how: How, function: u64) {
        if self.beyond > 0 || self.is_full() {
            self.beyond += 1;
            self.leave_out();
            return;
        }
        self.nodes += 1;
        self.stack.push(Node::new(Kind::Function { how, function }));
    }

    fn leave(&mut self) {
        if self.beyond > 0 {
            self.beyond -= 1;
        } else {
            self.pop(false);
        }
    }

    fn uncover(&mut self, how: How, caller: u64) {
        self.leave();
        if self.level.is_empty() && self.is_full() {
            return self.enter(How::Before, caller);
        }
        let mut below = std::mem::take(&mut self.level);
        let mut node = Node::new(Kind::Function { how: How::Before, function: caller });
        let is_full = self.nodes >= self.limits.nodes;
        if is_full || below.iter().any(|node| node.height >= self.limits.depth) {
            let functions = below.iter().map(|node| node.size).sum::<u64>();
            node.left_out += functions + below.iter().map(|node| node.left_out).sum::<u64>();
            node.total = below.iter().map(|node| node.total).sum();
            self.tree.left_out += functions;
            self.nodes -= functions;
        } else {
            let first = below.iter_mut().find(|node| matches!(node.kind, Kind::Function { .. }));
            if let Some(outermost) = first
                && let Kind::Function { how: known, .. } = &mut outermost.kind
            {
                *known = how;
                outermost.measure();
            }
            node.children = below;
        }
        self.nodes += 1;
        self.stack.push(node);
    }

    fn cut(&mut self) {
        self.beyond = 0;
        while !self.stack.is_empty() {
            self.pop(true);
        }
        self.end_stretch();
    }

    fn ran(&mut self, _: u64, _: u64, instructions: u32) {
        self.tree.instructions += u64::from(instructions);
        if let Some(top) = self.stack.last_mut() {
            top.total += u64::from(instructions);
            if self.beyond == 0 {
                top.instructions += u64::from(instructions);
            }
        }
    }

    fn mark(&mut self, mark: Mark) {
        if self.nodes >= self.limits.nodes {
            return self.leave_out();
        }
        self.nodes += 1;
        self.close(Node::new(Kind::Mark(mark)));
    }
}
