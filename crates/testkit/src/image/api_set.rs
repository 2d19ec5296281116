//! `apisetschema.dll`: an API set schema of version 6.

use crate::Asm;
use crate::image::{Driver, RDATA};

/// A schema that maps contracts (`ext-ms-win-ntos-werkernel-l1-1-1`, with revision and without extension) to hosts. An
/// empty host is a contract that nobody hosts.
pub fn api_set_schema(contracts: &[(&str, &str)]) -> Driver {
    let mut asm = Asm::new();
    let (size, hashes) = (asm.label(), asm.label());
    asm.u32(6).u32_of(size).u32(0).u32(contracts.len() as u32).u32(28).u32_of(hashes).u32(31);
    let mut labels = Vec::new();
    for (contract, _) in contracts {
        let (name, value) = (asm.label(), asm.label());
        let (all, hashed) = (contract.len() * 2, contract.rfind('-').expect("contracts have hyphens") * 2);
        asm.u32(0).u32_of(name).u32(all as u32).u32(hashed as u32).u32_of(value).u32(1);
        labels.push((name, value));
    }
    for ((contract, host), (name, value)) in contracts.iter().zip(labels) {
        asm.bind(name).utf16(contract).align(4, 0);
        let text = asm.label();
        asm.bind(value).u32(0).u32(0).u32(0).u32_of(text).u32(host.len() as u32 * 2);
        asm.bind(text).utf16(host).align(4, 0);
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
