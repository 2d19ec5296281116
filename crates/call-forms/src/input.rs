//! What a verdict is made from: plain values that the caller takes from files and traces.

use std::ops::Range;

use crate::decision::{Junction, Routes};

/// An import site of a module: 12 bytes of code that call or jump through an import slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Address of its first byte.
    pub va: u64,
    /// Address of the slot.
    pub slot: u64,
    /// The function that the slot points at, if it could be resolved.
    pub target: Option<u64>,
    /// True for a call, false for a jump.
    pub call: bool,
    /// Whether the target is in reach of a direct branch. Other sites are followed, but do not vote.
    pub can_be_direct: bool,
}

/// A module with import sites.
#[derive(Clone, Debug)]
pub struct Importer {
    /// Its name, for the verdict.
    pub name: String,
    /// Its import sites.
    pub sites: Vec<Site>,
    /// With retpoline on: address of the stub (`_guard_retpoline_import_r10`) after this image, which the sites call
    /// that are not direct. The code must hold the stub pages then.
    pub stub: Option<u64>,
}

/// Answers the question "does a function start at this address" where it is known.
pub type FunctionStarts<'a> = dyn Fn(u64) -> Option<bool> + Sync + 'a;

/// An indirect call that retpoline rewrites to another length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndirectReturn {
    /// Return address of the call as linked.
    pub linked: u64,
    /// Return address of the call when rewritten.
    pub rewritten: u64,
}

/// What a verdict is made from.
pub struct Input<'a, C: ?Sized> {
    /// The code of the modules. Its bytes at import sites do not matter.
    pub code: &'a C,
    /// The modules that have import sites.
    pub importers: Vec<Importer>,
    /// Packet streams, each with its ring put in order.
    pub streams: Vec<&'a [u8]>,
    /// Where functions start, from `.pdata`, exports or CFG tables.
    pub function_start: &'a FunctionStarts<'a>,
    /// Addresses of the pages that hold retpoline stubs if retpoline is on.
    pub stub_pages: Vec<Range<u64>>,
    /// The indirect calls that retpoline rewrites.
    pub indirect_returns: Vec<IndirectReturn>,
    /// The ways that lead on from junctions.
    pub routes: Vec<Routes>,
    /// Junctions, each at an address of its own, none inside an import site.
    pub junctions: Vec<Junction>,
}

impl<'a, C: ?Sized> Input<'a, C> {
    /// Input about `importers`, with nothing known about function starts and stubs.
    pub fn new(code: &'a C, importers: Vec<Importer>, streams: Vec<&'a [u8]>) -> Self {
        Self {
            code,
            importers,
            streams,
            function_start: &|_| None,
            stub_pages: Vec::new(),
            indirect_returns: Vec::new(),
            routes: Vec::new(),
            junctions: Vec::new(),
        }
    }
}
