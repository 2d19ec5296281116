//! Plain values as text, JSON and HTML.

pub mod absent;
pub mod advice;
pub mod calls;
pub mod check;
pub mod event_json;
pub mod events;
pub mod extract;
#[cfg(feature = "fetch")]
pub mod fetch;
pub mod html;
pub mod ipt;
pub mod json;
pub mod modules;
pub mod next;
pub mod request;
pub mod sessions;
pub mod summary;
pub mod table;
pub mod text;
pub mod threads;
pub mod width;
