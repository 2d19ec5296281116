//! The command in a directory of its own, without the environment's symbol path.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use serde_json::Value;

/// The demo's data, as it lies in the package.
pub fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("demo")
}

/// The command, run in `directory`.
pub fn mkdump(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mkdump"));
    // The user's cache directory, as Unix and as Windows name it.
    command.current_dir(directory).env("XDG_CACHE_HOME", directory.join("cache"));
    command.env("LOCALAPPDATA", directory.join("cache"));
    for name in ["_NT_SYMBOL_PATH", "_NT_EXECUTABLE_IMAGE_PATH", "_NT_ALT_SYMBOL_PATH", "NO_COLOR"] {
        command.env_remove(name);
    }
    command
}

/// What a run printed.
pub struct Run {
    /// Exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// Runs the command with these words; paths in them must not hold blanks.
pub fn run(directory: &Path, words: &str) -> Run {
    let output = mkdump(directory).args(words.split_whitespace()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A directory with the demo's trace as `trace.etl` and its modules in `modules`.
pub fn workplace() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::copy(demo().join("demo.etl"), directory.path().join("trace.etl")).unwrap();
    let modules = directory.path().join("modules");
    std::fs::create_dir(&modules).unwrap();
    for entry in std::fs::read_dir(demo().join("modules")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), modules.join(entry.file_name())).unwrap();
    }
    directory
}

/// What `docs/schema/NAME.json` has against a value.
pub fn complaints(name: &str, value: &Value) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/schema/{name}.json"));
    let schema: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}
