//! What the feature `serde` writes.

use intel_pt::{Hit, Ip, Packet, Packets, Tnt, scan};

#[test]
fn packets_survive_json() {
    let tnt = Tnt::new(0b101, 3).unwrap();
    for packet in [Packet::TntShort(tnt), Packet::Tip(Ip::Update16(0x1234)), Packet::Psb, Packet::Tsc(7)] {
        let text = serde_json::to_string(&packet).unwrap();
        assert_eq!(serde_json::from_str::<Packet>(&text).unwrap(), packet, "{text}");
    }
    assert_eq!(serde_json::to_string(&Packet::TntShort(tnt)).unwrap(), r#"{"TntShort":{"bits":5,"len":3}}"#);
}

#[test]
fn a_tnt_out_of_range_is_refused() {
    for len in [0, 48] {
        let error = serde_json::from_str::<Tnt>(&format!(r#"{{"bits":0,"len":{len}}}"#)).unwrap_err();
        assert!(error.to_string().starts_with("a TNT has 1 to 47 outcomes"), "{error}");
    }
    assert_eq!(serde_json::from_str::<Tnt>(r#"{"bits":255,"len":2}"#).unwrap(), Tnt::new(3, 2).unwrap());
}

#[test]
fn results_are_written() {
    let bytes = [[0x02, 0x82].repeat(8).as_slice(), &[0x2d, 0x34, 0x12, 0xc9]].concat();
    let mut hits: Vec<Hit> = Vec::new();
    let totals = scan(&bytes, |hit| hits.push(hit));
    assert_eq!(serde_json::to_string(&hits).unwrap(), r#"[{"offset":16,"kind":"Tip","ip":4660}]"#);
    assert_eq!(serde_json::to_string(&totals).unwrap(), r#"{"psb":1,"hits":1,"overflows":0,"gaps":1,"gap_bytes":1}"#);
    let gap = Packets::new(&bytes).find_map(Result::err).unwrap();
    let expected = r#"{"offset":19,"resume":20,"reason":{"UnknownOpcode":{"found":[201,0,0],"len":1}}}"#;
    assert_eq!(serde_json::to_string(&gap).unwrap(), expected);
}
