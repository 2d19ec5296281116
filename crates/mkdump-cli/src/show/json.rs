//! Values as JSON.

use std::fmt::Write;

use serde::Serialize;

use super::text::is_unseen;

/// A value as indented JSON with a line's end.
///
/// # Errors
/// When the value cannot be serialized.
pub fn pretty(value: &impl Serialize) -> serde_json::Result<String> {
    let mut json = escaped(&serde_json::to_string_pretty(value)?);
    json.push('\n');
    Ok(json)
}

/// JSON with the characters that cannot be seen escaped. They occur in strings only, where an escape means the same.
pub fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for found in json.chars() {
        if found != '\n' && is_unseen(found) {
            let mut units = [0; 2];
            for unit in found.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        } else {
            out.push(found);
        }
    }
    out
}
