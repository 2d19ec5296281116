//! Source text with changes in it, each behind its switch.

/// The path of the switch in the changed source: a function of a mutant's number.
pub const ON: &str = "crate::__planted::on";

/// A range of bytes of the source.
pub type Range = (usize, usize);

/// A mutant's number and the text that it puts in place of the original.
pub type Choice = (u32, String);

/// What is done to one range of the source.
#[derive(Clone, Debug)]
pub enum Change {
    /// `left op right`, where another operator may stand.
    Operator { kind: Operator, left: Range, right: Range, original: String, choices: Vec<Choice> },
    /// `op inner`, where the operator may be left out.
    Unary { inner: Range, original: String, number: u32 },
    /// A struct's field that may be taken from the base of the expression (`..base`) instead.
    Field { name: String, value: Range, base: Range, number: u32 },
    /// The start of a function's body: an empty range. It may return at once.
    Body { choices: Vec<Choice> },
    /// The end of a pattern without a guard: an empty range. The arm may be left out.
    Arm { number: u32 },
    /// An arm's guard: the arm may be left out, and the guard may be true or false.
    Guard { deleted: Option<u32>, always: Option<u32>, never: Option<u32> },
}

/// How an operator treats its operands, which decides how both forms can stand beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// Takes both by reference.
    Comparison,
    /// Takes both by value.
    Arithmetic,
    /// Takes the right one only when the left one does not decide.
    Logic,
    /// Changes the left one.
    Assignment,
}

/// The source between two offsets, with the changes that lie in it.
pub fn text(source: &str, changes: &[(Range, Change)], within: Range) -> String {
    inside(source, changes, within, None)
}

/// The same for a part of the range of the change `outer`, which itself is being written.
fn inside(source: &str, changes: &[(Range, Change)], within: Range, outer: Option<usize>) -> String {
    let mut indexes: Vec<usize> = (0..changes.len())
        .filter(|index| {
            let range = changes[*index].0;
            // Of two changes of one range, the later in the list is the inner one.
            let is_outer = outer.is_some_and(|outer| *index == outer || (*index < outer && range == changes[outer].0));
            !is_outer && range.0 >= within.0 && range.1 <= within.1
        })
        .collect();
    // Insertions first, then the outermost of those that begin together.
    indexes.sort_by_key(|index| {
        let range = changes[*index].0;
        (range.0, range.0 != range.1, std::cmp::Reverse(range.1), *index)
    });
    let mut out = String::new();
    let mut at = within.0;
    for index in indexes {
        let (range, change) = &changes[index];
        // It lies in one that is written already.
        if range.0 < at {
            continue;
        }
        out += &source[at..range.0];
        out += &changed(change, |part| inside(source, changes, part, Some(index)), *range);
        at = range.1;
    }
    out + &source[at..within.1]
}

fn changed(change: &Change, part: impl Fn(Range) -> String, range: Range) -> String {
    match change {
        Change::Operator { kind, left, right, original, choices } => {
            operator(*kind, &part(*left), &part(*right), original, choices)
        }
        Change::Unary { inner, original, number } => {
            let inner = part(*inner);
            format!("(if {ON}({number}) {{ {inner} }} else {{ {original}{inner} }})")
        }
        Change::Field { name, value, base, number } => {
            format!("{name}: if {ON}({number}) {{ ({}).{name} }} else {{ {} }}", part(*base), part(*value))
        }
        Change::Body { choices } => {
            choices.iter().map(|(number, value)| format!(" if {ON}({number}) {{ return {value}; }}")).collect()
        }
        Change::Arm { number } => format!(" if !{ON}({number})"),
        Change::Guard { deleted, always, never } => {
            let mut guard = format!("({})", part(range));
            if let Some(number) = always {
                guard = format!("({ON}({number}) || {guard})");
            }
            for number in [never, deleted].into_iter().flatten() {
                guard = format!("(!{ON}({number}) && {guard})");
            }
            guard
        }
    }
}

fn operator(kind: Operator, left: &str, right: &str, original: &str, choices: &[Choice]) -> String {
    // Logic and assignments repeat their operands; the others name them once, or nesting would double the text each time.
    let form = |op: &str| match kind {
        Operator::Comparison | Operator::Arithmetic => format!("__l {op} __r"),
        Operator::Logic => format!("({left}) {op} ({right})"),
        Operator::Assignment => format!("{left} {op} {right};"),
    };
    let others: String =
        choices.iter().map(|(number, op)| format!("if {ON}({number}) {{ {} }} else ", form(op))).collect();
    let all = format!("{others}{{ {} }}", form(original));
    match kind {
        Operator::Comparison => format!("(match (&({left}), &({right})) {{ (__l, __r) => {all} }})"),
        Operator::Arithmetic => format!("(match (({left}), ({right})) {{ (__l, __r) => {all} }})"),
        Operator::Logic => format!("({all})"),
        Operator::Assignment => format!("{{{all}}}"),
    }
}
