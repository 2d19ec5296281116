//! Modules whose files are missing: those with the same reason together, the ones that matter most first.

use mkdump::report::ipt::{FileStatus, MissingModule, ReachedModule};
use mkdump::report::{BuiltModule, Status};

use super::table::Table;
use super::text::{address, count, grouped, hex};
use super::width::hanging;

/// Rows of a group when not all are wanted.
const SHOWN: usize = 10;

/// A module without its file.
#[derive(Clone, Debug)]
pub struct Absent {
    name: String,
    base: u64,
    size: u64,
    key: Option<String>,
    /// How many packet addresses lead to it, for Intel PT data.
    hits: Option<u64>,
    /// What is there in its place.
    instead: String,
    why: String,
}

impl Absent {
    /// A module of a build that should be in the dump and is not.
    pub fn of_build(module: &BuiltModule) -> Option<Self> {
        let (instead, why) = match module.status {
            Status::Missing => (String::new(), module.reason.clone().unwrap_or_default()),
            Status::Mismatch => {
                instead(module.file.as_deref(), module.file_version.as_deref(), module.reason.as_deref())
            }
            Status::Included | Status::Excluded => return None,
        };
        let (name, key) = (module.name.clone(), module.image_key.clone());
        Some(Self { name, base: module.base.0, size: module.size.0, key, hits: None, instead, why })
    }

    /// A module that Intel PT data reaches.
    pub fn of_reached(module: &ReachedModule) -> Option<Self> {
        (module.status == FileStatus::Missing).then(|| Self {
            name: module.name.clone(),
            base: module.base.0,
            size: module.size.0,
            key: module.image_key.clone(),
            hits: Some(module.hits + module.lacked),
            instead: String::new(),
            why: module.reason.clone().unwrap_or_default(),
        })
    }
}

impl From<&MissingModule> for Absent {
    fn from(module: &MissingModule) -> Self {
        Self {
            name: module.name.clone(),
            base: module.base.0,
            size: module.size.0,
            key: module.image_key.clone(),
            hits: Some(module.times),
            instead: String::new(),
            why: module.reason.clone().unwrap_or_default(),
        }
    }
}

/// What is there instead of a module's file, and the reason that it shares with others.
fn instead(file: Option<&str>, version: Option<&str>, reason: Option<&str>) -> (String, String) {
    match (file, version) {
        (Some(file), version) => {
            (version.unwrap_or(file).to_owned(), "the file that was found is a different build".into())
        }
        (None, _) => (String::new(), reason.unwrap_or_default().to_owned()),
    }
}

/// The kernel, the HAL, then all others: the order in which a missing module costs most where nothing else tells.
pub fn rank(name: &str) -> u8 {
    match name {
        name if mkdump::is_kernel_file_name(name) => 0,
        name if name.eq_ignore_ascii_case("hal.dll") => 1,
        _ => 2,
    }
}

/// The modules by reason: the kernel, the HAL, then by packet addresses and size; a few of each, or `all`.
pub fn listed(mut modules: Vec<Absent>, all: bool, width: usize) -> String {
    modules.sort_by_key(|module| (rank(&module.name), std::cmp::Reverse((module.hits, module.size)), module.base));
    let mut groups: Vec<(String, Vec<Absent>)> = Vec::new();
    for module in modules {
        match groups.iter_mut().find(|(why, _)| *why == module.why) {
            Some((_, group)) => group.push(module),
            None => groups.push((module.why.clone(), vec![module])),
        }
    }
    let mut out = String::new();
    for (why, group) in groups {
        let number = group.len() as u64;
        let verb = if number == 1 { "is" } else { "are" };
        out += "\n";
        out += &hanging("  ", &format!("{} {verb} missing: {why}", count(number, "module")), width);
        let headings = ["name", "base", "size", "key", "packet addresses", "have"];
        let mut table = Table::new(&headings, &[2, 4]).wrapping(&[0, 5]);
        // A single row more takes no more room than the line that says so.
        let shown = if all || group.len() <= SHOWN + 1 { group.len() } else { SHOWN };
        for module in group.iter().take(shown) {
            table.row([
                module.name.clone(),
                address(module.base),
                hex(module.size),
                module.key.clone().unwrap_or_else(|| "not known".into()),
                module.hits.map(grouped).unwrap_or_default(),
                module.instead.clone(),
            ]);
        }
        out += &table.render(4, width);
        if group.len() > shown {
            out += &format!("    and {} more (-v lists them)\n", grouped((group.len() - shown) as u64));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Absent, SHOWN, listed};

    fn absent(name: &str, size: u64, why: &str) -> Absent {
        let (key, hits, instead) = (Some("5F5E10001000".to_owned()), None, String::new());
        Absent { name: name.to_owned(), base: 0xffff_f800_1000_0000, size, key, hits, instead, why: why.to_owned() }
    }

    #[test]
    fn many_missing_modules_are_a_few_rows_for_each_reason() {
        let mut modules: Vec<Absent> =
            (0..150).map(|number| absent(&format!("driver{number}.sys"), 0x1000 * number, "not found")).collect();
        modules.extend([absent("hal.dll", 1, "not found"), absent("ntoskrnl.exe", 1, "not found")]);
        modules.push(absent("other.sys", 1, "another build"));
        let text = listed(modules.clone(), false, 120);
        let names: Vec<&str> = text.lines().filter(|line| line.starts_with("    ")).collect();
        let first: Vec<&str> = names.iter().filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!(first[..4], ["name", "ntoskrnl.exe", "hal.dll", "driver149.sys"], "{text}");
        assert!(text.contains("152 modules are missing: not found\n") && text.contains("1 module is missing: another"));
        assert!(text.contains("and 142 more (-v lists them)"), "{text}");
        assert_eq!(text.lines().filter(|line| line.contains(".sys  ")).count(), SHOWN - 2 + 1, "{text}");
        assert!(!listed(modules, true, 120).contains("more (-v"));
    }
}
