//! Where functions start, as far as a file says: the exception directory, the export table, the CFG function table.

use pe_image::{PeFile, Section};

/// The functions of one file, by RVA.
#[derive(Clone, Debug, Default)]
pub(crate) struct Functions {
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
        let functions = file.runtime_functions().unwrap_or_default();
        this.ranges = functions.iter().map(|function| (function.begin.0, function.end.0)).collect();
        this.starts.extend(this.ranges.iter().map(|range| range.0));
        this.starts.extend(file.listed_functions().iter().map(|rva| rva.0));
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
            (0x1040, None, "after a function"),
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
