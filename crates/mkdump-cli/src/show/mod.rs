//! Plain values as text, JSON and HTML.

pub mod text;
