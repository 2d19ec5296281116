//! Text, addresses, sizes and numbers as they stand in the page.

use std::fmt::{self, Write};

use crate::show::text::{address, grouped, is_unseen};

/// Text from a trace or a file: escaped for an element or an attribute, control and direction characters made visible.
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|found| match found {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\'' => f.write_str("&#39;"),
            found if is_unseen(found) => f.write_str("\u{fffd}"),
            found => f.write_char(found),
        })
    }
}

/// A kernel address as debuggers write it.
pub(super) struct Address(pub(super) u64);

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&address(self.0))
    }
}

/// Bytes with a unit.
pub(super) struct Size(pub(super) u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0 as f64;
        match self.0 {
            0..0x400 => write!(f, "{} B", self.0),
            0x400..0x10_0000 => write!(f, "{:.0} KiB", value / 1024.0),
            0x10_0000..0x4000_0000 => write!(f, "{:.1} MiB", value / 1_048_576.0),
            0x4000_0000..0x100_0000_0000 => write!(f, "{:.1} GiB", value / 1_073_741_824.0),
            _ => write!(f, "{:.1} TiB", value / 1_099_511_627_776.0),
        }
    }
}

/// A number with commas between groups of three digits, as in the command's text.
pub(super) struct Grouped(pub(super) u64);

impl fmt::Display for Grouped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&grouped(self.0))
    }
}
