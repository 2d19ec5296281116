//! The part of a tree that is asked for, as lines.

use super::node::{Kind, Node};
use super::tree::CallTree;

/// Which part of a tree.
#[derive(Clone, Copy, Default)]
pub struct View<'f> {
    /// Only what begins at functions for which this holds, by their addresses. A function below one of them is in its part.
    pub from: Option<&'f dyn Fn(u64) -> bool>,
    /// Only so many levels of it, 1 or more.
    pub depth: Option<usize>,
    /// Only the last so many lines of it, and the callers of those.
    pub last: Option<usize>,
}

/// A line of a tree, a node without its children.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Line<'t> {
    /// 0 for the outermost.
    pub depth: usize,
    /// The node.
    pub node: &'t Node,
    /// Lines below it that are not shown, because of [`View::depth`].
    pub hidden: u64,
}

impl CallTree {
    /// The part that is asked for, each node before its children.
    pub fn view(&self, view: &View<'_>) -> Vec<Line<'_>> {
        let most = view.depth.unwrap_or(usize::MAX);
        let mut lines = Vec::new();
        // What is still to be looked at, the next one last; with its depth once it is in a part.
        let mut open: Vec<(Option<usize>, &Node)> = self.roots.iter().rev().map(|node| (None, node)).collect();
        while let Some((depth, node)) = open.pop() {
            let begins = match (view.from, node.kind) {
                (None, _) => true,
                (Some(from), Kind::Function { function, .. }) => from(function),
                _ => false,
            };
            let depth = depth.or(begins.then_some(0));
            let is_last = depth.is_some_and(|depth| depth + 1 >= most);
            if let Some(depth) = depth {
                let hidden = if is_last { node.size - 1 } else { 0 };
                lines.push(Line { depth, node, hidden });
            }
            if !is_last {
                let below = depth.map(|depth| depth + 1);
                open.extend(node.children.iter().rev().map(|child| (below, child)));
            }
        }
        if let Some(last) = view.last {
            keep_last(&mut lines, last);
        }
        lines
    }

    /// Nodes of the tree.
    pub fn nodes(&self) -> u64 {
        self.roots.iter().map(|node| node.size).sum()
    }
}

/// Keeps the last `last` lines and those that they are below.
fn keep_last(lines: &mut Vec<Line<'_>>, last: usize) {
    let first = lines.len().saturating_sub(last);
    // The depth of the line that was kept last, from the end on.
    let mut above = lines.get(first).map_or(0, |line| line.depth);
    let mut keep = vec![true; lines.len()];
    for at in (0..first).rev() {
        keep[at] = lines[at].depth < above;
        if keep[at] {
            above = lines[at].depth;
        }
    }
    let mut keep = keep.into_iter();
    lines.retain(|_| keep.next().unwrap_or(true));
}
