//! The library guide's program is the example, and the example does what the guide says.

use std::path::Path;

use mkdump::report::Status;

#[path = "../examples/build.rs"]
#[expect(dead_code, reason = "its main takes arguments")]
mod example;

#[test]
fn the_guide_shows_the_example() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let guide = std::fs::read_to_string(root.join("docs/library.md")).unwrap().replace('\r', "");
    let program = include_str!("../examples/build.rs").replace('\r', "");
    assert!(
        guide.contains(&format!("```rust\n{program}```")),
        "docs/library.md shows another crates/mkdump/examples/build.rs"
    );
}

#[test]
fn the_example_builds_a_dump() {
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mkdump-cli/demo");
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("out.dmp");
    let report = example::build(&demo.join("demo.etl"), &demo.join("modules"), &output).unwrap();
    assert_eq!(report.modules.iter().filter(|module| module.status == Status::Included).count(), 5);
    assert_eq!(std::fs::metadata(output).unwrap().len(), report.bytes);
}
