//! Writing a big dump takes little memory: measured in a process of its own, the example `big_dump`.

use std::process::Command;

const LIMIT_KIB: u64 = 32 << 10;

/// Runs the example and returns bytes written and the peak of anonymous memory in KiB.
fn run(mib: u64, holes: bool) -> (u64, u64) {
    // Cargo builds a package's examples before its integration tests run, in the directory beside theirs.
    let mut example = std::env::current_exe().unwrap();
    example.pop();
    example.pop();
    example.push("examples");
    example.push(format!("big_dump{}", std::env::consts::EXE_SUFFIX));
    assert!(example.exists(), "{} is missing: run `cargo build -p mdmp --examples`", example.display());
    let file = std::env::temp_dir().join(format!("mdmp-peak-{mib}-{}.dmp", std::process::id()));
    let mut command = Command::new(example);
    command.arg(&file).arg(mib.to_string());
    if holes {
        command.arg("--holes");
    }
    let output = command.output().unwrap();
    std::fs::remove_file(&file).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().parse::<u64>().unwrap()
    };
    (value("bytes"), value("peak_anonymous_kib"))
}

#[test]
fn peak_anonymous_memory_does_not_grow_with_the_dump() {
    for (mib, holes) in [(1 << 10, false), (8 << 10, true)] {
        let (bytes, peak) = run(mib, holes);
        assert!(bytes > mib << 20);
        if peak == 0 {
            eprintln!("SKIPPED: this system does not tell a process's anonymous memory");
            continue;
        }
        println!("{mib} MiB: peak anonymous memory {peak} KiB");
        assert!(peak < LIMIT_KIB, "{mib} MiB: {peak} KiB, allowed are {LIMIT_KIB}");
    }
}
