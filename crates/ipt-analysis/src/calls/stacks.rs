//! Trees as stacks with counts: each function with all its callers, and the instructions executed in it.

use std::collections::BTreeMap;
use std::io::{self, Write};

use super::node::{Kind, Node};
use super::tree::CallTree;

/// The stacks of any number of trees.
///
/// Memory grows with the different stacks.
#[derive(Clone, Debug, Default)]
pub struct Stacks {
    counts: BTreeMap<Vec<u64>, u64>,
}

impl Stacks {
    /// Adds the stacks of a tree.
    pub fn add(&mut self, tree: &CallTree) {
        let mut stack = Vec::new();
        for root in &tree.roots {
            self.add_node(root, &mut stack);
        }
    }

    fn add_node(&mut self, node: &Node, stack: &mut Vec<u64>) {
        let function = match node.kind {
            Kind::Function { function, .. } => Some(function),
            _ => None,
        };
        stack.extend(function);
        let below: u64 = node.children.iter().map(|child| child.total).sum();
        // What a limit kept out of the tree is counted here too, so that the sum is right.
        let here = node.total - below;
        if here > 0 && !stack.is_empty() {
            *self.counts.entry(stack.clone()).or_insert(0) += here;
        }
        node.children.iter().for_each(|child| self.add_node(child, stack));
        if function.is_some() {
            stack.pop();
        }
    }

    /// Each stack, the outermost function first, and the instructions executed in the innermost.
    pub fn iter(&self) -> impl Iterator<Item = (&[u64], u64)> {
        self.counts.iter().map(|(stack, count)| (&stack[..], *count))
    }

    /// Writes the stacks as [`write_folded`] does, with these names for functions.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write, name: &dyn Fn(u64) -> String) -> io::Result<()> {
        write_folded(out, self.iter().map(|(stack, count)| (stack.iter().map(|function| name(*function)), count)))?;
        Ok(())
    }
}

/// Writes a line for each stack, as flame graph tools read it: the names, the outermost first, between semicolons, a blank,
/// the count. Stacks of the same names are one line. Says how many lines there are.
///
/// # Errors
/// Those of `out`.
pub fn write_folded<N: Iterator<Item = String>>(
    out: &mut impl Write,
    stacks: impl Iterator<Item = (N, u64)>,
) -> io::Result<usize> {
    // Names may be shared by several addresses.
    let mut lines: BTreeMap<String, u64> = BTreeMap::new();
    for (names, count) in stacks {
        let names: Vec<String> = names.map(|name| name.replace(';', ",")).collect();
        *lines.entry(names.join(";")).or_insert(0) += count;
    }
    lines.iter().try_for_each(|(line, count)| writeln!(out, "{line} {count}"))?;
    Ok(lines.len())
}
