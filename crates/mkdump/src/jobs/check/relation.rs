//! Whether two dumps agree because one was made from the other.
//!
//! A dump made from another one holds that one's bytes, so of course the two agree, whatever memory held elsewhere. What
//! says so is the SHA-256 of the source, in the provenance or, where a format has no room for that, in the comment.

use super::report::{ProvenanceReport, Relation};
use super::validate::provenance;
use crate::provenance::sha256_of;

/// How the dump and the other one are related, as far as they say.
pub(super) fn of(dump: &[u8], other: &[u8]) -> Option<Relation> {
    if dump == other {
        return Some(Relation::SameFile);
    }
    if says_that_it_comes_from(dump, other) {
        return Some(Relation::MadeFromOther);
    }
    says_that_it_comes_from(other, dump).then_some(Relation::SourceOfOther)
}

/// Digits of a hash that are enough: a triage dump's comment has 127 characters, and is cut after them.
const ENOUGH: usize = 16;
const HASH: usize = 64;

fn hashes(made: ProvenanceReport) -> Vec<String> {
    std::iter::once(made.source_sha256).chain(made.more_sources.into_iter().map(|file| file.sha256)).collect()
}

/// Whether a dump names another file's hash as its source's. Files are hashed only for dumps that name one at all.
fn says_that_it_comes_from(dump: &[u8], source: &[u8]) -> bool {
    let (made, comments, _) = provenance(dump);
    let texts: Vec<String> = made.into_iter().flat_map(hashes).chain(comments).collect();
    let words = texts.iter().flat_map(|text| text.split(|c: char| !c.is_ascii_hexdigit()));
    let named: Vec<&str> = words.filter(|word| (ENOUGH..=HASH).contains(&word.len())).collect();
    !named.is_empty() && sha256_of(source).is_ok_and(|hash| named.iter().any(|word| hash.starts_with(word)))
}
