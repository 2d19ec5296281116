//! Images at their bases as one address space, for those who follow code from address to address.

use intel_pt::flow::Code;
use pe_image::{MappedImage, Rva, Selection};

/// The executable parts of images, by address: an image of memory for [`intel_pt::flow`].
///
/// Nothing is copied. A read makes the bytes as the image's policy has them, in a few hundred nanoseconds; walks keep what
/// they decoded.
#[derive(Debug)]
pub struct AddressSpace<'a> {
    images: Vec<MappedImage<'a>>,
    /// Disjoint, ascending.
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug)]
struct Part {
    start: u64,
    end: u64,
    /// RVA of `start` in the image.
    rva: Rva,
    image: usize,
}

impl<'a> AddressSpace<'a> {
    /// Puts images together. Where two overlap, the one at the lower address keeps its bytes.
    pub fn new(images: impl IntoIterator<Item = MappedImage<'a>>) -> Self {
        let images: Vec<_> = images.into_iter().collect();
        let mut parts: Vec<Part> = Vec::new();
        for (number, image) in images.iter().enumerate() {
            for range in image.ranges(Selection::Executable) {
                let start = image.address(range.rva);
                parts.push(Part { start, end: start.saturating_add(range.size.into()), rva: range.rva, image: number });
            }
        }
        parts.sort_by_key(|part| part.start);
        let mut free = 0;
        for part in &mut parts {
            let cut = free.max(part.start).min(part.end);
            // A range has less than 4 GiB, so what is cut of it does too.
            part.rva = Rva(part.rva.0.wrapping_add((cut - part.start) as u32));
            part.start = cut;
            free = free.max(part.end);
        }
        parts.retain(|part| part.start < part.end);
        Self { images, parts }
    }

    /// The images, in the order given.
    pub fn images(&self) -> &[MappedImage<'a>] {
        &self.images
    }

    /// The image that has code at an address, as an index.
    pub fn image_at(&self, address: u64) -> Option<usize> {
        self.part_at(address).map(|part| part.image)
    }

    fn part_at(&self, address: u64) -> Option<&Part> {
        let after = self.parts.partition_point(|part| part.start <= address);
        self.parts[..after].last().filter(|part| address < part.end)
    }
}

impl Code for AddressSpace<'_> {
    fn read(&self, address: u64, out: &mut [u8]) -> usize {
        let Some(part) = self.part_at(address) else { return 0 };
        let size = usize::try_from(part.end - address).unwrap_or(usize::MAX).min(out.len());
        let Some(rva) = part.rva.checked_add((address - part.start) as u32) else { return 0 };
        self.images[part.image].read(rva, &mut out[..size]);
        size
    }
}

#[cfg(test)]
mod tests {
    use intel_pt::flow::Code;
    use pe_image::{MappedImage, PeFile, Policy};
    use testkit::image::Driver;

    use super::AddressSpace;

    #[test]
    fn only_code_is_there_and_the_lower_image_wins() {
        let mut driver = Driver::new("a.sys");
        driver.code(".text", 0x1800);
        let bytes = driver.build().bytes;
        let file = PeFile::parse(&bytes).unwrap();
        let image = |base| MappedImage::new(&file, base, None, Policy::AS_LINKED);
        let space = AddressSpace::new([image(0x20_0000), image(0x10_0000), image(0x10_1000)]);
        let read = |address| {
            let mut out = [0; 16];
            let size = space.read(address, &mut out);
            (size, out[0])
        };
        assert_eq!(read(0x10_0000), (0, 0), "the header page is no code");
        assert_eq!(read(0x10_1000), (16, 0x40));
        assert_eq!(read(0x10_27fc), (4, [0x40, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47][0x17fc % 7]));
        // The first 0x800 bytes of the image at 10_1000 lie under the one at 10_0000.
        assert_eq!((space.image_at(0x10_2100), space.image_at(0x10_2900)), (Some(1), Some(2)));
        assert_eq!(read(0x10_2900), (16, [0x40, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47][0x900 % 7]));
        assert_eq!(space.image_at(0x20_1000), Some(0));
        assert_eq!(read(0x30_0000), (0, 0));
    }
}
