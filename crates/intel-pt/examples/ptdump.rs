//! Prints the packets of a file that holds Intel PT data, as libipt's ptdump does.
//!
//! `cargo run -p intel-pt --example ptdump -- [--no-sync] [--lastip] FILE`

use intel_pt::{LastIp, Packet, Packets};
use std::io::{BufWriter, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let (mut sync, mut last_ip, mut file) = (true, false, None);
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--no-sync" => sync = false,
            "--lastip" => last_ip = true,
            _ => file = Some(argument),
        }
    }
    let Some(file) = file else {
        eprintln!("usage: ptdump [--no-sync] [--lastip] FILE");
        return ExitCode::from(2);
    };
    let dumped = std::fs::read(&file).and_then(|bytes| dump(&bytes, sync, last_ip));
    if let Err(error) = dumped {
        eprintln!("ptdump: {file}: {error}");
        return ExitCode::from(2);
    }
    ExitCode::SUCCESS
}

fn dump(bytes: &[u8], sync: bool, last_ip: bool) -> std::io::Result<()> {
    let mut out = BufWriter::new(std::io::stdout().lock());
    let mut last = LastIp::unknown();
    let packets = if sync { Packets::new(bytes) } else { Packets::at(bytes, 0) };
    for item in packets {
        let (offset, packet) = match item {
            Ok(found) => found,
            Err(gap) => {
                writeln!(out, "[{:x}: {}; {} bytes skipped]", gap.offset(), gap.reason(), gap.skipped())?;
                continue;
            }
        };
        // The packet's name and payload fill 30 columns; the right column says what it comes to.
        let text = packet.to_string();
        match packet {
            Packet::Pip(pip) => writeln!(out, "{offset:016x}  {text:<30} cr3  {:016x}", pip.cr3)?,
            Packet::Vmcs(vmcs) => writeln!(out, "{offset:016x}  {text:<30} vmcs {:016x}", vmcs.base)?,
            Packet::Psb => {
                last = LastIp::after_psb();
                writeln!(out, "{offset:016x}  {text}")?;
            }
            _ => match packet.ip().filter(|_| last_ip).map(|ip| last.update(ip)) {
                None => writeln!(out, "{offset:016x}  {text}")?,
                Some(Some(ip)) => writeln!(out, "{offset:016x}  {text:<30} ip   {ip:016x}")?,
                Some(None) => writeln!(out, "{offset:016x}  {text:<30} ip   <suppressed>")?,
            },
        }
    }
    out.flush()
}
