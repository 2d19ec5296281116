//! The facts about kernels: `layouts.tsv`, and the C type of each member.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

const TABLE: &str = include_str!("layouts.tsv");

/// Members and their offsets; a member that a layout lacks is not in it.
pub type Layout = BTreeMap<&'static str, u32>;

/// A kernel: a pair of layouts, and where a real one of these has its globals.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Build and revision.
    pub version: &'static str,
    /// Names of both layouts, as the table has them.
    pub names: (&'static str, &'static str),
    /// `_WMI_LOGGER_CONTEXT`.
    pub context: Layout,
    /// `_ETW_SILODRIVERSTATE`.
    pub silo: Layout,
    /// The key of a real kernel's PDB with this layout: GUID and age.
    pub pdb: Option<&'static str>,
    /// The other columns: offsets in other structures, and RVAs of globals.
    pub places: Layout,
}

impl Kernel {
    /// The build, which several kernels share.
    pub fn build(&self) -> u32 {
        self.version.split('.').next().and_then(|build| build.parse().ok()).unwrap_or_default()
    }

    /// What files of this kernel are called.
    pub fn name(&self) -> String {
        format!("{}-{}-{}", self.build(), self.names.0, self.names.1)
    }

    /// Whether the silo state points to the array of contexts, and does not hold it.
    pub fn has_array_pointer(&self) -> bool {
        self.silo.contains_key("EtwpLoggerContext")
    }

    /// Whether the silo state holds the array itself.
    pub fn has_inline_array(&self) -> bool {
        self.silo.contains_key("WmipLoggerContext")
    }

    /// Whether the silo state leads to the contexts. Windows 10 had them in a global first.
    pub fn has_silo_array(&self) -> bool {
        self.has_array_pointer() || self.has_inline_array()
    }

    /// Elements of the array of contexts.
    pub fn slots(&self) -> u32 {
        if self.build() >= 22000 { 80 } else { 64 }
    }
}

/// All kernels of the table.
pub fn kernels() -> Result<Vec<Kernel>> {
    let mut blocks: Vec<(Vec<&str>, Vec<Vec<&str>>)> = Vec::new();
    for line in TABLE.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split('\t').collect();
        if matches!(cells[0], "version" | "member") {
            blocks.push((cells, Vec::new()));
        } else {
            let (head, rows) = blocks.last_mut().context("a row before the first head")?;
            ensure!(cells.len() == head.len(), "{line:?} has {} cells, its head {}", cells.len(), head.len());
            rows.push(cells);
        }
    }
    let [kernels, contexts, silos] = &blocks[..] else { anyhow::bail!("{} blocks", blocks.len()) };
    let mut all = Vec::new();
    for row in &kernels.1 {
        let cell = |name: &str| {
            let column = kernels.0.iter().position(|head| *head == name);
            column.map(|column| row[column]).with_context(|| format!("no column {name}"))
        };
        let mut places = Layout::new();
        for (&head, &text) in kernels.0.iter().zip(row).skip(4) {
            insert(&mut places, head, text)?;
        }
        all.push(Kernel {
            version: cell("version")?,
            names: (cell("context")?, cell("silo")?),
            context: layout(contexts, cell("context")?)?,
            silo: layout(silos, cell("silo")?)?,
            pdb: Some(cell("pdb_guid_age")?).filter(|key| *key != "-"),
            places,
        });
    }
    Ok(all)
}

fn layout(block: &(Vec<&'static str>, Vec<Vec<&'static str>>), name: &str) -> Result<Layout> {
    let column = block.0.iter().position(|head| *head == name).with_context(|| format!("no layout {name}"))?;
    let mut layout = Layout::new();
    for row in &block.1 {
        insert(&mut layout, row[0], row[column])?;
    }
    Ok(layout)
}

fn insert(layout: &mut Layout, name: &'static str, text: &str) -> Result<()> {
    if text != "-" {
        layout.insert(name, u32::from_str_radix(text, 16).with_context(|| format!("{name}: {text:?}"))?);
    }
    Ok(())
}
