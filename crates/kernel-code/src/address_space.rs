//! Images at their bases as one address space, for those who follow code from address to address.

use address_map::{ModuleId, Owners};
use intel_pt::flow::{Code, Space};
use pe_image::{MappedImage, Rva, Selection};

/// The executable parts of images, by address: an image of memory for [`intel_pt::flow`].
///
/// Nothing is copied. A read makes the bytes as the image's policy has them, in a few hundred nanoseconds; walks keep what
/// they decoded.
#[derive(Debug)]
pub struct AddressSpace<'a> {
    images: Vec<(ModuleId, MappedImage<'a>)>,
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

impl Part {
    /// What of it lies in `start..end`; `None` when nothing does.
    fn between(self, start: u64, end: u64) -> Option<Self> {
        let (start, end) = (start.max(self.start), end.min(self.end));
        // A range has less than 4 GiB, so what is cut of it does too.
        let rva = Rva(self.rva.0.wrapping_add(start.wrapping_sub(self.start) as u32));
        (start < end).then_some(Self { start, end, rva, ..self })
    }
}

impl<'a> AddressSpace<'a> {
    /// Puts the images of modules together. What an image has outside of its module's place, such as stub pages after
    /// it, gives way to the modules that own the addresses; of two such parts the lower one keeps its bytes.
    pub fn new(owners: &Owners, images: impl IntoIterator<Item = (ModuleId, MappedImage<'a>)>) -> Self {
        let mut parts: Vec<Part> = Vec::new();
        let images: Vec<(ModuleId, MappedImage<'a>)> = images.into_iter().collect();
        for (number, (module, image)) in images.iter().enumerate() {
            for range in image.ranges(Selection::Executable) {
                let start = image.address(range.rva).0;
                let whole = Part { start, end: start.saturating_add(range.size.into()), rva: range.rva, image: number };
                let mut at = start;
                for place in owners.places_from(start).take_while(|place| place.first < whole.end) {
                    if place.module != *module {
                        parts.extend(whole.between(at, place.first));
                        at = place.last.saturating_add(1);
                    }
                }
                parts.extend(whole.between(at, whole.end));
            }
        }
        parts.sort_by_key(|part| part.start);
        let mut free = 0;
        parts.retain_mut(|part| {
            let rest = part.between(free, part.end);
            free = free.max(part.end);
            rest.is_some_and(|rest| {
                *part = rest;
                true
            })
        });
        Self { images, parts }
    }

    /// The images and their modules, in the order given.
    pub fn images(&self) -> &[(ModuleId, MappedImage<'a>)] {
        &self.images
    }

    fn part_at(&self, address: u64) -> Option<&Part> {
        let after = self.parts.partition_point(|part| part.start <= address);
        self.parts[..after].last().filter(|part| address < part.end)
    }
}

impl Code for AddressSpace<'_> {
    fn read(&self, _: Space, address: u64, out: &mut [u8]) -> usize {
        let Some(part) = self.part_at(address) else { return 0 };
        let size = usize::try_from(part.end - address).unwrap_or(usize::MAX).min(out.len());
        let Some(rva) = part.rva.checked_add((address - part.start) as u32) else { return 0 };
        self.images[part.image].1.read(rva, &mut out[..size]);
        size
    }
}

#[cfg(test)]
mod tests {
    use intel_pt::flow::{Code, Space};
    use pe_image::{MappedImage, PeFile, Policy};
    use testkit::image::Driver;

    use super::AddressSpace;
    use address_map::{AddressMap, Claim, ModuleId};

    /// Byte `at` of a driver's `.text`.
    fn text(at: usize) -> u8 {
        [0x40, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47][at % 7]
    }

    #[test]
    fn only_code_is_there_and_every_address_has_its_owners_bytes() {
        let mut driver = Driver::new("a.sys");
        driver.code(".text", 0x1800);
        let bytes = driver.build().bytes;
        let file = PeFile::parse(&bytes).unwrap();
        let image = |base: u64| MappedImage::new(file.clone(), base, Policy::AS_LINKED);
        // The source gives the first module one page less than its file has: the second one begins there.
        let claim = |base, size| Claim { base, size, loaded: None, unloaded: None, has_file: true };
        let claims = [claim(0x20_0000, 0x3000), claim(0x10_0000, 0x2000), claim(0x10_2000, 0x3000)];
        let owners = AddressMap::new(claims).at(0.0);
        let images = [image(0x20_0000), image(0x10_0000), image(0x10_2000)];
        let space = AddressSpace::new(&owners, images.into_iter().enumerate().map(|(n, image)| (ModuleId(n), image)));
        let read = |address| {
            let mut out = [0; 16];
            let size = space.read(Space::default(), address, &mut out);
            (size, out[0])
        };
        assert_eq!(read(0x10_0000), (0, 0), "the header page is not code");
        assert_eq!(read(0x10_1000), (16, text(0)));
        assert_eq!(read(0x10_1ffc), (4, text(0xffc)));
        assert_eq!(read(0x10_2000), (0, 0), "the second module's header page, not the first one's code");
        assert_eq!(read(0x10_3000), (16, text(0)));
        assert_eq!(read(0x20_1008), (16, text(8)));
        assert_eq!(read(0x30_0000), (0, 0));
    }
}
