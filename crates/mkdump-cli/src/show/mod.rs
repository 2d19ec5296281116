//! Plain values as text, JSON and HTML.

pub mod advice;
pub mod check;
pub mod html;
pub mod ipt;
pub mod next;
pub mod summary;
pub mod text;
pub mod threads;
