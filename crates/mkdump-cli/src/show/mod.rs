//! Plain values as text, JSON and HTML.

#[cfg_attr(not(test), expect(dead_code, reason = "no option asks for it yet"))]
pub mod html;
pub mod ipt;
pub mod text;
