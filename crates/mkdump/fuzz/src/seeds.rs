//! Where the fuzzer starts: small good files of each kind.

use std::io::{Cursor, Write};

use testkit::catalog::{self, Module, lzx_stored, szdd_stored};

/// Target, name and bytes.
pub fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let pdb = Some(("ed706a38-6592-40a0-66e6-fb19b994baaa", 1, "foo.pdb"));
    let image = Module { pdb, ..Default::default() }.file();
    vec![
        ("packed", "image", image.clone()),
        ("packed", "szdd", szdd_stored(&image, b's')),
        ("packed", "cabinet", cabinet(cab::CompressionType::MsZip, &image)),
        ("packed", "stored-cabinet", cabinet(cab::CompressionType::None, &image)),
        ("packed", "lzx", catalog::cabinet(0xf03, &[(&lzx_stored(&image, [1; 3]), image.len() as u16)])),
        ("packed", "zip", zip(&[("a/foo.sys", &image), ("b.txt", b"text")])),
        ("packed", "nested", zip(&[("foo.sy_", &cabinet(cab::CompressionType::MsZip, &image))])),
        ("text", "module", b"foo.sys\n\\SystemRoot\\System32\\drivers\\foo.sys".to_vec()),
        ("text", "copy", b"dump_it's.sys\n\\??\\C:\\d\\dump_it's.sys".to_vec()),
        ("text", "volume", b"x.sys\n\\Device\\HarddiskVolume3\\x.sys".to_vec()),
        ("text", "symbol-path", b"x\nsrv*c:\\a*https://host;cache*;symsrv*symsrv.dll*\\\\h\\s*http://h".to_vec()),
    ]
}

fn cabinet(kind: cab::CompressionType, bytes: &[u8]) -> Vec<u8> {
    let mut builder = cab::CabinetBuilder::new();
    builder.add_folder(kind).add_file("foo.sys");
    let mut writer = builder.build(Cursor::new(Vec::new())).unwrap();
    writer.next_file().unwrap().unwrap().write_all(bytes).unwrap();
    writer.finish().unwrap().into_inner()
}

fn zip(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in members {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}
