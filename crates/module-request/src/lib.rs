//! What to ask the owner of the traced machine for: a script that a cautious person can read before running it.
//!
//! Which modules it asks for is decided by one rule (docs/decisions/third-party-modules.md): those that were not found
//! and that a symbol server was asked for and does not have; and if no server was asked, those that were not found and
//! whose company, as the machine itself says, is not Microsoft.
#![forbid(unsafe_code)]

use std::fmt::Write;

use symstore::{FileName, NtPath, Start, Wanted, is_deceptive};

/// Why a module is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// A symbol server was asked for its key and does not have it.
    NotOnServer,
    /// No server was asked, or none answered. The script leaves it out if its company is Microsoft.
    NotAsked,
}

/// A module that is missing here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestItem {
    /// The module, its path included.
    pub wanted: Wanted,
    /// Why it is asked for.
    pub why: Why,
}

/// A request: the modules it asks for, and those that it cannot ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    rows: Vec<Row>,
    /// Modules that are left out, and why.
    left_out: Vec<(String, &'static str)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Row {
    name: FileName,
    timestamp: u32,
    /// In whole pages.
    size: u32,
    start: Start,
    /// From the start on, with a backslash before each component.
    files: Vec<String>,
    why: Why,
}

/// The most pages of 4 KiB that fit into a positive 32-bit number, which is what the script counts with.
const LARGEST_SIZE: u32 = 0x7fff_f000;

impl Request {
    /// Takes the modules that can be asked for safely. A name or path that could mean something else to PowerShell or
    /// to a reader than it seems to is not quoted but refused.
    pub fn new(items: &[RequestItem]) -> Self {
        let mut request = Self::default();
        for RequestItem { wanted, why } in items {
            match Row::new(wanted, *why) {
                Ok(row) if !request.rows.contains(&row) => request.rows.push(row),
                Ok(_) => {}
                Err(reason) => request.left_out.push((wanted.name.clone(), reason)),
            }
        }
        request
    }

    /// The names of the modules that the script asks for, each with the reason.
    pub fn modules(&self) -> impl Iterator<Item = (&str, Why)> {
        self.rows.iter().map(|row| (row.name.as_str(), row.why))
    }

    /// The modules that the script cannot ask for, and why not.
    pub fn left_out(&self) -> &[(String, &'static str)] {
        &self.left_out
    }

    /// The script, for Windows PowerShell 5.1 and later. Lines end as Windows ends them; names beyond ASCII are marked
    /// by a byte order mark, without which Windows PowerShell misreads them.
    pub fn script(&self) -> String {
        let mut rows = String::new();
        for row in &self.rows {
            row.write(&mut rows);
        }
        let script = SCRIPT.replace("    ROWS\n", &rows).replace('\n', "\r\n");
        if script.is_ascii() { script } else { format!("\u{feff}{script}") }
    }
}

impl Row {
    fn new(wanted: &Wanted, why: Why) -> Result<Self, &'static str> {
        let name = FileName::new(&wanted.name).map_err(|_| "its name is not safe to write")?;
        let timestamp = wanted.said_timestamp().ok_or("the trace does not say its TimeDateStamp")?;
        let size = wanted.said_size().ok_or("the trace does not say its size")?;
        let size = size.checked_next_multiple_of(0x1000).filter(|&size| size <= LARGEST_SIZE);
        let size = size.ok_or("its size is not that of a module")?;
        let path = wanted.path.as_deref().ok_or("the trace does not say where it is")?;
        let path = NtPath::parse(path).ok_or("its path is on no disk or not safe to write")?;
        if path.components.iter().chain([&wanted.name]).any(|text| !is_quotable(text)) {
            return Err("its name or path has characters that PowerShell may misread");
        }
        let (last, dirs) = path.components.split_last().ok_or("the trace does not say where it is")?;
        let below: String = dirs.iter().map(|dir| format!("\\{dir}")).collect();
        // The drivers of the crash-dump and hibernation stacks are copies in memory of files without the prefix.
        let copied = ["dump_", "hiber_"].iter().filter_map(|prefix| last.strip_prefix(prefix));
        let files = std::iter::once(last.as_str()).chain(copied).map(|file| format!("{below}\\{file}")).collect();
        Ok(Self { name, timestamp, size, start: path.start, files, why })
    }

    fn write(&self, out: &mut String) {
        let start = match self.start {
            Start::SystemRoot => "$windows".to_owned(),
            Start::Drive(letter) => quoted(&format!("{letter}:")),
            Start::Volume => "$drives".to_owned(),
        };
        let files: Vec<String> = self.files.iter().map(|file| quoted(file)).collect();
        let why = match self.why {
            Why::NotOnServer => "'not on the symbol server'",
            Why::NotAsked => "$unknown",
        };
        let Self { name, timestamp, size, .. } = self;
        // Writing to a String does not fail.
        let _ = writeln!(
            out,
            "    @{{ Name = {}; Stamp = '{timestamp:08X}'; Size = {size:#x}; In = {start}; File = {}; Why = {why} }}",
            quoted(name.as_str()),
            files.join(", "),
        );
    }
}

/// True for text that stays what it is between single quotes. PowerShell takes four typographic quotes for the plain
/// one, and ends no string at a line's end.
fn is_quotable(text: &str) -> bool {
    !text.chars().any(|c| is_deceptive(c) || matches!(c, '\u{2018}'..='\u{201f}' | '`'))
}

/// Between single quotes PowerShell expands nothing; a single quote is written twice.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

const SCRIPT: &str = r#"# This script was written by mkdump.
#
# What for:     to understand a trace that was made on this computer, the driver files listed below are needed, in
#               exactly the version that was running. Those that are not Windows' own are only on this computer.
# What it does: copies listed files into mkdump-modules.zip in the current directory. A file is copied only if two
#               numbers in its header (time stamp and size) are those of the version that was running, and where the
#               list says "if not by Microsoft", only if its publisher is another.
# What not:     it opens no other file, changes nothing, sends nothing and uses no network. You send the zip yourself.
# The trace itself can be cut to what is needed, without names of people and computers: see `mkdump extract`.
# How to run:   powershell -ExecutionPolicy Bypass -File .\mkdump-request.ps1
#               As administrator only if it says that a file could not be read.

$ErrorActionPreference = 'Stop'
if ([Environment]::Is64BitOperatingSystem -and -not [Environment]::Is64BitProcess) {
    throw 'Please run this in 64-bit PowerShell: the 32-bit one is shown other files.'
}
$windows = $env:SystemRoot
$drives = [IO.DriveInfo]::GetDrives() | Where-Object { $_.DriveType -eq 'Fixed' } | ForEach-Object { $_.Name.TrimEnd('\') }
$unknown = 'needed if not by Microsoft'

# Each module: its name, time stamp and size (in whole pages), where to look for it, why it is needed.
$modules = @(
    ROWS
)

# The time stamp and size in the header of a program file.
function Read-Header([string] $path) {
    $stream = [IO.File]::Open($path, 'Open', 'Read', 'ReadWrite, Delete')
    try {
        $reader = New-Object IO.BinaryReader $stream
        $stream.Position = 0x3c
        $header = $reader.ReadUInt32()
        $stream.Position = $header + 8
        $stamp = $reader.ReadUInt32()
        $stream.Position = $header + 80
        $size = $reader.ReadUInt32()
        @{ Stamp = '{0:X8}' -f $stamp; Size = $size; Pages = [Math]::Ceiling($size / 4096) * 4096 }
    } finally {
        $stream.Dispose()
    }
}

# Copies one module into the zip, and says what became of it.
function Copy-Module($module, $zip) {
    $result = 'not found'
    foreach ($root in $module.In) {
        foreach ($file in $module.File) {
            $path = $root + $file
            if (-not [IO.File]::Exists($path)) { continue }
            try { $header = Read-Header $path } catch { $result = "could not be read: $_"; continue }
            if ($header.Stamp -ne $module.Stamp -or $header.Pages -ne $module.Size) { $result = 'another version'; continue }
            $company = [Diagnostics.FileVersionInfo]::GetVersionInfo($path).CompanyName
            if ($module.Why -eq $unknown -and $company -eq 'Microsoft Corporation') { return 'left out: by Microsoft' }
            $entry = '{0}/{1}{2:x}/{0}' -f $module.Name, $header.Stamp, $header.Size
            try { [void] [IO.Compression.ZipFileExtensions]::CreateEntryFromFile($zip, $path, $entry) }
            catch { $result = "could not be copied: $_"; continue }
            return 'copied'
        }
    }
    $result
}

Add-Type -AssemblyName System.IO.Compression
Add-Type -AssemblyName System.IO.Compression.FileSystem
$target = Join-Path (Get-Location).Path 'mkdump-modules.zip'
# A zip that an earlier run of this script has left is replaced.
$stream = [IO.File]::Open($target, 'Create')
$zip = New-Object IO.Compression.ZipArchive $stream, 'Create'
try {
    foreach ($module in $modules) {
        '{0,-32} {1,-28} {2}' -f $module.Name, $module.Why, (Copy-Module $module $zip)
    }
} finally {
    $zip.Dispose()
    $stream.Dispose()
}
"Written: $target. Please send this file to whoever asked you for it."
"#;

#[cfg(test)]
mod tests {
    use super::{Request, RequestItem, Wanted, Why};

    fn item(name: &str, path: &str) -> RequestItem {
        let wanted = Wanted {
            name: name.into(),
            path: Some(path.into()),
            timestamp: Some(0xe873_70bb),
            size: 0x9a000,
            ..Default::default()
        };
        RequestItem { wanted, why: Why::NotOnServer }
    }

    fn rows(items: &[RequestItem]) -> Vec<String> {
        let script = Request::new(items).script();
        script
            .lines()
            .filter(|line| line.trim_start().starts_with("@{ Name"))
            .map(|line| line.trim().to_owned())
            .collect()
    }

    #[test]
    fn the_script_runs_again() {
        // The `Create` of ZipFile fails if the file exists; that of File replaces it.
        let script = Request::default().script();
        assert!(script.contains("[IO.File]::Open($target, 'Create')") && !script.contains("ZipFile]::Open"));
    }

    #[test]
    fn the_owner_hears_how_the_trace_itself_is_shared() {
        let script = Request::default().script();
        let comments = script.lines().filter(|line| line.starts_with('#'));
        assert_eq!(comments.filter(|line| line.contains("`mkdump extract`")).count(), 1);
    }

    #[test]
    fn each_module_is_one_line() {
        let check = |item: RequestItem, row: &str| assert_eq!(rows(&[item]), [row]);
        check(
            item("foo.sys", r"\SystemRoot\System32\drivers\foo.sys"),
            r"@{ Name = 'foo.sys'; Stamp = 'E87370BB'; Size = 0x9a000; In = $windows; File = '\System32\drivers\foo.sys'; Why = 'not on the symbol server' }",
        );
        check(
            RequestItem { why: Why::NotAsked, ..item("it's.sys", r"\??\C:\A & $B\it's.sys") },
            r"@{ Name = 'it''s.sys'; Stamp = 'E87370BB'; Size = 0x9a000; In = 'C:'; File = '\A & $B\it''s.sys'; Why = $unknown }",
        );
        check(
            item("dump_x.sys", r"\Device\HarddiskVolume3\d\dump_x.sys"),
            r"@{ Name = 'dump_x.sys'; Stamp = 'E87370BB'; Size = 0x9a000; In = $drives; File = '\d\dump_x.sys', '\d\x.sys'; Why = 'not on the symbol server' }",
        );
        let odd = item("odd.sys", r"\SystemRoot\odd.sys");
        let odd = RequestItem { wanted: Wanted { size: 0x99001, ..odd.wanted }, ..odd };
        assert!(rows(&[odd.clone(), odd])[0].contains("Size = 0x9a000"), "sizes count in whole pages");
    }

    #[test]
    fn what_could_be_misread_is_refused_and_said() {
        let hostile = [
            item("a.sys\n'; Remove-Item C:\\", r"\SystemRoot\a.sys"),
            item("a.sys", "\\SystemRoot\\a\r\nb.sys"),
            item("a.sys", "\\SystemRoot\\a\u{2019}; evil; \u{2018}.sys"),
            item("a\u{201b}.sys", r"\SystemRoot\a.sys"),
            item("a\u{202e}.sys", r"\SystemRoot\a.sys"),
            item("a`.sys", r"\SystemRoot\a.sys"),
            item("..", r"\SystemRoot\a.sys"),
            item("a.sys", r"\SystemRoot\..\..\a.sys"),
            item("a.sys", r"\Device\Mup\host\share\a.sys"),
            item("a.sys", "a.sys"),
            item("con.sys", r"\SystemRoot\con.sys"),
        ];
        for item in hostile {
            let request = Request::new(std::slice::from_ref(&item));
            assert_eq!((request.modules().count(), request.left_out().len()), (0, 1), "{item:?}");
            assert_eq!(request.script(), Request::default().script());
        }
        let silent = item("a.sys", r"\SystemRoot\a.sys");
        for wanted in [
            Wanted { timestamp: Some(0), ..silent.wanted.clone() },
            Wanted { size: 0, ..silent.wanted.clone() },
            Wanted { size: 0xffff_f001, ..silent.wanted.clone() },
            Wanted { path: None, ..silent.wanted.clone() },
        ] {
            assert_eq!(Request::new(&[RequestItem { wanted, why: Why::NotAsked }]).left_out().len(), 1);
        }
    }

    #[test]
    fn the_script_is_short_ascii_and_closed() {
        let script = Request::new(&[item("foo.sys", r"\SystemRoot\foo.sys")]).script();
        assert!(script.is_ascii() && script.lines().count() < 90 && script.lines().all(|line| line.len() <= 180));
        assert!(!script.replace("\r\n", "").contains(['\n', '\r']), "every line ends in CR LF");
        // Brackets outside of strings and comments close in order.
        let mut open = Vec::new();
        for line in script.lines().filter(|line| !line.trim_start().starts_with('#')) {
            let mut quote = None;
            for c in line.chars() {
                match (quote, c) {
                    (None, '\'' | '"') => quote = Some(c),
                    (Some(end), c) if c == end => quote = None,
                    (Some(_), _) => {}
                    (None, '(' | '[' | '{') => open.push(c),
                    (None, ')') => assert_eq!(open.pop(), Some('('), "{line}"),
                    (None, ']') => assert_eq!(open.pop(), Some('['), "{line}"),
                    (None, '}') => assert_eq!(open.pop(), Some('{'), "{line}"),
                    _ => {}
                }
            }
            assert_eq!(quote, None, "{line}");
        }
        assert_eq!(open, []);
        let foreign = Request::new(&[item("é.sys", r"\SystemRoot\é.sys")]).script();
        assert!(foreign.starts_with('\u{feff}') && foreign.contains("'é.sys'"));
    }
}
