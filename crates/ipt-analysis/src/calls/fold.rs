//! Repeated siblings become one.
//!
//! Two nodes are alike when they are of the same kind, and so are their children, one by one; how often each ran does not
//! matter. A sibling like the one before it is added to it. Several siblings in the same order as those before them
//! become a loop around one copy of them.

use super::node::{Kind, Node};
use crate::transfers::Mark;

/// Siblings in the longest loop that is noticed.
const LONGEST_LOOP: usize = 8;

/// Adds a node after its siblings, and says how many nodes less there are afterwards.
pub(super) fn add(siblings: &mut Vec<Node>, node: Node) -> u64 {
    siblings.push(node);
    let mut less = 0;
    // What was folded may repeat what is before it.
    while let Some(folded) = fold_end(siblings) {
        less += folded;
    }
    less
}

fn fold_end(siblings: &mut Vec<Node>) -> Option<u64> {
    let count = siblings.len();
    for length in 1..=LONGEST_LOOP {
        let newest = count.checked_sub(length)?;
        let before = newest.checked_sub(1)?;
        if length > 1
            && let Some(Node { kind: Kind::Loop, children, .. }) = siblings.get(before)
            && alike(children, &siblings[newest..])
        {
            let more: Vec<Node> = siblings.drain(newest..).collect();
            let less = more.iter().map(|node| node.size).sum();
            let around = &mut siblings[before];
            around.times += 1;
            add_all(around, more);
            return Some(less);
        }
        let Some(older) = newest.checked_sub(length) else { continue };
        if alike(&siblings[older..newest], &siblings[newest..]) {
            let more: Vec<Node> = siblings.drain(newest..).collect();
            let less: u64 = more.iter().map(|node| node.size).sum();
            if length == 1 {
                more.into_iter().for_each(|node| merge(&mut siblings[older], node));
                return Some(less);
            }
            let mut around = Node::around(Kind::Loop, siblings.drain(older..).collect());
            around.times = 2;
            add_all(&mut around, more);
            siblings.push(around);
            return Some(less - 1);
        }
    }
    None
}

fn add_all(around: &mut Node, more: Vec<Node>) {
    let total: u64 = more.iter().map(|node| node.total).sum();
    around.total += total;
    around.children.iter_mut().zip(more).for_each(|(into, node)| merge(into, node));
}

fn alike(one: &[Node], other: &[Node]) -> bool {
    one.len() == other.len() && one.iter().zip(other).all(|(one, other)| is_like(one, other))
}

fn is_like(one: &Node, other: &Node) -> bool {
    // The number of nodes and the mixed kinds tell nearly all different nodes apart.
    (one.size, one.shape, one.open) == (other.size, other.shape, other.open)
        && same_kind(&one.kind, &other.kind)
        && alike(&one.children, &other.children)
}

fn same_kind(one: &Kind, other: &Kind) -> bool {
    match (one, other) {
        (Kind::Mark(Mark::Missing { at, .. }), Kind::Mark(Mark::Missing { at: other, .. })) => at == other,
        (Kind::Mark(Mark::UnknownCall { at, .. }), Kind::Mark(Mark::UnknownCall { at: other, .. })) => at == other,
        (Kind::Mark(Mark::Lost { at, error, .. }), Kind::Mark(Mark::Lost { at: same, error: other, .. })) => {
            (at, error) == (same, other)
        }
        _ => one == other,
    }
}

/// Adds a node to one that is like it.
fn merge(into: &mut Node, node: Node) {
    into.times += node.times;
    into.instructions += node.instructions;
    into.total += node.total;
    into.left_out += node.left_out;
    into.children.iter_mut().zip(node.children).for_each(|(into, node)| merge(into, node));
}
