//! What is planted where.

use super::file;
use crate::list::Mutant;

/// A mutant of the only line of a source, by the text that it changes.
fn mutant(source: &str, number: u32, genre: &str, original: &str, replacement: &str) -> Mutant {
    Mutant {
        number,
        file: String::from("lib.rs"),
        genre: genre.to_owned(),
        replacement: replacement.to_owned(),
        start: (1, source.find(original).expect("the text is in the source")),
        name: String::new(),
    }
}

#[test]
fn each_kind() {
    let check = |source: &str, genre: &str, original: &str, replacement: &str, expected: &str| {
        let mutant = mutant(source, 7, genre, original, replacement);
        let (text, planted) = file(source, &[&mutant]).expect("the source parses");
        assert_eq!(text.replace("crate::__planted::on", "on"), expected, "{source}");
        assert_eq!(planted.contains(&7), text != source, "{source}");
    };
    check(
        "fn f(a: u8) -> bool { a < 3 }",
        "BinaryOperator",
        "<",
        "<=",
        "fn f(a: u8) -> bool { (match (&(a), &(3)) { (__l, __r) => if on(7) { __l <= __r } else { __l < __r } }) }",
    );
    check(
        "fn f(a: u8) -> u8 { a + 3 }",
        "BinaryOperator",
        "+",
        "-",
        "fn f(a: u8) -> u8 { (match ((a), (3)) { (__l, __r) => if on(7) { __l - __r } else { __l + __r } }) }",
    );
    check(
        "fn f(a: bool) -> bool { a && g() }",
        "BinaryOperator",
        "&&",
        "||",
        "fn f(a: bool) -> bool { (if on(7) { (a) || (g()) } else { (a) && (g()) }) }",
    );
    check(
        "fn f(a: &mut u8) { *a += 3; }",
        "BinaryOperator",
        "+=",
        "-=",
        "fn f(a: &mut u8) { {if on(7) { *a -= 3; } else { *a += 3; }}; }",
    );
    check(
        "fn f(a: bool) -> bool { !a }",
        "UnaryOperator",
        "!",
        "",
        "fn f(a: bool) -> bool { (if on(7) { a } else { !a }) }",
    );
    check("fn f() -> u8 { 3 }", "FnValue", "3", "0", "fn f() -> u8 { if on(7) { return 0; } 3 }");
    check(
        "fn f(a: u8) -> u8 { match a { 1 => 2, _ => 3 } }",
        "MatchArm",
        "1",
        "",
        "fn f(a: u8) -> u8 { match a { 1 if !on(7) => 2, _ => 3 } }",
    );
    check(
        "fn f(a: u8) -> u8 { match a { n if g(n) => 2, _ => 3 } }",
        "MatchArmGuard",
        "g(n)",
        "true",
        "fn f(a: u8) -> u8 { match a { n if (on(7) || (g(n))) => 2, _ => 3 } }",
    );
    check(
        "fn f(a: A) -> A { A { b: 1, ..a } }",
        "StructField",
        "b: 1",
        "",
        "fn f(a: A) -> A { A { b: if on(7) { (a).b } else { 1 }, ..a } }",
    );
    // The compiler evaluates these.
    check("const A: u8 = 1 + 2;", "BinaryOperator", "+", "-", "const A: u8 = 1 + 2;");
    check("const fn f(a: u8) -> u8 { a + 2 }", "BinaryOperator", "+", "-", "const fn f(a: u8) -> u8 { a + 2 }");
    check("fn f() -> [u8; 1 + 2] { g() }", "BinaryOperator", "+", "-", "fn f() -> [u8; 1 + 2] { g() }");
    // A condition that binds cannot be taken apart.
    let binding = "fn f() { if let Some(a) = g() && a {} }";
    check(binding, "BinaryOperator", "&&", "||", binding);
}

#[test]
fn one_in_another() {
    let source = "fn f(a: u8) -> bool { a + 1 < 3 }";
    let (inner, outer) = (mutant(source, 1, "BinaryOperator", "+", "-"), mutant(source, 2, "BinaryOperator", "<", ">"));
    let (text, planted) = file(source, &[&inner, &outer]).expect("the source parses");
    assert_eq!(planted.len(), 2);
    let left = "(match ((a), (1)) { (__l, __r) => if on(1) { __l - __r } else { __l + __r } })";
    assert_eq!(
        text.replace("crate::__planted::on", "on"),
        format!(
            "fn f(a: u8) -> bool {{ (match (&({left}), &(3)) {{ (__l, __r) => if on(2) {{ __l > __r }} else {{ __l < __r }} }}) }}"
        )
    );
}
