//! Each rule is broken once, in a dump that testkit assembles and that is right otherwise.

use mdmp::{Report, Severity, validate};
use proptest::prelude::*;
use testkit::dump::user::{Recipe, RecipeRange};

fn rules(report: &Report) -> Vec<&'static str> {
    let mut rules: Vec<&str> = report.findings.iter().map(|finding| finding.rule.id).collect();
    rules.dedup();
    rules
}

/// Spoils a good dump and expects findings of exactly these rules.
#[track_caller]
fn check(wanted: &[&str], spoil: impl FnOnce(&mut Recipe)) {
    check_recipe(wanted, Recipe::good(), spoil);
}

#[track_caller]
fn check64(wanted: &[&str], spoil: impl FnOnce(&mut Recipe)) {
    check_recipe(wanted, Recipe::good64(), spoil);
}

#[track_caller]
fn check_recipe(wanted: &[&str], mut recipe: Recipe, spoil: impl FnOnce(&mut Recipe)) {
    spoil(&mut recipe);
    let report = validate(&recipe.build()).unwrap();
    let text: Vec<String> = report.findings.iter().map(ToString::to_string).collect();
    assert_eq!(rules(&report), wanted, "{text:#?}");
    for finding in &report.findings {
        assert!(finding.to_string().contains(finding.rule.readers[0]), "{finding}");
    }
}

/// Spoils a field of a good dump and expects the finding to name the place of bytes that changed.
#[track_caller]
fn check_place(rule: &str, spoil: impl FnOnce(&mut Recipe)) {
    let mut recipe = Recipe::good();
    let good = recipe.build();
    spoil(&mut recipe);
    let spoiled = recipe.build();
    let findings = validate(&spoiled).unwrap().findings;
    let at = findings.iter().find(|finding| finding.rule.id == rule).unwrap().offset as usize;
    assert_eq!(good.len(), spoiled.len());
    assert!(good[at..at + 8] != spoiled[at..at + 8], "{rule}: {at:#x}");
}

fn thread(recipe: &mut Recipe) -> &mut testkit::dump::user::RecipeThread {
    &mut recipe.threads.as_mut().unwrap()[0]
}

fn module(recipe: &mut Recipe) -> &mut testkit::dump::user::RecipeModule {
    &mut recipe.modules.as_mut().unwrap()[0]
}

#[test]
fn good_dumps_have_no_findings() {
    check(&[], |_| ());
    check64(&[], |_| ());
    // Other writers' version words and flags.
    check(&[], |recipe| (recipe.version, recipe.flags) = (0x6380_a793, 0));
    check64(&[], |recipe| recipe.flags = 0x1806);
    // Unused directory entries, as Windows writes them.
    check(&[], |recipe| recipe.entries = vec![(0, 0, 0), (0, 0, 0)]);
}

#[test]
fn header_and_directory() {
    check(&["version"], |recipe| recipe.version = 0xa792);
    check(&["stream-bounds"], |recipe| recipe.entries.push((0x9999, 0x10, 0x7fff_0000)));
    check(&["stream-overlap"], |recipe| recipe.entries.push((0x9999, 0x10, 0x10)));
    check(&["stream-twice", "stream-overlap"], |recipe| recipe.entries.push((7, 56, 8)));
    check(&["stream-unknown", "stream-overlap"], |recipe| recipe.entries.push((24, 4, 8)));
    check(&["format"], |recipe| recipe.entries.push((14, 4, 32 + 7 * 12)));
}

#[test]
fn system_and_process() {
    check(&["system-info"], |recipe| recipe.architecture = None);
    check(&["architecture"], |recipe| recipe.architecture = Some(0xffff));
    check(&["platform"], |recipe| recipe.platform = 0);
    check(&["misc-info"], |recipe| recipe.process_id = None);
}

#[test]
fn findings_name_the_field() {
    check_place("version", |recipe| recipe.version = 0xa792);
    check_place("memory32-flag", |recipe| recipe.flags = 0x6002);
    check_place("architecture", |recipe| recipe.architecture = Some(0xffff));
    check_place("platform", |recipe| recipe.platform = 0);
    check_place("thread-id", |recipe| thread(recipe).id = 0);
    check_place("stack", |recipe| thread(recipe).stack = (0, 0));
}

/// Spoils a good dump and expects the finding at `plus` in the stream of this type.
#[track_caller]
fn check_field(rule: &str, stream: u32, plus: usize, spoil: impl FnOnce(&mut Recipe)) {
    let mut recipe = Recipe::good();
    spoil(&mut recipe);
    let file = recipe.build();
    let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
    let entry = (0..word(8) as usize).map(|index| word(12) as usize + 12 * index).find(|&at| word(at) == stream);
    let start = word(entry.unwrap() + 8) as usize;
    let findings = validate(&file).unwrap().findings;
    let found = findings.iter().find(|finding| finding.rule.id == rule).unwrap();
    assert_eq!(found.offset, (start + plus) as u64, "{found:?}");
}

/// Offsets in the structures: `MINIDUMP_THREAD` and `MINIDUMP_MODULE` of minidumpapiset.h, after a count of 4 bytes.
#[test]
fn findings_name_the_offset() {
    check_field("platform", 7, 20, |recipe| recipe.platform = 0);
    check_field("thread-teb", 3, 4 + 16, |recipe| thread(recipe).teb = 0);
    check_field("teb-memory", 3, 4 + 16, |recipe| thread(recipe).teb = 0x1_0ff0);
    check_field("stack", 3, 4 + 24, |recipe| thread(recipe).stack = (0, 0));
    check_field("context-align", 3, 4 + 40, |recipe| thread(recipe).context_shift = 4);
    check_field("module", 4, 4, |recipe| module(recipe).size = 0);
    check_field("no-codeview", 4, 4 + 76, |recipe| module(recipe).codeview.clear());
    check_field("codeview", 4, 4 + 76, |recipe| module(recipe).codeview[0] = b'X');
    check_field("codeview-elf", 4, 4 + 76, |recipe| module(recipe).codeview[..4].copy_from_slice(b"LEpB"));
}

#[test]
fn flags_and_lists() {
    check64(&["memory64-flag"], |recipe| recipe.flags = 0x6000);
    check(&["memory32-flag"], |recipe| recipe.flags = 0x6002);
    check(&["both-lists"], |recipe| recipe.list64 = true);
    check(&["no-memory", "teb-memory", "stack"], |recipe| recipe.list32 = false);
    check(&["memory-list-padding"], |recipe| recipe.padded = vec![5]);
    check64(&["memory64-size"], |recipe| recipe.list64_size_error = 16);
}

#[test]
fn memory() {
    let range = |start, byte| RecipeRange { start, bytes: vec![byte; 0x100], size_error: 0 };
    check(&["memory-bounds"], |recipe| {
        recipe.ranges.push(RecipeRange { size_error: 1, ..range(0x5_0000, 0) });
    });
    check64(&["memory-bounds"], |recipe| {
        recipe.ranges.push(RecipeRange { size_error: 1, ..range(0x5_0000, 0) });
    });
    check(&["memory-address"], |recipe| recipe.ranges.push(range(u64::MAX - 0xfe, 0)));
    check(&["memory-address"], |recipe| recipe.ranges.push(RecipeRange { bytes: vec![], ..range(0x5_0000, 0) }));
    check(&["memory-overlap"], |recipe| recipe.ranges.push(range(0xffff_f804_1234_0080, 0x4e)));
    check(&["memory-overlap-same"], |recipe| recipe.ranges.push(range(0xffff_f804_1234_0080, 0x4d)));
    check64(&["memory64-overlap", "memory-info-start"], |recipe| {
        recipe.ranges.push(range(0xffff_f804_1234_0080, 0x4d));
    });
    // A long range covers several short ones: each is reported.
    check(&["memory-overlap"], |recipe| {
        recipe.ranges.push(range(0xffff_f804_1234_0010, 1));
        recipe.ranges.push(range(0xffff_f804_1234_0200, 2));
    });
    check(&["address-extension", "context"], |recipe| {
        recipe.architecture = Some(0);
        for range in &mut recipe.ranges {
            range.start &= 0xffff_ffff;
        }
        module(recipe).base = 0xffff_ffff_1234_0000;
        recipe.ranges[0].start = 0xffff_ffff_1234_0000;
    });
    check(&["memory-info"], |recipe| recipe.regions = None);
    check64(&["memory-info-64"], |recipe| recipe.regions = None);
    check64(&["memory-info-start"], |recipe| recipe.regions = Some(vec![0xffff_f804_1234_0000, 0x1_0000, 0x2_0000]));
}

#[test]
fn threads() {
    check(&["thread"], |recipe| recipe.threads = None);
    check(&["thread"], |recipe| recipe.threads = Some(vec![]));
    check(&["thread-id"], |recipe| thread(recipe).id = 0);
    check(&["thread-id-twice"], |recipe| {
        let again = thread(recipe).clone();
        recipe.threads.as_mut().unwrap().push(again);
    });
    check(&["thread-teb"], |recipe| thread(recipe).teb = 0);
    check(&["teb-memory"], |recipe| thread(recipe).teb = 0x1_0ff0);
    check(&["stack"], |recipe| thread(recipe).stack = (0, 0));
    check(&["stack"], |recipe| thread(recipe).stack = (0x2_0000, 0x1001));
    check(&["thread-list-padding"], |recipe| recipe.padded = vec![3]);
    check(&["context"], |recipe| thread(recipe).context_flags = 0x1_0007);
    check(&["context"], |recipe| thread(recipe).context_size = 716);
    check(&["context-align"], |recipe| thread(recipe).context_shift = 4);
    // No registers at all is fine: dbgeng shows zeros.
    check(&[], |recipe| thread(recipe).context_size = 0);
    check(&[], |recipe| recipe.exception = Some(1));
    check(&["exception-thread"], |recipe| recipe.exception = Some(2));
}

#[test]
fn modules() {
    check(&["module-list"], |recipe| recipe.modules = None);
    check(&["module"], |recipe| module(recipe).size = 0);
    check(&["module-name"], |recipe| module(recipe).name = None);
    check(&["no-codeview"], |recipe| module(recipe).codeview.clear());
    check(&["codeview"], |recipe| module(recipe).codeview[0] = b'X');
    check(&["codeview-elf"], |recipe| module(recipe).codeview[..4].copy_from_slice(b"LEpB"));
    check(&["module-list-padding"], |recipe| recipe.padded = vec![4]);
    check(&["module-header"], |recipe| module(recipe).base += 0x800);
    check(&["module-overlap", "module-header"], |recipe| {
        let mut other = module(recipe).clone();
        other.base += 0x1800;
        recipe.modules.as_mut().unwrap().push(other);
    });
}

#[test]
fn messages_show_what_the_file_says() {
    let mut recipe = Recipe::good();
    module(&mut recipe).codeview[..4].copy_from_slice(b"X\0YZ");
    let text = validate(&recipe.build()).unwrap().findings[0].to_string();
    assert!(text.contains(r#"begins "X\x00YZ", allowed are RSDS"#), "{text}");
}

#[test]
fn every_rule_has_a_case_above() {
    let source = include_str!("validate.rs");
    // The rules of triage dumps are broken in tests/kernel.rs.
    for rule in mdmp::RULES.iter().filter(|rule| !rule.id.starts_with("triage-")) {
        assert!(source.contains(&format!("\"{}\"", rule.id)), "no case breaks {:?}", rule.id);
        assert!(!rule.text.is_empty() && !rule.readers.is_empty());
    }
    assert!(Severity::Refused > Severity::Degraded && Severity::Degraded > Severity::Note);
}

#[test]
fn a_million_findings_are_told_briefly() {
    let mut recipe = Recipe::good();
    let one = thread(&mut recipe).clone();
    recipe.threads = Some(vec![one; 1000]);
    let report = validate(&recipe.build()).unwrap();
    assert_eq!(report.findings.len() as u64, Report::PER_RULE);
    assert_eq!(report.omitted, 999 - Report::PER_RULE);
}

#[test]
fn no_dump_at_all() {
    for bytes in [&b""[..], b"MD", b"PK\x03\x04", &[0; 64]] {
        assert!(validate(bytes).unwrap_err().to_string().contains("Signature"));
    }
    // The magic alone is a dump that is cut: a report.
    assert_eq!(rules(&validate(b"MDMP").unwrap()), ["format"]);
}

#[test]
fn every_cut_is_reported() {
    for recipe in [Recipe::good(), Recipe::good64()] {
        let file = recipe.build();
        for len in (4..file.len()).step_by(97).chain([file.len() - 1]) {
            let report = validate(&file[..len]).unwrap();
            assert!(report.at_least(Severity::Refused).next().is_some(), "cut at {len:#x}: {:?}", report.findings);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damage_never_panics(full in any::<bool>(), edits in proptest::collection::vec((0..0x1000usize, any::<u8>()), 1..8)) {
        let mut file = if full { Recipe::good64() } else { Recipe::good() }.build();
        for (at, byte) in edits {
            // Most structures lie in front.
            let at = at % file.len();
            file[at] = byte;
        }
        let _ = validate(&file);
    }
}
