//! What the machine that ran a program says of its own calls.

use std::collections::BTreeMap;

use ipt_analysis::transfers::How;
use testkit::pt::{Run, Transfer, What};

use super::Functions;

/// A line of a tree: depth, how entered, function, instructions in it, whether it had not ended. Gaps have no function.
pub type Line = (usize, Option<How>, u64, u64, bool);

/// The tree of a run, from what the machine says of its own frames.
#[derive(Default)]
pub struct Truth {
    nodes: Vec<TrueNode>,
    /// Numbers of nodes without a caller.
    roots: Vec<usize>,
    /// Where the stretch's roots begin.
    stretch: usize,
    /// The machine's frame, if it was pushed in this stretch, and the node.
    stack: Vec<(Option<u64>, usize)>,
    resumed: Option<(u64, bool)>,
    /// Nodes that were entered before their stretch, whose callers became known.
    was_entered_before: Vec<usize>,
}

struct TrueNode {
    how: Option<How>,
    function: u64,
    instructions: u64,
    open: bool,
    children: Vec<usize>,
}

impl Truth {
    /// Plays a run.
    pub fn of(run: &Run, functions: &Functions) -> Self {
        let mut truth = Self::default();
        let mut transfers = &run.transfers[..];
        if let [rest @ .., Transfer { what: What::Left { lost: true }, .. }] = transfers {
            // Nothing is written that says so.
            transfers = rest;
        }
        let mut transfers = transfers.iter().peekable();
        for n in 0..=run.executed.len() {
            while let Some(transfer) = transfers.next_if(|transfer| transfer.after == n) {
                truth.transfer(transfer.what, functions);
            }
            if let Some(ip) = run.executed.get(n) {
                truth.be_at(*ip, functions);
                let top = truth.top();
                assert_eq!(Some(truth.nodes[top].function), functions.at(*ip), "the machine runs the function on top");
                truth.nodes[top].instructions += 1;
            }
        }
        truth.end();
        truth
    }

    /// The tree, each function before what it called.
    pub fn lines(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        self.roots.iter().for_each(|root| self.list(*root, 0, &mut lines));
        lines
    }

    /// For each function: times that it was entered, instructions in itself, and while it was on the stack.
    pub fn sums(&self) -> BTreeMap<u64, (u64, u64, u64)> {
        let mut sums = BTreeMap::new();
        for root in &self.roots {
            self.sum(*root, &mut Vec::new(), &mut sums);
        }
        sums
    }

    fn sum(&self, number: usize, above: &mut Vec<u64>, sums: &mut BTreeMap<u64, (u64, u64, u64)>) {
        let node = &self.nodes[number];
        let Some(how) = node.how else { return };
        above.push(node.function);
        let own = sums.entry(node.function).or_default();
        own.0 += u64::from(how != How::Before && !self.was_entered_before.contains(&number));
        own.1 += node.instructions;
        let mut on_stack = above.clone();
        on_stack.sort_unstable();
        on_stack.dedup();
        on_stack.iter().for_each(|function| sums.get_mut(function).unwrap().2 += node.instructions);
        node.children.iter().for_each(|child| self.sum(*child, above, sums));
        above.pop();
    }

    fn top(&self) -> usize {
        self.stack.last().expect("a function runs").1
    }

    fn add(&mut self, how: Option<How>, function: u64) -> usize {
        let number = self.nodes.len();
        self.nodes.push(TrueNode { how, function, instructions: 0, open: false, children: Vec::new() });
        match self.stack.last() {
            Some((_, top)) => self.nodes[*top].children.push(number),
            None => self.roots.push(number),
        }
        number
    }

    fn push(&mut self, how: How, function: u64, frame: Option<u64>) {
        let number = self.add(Some(how), function);
        self.stack.push((frame, number));
    }

    fn be_at(&mut self, ip: u64, functions: &Functions) {
        if let Some((to, was_off)) = self.resumed.take() {
            assert_eq!(to, ip);
            let function = functions.at(ip).unwrap();
            self.push(if was_off && function == ip { How::Untraced } else { How::Before }, function, None);
        }
    }

    fn jump(&mut self, to: u64, functions: &Functions) {
        let function = functions.at(to).unwrap();
        if self.nodes[self.top()].function != function {
            let (frame, _) = self.stack.pop().unwrap();
            self.push(How::Jump, function, frame);
        }
    }

    /// Pops a frame, or all but the outermost when it was pushed before the stretch, and says whether it is there.
    fn pop(&mut self, frame: u64) -> bool {
        let at = self.stack.iter().position(|(known, _)| *known == Some(frame));
        self.stack.truncate(at.unwrap_or(1));
        at.is_some()
    }

    fn uncover(&mut self, how: How, function: u64) {
        let children = self.roots.split_off(self.stretch);
        let first = children.iter().find(|child| self.nodes[**child].how.is_some());
        let first = *first.unwrap();
        if self.nodes[first].how == Some(How::Before) {
            self.was_entered_before.push(first);
        }
        self.nodes[first].how = Some(how);
        self.stack.clear();
        self.push(How::Before, function, None);
        let top = self.top();
        self.nodes[top].children = children;
    }

    fn end(&mut self) {
        for (_, node) in self.stack.drain(..) {
            self.nodes[node].open = true;
        }
        self.stretch = self.roots.len();
        self.resumed = None;
    }

    fn transfer(&mut self, what: What, functions: &Functions) {
        let function = |to: u64| functions.at(to).unwrap();
        match what {
            What::Call { to, frame } => self.push(How::Call, function(to), Some(frame)),
            What::Jump { to } => self.jump(to, functions),
            What::Interrupt { from, to, frame } => {
                self.be_at(from, functions);
                self.push(How::Interrupt, function(to), Some(frame));
            }
            What::Return { to, frame, replaced } => {
                let is_known = self.pop(frame);
                if replaced && (is_known || function(to) == to) {
                    self.jump(to, functions);
                } else if !is_known {
                    self.uncover(How::Call, function(to));
                }
            }
            What::InterruptReturn { to, frame } => {
                if !self.pop(frame) {
                    self.uncover(How::Interrupt, function(to));
                }
            }
            What::Left { .. } => {
                self.add(None, 0);
                self.end();
            }
            What::Resumed { to, was_off } => self.resumed = Some((to, was_off)),
        }
    }

    fn list(&self, number: usize, depth: usize, lines: &mut Vec<Line>) {
        let node = &self.nodes[number];
        lines.push((depth, node.how, node.function, node.instructions, node.open));
        node.children.iter().for_each(|child| self.list(*child, depth + 1, lines));
    }
}
