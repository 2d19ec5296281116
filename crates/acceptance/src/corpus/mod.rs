//! Checks on real samples: traces, kernel images, dumps and packet streams that are not ours to publish.
//!
//! They lie outside the repository, in a directory given as argument or beside the clone (`../shared/data`). Without
//! them every part says that it did not run.

mod build;
mod cases;
mod catalog;
mod check;
mod dumps;
mod etl;
mod events;
mod extract;
mod import_forms;
mod kernel_layouts;
mod pe;
mod ptdump;
mod ptxed;
mod sessions;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use xtask::outcome::Outcome;
use xtask::paths;

/// A part: its name, the samples it needs, and what it runs on the whole data directory.
struct Part {
    name: &'static str,
    samples: &'static str,
    run: fn(&Path) -> Result<Outcome>,
}

const PARTS: &[Part] = &[
    Part { name: "build", samples: "pe", run: build::run },
    Part { name: "cases", samples: "../cases", run: cases::run },
    Part { name: "catalog", samples: "pe", run: catalog::run },
    Part { name: "check", samples: "dumps", run: check::run },
    Part { name: "dumps", samples: "dumps", run: dumps::run },
    Part { name: "etl", samples: "etl", run: etl::run },
    Part { name: "events", samples: "etl", run: events::run },
    Part { name: "extract", samples: "etl", run: extract::run },
    Part { name: "import-forms", samples: "pt/import-forms", run: import_forms::run },
    Part { name: "kernel-layouts", samples: "../specs/vectors", run: kernel_layouts::run },
    Part { name: "pe", samples: "pe", run: pe::run },
    Part { name: "ptdump", samples: "pt/libipt", run: ptdump::run },
    Part { name: "ptxed", samples: "pt/libipt", run: ptxed::run },
    Part { name: "sessions", samples: "dumps", run: sessions::run },
];

/// `cargo xtask corpus [DIRECTORY] [PART]…`.
pub fn run(arguments: &[String]) -> Result<Outcome> {
    let mut wanted = Vec::new();
    let mut data: Option<PathBuf> = None;
    for argument in arguments {
        if PARTS.iter().any(|part| part.name == argument) {
            wanted.push(argument.as_str());
        } else if data.is_none() && Path::new(argument).is_dir() {
            data = Some(argument.into());
        } else {
            bail!("corpus: {argument:?} is neither a directory nor a part");
        }
    }
    let data = data.unwrap_or_else(|| paths::root().join("../shared/data"));
    let mut outcome = Outcome::default();
    for part in PARTS.iter().filter(|part| wanted.is_empty() || wanted.contains(&part.name)) {
        println!("--- {} ---", part.name);
        if !data.join(part.samples).is_dir() {
            outcome.add_skip(format!(
                "corpus {}: no samples, {} is missing",
                part.name,
                data.join(part.samples).display()
            ));
            continue;
        }
        match (part.run)(&data) {
            Ok(part) => outcome.absorb(part),
            Err(error) => outcome.add_failure(format!("corpus {}: {error:#}", part.name)),
        }
    }
    Ok(outcome)
}
