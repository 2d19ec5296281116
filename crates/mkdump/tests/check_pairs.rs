//! `check --against` on pairs of dumps that testkit makes: what differs, and why, is known byte by byte.

use std::path::Path;

use mkdump::check::{CheckOptions, CheckReport, Class, ComparisonReport, Relation, Verdict, check};
use mkdump::{Search, Silent};
use proptest::prelude::*;
use symstore::Cache;
use testkit::dump::pair::{Pair, Wish};

/// Writes a pair into a directory and checks the one dump against the other.
fn compare(pair: &Pair, with_files: bool) -> CheckReport {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let modules = dir.path().join("modules");
    std::fs::create_dir(&modules).unwrap();
    for (name, bytes) in &pair.files {
        std::fs::write(modules.join(name), bytes).unwrap();
    }
    let search = Search {
        roots: if with_files { vec![modules] } else { Vec::new() },
        symbol_path: Vec::new(),
        cache: Cache::Off,
    };
    let against = Some(put("real.dmp", &pair.real));
    check(&CheckOptions { dump: put("ours.dmp", &pair.dump), against, search }, &Silent).unwrap()
}

/// Every class and every count of every module is the expected one, and every flip is unexplained.
fn judge(pair: &Pair, report: &CheckReport, with_files: bool) {
    let comparison = report.comparison.as_ref().unwrap();
    let mut met = 0;
    for module in &comparison.modules {
        let Some(expected) = pair.expected.get(&module.name) else {
            assert_eq!(module.bytes, 0, "{}", module.name);
            continue;
        };
        met += 1;
        assert_eq!(module.file.is_some(), with_files, "{}: {:?}", module.name, module.note);
        assert_eq!(module.bytes, expected.bytes, "{} of {:?}", module.name, pair.kinds);
        let counts = serde_json::to_value(module.differences).unwrap();
        let mut differing = 0;
        for class in Class::ALL {
            let name = serde_json::to_value(class).unwrap();
            let name = name.as_str().unwrap();
            let (places, bytes) = expected.classes.get(name).copied().unwrap_or_default();
            let found = (counts[name]["places"].as_u64(), counts[name]["bytes"].as_u64());
            let listed: Vec<_> = module.places.iter().filter(|place| place.class == class).collect();
            assert_eq!(found, (Some(places), Some(bytes)), "{}: {name}: {listed:#x?}", module.name);
            differing += bytes;
        }
        assert_eq!(module.differing, differing);
        let unexplained = module.places.iter().filter(|place| place.class == Class::Unexplained);
        let bytes = unexplained.flat_map(|place| place.rva.0..place.rva.0 + place.size);
        assert!(bytes.eq(expected.unexplained.iter().map(|&rva| u64::from(rva))), "{}", module.name);
    }
    assert_eq!(met, pair.expected.len());
    let flips = pair.expected.values().map(|expected| expected.unexplained.len()).sum::<usize>();
    assert_eq!(comparison.totals.differences.unexplained.bytes, flips as u64);
    let of_sites = |class: &str| class.starts_with("import_") || class.starts_with("retpoline_");
    let classes = pair.expected.values().flat_map(|expected| &expected.classes);
    let sites = classes.filter(|(class, _)| of_sites(class)).map(|(_, (places, _))| places).sum();
    let broken = report.validation.is_broken();
    let expected = match flips {
        _ if broken => Verdict::Broken,
        1.. => Verdict::Different,
        _ if sites > 0 => Verdict::OtherForm,
        _ => Verdict::Fine,
    };
    assert_eq!(report.verdict(), expected);
    assert_eq!((comparison.other_forms.sites(), comparison.relation), (sites, None));
}

fn check_pair(wish: &Wish) -> (Pair, CheckReport) {
    let pair = Pair::random(wish);
    let report = compare(&pair, !wish.without_files);
    judge(&pair, &report, !wish.without_files);
    (pair, report)
}

/// Together the pairs have all there is: no class may be without a place.
#[test]
fn every_class_is_met() {
    let mut met = [false; Class::ALL.len()];
    for seed in 0..6 {
        let (_, report) = check_pair(&Wish { seed, flips: 12, breakpoints: 6, without_files: false });
        let found = report.comparison.unwrap().totals.differences;
        for (met, class) in met.iter_mut().zip(Class::ALL) {
            *met |= found.of(class).places > 0;
        }
    }
    assert_eq!(met, [true; Class::ALL.len()], "of {:?}", Class::ALL);
}

#[test]
fn the_same_dump_twice_is_fine() {
    let wish = Wish { seed: 5, flips: 3, breakpoints: 3, without_files: false };
    let mut pair = Pair::random(&wish);
    pair.dump.clone_from(&pair.real);
    let comparison = compare(&pair, true).comparison.unwrap();
    assert_eq!((comparison.totals.differing, comparison.others.len()), (0, 0));
    assert_eq!(comparison.relation, Some(Relation::SameFile));
    assert!(comparison.totals.bytes > 0);
}

/// Flipping one byte of the real dump's code, and nothing else: found at its place.
#[test]
fn a_single_flip_is_found() {
    let wish = Wish { seed: 77, flips: 1, breakpoints: 0, without_files: false };
    let (pair, report) = check_pair(&wish);
    let flips: usize = pair.expected.values().map(|expected| expected.unexplained.len()).sum();
    assert!(flips > 0, "another seed is needed");
    assert_eq!(report.verdict(), Verdict::Different);
    let report = compare(&pair, true);
    assert!(places(report.comparison.as_ref().unwrap()).any(|class| class == Class::Unexplained));
}

fn places(comparison: &ComparisonReport) -> impl Iterator<Item = Class> + '_ {
    comparison.modules.iter().flat_map(|module| module.places.iter().map(|place| place.class))
}

#[test]
fn nothing_in_common_is_no_success() {
    let pair = Pair::random(&Wish { seed: 1, flips: 0, breakpoints: 0, without_files: false });
    let other = Pair { dump: testkit::dump::user::Recipe::good().build(), ..pair };
    let report = compare(&other, true);
    assert_eq!(report.verdict(), Verdict::NothingInCommon);
    let comparison = report.comparison.unwrap();
    assert_eq!((comparison.totals.modules, comparison.totals.bytes), (0, 0));
    assert!(comparison.others.iter().any(|module| module.reason.contains("does not list it")));
}

#[test]
fn files_that_are_no_dumps_are_errors() {
    let options = |dump: &Path| CheckOptions { dump: dump.to_owned(), ..CheckOptions::default() };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("no.dmp");
    assert!(check(&options(&path), &Silent).is_err());
    std::fs::write(&path, b"MZ and so on").unwrap();
    let error = check(&options(&path), &Silent).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("PAGEDU64"), "{error}: {cause}");
    // A dump's signature and nothing after it: a dump, and a broken one.
    for start in [&b"MDMP"[..], b"MDMPxxxx", b"PAGEDU64"] {
        std::fs::write(&path, start).unwrap();
        let result = check(&options(&path), &Silent);
        assert!(result.is_err() || result.unwrap().verdict() == Verdict::Broken, "{start:?}");
    }
}

/// More cases: `PROPTEST_CASES`.
fn cases() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|number| number.parse().ok());
    ProptestConfig { cases: cases.unwrap_or(24), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    /// Any pair, with the modules' files at hand.
    #[test]
    fn pairs(seed in any::<u64>(), flips in 0usize..40, breakpoints in 0usize..12) {
        check_pair(&Wish { seed, flips, breakpoints, without_files: false });
    }

    /// Without any module file, sites are recognised by their bytes.
    #[test]
    fn pairs_without_files(seed in any::<u64>(), flips in 0usize..20) {
        check_pair(&Wish { seed, flips, breakpoints: 0, without_files: true });
    }
}
