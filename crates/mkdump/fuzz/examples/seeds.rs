//! Writes the seeds into the targets' corpora: `cargo run --example seeds` in this directory.

use std::fs;

fn main() -> std::io::Result<()> {
    for (target, name, bytes) in mkdump_fuzz::seeds() {
        fs::create_dir_all(format!("corpus/{target}"))?;
        fs::write(format!("corpus/{target}/{name}"), bytes)?;
    }
    Ok(())
}
