//! Outputs that are whole or not there.

use std::io::Write;

use super::{Output, OutputDirectory};

fn names(dir: &std::path::Path) -> Vec<String> {
    std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn only_a_committed_file_bears_the_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.dmp");
    let mut output = Output::create(&path).unwrap();
    output.write_all(b"half").unwrap();
    assert!(!path.exists());
    drop(output);
    assert_eq!(names(dir.path()), [""; 0]);

    let mut output = Output::create(&path).unwrap();
    output.write_all(b"whole").unwrap();
    output.commit().unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"whole");
    assert_eq!(names(dir.path()), ["out.dmp"]);
}

#[test]
fn a_directory_is_there_with_all_files_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out");
    let output = OutputDirectory::create(&path).unwrap();
    output.file("one.bin").unwrap().write_all(b"1").unwrap();
    let [name] = &names(dir.path())[..] else { panic!("one entry") };
    assert!(name.starts_with(".out.") && name.ends_with(".partial"), "{name}");
    drop(output);
    assert_eq!(names(dir.path()), [""; 0]);

    let output = OutputDirectory::create(&path).unwrap();
    output.file("one.bin").unwrap().write_all(b"1").unwrap();
    output.commit().unwrap();
    assert_eq!((names(dir.path()), names(&path)), (vec!["out".to_owned()], vec!["one.bin".to_owned()]));
    assert!(OutputDirectory::create(&path).unwrap_err().source.to_string().contains("exists"));
}

#[test]
fn a_finished_output_whose_name_is_refused_is_kept_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let (file, directory) = (dir.path().join("out.dmp"), dir.path().join("out"));
    let mut output = Output::create(&file).unwrap();
    output.write_all(b"whole").unwrap();
    let whole = OutputDirectory::create(&directory).unwrap();
    whole.file("one.bin").unwrap().write_all(b"1").unwrap();
    // What comes into the way while the outputs are written.
    for path in [&file, &directory] {
        std::fs::create_dir_all(path.join("something")).unwrap();
    }
    let errors = [output.commit().unwrap_err(), whole.commit().unwrap_err()];
    let kept = names(dir.path()).into_iter().filter(|name| name.ends_with(".partial")).collect::<Vec<_>>();
    assert_eq!(kept.len(), 2, "{kept:?}");
    for name in kept {
        let said = errors.iter().any(|error| error.source.to_string().contains(&name));
        assert!(said, "no {name} in {errors:?}");
        let path = dir.path().join(name);
        let bytes = if path.is_dir() { std::fs::read(path.join("one.bin")) } else { std::fs::read(path) };
        assert!([&b"whole"[..], b"1"].contains(&&*bytes.unwrap()));
    }
}

#[cfg(windows)]
#[test]
fn a_file_that_another_program_has_open_is_refused_at_once() {
    use std::os::windows::fs::OpenOptionsExt;
    /// Others may read it, but neither write, rename nor delete it.
    const FILE_SHARE_READ: u32 = 1;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.dmp");
    std::fs::write(&path, b"old").unwrap();
    let open = std::fs::File::options().read(true).share_mode(FILE_SHARE_READ).open(&path).unwrap();
    let error = Output::create(&path).unwrap_err();
    assert!(error.source.to_string().contains("another program, such as a debugger"), "{error:?}");
    assert_eq!(names(dir.path()), ["out.dmp"]);
    drop(open);
    // Opened after the work has begun, it is refused at the end.
    let mut output = Output::create(&path).unwrap();
    output.write_all(b"new").unwrap();
    let _open = std::fs::File::options().read(true).share_mode(FILE_SHARE_READ).open(&path).unwrap();
    let error = output.commit().unwrap_err();
    assert!(error.source.to_string().contains(".partial"), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"old");
}

#[cfg(windows)]
#[test]
fn outputs_may_have_long_paths() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(120)).join("e".repeat(120));
    std::fs::create_dir_all(&deep).unwrap();
    let output = Output::create(&deep.join("out.dmp")).unwrap();
    assert!(output.place.to_string_lossy().starts_with(r"\\?\"), "{:?}", output.place);
    output.commit().unwrap();
    assert!(deep.join("out.dmp").is_file());
}

#[test]
fn long_names_leave_room_for_the_temporary_ones() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("é".repeat(127));
    Output::create(&path).unwrap().commit().unwrap();
    assert!(path.is_file());
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_devices_stay_what_they_are() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let dir = tempfile::tempdir().unwrap();
    let (real, link) = (dir.path().join("real.dmp"), dir.path().join("link.dmp"));
    std::fs::write(&real, b"old").unwrap();
    symlink(&real, &link).unwrap();
    let mut output = Output::create(&link).unwrap();
    output.write_all(b"new").unwrap();
    output.commit().unwrap();
    assert_eq!(std::fs::read(&real).unwrap(), b"new");
    assert!(link.is_symlink());

    let null = dir.path().join("null");
    symlink("/dev/null", &null).unwrap();
    let mut output = Output::create(&null).unwrap();
    output.write_all(b"bytes").unwrap();
    output.commit().unwrap();
    assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}

#[test]
fn a_directory_that_is_not_there_is_an_error_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let error = Output::create(&dir.path().join("no/out.dmp")).unwrap_err();
    assert!(error.to_string().contains("out.dmp"), "{error}");
}
