//! Plain values as text, JSON and HTML.

pub mod html;
pub mod text;
