//! What is known of kernels by their names and builds.

use pe_image::ImportOptimizationDefault::{Absent, On, Undecided};
use pe_image::{import_optimization_by_default, is_kernel_file_name};

#[test]
fn import_optimization_by_build_and_revision() {
    let cases = [
        (9600, None, Absent),
        (17134, Some(9999), Absent),
        (17763, Some(107), Absent),
        (17763, Some(347), Absent),
        (17763, Some(348), Undecided),
        (17763, None, Undecided),
        (18362, Some(1), Undecided),
        (18363, None, Undecided),
        (19041, None, On),
        (26100, Some(4652), On),
    ];
    for (build, revision, expected) in cases {
        assert_eq!(import_optimization_by_default(build, revision), expected, "{build}.{revision:?}");
    }
}

#[test]
fn the_kernel_by_its_file_name() {
    for (name, expected) in [
        ("ntoskrnl.exe", true),
        ("NTKRLA57.EXE", true),
        ("ntkrpamp", true),
        ("ntoskrnl.sys", false),
        ("ntkrla57.exe.bak", false),
        ("nt", false),
        ("", false),
    ] {
        assert_eq!(is_kernel_file_name(name), expected, "{name}");
    }
}
