//! Checks a dump against the rules of its readers: `cargo run -p mdmp --example validate -- FILE`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: validate FILE")?;
    let report = mdmp::validate(&std::fs::read(&path)?)?;
    for finding in &report.findings {
        println!("{finding}");
    }
    println!("{path}: {:?}, {} findings", report.format, report.findings.len() as u64 + report.omitted);
    Ok(())
}
