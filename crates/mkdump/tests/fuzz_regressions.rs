//! The fuzz targets on their seeds, on damaged seeds, and on every input that once made them fail.

#[path = "../fuzz/src/bodies.rs"]
mod bodies;
#[path = "../fuzz/src/seeds.rs"]
mod seeds;

use proptest::prelude::*;

fn run(target: &str, data: &[u8]) {
    match target {
        "packed" => bodies::packed(data),
        "text" => bodies::text(data),
        other => panic!("no target {other}"),
    }
}

#[test]
fn seeds_and_regressions_pass() {
    for (target, _, data) in seeds::seeds() {
        run(target, &data);
    }
    testkit::fuzz::replay(env!("CARGO_MANIFEST_DIR"), "packed", bodies::packed);
    testkit::fuzz::replay(env!("CARGO_MANIFEST_DIR"), "text", bodies::text);
}

proptest! {
    #[test]
    fn damaged_seeds_are_no_panic(
        seed in 0..seeds::seeds().len(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (target, _, mut data) = seeds::seeds().swap_remove(seed);
        for (at, value) in changes {
            // Half of the changes hit the first 512 bytes, where the headers are.
            let near = if value & 1 == 0 { data.len() } else { data.len().min(512) };
            let at = at.index(near);
            data[at] = value;
        }
        if let Some(cut) = cut {
            data.truncate(cut.index(data.len()));
        }
        run(target, &data);
    }

    #[test]
    fn any_name_and_path_stay_where_they_belong(name in "\\PC{0,20}|[a-z.' \\\\/:$%\u{2018}\u{2019}\r\n]{0,12}", path in "\\\\(SystemRoot|\\?\\?\\\\C:|Device\\\\HarddiskVolume3)(\\\\[a-z.'` \u{2019}$\n;]{0,6}){1,4}") {
        bodies::text(format!("{name}\n{path}").as_bytes());
    }
}
