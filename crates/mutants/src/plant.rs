//! Finds the expressions that cargo-mutants names in a source file.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use proc_macro2::{LineColumn, Span};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

use crate::list::{Mutant, Place};
use crate::render::{self, Change, Choice, Operator, Range};

/// The source of a file with its mutants planted, and the numbers of those that could be. What the compiler evaluates
/// (constants, `const fn`, patterns) cannot hold a switch.
pub fn file(source: &str, mutants: &[&Mutant]) -> Result<(String, BTreeSet<u32>)> {
    let parsed = syn::parse_file(source)?;
    let mut by_start: HashMap<Place, Vec<&Mutant>> = HashMap::new();
    for mutant in mutants {
        by_start.entry(mutant.start).or_default().push(mutant);
    }
    let lines = std::iter::once(0).chain(source.match_indices('\n').map(|(index, _)| index + 1)).collect();
    let mut finder = Finder { source, lines, by_start, in_constants: 0, changes: Vec::new(), planted: BTreeSet::new() };
    finder.visit_file(&parsed);
    Ok((render::text(source, &finder.changes, (0, source.len())), finder.planted))
}

struct Finder<'a> {
    source: &'a str,
    /// Where each line begins.
    lines: Vec<usize>,
    by_start: HashMap<Place, Vec<&'a Mutant>>,
    /// How many constant contexts are open.
    in_constants: u32,
    changes: Vec<(Range, Change)>,
    planted: BTreeSet<u32>,
}

impl<'a> Finder<'a> {
    fn offset(&self, at: LineColumn) -> usize {
        let start = self.lines[at.line - 1];
        let line = &self.source[start..];
        start + line.char_indices().nth(at.column).map_or(line.len(), |(index, _)| index)
    }

    fn range(&self, span: Span) -> Range {
        (self.offset(span.start()), self.offset(span.end()))
    }

    fn text(&self, span: Span) -> String {
        let (start, end) = self.range(span);
        self.source[start..end].to_owned()
    }

    /// The mutants of a kind that begin where a span begins.
    fn found(&self, span: Span, genre: &str) -> Vec<&'a Mutant> {
        let here = self.by_start.get(&(span.start().line, span.start().column));
        let here = here.filter(|_| self.in_constants == 0).into_iter().flatten();
        here.copied().filter(|mutant| mutant.genre == genre).collect()
    }

    fn push(&mut self, range: Range, mutants: &[&Mutant], change: Change) {
        self.planted.extend(mutants.iter().map(|mutant| mutant.number));
        self.changes.push((range, change));
    }

    fn body(&mut self, block: &syn::Block) {
        let Some(first) = block.stmts.first() else { return };
        let found = self.found(first.span(), "FnValue");
        if !found.is_empty() {
            let at = self.offset(block.brace_token.span.open().end());
            self.push((at, at), &found, Change::Body { choices: choices(&found) });
        }
    }

    fn in_constant(&mut self, is_constant: bool, visit: impl FnOnce(&mut Self)) {
        self.in_constants += u32::from(is_constant);
        visit(self);
        self.in_constants -= u32::from(is_constant);
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.in_constant(true, |finder| visit::visit_item_const(finder, item));
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.in_constant(true, |finder| visit::visit_item_static(finder, item));
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.in_constant(true, |finder| visit::visit_impl_item_const(finder, item));
    }

    fn visit_trait_item_const(&mut self, item: &'ast syn::TraitItemConst) {
        self.in_constant(true, |finder| visit::visit_trait_item_const(finder, item));
    }

    fn visit_expr_const(&mut self, expr: &'ast syn::ExprConst) {
        self.in_constant(true, |finder| visit::visit_expr_const(finder, expr));
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.in_constant(true, |finder| visit::visit_variant(finder, variant));
    }

    fn visit_type(&mut self, kind: &'ast syn::Type) {
        self.in_constant(true, |finder| visit::visit_type(finder, kind));
    }

    fn visit_pat(&mut self, pattern: &'ast syn::Pat) {
        self.in_constant(true, |finder| visit::visit_pat(finder, pattern));
    }

    fn visit_generic_argument(&mut self, argument: &'ast syn::GenericArgument) {
        self.in_constant(true, |finder| visit::visit_generic_argument(finder, argument));
    }

    fn visit_expr_repeat(&mut self, expr: &'ast syn::ExprRepeat) {
        // The length is a constant.
        self.visit_expr(&expr.expr);
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.in_constant(item.sig.constness.is_some(), |finder| {
            finder.body(&item.block);
            visit::visit_item_fn(finder, item);
        });
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.in_constant(item.sig.constness.is_some(), |finder| {
            finder.body(&item.block);
            visit::visit_impl_item_fn(finder, item);
        });
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.body(block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_expr_binary(&mut self, expr: &'ast syn::ExprBinary) {
        let found = self.found(expr.op.span(), "BinaryOperator");
        let original = self.text(expr.op.span());
        let kind = operator(&original);
        // A condition that binds (`if let … && …`) cannot be taken apart.
        let binds = kind == Operator::Logic && (binds(&expr.left) || binds(&expr.right));
        if !found.is_empty() && !binds {
            let (left, right) = (self.range(expr.left.span()), self.range(expr.right.span()));
            let change = Change::Operator { kind, left, right, original, choices: choices(&found) };
            self.push(self.range(expr.span()), &found, change);
        }
        visit::visit_expr_binary(self, expr);
    }

    fn visit_expr_unary(&mut self, expr: &'ast syn::ExprUnary) {
        let found = self.found(expr.op.span(), "UnaryOperator");
        if let [mutant] = found[..] {
            let (inner, original) = (self.range(expr.expr.span()), self.text(expr.op.span()));
            let change = Change::Unary { inner, original, number: mutant.number };
            self.push(self.range(expr.span()), &found, change);
        }
        visit::visit_expr_unary(self, expr);
    }

    fn visit_expr_struct(&mut self, expr: &'ast syn::ExprStruct) {
        if let Some(base) = &expr.rest {
            for field in &expr.fields {
                let found = self.found(field.span(), "StructField");
                if let ([mutant], syn::Member::Named(name)) = (&found[..], &field.member) {
                    let (value, base) = (self.range(field.expr.span()), self.range(base.span()));
                    let change = Change::Field { name: name.to_string(), value, base, number: mutant.number };
                    self.push(self.range(field.span()), &found, change);
                }
            }
        }
        visit::visit_expr_struct(self, expr);
    }

    fn visit_arm(&mut self, arm: &'ast syn::Arm) {
        let deleted = self.found(arm.span(), "MatchArm");
        let number = deleted.first().map(|mutant| mutant.number);
        match &arm.guard {
            Some((_, guard)) if !binds(guard) => {
                let mut found = self.found(guard.span(), "MatchArmGuard");
                let as_value = |text: &str| found.iter().find(|mutant| mutant.replacement == text).map(|m| m.number);
                let change = Change::Guard { deleted: number, always: as_value("true"), never: as_value("false") };
                found.extend(deleted);
                if !found.is_empty() {
                    self.push(self.range(guard.span()), &found, change);
                }
            }
            Some(_) => {}
            None => {
                if let Some(number) = number {
                    let (_, end) = self.range(arm.pat.span());
                    self.push((end, end), &deleted, Change::Arm { number });
                }
            }
        }
        visit::visit_arm(self, arm);
    }
}

fn choices(mutants: &[&Mutant]) -> Vec<Choice> {
    mutants.iter().map(|mutant| (mutant.number, mutant.replacement.clone())).collect()
}

fn operator(text: &str) -> Operator {
    match text {
        "==" | "!=" | "<" | "<=" | ">" | ">=" => Operator::Comparison,
        "&&" | "||" => Operator::Logic,
        _ if text.ends_with('=') => Operator::Assignment,
        _ => Operator::Arithmetic,
    }
}

/// Whether a condition binds a name by `let`.
fn binds(expr: &syn::Expr) -> bool {
    struct Bindings(bool);
    impl<'ast> Visit<'ast> for Bindings {
        fn visit_expr_let(&mut self, _: &'ast syn::ExprLet) {
            self.0 = true;
        }
        fn visit_expr_closure(&mut self, _: &'ast syn::ExprClosure) {}
        fn visit_block(&mut self, _: &'ast syn::Block) {}
    }
    let mut bindings = Bindings(false);
    bindings.visit_expr(expr);
    bindings.0
}

#[cfg(test)]
#[path = "plant_tests.rs"]
mod tests;
