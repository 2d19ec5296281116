//! A session by what a user calls it.

use std::fmt;

use crate::session::{Session, Sessions};

/// No session, or more than one, is called so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchSession {
    asked: String,
    /// Those that it may be: id, and address of the context where ids alone do not tell them apart.
    ids: Vec<String>,
    is_ambiguous: bool,
}

impl NoSuchSession {
    /// True when several sessions are called so.
    pub fn is_ambiguous(&self) -> bool {
        self.is_ambiguous
    }
}

impl fmt::Display for NoSuchSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (asked, ids) = (&self.asked, self.ids.join(", "));
        match (self.is_ambiguous, &*self.ids) {
            (true, _) => write!(f, "{asked:?} is more than one session; their ids are {ids}"),
            (false, []) => write!(f, "there is no session {asked:?}, nor any other"),
            (false, _) => write!(f, "there is no session {asked:?}; the ids of those that there are: {ids}"),
        }
    }
}

impl std::error::Error for NoSuchSession {}

/// Ids are smaller; larger numbers are addresses.
const LARGEST_ID: u64 = 0xffff;

impl Sessions {
    /// The session that `text` names: by its id (decimal, or hexadecimal with `0x`), by its name in upper or lower case, or
    /// by the address of its context (hexadecimal with `0x`).
    ///
    /// # Errors
    /// When none or more than one is named so.
    pub fn choose(&self, text: &str) -> Result<&Session, NoSuchSession> {
        let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
            Some(digits) => u64::from_str_radix(&digits.replace('`', ""), 16).ok(),
            None => text.parse().ok(),
        };
        let is_named = |session: &&Session| match number {
            Some(id @ ..=LARGEST_ID) => u64::from(session.id) == id,
            Some(address) => session.context == Some(address),
            None => session.name.as_deref().is_some_and(|name| name.to_lowercase() == text.to_lowercase()),
        };
        let mut found: Vec<&Session> = self.sessions.iter().filter(is_named).collect();
        // A name may be a number that is not the id of a session.
        if found.is_empty() {
            found = self.sessions.iter().filter(|session| session.name.as_deref() == Some(text)).collect();
        }
        match &*found {
            [one] => Ok(one),
            [] => Err(self.refuse(text, &self.sessions.iter().collect::<Vec<_>>(), false)),
            several => Err(self.refuse(text, several, true)),
        }
    }

    fn refuse(&self, text: &str, sessions: &[&Session], is_ambiguous: bool) -> NoSuchSession {
        let is_shared = |id: u32| self.sessions.iter().filter(|session| session.id == id).count() > 1;
        let called = |session: &&Session| match session.context.filter(|_| is_shared(session.id)) {
            Some(context) => format!("{} ({context:#x})", session.id),
            None => session.id.to_string(),
        };
        NoSuchSession { asked: text.to_owned(), ids: sessions.iter().map(called).collect(), is_ambiguous }
    }
}
