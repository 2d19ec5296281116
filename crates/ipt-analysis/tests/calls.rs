//! Call trees over generated programs are those of the machine that ran them.
//!
//! `INTEL_PT_PROGRAMS` says how many programs.

use std::collections::BTreeMap;

use intel_pt::flow::Code;
use ipt_analysis::calls::{CallTree, Kind, Limits, Stacks, View, trees};
use ipt_analysis::transfers::Mark;
use programs::truth::{Line, Truth};
use programs::{Functions, Image, generated, programs};
use testkit::pt::{Compression, PacketWriter};

mod programs;

fn lines(tree: &CallTree) -> Vec<Line> {
    let line = |line: ipt_analysis::calls::Line<'_>| match line.node.kind {
        Kind::Function { how, function } => {
            Some((line.depth, Some(how), function, line.node.instructions, line.node.open))
        }
        Kind::Mark(mark) => mark.is_gap().then_some((line.depth, None, 0, 0, false)),
        kind => panic!("{kind:?} in a tree that is not folded"),
    };
    tree.view(&View::default()).into_iter().filter_map(line).collect()
}

fn tree<C: Code + Sync>(code: &C, functions: &Functions, packets: &[u8], limits: Limits) -> CallTree {
    trees(code, &|address| functions.at(address), &[], &[packets], limits).remove(0)
}

fn unfolded() -> Limits {
    let mut limits = Limits::default();
    limits.fold = false;
    limits
}

#[test]
fn the_tree_is_that_of_the_machine() {
    let (mut hows, mut gaps, mut folded_lines, mut all_lines) = (BTreeMap::new(), 0, 0, 0);
    for seed in 0..programs() {
        let (program, run) = generated(seed, 1);
        let functions = Functions::of(&program);
        let truth = Truth::of(&run, &functions).lines();
        let image = Image(&program);
        let tree_found = tree(&image, &functions, &run.packets, unfolded());
        let found = lines(&tree_found);
        if let Some(n) = (0..truth.len().max(found.len())).find(|n| truth.get(*n) != found.get(*n)) {
            let near = n.saturating_sub(4);
            let part =
                |lines: &[Line]| lines.iter().skip(near).take(8).map(|l| format!("{l:x?}\n")).collect::<String>();
            panic!("program {seed}, line {n}, true:\n{}found:\n{}", part(&truth), part(&found));
        }
        assert_eq!(tree_found.instructions, run.executed.len() as u64, "program {seed}");
        for (_, how, ..) in &found {
            *hows.entry(format!("{how:?}")).or_insert(0) += 1;
            gaps += usize::from(how.is_none());
        }
        // Folding changes no stack and no sum.
        let folded = tree(&image, &functions, &run.packets, Limits::default());
        let stacks = |tree: &CallTree| {
            let mut stacks = Stacks::default();
            stacks.add(tree);
            stacks.iter().map(|(stack, count)| (stack.to_vec(), count)).collect::<Vec<_>>()
        };
        assert_eq!(stacks(&folded), stacks(&tree_found), "program {seed}");
        assert_eq!(calls(&folded), calls(&tree_found), "program {seed}");
        folded_lines += folded.nodes();
        all_lines += tree_found.nodes();
    }
    println!("{hows:?}, {gaps} gaps, {all_lines} lines, {folded_lines} of them folded");
    assert!(hows.len() >= 6 && gaps > 0 && folded_lines < all_lines);
}

/// How often each function was entered.
fn calls(tree: &CallTree) -> BTreeMap<u64, u64> {
    let mut calls = BTreeMap::new();
    for line in tree.view(&View::default()) {
        if let Kind::Function { function, .. } = line.node.kind {
            *calls.entry(function).or_insert(0) += line.node.times;
        }
    }
    calls
}

#[test]
fn with_several_threads_every_call_is_there() {
    let mut switched = 0;
    for seed in 0..programs() / 4 {
        let (program, run) = generated(seed, 4);
        let functions = Functions::of(&program);
        let tree = tree(&Image(&program), &functions, &run.packets, Limits::default());
        assert_eq!(tree.instructions, run.executed.len() as u64, "program {seed}");
        let is_switch = |line: &ipt_analysis::calls::Line<'_>| line.node.kind == Kind::Mark(Mark::Switched);
        switched += tree.view(&View::default()).iter().filter(|line| is_switch(line)).count();
        let mut in_functions: BTreeMap<u64, u64> = BTreeMap::new();
        for line in tree.view(&View::default()) {
            if let Kind::Function { function, .. } = line.node.kind {
                *in_functions.entry(function).or_insert(0) += line.node.instructions;
            }
        }
        let mut truth: BTreeMap<u64, u64> = BTreeMap::new();
        run.executed.iter().for_each(|ip| *truth.entry(functions.at(*ip).unwrap()).or_insert(0) += 1);
        in_functions.retain(|_, count| *count > 0);
        assert_eq!(in_functions, truth, "program {seed}");
    }
    assert!(switched > 0);
}

#[test]
fn what_a_limit_keeps_out_is_told() {
    for seed in 0..100 {
        let (program, run) = generated(seed, 1);
        let functions = Functions::of(&program);
        let whole = tree(&Image(&program), &functions, &run.packets, unfolded());
        for (nodes, depth) in [(10, 512), (1 << 20, 2), (0, 1), (100, 4)] {
            let mut limits = unfolded();
            (limits.nodes, limits.depth) = (nodes, depth);
            let cut = tree(&Image(&program), &functions, &run.packets, limits);
            assert_eq!(cut.instructions, whole.instructions, "program {seed}: {limits:?}");
            // A caller that becomes known takes the place of what is below it.
            assert!(cut.nodes() <= nodes + 1, "program {seed}: {} nodes, {limits:?}", cut.nodes());
            let deepest = cut.view(&View::default()).iter().map(|line| line.depth).max().unwrap_or(0);
            assert!(deepest <= 2 * depth, "program {seed}: {deepest}, {limits:?}");
            let is_less = cut.nodes() < whole.nodes();
            assert_eq!(cut.left_out > 0, is_less, "program {seed}: {} left out, {limits:?}", cut.left_out);
        }
    }
}

#[test]
fn a_part_is_asked_for() {
    // 1000: call 1010; call 1020; jmp rax · 1010: call 1020; ret · 1020: ret
    let code: &[(u64, &[u8])] = &[
        (0x1000, &[0xe8, 0x0b, 0, 0, 0, 0xe8, 0x16, 0, 0, 0, 0xff, 0xe0]),
        (0x1010, &[0xe8, 0x0b, 0, 0, 0, 0xc3]),
        (0x1020, &[0xc3]),
    ];
    let mut trace = PacketWriter::new();
    trace.psb().mode(0, 1).fup(0x1000, Compression::Signed48).psbend();
    trace.tnt(&[true, true, true]).tip(0x1000, Compression::Shortest);
    trace.tnt(&[true, true, true]).tip(0x1000, Compression::Shortest);
    let functions = |address: u64| Some(address & !0xf);
    let tree = trees(code, &functions, &[], &[&trace.finish()], Limits::default()).remove(0);
    let shown = |view: View<'_>| {
        let name = |line: &ipt_analysis::calls::Line<'_>| match line.node.kind {
            Kind::Function { function, .. } => format!("{}:{function:x}x{}", line.depth, line.node.times),
            Kind::Loop => format!("{}:loop x{}", line.depth, line.node.times),
            kind => panic!("{kind:?}"),
        };
        let lines = tree.view(&view);
        let hidden: u64 = lines.iter().map(|line| line.hidden).sum();
        (lines.iter().map(name).collect::<Vec<_>>().join(" "), hidden)
    };
    let is_1010 = |function: u64| function == 0x1010;
    let cases = [
        (View::default(), "0:1000x1 1:loop x2 2:1010x2 3:1020x2 2:1020x2", 0),
        (View { depth: Some(1), ..View::default() }, "0:1000x1", 4),
        (View { depth: Some(3), ..View::default() }, "0:1000x1 1:loop x2 2:1010x2 2:1020x2", 1),
        (View { last: Some(1), ..View::default() }, "0:1000x1 1:loop x2 2:1020x2", 0),
        (View { last: Some(2), ..View::default() }, "0:1000x1 1:loop x2 2:1010x2 3:1020x2 2:1020x2", 0),
        (View { last: Some(0), ..View::default() }, "", 0),
        (View { from: Some(&is_1010), ..View::default() }, "0:1010x2 1:1020x2", 0),
        (View { from: Some(&is_1010), depth: Some(1), last: None }, "0:1010x2", 1),
    ];
    for (view, lines, hidden) in cases {
        assert_eq!(shown(view), (lines.to_owned(), hidden));
    }
    let mut stacks = Stacks::default();
    stacks.add(&tree);
    let mut text = Vec::new();
    stacks.write(&mut text, &|function| format!("f{function:x}")).unwrap();
    assert_eq!(String::from_utf8(text).unwrap(), "f1000 6\nf1000;f1010 4\nf1000;f1010;f1020 2\nf1000;f1020 2\n");
}
