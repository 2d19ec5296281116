//! Tables that fit the terminal.

use super::text::printable;
use super::width::{hanging, length, wrap};

/// Between two columns.
const GAP: usize = 2;
/// A column is not made narrower than this, and the column of names not than that.
const NARROWEST: usize = 9;
const NARROWEST_NAME: usize = 24;

/// A table with aligned columns. The first column is the name of what the row is about.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<usize>,
    wrapped: Vec<usize>,
    /// Columns that are not made narrower than a width of their own.
    kept: Vec<(usize, usize)>,
    /// Text under a row, by the row's number.
    under: Vec<(usize, String)>,
}

impl Table {
    /// A table with these headings; `right` lists the columns that hold numbers.
    pub fn new(headings: &[&str], right: &[usize]) -> Self {
        let headings = headings.iter().map(|&heading| heading.to_owned()).collect();
        Self { rows: vec![headings], right: right.to_vec(), ..Self::default() }
    }

    /// The columns whose text may be broken over several lines where the width asks for it; numbers and addresses are
    /// not among them.
    pub fn wrapping(mut self, columns: &[usize]) -> Self {
        self.wrapped = columns.to_vec();
        self
    }

    /// A column that may be broken, but not into lines narrower than `width`.
    pub fn keeping(mut self, column: usize, width: usize) -> Self {
        self.kept.push((column, width));
        self
    }

    /// Adds a row. Cells come from traces and files, so control characters are shown as `?`.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| printable(&cell)).collect());
    }

    /// Adds text under the last row.
    pub fn under(&mut self, text: &str) {
        self.under.push((self.rows.len() - 1, printable(text)));
    }

    /// True when there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.len() < 2
    }

    /// The lines, indented by `indent` blanks, of at most `width` columns if the columns that may be broken allow it.
    /// A column without any content is left out.
    pub fn render(&self, indent: usize, width: usize) -> String {
        let widths = self.widths(width.saturating_sub(indent));
        let mut out = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let lines = |(cell, &width): (&String, &usize)| if width == 0 { Vec::new() } else { wrap(cell, width) };
            let cells: Vec<Vec<String>> = row.iter().zip(&widths).map(lines).collect();
            for line_number in 0..cells.iter().map(Vec::len).max().unwrap_or(0) {
                let mut line = " ".repeat(indent);
                for (column, (cell, &width)) in cells.iter().zip(&widths).enumerate().filter(|(_, (_, w))| **w > 0) {
                    let text = cell.get(line_number).map_or("", String::as_str);
                    let pad = " ".repeat(width.saturating_sub(length(text)));
                    let right = self.right.contains(&column);
                    line += if right { &pad } else { text };
                    line += if right { text } else { &pad };
                    line += &" ".repeat(GAP);
                }
                out += line.trim_end();
                out.push('\n');
            }
            for (_, text) in self.under.iter().filter(|(row, _)| *row == number) {
                out += &hanging(&" ".repeat(indent + 4), text, width);
            }
        }
        out
    }

    /// The columns' widths, 0 for those without content.
    fn widths(&self, room: usize) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let longest = |rows: &[Vec<String>], column: usize| {
            rows.iter().filter_map(|row| row.get(column)).map(|cell| length(cell)).max().unwrap_or(0)
        };
        let mut widths: Vec<usize> = (0..columns)
            .map(|column| match longest(self.rows.get(1..).unwrap_or_default(), column) {
                0 if column > 0 => 0,
                _ => longest(&self.rows, column),
            })
            .collect();
        let total = |widths: &[usize]| widths.iter().filter(|&&w| w > 0).map(|w| w + GAP).sum::<usize>();
        while total(&widths) > room + GAP {
            let least = |column| {
                let own = self.kept.iter().find(|(kept, _)| *kept == column).map(|(_, width)| *width);
                own.unwrap_or(if column == 0 { NARROWEST_NAME } else { NARROWEST })
            };
            let widest = self.wrapped.iter().copied().filter(|&column| widths.get(column) > Some(&least(column)));
            let Some(widest) = widest.max_by_key(|&column| widths[column]) else { break };
            widths[widest] -= 1;
        }
        // Last of all, headings of more than one word are broken.
        while total(&widths) > room + GAP {
            let body = self.rows.get(1..).unwrap_or_default();
            let heading = |column: &usize| self.rows[0].get(*column).is_some_and(|heading| heading.contains(' '));
            let longer = (0..columns).filter(heading).filter(|&column| {
                let word = self.rows[0][column].split(' ').map(length).max().unwrap_or(0);
                widths[column] > longest(body, column).max(word)
            });
            let Some(widest) = longer.max_by_key(|&column| widths[column]) else { break };
            widths[widest] -= 1;
        }
        widths
    }
}

#[cfg(test)]
mod tests {
    use super::Table;

    fn table() -> Table {
        let mut table = Table::new(&["name", "base", "call sites", "why"], &[2]).wrapping(&[0, 3]);
        let row = ["ntoskrnl.exe", "fffff804`12341000", "12", "no file of that name or identity found"];
        table.row(row.map(str::to_owned));
        table
    }

    #[test]
    fn a_table_fits_its_width() {
        for (width, expected) in [
            (
                200,
                "name          base               call sites  why\n\
                 ntoskrnl.exe  fffff804`12341000          12  no file of that name or identity found\n",
            ),
            (
                70,
                "name          base               call sites  why\n\
                 ntoskrnl.exe  fffff804`12341000          12  no file of that name or\n\
                 \x20                                            identity found\n",
            ),
            (
                52,
                "name          base                   call  why\n\
                 \x20                                   sites\n\
                 ntoskrnl.exe  fffff804`12341000        12  no file\n\
                 \x20                                          of that\n\
                 \x20                                          name or\n\
                 \x20                                          identity\n\
                 \x20                                          found\n",
            ),
        ] {
            let text = table().render(0, width);
            assert_eq!(text, expected, "{width}:\n{text}");
        }
    }

    #[test]
    fn columns_without_content_are_left_out() {
        let mut table = Table::new(&["name", "unloaded", "n"], &[2]);
        table.row(["x\u{7}".into(), String::new(), "10".into()]);
        assert_eq!(table.render(1, 80), " name   n\n x?    10\n");
    }
}
