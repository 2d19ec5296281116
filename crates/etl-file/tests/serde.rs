//! Serialisation of the plain values.

use etl_file::{Guid, Module, Process, SurveyOptions, System, Trace};
use testkit::trace::{Module as Logged, Payload, TraceFile};

#[test]
fn what_a_survey_found_comes_back_from_json() {
    let mut file = TraceFile::new();
    let base = 0xffff_f800_0000_0000;
    let pdb = "e4ff4c2b-3a0a-4a4b-9c9b-2d6a1fdd3eaf";
    file.system(1_000_001, "BOX", 4652);
    file.module(0, 2_000_000, &Logged::kernel(r"\SystemRoot\ntoskrnl.exe", base, 0x1000).with_pdb("nt.pdb", pdb, 1));
    let (name, command_line) = ("a.exe".to_owned(), "a".to_owned());
    let process = Payload::Process { opcode: 1, pid: 8, directory_table_base: 0x1000, name, command_line, sid: None };
    file.payload(0, 2_000_001, &process);
    let file = file.finish();
    let found = Trace::parse(&file).unwrap().survey(&SurveyOptions::default());

    let json = serde_json::to_value(&found.modules).unwrap();
    assert_eq!(json[0]["pdb"]["guid"], pdb.to_uppercase());
    assert_eq!(json[0]["first_seen"], 2_000_000);
    assert_eq!(serde_json::from_value::<Vec<Module>>(json).unwrap(), found.modules);
    let json = serde_json::to_value(&found.processes).unwrap();
    assert_eq!(serde_json::from_value::<Vec<Process>>(json).unwrap(), found.processes);
    let json = serde_json::to_string(&found.system).unwrap();
    assert_eq!(serde_json::from_str::<System>(&json).unwrap(), found.system);
    let json = serde_json::to_string(&found.header).unwrap();
    assert_eq!(serde_json::from_str::<etl_file::LogHeader>(&json).unwrap(), found.header);
    assert!(serde_json::from_str::<Guid>("\"no guid\"").is_err());
}
