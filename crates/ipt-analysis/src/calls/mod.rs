//! Call trees: which function called which, in order, with repetitions folded.
//!
//! | file | is |
//! | --- | --- |
//! | `tree` | the tree of one snapshot, built while the flow runs |
//! | `node` | a function in it, or what happened between calls |
//! | `fold` | repeated siblings become one |
//! | `view` | the part of a tree that is asked for, as lines |
//! | `stacks` | the tree as stacks with counts, which flame graphs are drawn from |
//!
//! ```
//! use ipt_analysis::calls::{Kind, Limits, View, trees};
//!
//! // 1000: call 1010 · 1005: call 1010 · 100a: jmp rax, and 1010: ret
//! let code: &[(u64, &[u8])] = &[
//!     (0x1000, &[0xe8, 0x0b, 0, 0, 0, 0xe8, 0x06, 0, 0, 0, 0xff, 0xe0]),
//!     (0x1010, &[0xc3]),
//! ];
//! let mut packets = [0x02, 0x82].repeat(8); // PSB
//! packets.extend([0x99, 0x01, 0x7d, 0x00, 0x10, 0, 0, 0, 0, 0x02, 0x23]); // MODE, FUP 1000, PSBEND
//! packets.extend([0x0e, 0x2d, 0x00, 0x10]); // TNT: two returns; TIP 1000
//! let functions = |address: u64| Some(address & !0xf);
//! let tree = &trees(code, &functions, &[], &[&packets], Limits::default())[0];
//! let lines = tree.view(&View::default());
//! let shown: Vec<_> = lines.iter().map(|line| (line.depth, line.node.kind, line.node.times)).collect();
//! assert!(matches!(shown[..], [(0, Kind::Function { function: 0x1000, .. }, 1), (1, Kind::Function { function: 0x1010, .. }, 2)]));
//! ```

mod fold;
mod node;
mod stacks;
mod tree;
mod view;

pub use node::{Kind, Node};
pub use stacks::{Stacks, write_folded};
pub use tree::{CallTree, Limits};
pub use view::{Line, View};

use intel_pt::flow::Code;
use rayon::prelude::*;

use crate::flow::blocks;
use crate::transfers::{Functions, follow};

/// The call tree of each of `snapshots` (rings in order) over `code`. At `unknown_calls`, direct calls whose targets are
/// not known, the flow goes on where packets name an address.
///
/// Takes memory for the trees, as `limits` bounds them, and for the blocks of code decoded by each thread.
pub fn trees<C: Code + Sync + ?Sized>(
    code: &C,
    functions: &Functions<'_>,
    unknown_calls: &[u64],
    snapshots: &[&[u8]],
    limits: Limits,
) -> Vec<CallTree> {
    let one = |cache: &mut intel_pt::flow::Blocks<&C>, snapshot: &&[u8]| {
        let mut builder = tree::Builder::new(limits);
        let quality = follow(cache, functions, snapshot, &mut builder);
        builder.finish(quality)
    };
    // What one walk decoded serves the next one of the same thread.
    snapshots.par_iter().map_init(|| blocks(code, unknown_calls), one).collect()
}
