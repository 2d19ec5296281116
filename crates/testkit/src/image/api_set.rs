//! `apisetschema.dll`: an API set schema of version 6.

use crate::Asm;
use crate::image::{Driver, RDATA};

/// A schema that maps contracts (`ext-ms-win-ntos-werkernel-l1-1-1`, with revision and without extension) to hosts. An
/// empty host is a contract that nobody hosts.
pub fn api_set_schema(contracts: &[(&str, &str)]) -> Driver {
    let contracts: Vec<_> = contracts.iter().map(|&(contract, host)| (contract, host, &[][..])).collect();
    api_set_schema_with_aliases(&contracts)
}

/// A contract, its host, and its hosts for single importers: importer and host.
pub type Contract<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// As [`api_set_schema`]; each contract may have other hosts for single importers.
pub fn api_set_schema_with_aliases(contracts: &[Contract<'_>]) -> Driver {
    let mut asm = Asm::new();
    let (size, hashes) = (asm.label(), asm.label());
    asm.u32(6).u32_of(size).u32(0).u32(contracts.len() as u32).u32(28).u32_of(hashes).u32(31);
    let mut labels = Vec::new();
    for (contract, _, aliases) in contracts {
        let (name, values) = (asm.label(), asm.label());
        let (all, hashed) = (contract.len() * 2, contract.rfind('-').expect("contracts have hyphens") * 2);
        asm.u32(0).u32_of(name).u32(all as u32).u32(hashed as u32).u32_of(values).u32(1 + aliases.len() as u32);
        labels.push((name, values));
    }
    for (&(contract, host, aliases), (name, values)) in contracts.iter().zip(labels) {
        asm.bind(name).utf16(contract).align(4, 0).bind(values);
        let mut texts = Vec::new();
        for &(importer, host) in [("", host)].iter().chain(aliases) {
            let (importer_text, host_text) = (asm.label(), asm.label());
            asm.u32(0)
                .u32_of(importer_text)
                .u32(importer.len() as u32 * 2)
                .u32_of(host_text)
                .u32(host.len() as u32 * 2);
            texts.push((importer_text, importer));
            texts.push((host_text, host));
        }
        for (label, text) in texts {
            asm.bind(label).utf16(text).align(4, 0);
        }
    }
    asm.bind(hashes);
    for number in 0..contracts.len() {
        // The hash is for a faster search; a reader may do without it.
        asm.u32(0).u32(number as u32);
    }
    asm.bind(size);
    let mut driver = Driver::new("apisetschema.dll");
    driver.load_config_size = None;
    driver.section(".apiset", RDATA, asm.finish());
    driver
}
