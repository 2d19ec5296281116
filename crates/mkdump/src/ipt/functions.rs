//! Where functions start, as far as a file says: the exception directory, the export table, the CFG function table.

use pe_image::{Directory, Export, PeFile, Rva, Section};

/// IMAGE_DIRECTORY_ENTRY_EXCEPTION and IMAGE_DIRECTORY_ENTRY_LOAD_CONFIG.
const EXCEPTION: usize = 3;
const LOAD_CONFIG: usize = 10;
/// RUNTIME_FUNCTION of x64: BeginAddress, EndAddress, UnwindInfoAddress.
const RUNTIME_FUNCTION: usize = 12;
/// GuardCFFunctionTable and GuardCFFunctionCount of the 64-bit load configuration, then GuardFlags, whose upper 4 bits
/// say how many bytes follow each RVA of the table (winnt.h, IMAGE_GUARD_CF_FUNCTION_TABLE_SIZE_MASK).
const GUARD_TABLE: u32 = 0x80;
/// Entries of the CFG table that are read at most: no image has more functions than bytes of code.
const MOST_ENTRIES: u64 = 1 << 22;

/// The functions of one file, by RVA.
#[derive(Clone, Debug, Default)]
pub(super) struct Functions {
    /// Starts, ascending.
    starts: Vec<u32>,
    /// Ranges of the exception directory, ascending by start.
    ranges: Vec<(u32, u32)>,
    /// Executable sections.
    code: Vec<(u32, u32)>,
}

impl Functions {
    /// Reads what the file says. Tables that cannot be read say nothing.
    pub fn of(file: &PeFile<'_>) -> Self {
        let mut this = Self::default();
        let is_code = |section: &&Section| section.is_code() || section.flags & Section::EXECUTE != 0;
        let sections = file.headers().sections.iter().filter(is_code);
        this.code = sections.map(|section| (section.rva.0, section.end().0)).collect();
        if let Some(Directory { rva, size, .. }) = file.headers().directory(EXCEPTION)
            && let Ok(table) = file.bytes_at(rva, size, "exception directory")
        {
            let entries = table.as_chunks::<RUNTIME_FUNCTION>().0.iter();
            let range = |entry: &[u8; RUNTIME_FUNCTION]| (u32_at(entry, 0), u32_at(entry, 4));
            this.ranges = entries.map(range).filter(|(begin, end)| begin < end).collect();
            this.ranges.sort_unstable();
        }
        this.starts.extend(this.ranges.iter().map(|range| range.0));
        if let Ok(Some(exports)) = file.exports() {
            this.starts.extend(exports.iter().filter_map(|(_, export)| match export {
                Export::Rva(rva) => Some(rva.0),
                Export::Forwarder(_) => None,
            }));
        }
        this.starts.extend(guarded(file).unwrap_or_default());
        this.starts.sort_unstable();
        this.starts.dedup();
        this
    }

    /// Whether a function starts at `rva`. Nothing when no table says: leaf functions are in none.
    pub fn starts_at(&self, rva: u32) -> Option<bool> {
        if self.starts.binary_search(&rva).is_ok() {
            return Some(true);
        }
        let inside = |ranges: &[(u32, u32)]| {
            let after = ranges.partition_point(|range| range.0 <= rva);
            ranges[..after].last().is_some_and(|range| rva < range.1)
        };
        // Sections are not sorted in every file.
        let in_code = self.code.iter().any(|range| (range.0..range.1).contains(&rva));
        (inside(&self.ranges) || !in_code).then_some(false)
    }
}

/// The CFG function table (GFIDS): every function whose address is taken.
fn guarded(file: &PeFile<'_>) -> Option<Vec<u32>> {
    let config = file.headers().directory(LOAD_CONFIG).filter(|_| file.headers().is_64)?;
    let fields = file.bytes_at(config.rva.checked_add(GUARD_TABLE)?, 20, "IMAGE_LOAD_CONFIG_DIRECTORY").ok()?;
    // The structure's own size says whether it has these fields.
    let size = u32_at(file.bytes_at(config.rva, 4, "IMAGE_LOAD_CONFIG_DIRECTORY").ok()?, 0);
    let (table, count) = (u64_at(fields, 0), u64_at(fields, 8));
    let stride = 4 + (u32_at(fields, 16) >> 28);
    if size < GUARD_TABLE + 20 || count > MOST_ENTRIES {
        return None;
    }
    let rva = u32::try_from(table.checked_sub(file.headers().image_base)?).ok()?;
    let bytes = file.bytes_at(Rva(rva), u32::try_from(count * u64::from(stride)).ok()?, "GuardCFFunctionTable").ok()?;
    Some(bytes.chunks_exact(stride as usize).map(|entry| u32_at(entry, 0)).collect())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use pe_image::PeFile;
    use testkit::image::{At, Driver, RDATA};

    use super::Functions;

    #[test]
    fn tables_say_where_functions_start() {
        let mut driver = Driver::new("a.sys");
        let text = driver.code(".text", 0x300);
        // RUNTIME_FUNCTION: 1010..1040; the directory is set below.
        let table: Vec<u8> = [0x1010_u32, 0x1040, 0].iter().flat_map(|field| field.to_le_bytes()).collect();
        driver.section(".pdata", RDATA, table);
        driver.export("Inside", At(text, 0x20)).export("Leaf", At(text, 0x80));
        let mut built = driver.build();
        let rva = built.section_rvas[1];
        // Data directories begin 0x88 bytes into the NT headers of PE32+, 8 bytes each.
        built.put_u32("nt", 0x88 + 8 * 3, rva).put_u32("nt", 0x88 + 8 * 3 + 4, 12);
        let file = PeFile::parse(&built.bytes).unwrap();
        let functions = Functions::of(&file);
        let cases = [
            (0x1010, Some(true), "in the exception directory"),
            (0x1020, Some(true), "exported from within another function"),
            (0x1030, Some(false), "inside a function"),
            (0x1040, None, "behind a function"),
            (0x1080, Some(true), "exported"),
            (0x1081, None, "a leaf function's body is in no table"),
            (rva, Some(false), "data"),
            (0x9_0000, Some(false), "outside of the image"),
        ];
        for (at, expected, why) in cases {
            assert_eq!(functions.starts_at(at), expected, "{at:#x}: {why}");
        }
    }
}
