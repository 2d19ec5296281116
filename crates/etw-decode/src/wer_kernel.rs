//! Microsoft-Windows-WerKernel: drivers that ask for a live report, from build 22000 on.
//!
//! Layouts after the provider's manifest (jdu2600/Windows10EtwEvents). No trace with these events was at hand.

use std::sync::LazyLock;

use etl_file::{Event, Guid};

use crate::table::{Layout, layouts};
use crate::text::bytes;
use crate::value::{Body, Field};

/// {87a623f0-8db5-5c11-7c80-a2ebbcbe5189}.
pub(crate) const PROVIDER: Guid =
    Guid::new(0x87a623f0, 0x8db5, 0x5c11, [0x7c, 0x80, 0xa2, 0xeb, 0xbc, 0xbe, 0x51, 0x89]);

/// Its name.
pub(crate) const NAME: &str = "Microsoft-Windows-WerKernel";

const LINES: &str = "\
1001 0 0 - ComponentName:utf16 RequestedPolicy:u32 GrantedPolicy:u32 Status:u32 ThrottleCheckResult:u32
1002 0 0 - ComponentName:utf16 Policy:u32 ReportId:utf16 Status:u32";

static LAYOUTS: LazyLock<Vec<Layout>> = LazyLock::new(|| layouts(LINES).unwrap_or_default());

/// The name of an event.
pub(crate) fn event_name(id: u16) -> Option<&'static str> {
    match id {
        1001 => Some("LiveReportRequested"),
        1002 => Some("LiveReportSubmitted"),
        _ => None,
    }
}

/// Reads an event.
pub(crate) fn decode<'e>(event: &Event<'e>, id: u16) -> Body<'e> {
    let sentence = match id {
        1001 => "A driver asked for a live report.",
        1002 => "A live report was made.",
        _ => return Body::unread(event.payload),
    };
    let Some(layout) = LAYOUTS.iter().find(|layout| (layout.id, layout.version) == (id, event.version)) else {
        return Body::unread(event.payload);
    };
    let read = layout.read(event.payload, event.pointer_size);
    let mut parts: Vec<String> = read.fields.iter().map(Field::to_string).collect();
    if !read.is_whole {
        parts.push("cut".to_owned());
    } else if !read.rest.is_empty() {
        parts.push(format!("+{}", bytes(read.rest.len())));
    }
    let message = format!("{sentence} {}", parts.join(", "));
    Body { fields: read.fields, message: Some(message), rest: read.rest, cut: !read.is_whole }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_layouts_can_be_read() {
        assert_eq!(super::LAYOUTS.len(), 2);
    }
}
