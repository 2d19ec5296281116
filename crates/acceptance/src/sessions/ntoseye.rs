//! ntoseye, a debugger for Linux that knows trace sessions: it lists them, and saves them as traces.
//!
//! It reads full and bitmap dumps with the kernel's PDB, from build 16299 on: earlier builds keep the array of contexts inside the
//! silo state, which it does not support. It would fetch what it lacks, so it runs with an empty home and proxies that do not exist.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use xtask::outcome::Outcome;
use xtask::program::{self, Captured};
use xtask::tools::Found;

use super::kernel::Made;
use super::saved;
use super::seen::{self, Seen, SeenBuffer};
use crate::readers::python::{self, Script};

const NTOSEYE: Script = Script { name: "ntoseye", requirements: &["ntoseye>=0.52"] };

/// The program.
#[derive(Debug)]
pub struct Ntoseye {
    program: PathBuf,
    home: PathBuf,
}

/// Installs it.
pub fn find(work: &Path) -> Result<Found<Ntoseye>> {
    let interpreter = match python::environment(&NTOSEYE)? {
        Ok(interpreter) => interpreter,
        Err(reason) => return Ok(Err(reason)),
    };
    let home = work.join("empty");
    // It keeps the PDBs it has seen there.
    if home.exists() {
        std::fs::remove_dir_all(&home)?;
    }
    std::fs::create_dir_all(&home)?;
    Ok(Ok(Ntoseye { program: interpreter.with_file_name("ntoseye"), home }))
}

impl Ntoseye {
    /// Whether it knows this layout.
    pub fn knows(made: &Made) -> bool {
        made.kernel.has_array_pointer()
    }

    /// Judges a dump: the list, the buffers, and the traces it saves, which are left in `traces`.
    /// Those with events are returned.
    pub fn check(
        &self,
        place: &str,
        made: &Made,
        dump: &Path,
        traces: &Path,
        outcome: &mut Outcome,
    ) -> Result<Vec<PathBuf>> {
        std::fs::create_dir_all(traces)?;
        let files: Vec<PathBuf> =
            made.sessions.iter().map(|session| traces.join(format!("ntoseye-{}.etl", session.id))).collect();
        let mut commands = vec!["!wmitrace.strdump".to_owned()];
        commands.extend(made.sessions.iter().map(|session| format!("!wmitrace.strdump {:x}", session.id)));
        for (session, file) in made.sessions.iter().zip(&files) {
            // Another run's file would be taken for this one's.
            let _ = std::fs::remove_file(file);
            commands.push(format!("!wmitrace.logsave {:x} {}", session.id, file.display()));
        }
        let answers = self.ask(&made.dir, dump, &commands)?;
        let mut found = Vec::new();
        for row in rows(&answers[0], "ID")? {
            found.push(session(&row).with_context(|| format!("{place}: ntoseye's row {row:?}"))?);
        }
        for seen in &mut found {
            let index = made.sessions.iter().position(|session| u32::from(session.id) == seen.id);
            let Some(answer) = index.and_then(|index| answers.get(1 + index)) else { continue };
            for row in rows(answer, "Buffer")? {
                seen.buffers.push(buffer(&row).with_context(|| format!("{place}: ntoseye's row {row:?}"))?);
            }
        }
        seen::judge(&format!("{place}, ntoseye"), &seen::expected(made)?, &found, outcome);
        let mut saved = Vec::new();
        // A session without events has nothing to compare.
        for (session, file) in made.sessions.iter().zip(files).filter(|(session, _)| !session.events().is_empty()) {
            saved::judge(&format!("{place}, saved by ntoseye"), session, &file, outcome);
            saved.push(file);
        }
        Ok(saved)
    }

    /// Runs commands on a dump, and gives the answer to each.
    fn ask(&self, symbols: &Path, dump: &Path, commands: &[String]) -> Result<Vec<String>> {
        let mut command = Command::new(&self.program);
        command.args(["--batch", "--no-pdb-from-memory"]).arg("--dump").arg(dump).arg("--sympath-append").arg(symbols);
        for text in commands {
            command.args(["-c", text]);
        }
        for variable in ["HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"] {
            command.env(variable, &self.home);
        }
        for variable in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env(variable, "http://127.0.0.1:9");
        }
        command.env_remove("_NT_SYMBOL_PATH");
        let captured = program::capture(&mut command, Duration::from_secs(60))?;
        let mut answers: Vec<String> = Vec::new();
        for line in captured.stdout.lines() {
            match (line.split_once("dmp> "), answers.last_mut()) {
                (Some((_, echo)), _) if commands.iter().any(|text| text == echo) => answers.push(String::new()),
                (_, Some(answer)) => *answer += &format!("{line}\n"),
                _ => {}
            }
        }
        if answers.len() != commands.len() {
            let Captured { stdout, stderr, .. } = &captured;
            bail!(
                "ntoseye answered {} of {} commands: {}\n{stdout}{stderr}",
                answers.len(),
                commands.len(),
                captured.ending()
            );
        }
        Ok(answers)
    }
}

/// A row of a table by its headings.
type Row = Vec<(String, String)>;

/// The rows of the table whose first heading is given. Columns begin where their headings do.
fn rows(answer: &str, first: &str) -> Result<Vec<Row>> {
    let mut lines = answer.lines().skip_while(|line| line.split_whitespace().next() != Some(first));
    let head = lines.next().with_context(|| format!("no table that begins with {first:?} in {answer:?}"))?;
    let head: Vec<char> = head.chars().collect();
    let begins: Vec<usize> =
        (0..head.len()).filter(|&at| head[at] != ' ' && (at == 0 || head[..at].ends_with(&[' ', ' ']))).collect();
    let cut = |line: &[char], index: usize| -> String {
        let end = begins.get(index + 1).copied().unwrap_or(usize::MAX).min(line.len());
        line.get(begins[index]..end).unwrap_or_default().iter().collect::<String>().trim().to_owned()
    };
    let row = |line: &str| -> Row {
        let line: Vec<char> = line.chars().collect();
        (0..begins.len()).map(|index| (cut(&head, index), cut(&line, index))).collect()
    };
    Ok(lines.take_while(|line| !line.trim().is_empty()).map(row).collect())
}

fn cell<'a>(row: &'a Row, heading: &str) -> Option<&'a str> {
    row.iter().find(|(name, _)| name == heading).map(|(_, text)| text.as_str())
}

fn hex(row: &Row, heading: &str) -> Option<u64> {
    u64::from_str_radix(cell(row, heading)?.trim_start_matches("0x"), 16).ok()
}

fn session(row: &Row) -> Option<Seen> {
    Some(Seen {
        id: u32::try_from(hex(row, "ID")?).ok()?,
        context: hex(row, "Context")?,
        name: cell(row, "Name")?.to_owned(),
        mode: u32::try_from(hex(row, "Mode")?).ok()?,
        lost: cell(row, "Lost")?.parse().ok()?,
        buffers: Vec::new(),
    })
}

fn buffer(row: &Row) -> Option<SeenBuffer> {
    Some(SeenBuffer {
        address: hex(row, "Buffer")?,
        processor: cell(row, "CPU")?.parse().ok()?,
        sequence: cell(row, "Sequence")?.parse().ok()?,
        end: u32::try_from(hex(row, "Data")?).ok()?,
    })
}
