//! A resource section that holds one version resource.

use crate::Asm;
use crate::image::VersionSpec;

/// The bytes of a `.rsrc` section at `rva`.
pub(super) fn section(version: &VersionSpec, rva: u32) -> Vec<u8> {
    let info = version_info(version);
    let mut asm = Asm::new();
    // Three levels of directories with one entry each: type 16 (version), name 1, language 0x409.
    for (level, id) in [16, 1, 0x409].into_iter().enumerate() {
        asm.u32(0).u32(0).u16(0).u16(0).u16(0).u16(1).u32(id);
        let next = 24 * (level as u32 + 1);
        asm.u32(if level < 2 { next | 0x8000_0000 } else { next });
    }
    asm.u32(rva + 88).u32(info.len() as u32).u32(0).u32(0);
    assert_eq!(asm.len(), 88);
    asm.bytes(&info);
    asm.finish()
}

/// VS_VERSIONINFO.
fn version_info(version: &VersionSpec) -> Vec<u8> {
    let mut fixed = Asm::new();
    fixed.u32(0xfeef_04bd).u32(0x1_0000);
    for [a, b, c, d] in [version.file, version.product] {
        fixed.u16(b).u16(a).u16(d).u16(c);
    }
    fixed.u32(0x3f).u32(0).u32(0x4_0004).u32(3).u32(7).u32(0).u32(0);
    let strings = version.strings.iter().map(|(key, value)| {
        let mut text = Asm::new();
        text.utf16z(value);
        node(key, 1, value.encode_utf16().count() as u16 + 1, &text.finish(), &[])
    });
    let table = node("040904B0", 1, 0, &[], &strings.collect::<Vec<_>>());
    let string_info = node("StringFileInfo", 1, 0, &[], &[table]);
    let translation = node("Translation", 0, 4, &[0x09, 0x04, 0xb0, 0x04], &[]);
    let var_info = node("VarFileInfo", 1, 0, &[], &[translation]);
    node("VS_VERSION_INFO", 0, 52, &fixed.finish(), &[string_info, var_info])
}

/// `u16 length, u16 value length, u16 type, key, padding, value, padding, children`.
fn node(key: &str, kind: u16, value_length: u16, value: &[u8], children: &[Vec<u8>]) -> Vec<u8> {
    let mut asm = Asm::new();
    asm.u16(0).u16(value_length).u16(kind).utf16z(key).align(4, 0).bytes(value);
    for child in children {
        asm.align(4, 0).bytes(child);
    }
    let length = asm.len() as u16;
    asm.put(0, &length.to_le_bytes());
    asm.finish()
}
