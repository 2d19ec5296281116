//! What a request asks for, as text.

use mkdump::request::{Request, Why};

use super::text::{count, printable};
use super::width::hanging;

/// Modules that are named for one reason when not all are wanted.
const NAMED: usize = 8;

/// The modules of a request, those with the same reason together.
pub fn asked_for(request: &Request, all: bool, width: usize) -> String {
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    let mut add = |why: String, name: &str| match groups.iter_mut().find(|group| group.0 == why) {
        Some((_, names)) => names.push(printable(name)),
        None => groups.push((why, vec![printable(name)])),
    };
    for (name, why) in request.modules() {
        let why = match why {
            Why::NotOnServer => "not on the symbol server",
            Why::NotAsked => {
                "asked for without asking a symbol server first; the script skips those that are Microsoft's"
            }
        };
        add(why.to_owned(), name);
    }
    for (name, why) in request.left_out() {
        add(format!("cannot be asked for: {why}"), name);
    }
    let mut out = String::new();
    for (why, names) in groups {
        let shown = if all { names.len() } else { NAMED };
        let more = match names.len().saturating_sub(shown) {
            0 => String::new(),
            more => format!(", and {more} more (-v lists them)"),
        };
        let first = names.iter().take(shown).map(String::as_str).collect::<Vec<_>>().join(", ");
        out += &hanging("  ", &format!("{}: {why}", count(names.len() as u64, "module")), width);
        out += &hanging("    ", &format!("{first}{more}"), width);
    }
    out
}
