//! The traced system, put together from several events.

use super::{CpuInfo, System};
use crate::log_header::LogHeader;
use crate::records::{BuildInfo, ConfigCpu, ConfigProcessor, DeviceFamily};

/// What the pass found about the system.
#[derive(Clone, Debug, Default)]
pub(super) struct SystemFacts {
    pub kernel_base: Option<u64>,
    pub cpu: Option<ConfigCpu>,
    /// That of the lowest index.
    pub processor: Option<ConfigProcessor>,
    /// Hook 0x0B21.
    pub device_family: Option<DeviceFamily>,
    /// SystemConfigEx 37.
    pub device_family_ex: Option<DeviceFamily>,
    pub build_info: Option<BuildInfo>,
    /// Hook 0x0042.
    pub build_lab: Option<String>,
}

impl SystemFacts {
    /// Adds what a later part of the file says; what came first stands.
    pub fn absorb(&mut self, other: Self) {
        fn keep<T>(mine: &mut Option<T>, other: Option<T>) {
            if mine.is_none() {
                *mine = other;
            }
        }
        keep(&mut self.kernel_base, other.kernel_base);
        keep(&mut self.cpu, other.cpu);
        keep(&mut self.device_family, other.device_family);
        keep(&mut self.device_family_ex, other.device_family_ex);
        keep(&mut self.build_info, other.build_info);
        keep(&mut self.build_lab, other.build_lab);
        if let Some(processor) = other.processor {
            self.add_processor(processor);
        }
    }

    pub fn add_processor(&mut self, processor: ConfigProcessor) {
        if self.processor.as_ref().is_none_or(|known| processor.index < known.index) {
            self.processor = Some(processor);
        }
    }
}

pub(super) fn describe(header: &LogHeader, facts: &mut SystemFacts) -> System {
    let (cpu, processor, build_info) = (facts.cpu.take(), facts.processor.take(), facts.build_info.take());
    // Windows 8 logs a device family of zeros. The build lab of hook 0x0042 does not serve: its second number is 1.
    let family = [&facts.device_family, &facts.device_family_ex]
        .into_iter()
        .flatten()
        .find(|family| family.version != [0; 4])
        .map(|family| u32::from(family.version[3]));
    let labs = [build_info.as_ref().map(|info| &*info.build_lab), facts.build_lab.as_deref()];
    let lab_architecture = labs.into_iter().flatten().find_map(architecture_of);
    let from_lab = || build_info.as_ref()?.build_lab.split('.').nth(1)?.parse().ok();
    System {
        major: header.os_major,
        minor: header.os_minor,
        build: header.build,
        revision: family.or_else(from_lab),
        processors: cpu.as_ref().map_or(header.processors, |cpu| cpu.processors),
        pointer_size: if header.pointer_size == 4 { 4 } else { 8 },
        architecture: (cpu.as_ref().map(|cpu| cpu.architecture).filter(|&unknown| unknown != 0xffff))
            .or(lab_architecture),
        computer_name: cpu.as_ref().map(|cpu| cpu.computer_name.clone()).filter(|name| !name.is_empty()),
        cpu: (cpu.is_some() || processor.is_some()).then(|| CpuInfo {
            family: cpu.as_ref().map_or(0, |cpu| cpu.level),
            model: cpu.as_ref().map_or(0, |cpu| cpu.revision >> 8),
            stepping: cpu.as_ref().map_or(0, |cpu| cpu.revision & 0xff),
            mhz: cpu.as_ref().map(|cpu| cpu.mhz).or(processor.as_ref().map(|p| p.mhz)).unwrap_or(0),
            vendor: processor.as_ref().map(|p| p.vendor.clone()).filter(|text| !text.is_empty()),
            name: processor.as_ref().map(|p| p.name.trim().to_owned()).filter(|text| !text.is_empty()),
        }),
        product: build_info.as_ref().map(|info| info.product.clone()).filter(|text| !text.is_empty()),
        build_lab: build_info.map(|info| info.build_lab).or(facts.build_lab.take()),
    }
}

/// The architecture that a build lab string such as `26100.1.arm64fre.ge_release.240331-1435` names, as
/// PROCESSOR_ARCHITECTURE_* of winnt.h. Checked builds end with `chk` instead of `fre`.
fn architecture_of(lab: &str) -> Option<u16> {
    lab.split('.').find_map(|part| {
        Some(match part.strip_suffix("fre").or(part.strip_suffix("chk"))? {
            "x86" => 0,
            "amd64" => 9,
            "arm64" => 12,
            _ => return None,
        })
    })
}
