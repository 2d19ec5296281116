//! A PE file: its headers, and its bytes by RVA.

use std::sync::Arc;

use crate::addr::Rva;
use crate::error::{Error, Place, Result};
use crate::header::Headers;

/// A PE file in memory, with its headers read and checked. The tables are read when they are asked for.
///
/// A clone shares the headers, so it costs next to nothing. Reading a table allocates at most a few times its size; the
/// file is never copied.
#[derive(Clone, Debug)]
pub struct PeFile<'a> {
    data: &'a [u8],
    headers: Arc<Headers>,
}

impl<'a> PeFile<'a> {
    /// Reads the headers of a file.
    ///
    /// # Errors
    /// What [`Headers::parse`] says, and a section whose bytes lie past the end of the file: no loader takes those.
    pub fn parse(data: &'a [u8]) -> Result<Self> {
        let headers = Headers::parse(data)?;
        for section in &headers.sections {
            let end = u64::from(section.file_offset) + u64::from(section.mapped_file_size());
            if end > data.len() as u64 {
                let place = Place::Offset(section.file_offset.into());
                let have = (data.len() as u64).saturating_sub(section.file_offset.into());
                return Err(Error::truncated(place, "section data", section.mapped_file_size().into(), have));
            }
        }
        Ok(Self { data, headers: Arc::new(headers) })
    }

    /// The file as it was given.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The headers.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The bytes of the file from `rva` to the end of the section (or of the headers) that holds it; empty where the
    /// image has no bytes of the file.
    pub fn bytes_from(&self, rva: Rva) -> &'a [u8] {
        let Some((offset, size)) = self.headers.file_offset(rva) else { return &[] };
        let start = (offset as usize).min(self.data.len());
        let end = ((offset + size) as usize).min(self.data.len());
        &self.data[start..end]
    }

    /// `size` bytes of a structure at `rva`. Bytes of a section that are not in the file are zero and cannot be part of
    /// a structure.
    ///
    /// # Errors
    /// A truncation that names `structure`.
    pub fn bytes_at(&self, rva: Rva, size: u32, structure: &'static str) -> Result<&'a [u8]> {
        let bytes = self.bytes_from(rva);
        bytes
            .get(..size as usize)
            .ok_or_else(|| Error::truncated(Place::Rva(rva), structure, size.into(), bytes.len() as u64))
    }

    /// Fills `out` with the image's bytes from `rva` on, as the file has them: sections laid out at their RVAs, zeros
    /// between and after them, nothing relocated or changed.
    pub fn read(&self, rva: Rva, out: &mut [u8]) {
        let mut at = u64::from(rva.0);
        let mut out = out;
        while !out.is_empty() {
            let Ok(here) = u32::try_from(at) else {
                out.fill(0);
                return;
            };
            let bytes = self.bytes_from(Rva(here));
            let size = if bytes.is_empty() {
                let zeros = (self.next_bytes(Rva(here)) - at).min(out.len() as u64) as usize;
                out[..zeros].fill(0);
                zeros
            } else {
                let size = bytes.len().min(out.len());
                out[..size].copy_from_slice(&bytes[..size]);
                size
            };
            at += size as u64;
            out = &mut out[size..];
        }
    }

    /// The next RVA after `rva` where the image has bytes of the file again.
    fn next_bytes(&self, rva: Rva) -> u64 {
        let sections = &self.headers.sections;
        let after = sections.partition_point(|section| section.rva <= rva);
        let next = sections[after..].iter().find(|section| section.file_size != 0 && section.size != 0);
        next.map_or(u64::MAX, |section| section.rva.0.into())
    }
}
