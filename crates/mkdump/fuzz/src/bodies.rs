//! The bodies of the fuzz targets.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use mkdump::request::{Request, RequestItem, Why};
use symstore::{Cache, FileName, Index, IndexOptions, Loader, NtPath, Pointer, Store, SymbolPath, Wanted};

thread_local! {
    static FILE: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
}

/// Any file in a directory of modules: what the index says of it is true of the bytes that it then gives.
pub fn packed(data: &[u8]) {
    let path =
        FILE.with_borrow_mut(|dir| dir.get_or_insert_with(|| tempfile::tempdir().unwrap()).path().join("any.sy_"));
    fs::write(&path, data).unwrap();
    let options = IndexOptions { roots: vec![path], cache: Cache::Off, ..Default::default() };
    let index = Index::build(&options).unwrap();
    let loader = Loader::new();
    for file in index.files() {
        // A member whose headers are whole may still be damaged further on.
        if let Err(error) = loader.load(file) {
            assert!(!error.is_changed(), "{error}");
        }
    }
}

/// Any text as a name, path, symbol path or pointer: what is accepted stays where it belongs. The first line is the
/// name, the rest the path.
pub fn text(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (name, path) = text.split_once('\n').unwrap_or((&text, &text));
    let root = Path::new("root");
    if let Ok(name) = FileName::new(name) {
        for name in [name.compressed(), name.clone()] {
            let place = Store::open(root).place(&name, "0A");
            assert_eq!(place, ["root", name.as_str(), "0A", name.as_str()].iter().collect::<PathBuf>());
            assert_eq!(place.components().count(), 4);
        }
    }
    if let Some(path) = NtPath::parse(path) {
        assert!(!path.components.is_empty());
        for component in &path.components {
            assert!(!component.is_empty() && !component.contains(['\\', '/', ':', '\0']), "{component:?}");
            assert!(component != "." && component != "..");
        }
    }
    let _ = Pointer::parse(path);
    let symbol_path = SymbolPath::parse(path);
    assert!(symbol_path.urls().iter().all(|url| url.to_ascii_lowercase().starts_with("http")));
    let _ = (symbol_path.directories(), symbol_path.download_store());

    let wanted = Wanted {
        name: name.to_owned(),
        path: Some(path.to_owned()),
        timestamp: Some(1),
        size: 0x1000,
        ..Default::default()
    };
    let request = Request::new(&[RequestItem { wanted, why: Why::NotOnServer }]);
    let (script, empty) = (request.script(), Request::default().script());
    let added = request.modules().count();
    assert_eq!(added + request.left_out().len(), 1);
    assert_eq!(script.lines().count(), empty.lines().count() + added);
    // Without what stands between quotes, the line of a module is always the same.
    for line in script.lines().filter(|line| line.starts_with("    @{ Name")) {
        let outside: String = line.split('\'').step_by(2).collect();
        let outside =
            outside.replace("= $windows;", "=;").replace("= $drives;", "=;").replace("= ;", "=;").replace(", ", "");
        assert_eq!(
            outside.replace("= ;", "=;"),
            "    @{ Name =; Stamp =; Size = 0x1000; In =; File =; Why =  }",
            "{line}"
        );
    }
}
