//! User minidumps: what is written is read back, rules are found before the first byte, memory is streamed.

/// Sets fields of a value: the structs of this crate may gain fields, so tests cannot write them as literals.
macro_rules! set {
    ($start:expr, $($field:ident = $value:expr),* $(,)?) => {{
        let mut value = $start;
        $(value.$field = $value;)*
        value
    }};
}

mod contexts;
mod given;
mod round_trip;
mod rules;
mod sparse;
mod streaming;
