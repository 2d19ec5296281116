//! Which parts of an image there are, and handing them out.

use std::borrow::Cow;
use std::ops::Range;

use crate::addr::{PAGE_SIZE, Rva};
use crate::header::Section;
use crate::image::MappedImage;

/// Which parts of an image are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Selection {
    /// Sections with IMAGE_SCN_CNT_CODE, each from VirtualAddress to VirtualAddress + VirtualSize: what MiniDumpWriteDump
    /// takes for MiniDumpWithCodeSegs.
    Code,
    /// `Code`, and sections that are executable without being called code.
    Executable,
    /// `Code`, and the header pages.
    Headers,
    /// All sections, each to the end of its last page as the loader maps it, and the header pages.
    Image,
}

/// What a range is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum RangeKind {
    /// The header pages.
    Headers,
    /// A section, by its number in [`crate::Headers::sections`].
    Section(usize),
    /// The retpoline stubs, or the kernel's shared code, after the image.
    RetpolineStubs,
}

/// A piece of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ImageRange {
    /// First byte. Stubs lie after the image, beyond SizeOfImage.
    pub rva: Rva,
    /// Bytes.
    pub size: u32,
    /// What it is.
    pub kind: RangeKind,
    /// The section's characteristics ([`Section::EXECUTE`] and so on); those of plain data and of code for headers and
    /// stubs.
    pub flags: u32,
}

impl MappedImage<'_> {
    /// The wanted parts, ascending; no two overlap. The stubs or the shared code after an
    /// image belong to every selection where code of the image leads there: with retpoline, and where a call of an overridden
    /// function cannot reach the kernel.
    pub fn ranges(&self, selection: Selection) -> Vec<ImageRange> {
        let headers = self.file.headers();
        let mut out = Vec::new();
        if matches!(selection, Selection::Headers | Selection::Image) {
            let first = headers.sections.iter().find(|section| section.size != 0).map_or(u32::MAX, |first| first.rva.0);
            let size = headers.size_of_headers.next_multiple_of(PAGE_SIZE).min(first);
            if size != 0 {
                out.push(ImageRange { rva: Rva(0), size, kind: RangeKind::Headers, flags: Section::READ });
            }
        }
        for (number, section) in headers.sections.iter().enumerate() {
            let wanted = match selection {
                Selection::Code | Selection::Headers => section.is_code(),
                Selection::Executable => section.is_code() || section.flags & Section::EXECUTE != 0,
                Selection::Image => true,
            };
            if wanted && section.size != 0 {
                let kind = RangeKind::Section(number);
                let size = match selection {
                    Selection::Image => self.mapped_size(number),
                    _ => section.size,
                };
                out.push(ImageRange { rva: section.rva, size, kind, flags: section.flags });
            }
        }
        if let Some(stubs) = self.pages_after() {
            let flags = Section::CODE | Section::EXECUTE | Section::READ;
            let size = stubs.bytes().len() as u32;
            out.push(ImageRange { rva: self.stub_rva(), size, kind: RangeKind::RetpolineStubs, flags });
        }
        out
    }

    /// Bytes of a section up to the end of its last page, to the next section, or to the end of the image.
    fn mapped_size(&self, number: usize) -> u32 {
        let headers = self.file.headers();
        let section = &headers.sections[number];
        let after = headers.sections[number + 1..].iter().find(|section| section.size != 0);
        let end = after.map_or(headers.size_of_image, |after| after.rva.0);
        let room = end.saturating_sub(section.rva.0).max(section.size);
        u64::from(section.size).next_multiple_of(PAGE_SIZE.into()).min(room.into()) as u32
    }
}

impl MappedImage<'_> {
    /// The file as it would have to be for a loader that changes nothing: the same layout, with ImageBase, relocated
    /// addresses, bound slots and sites as this image has them. Stubs, which lie after the image, are not in it, and
    /// CheckSum and signature are those of the file that it was made from.
    ///
    /// Takes as much memory as the file.
    pub fn patched_file(&self) -> Vec<u8> {
        let mut out = self.file.data().to_vec();
        let headers = self.file.headers();
        let mut put = |offset: u32, rva: Rva, size: u32| {
            if let Some(place) = out.get_mut(offset as usize..).and_then(|rest| rest.get_mut(..size as usize)) {
                self.read(rva, place);
            }
        };
        put(0, Rva(0), headers.mapped_header_size());
        for section in headers.sections.iter().filter(|section| section.size != 0) {
            put(section.file_offset, section.rva, section.mapped_file_size());
        }
        out
    }
}

/// Bytes of an image from one place on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Piece<'a> {
    /// First byte.
    pub rva: Rva,
    /// The bytes: borrowed where the image does not differ from the file.
    pub bytes: Cow<'a, [u8]>,
}

/// The pieces of a range, in order and without gaps. See [`MappedImage::pieces`].
#[derive(Clone, Debug)]
pub struct Pieces<'i, 'a> {
    image: &'i MappedImage<'a>,
    left: Range<u64>,
}

/// The most bytes that a made piece has.
const LARGEST_MADE_PIECE: u64 = 0x1_0000;

impl<'a> MappedImage<'a> {
    /// The addresses of a range; they end at 2^64 - 1 at the latest.
    pub fn addresses(&self, range: &ImageRange) -> Range<u64> {
        self.address(range.rva).range(range.size.into())
    }

    /// Hands out a range in pieces: as long as they get where they can be borrowed from the file, at most 64 KiB where
    /// they have to be made.
    pub fn pieces(&self, rva: Rva, size: u32) -> Pieces<'_, 'a> {
        Pieces { image: self, left: rva.0.into()..u64::from(rva.0) + u64::from(size) }
    }
}

impl<'a> Iterator for Pieces<'_, 'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left.is_empty() {
            return None;
        }
        let rva = Rva(u32::try_from(self.left.start).ok()?);
        let from_file = self.image.file.bytes_from(rva);
        let page = u64::from(PAGE_SIZE);
        // Grow the piece page by page for as long as all its pages are of one sort.
        let borrowed = |start: u64, end: u64| {
            end - u64::from(rva.0) <= from_file.len() as u64
                && !self.image.may_change(Rva(start as u32), (end - start) as u32)
        };
        let mut end = self.left.start;
        let mut sort = None;
        while end < self.left.end {
            let next = (end / page * page + page).min(self.left.end);
            let this = borrowed(end, next);
            let full = !this && next - self.left.start > LARGEST_MADE_PIECE;
            if *sort.get_or_insert(this) != this || full {
                break;
            }
            end = next;
        }
        let size = (end - self.left.start) as usize;
        self.left.start = end;
        let bytes = if sort == Some(true) {
            Cow::Borrowed(&from_file[..size])
        } else {
            let mut out = vec![0; size];
            self.image.read(rva, &mut out);
            Cow::Owned(out)
        };
        Some(Piece { rva, bytes })
    }
}
