//! Memory that hexadecimal text takes, measured as the process's own maximum. A test of its own, so that nothing else
//! counts.
#![cfg(target_os = "linux")]

use std::fmt::Write;

use ipt_analysis::input::from_hex;

/// Peak and present memory of this process, in bytes.
fn memory() -> (usize, usize) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
    };
    (field("VmHWM:"), field("VmRSS:"))
}

/// Reads a text, and gives the memory that this took, in multiples of the text.
fn cost(text: &str, bytes: usize) -> f64 {
    let (_, before) = memory();
    let data = from_hex(text.as_bytes()).unwrap();
    assert_eq!(data.iter().map(|data| data.bytes.len()).sum::<usize>(), bytes);
    let (peak, _) = memory();
    peak.saturating_sub(before) as f64 / text.len() as f64
}

#[test]
fn hexadecimal_text_takes_at_most_three_times_its_size() {
    const BYTES: usize = 8 << 20;
    // The larger text first: what it freed must not hide what the other one takes.
    let mut dump = String::new();
    for at in (0..BYTES).step_by(16) {
        let _ = writeln!(dump, "{at:08x}  00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|");
    }
    assert!(cost(&dump, BYTES) < 3.0);
    let line = "00 ".repeat(2 * BYTES);
    drop(dump);
    assert!(cost(&line, 2 * BYTES) < 3.0);
}
