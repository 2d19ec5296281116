//! Serialisation of the plain values.

use mdmp::user::{Architecture, CodeView, Module, SystemInfo};

#[test]
fn plain_values_come_back_from_json() {
    let mut module = Module::new("driver.sys", 0xffff_f804_1234_0000, 0x3000);
    module.codeview = Some(CodeView::Rsds { guid: [0x11; 16], age: 1, pdb: "driver.pdb".into() });
    let json = serde_json::to_string(&module).unwrap();
    assert_eq!(serde_json::from_str::<Module>(&json).unwrap(), module);
    let system = SystemInfo::new(Architecture::AMD64, 10, 0, 19041);
    let json = serde_json::to_string(&system).unwrap();
    assert_eq!(serde_json::from_str::<SystemInfo>(&json).unwrap(), system);
}

#[test]
fn a_report_becomes_json_with_its_rules() {
    let mut dump = mdmp::user::Dump::new(SystemInfo::new(Architecture::AMD64, 10, 0, 19041));
    dump.modules.push(Module::new("driver.sys", 0xffff_f804_1234_0000, 0x3000));
    dump.add_placeholder(1, 0xffff_f804_1234_1000).unwrap();
    let mut file = Vec::new();
    dump.plan().unwrap().write_to(&mut file).unwrap();
    let report = mdmp::validate(&file).unwrap();
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["format"], "UserMinidump");
    let findings = json["findings"].as_array().unwrap();
    assert_eq!(findings.len(), report.findings.len());
    for (json, finding) in findings.iter().zip(&report.findings) {
        assert_eq!(json["rule"]["id"], finding.rule.id);
        assert_eq!(json["message"], finding.message);
    }
}
