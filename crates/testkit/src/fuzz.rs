//! What the tests around fuzz targets share.

use std::path::Path;

/// Runs a fuzz target's body on each file in `fuzz/regressions/TARGET` of a crate, given its `CARGO_MANIFEST_DIR`.
///
/// # Panics
/// When the body does, or when the directory is empty or not there: then nothing would be tested.
pub fn replay(manifest: &str, target: &str, body: fn(&[u8])) {
    let directory = Path::new(manifest).join("fuzz/regressions").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
        let path = entry.expect("an entry of a directory").path();
        // Tests print only when they fail: then the last line names the file.
        println!("{}", path.display());
        body(&std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())));
        count += 1;
    }
    assert!(count > 0, "{} is empty", directory.display());
}
