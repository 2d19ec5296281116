//! Plain values as text, JSON and HTML.

pub mod check;
#[cfg_attr(not(test), expect(dead_code, reason = "no option asks for it yet"))]
pub mod html;
pub mod text;
