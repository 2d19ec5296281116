//! System configuration: hooks of group 0x0B (ntwmi.h in phnt; measured), and the SystemConfigEx events that a merge
//! adds (TraceEvent; measured).

use super::Record;
use crate::error::Result;
use crate::event::Event;

/// Hook 0x0B0A.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ConfigCpu {
    /// Nominal speed in MHz.
    pub mhz: u32,
    /// Processors of the system.
    pub processors: u32,
    /// Memory in MiB.
    pub memory_mb: u32,
    /// Page size in bytes.
    pub page_size: u32,
    /// Computer name.
    pub computer_name: String,
    /// Domain or workgroup.
    pub domain: String,
    /// PROCESSOR_ARCHITECTURE_* of winnt.h.
    pub architecture: u16,
    /// Processor family.
    pub level: u16,
    /// Model in the high byte, stepping in the low one.
    pub revision: u16,
}

/// Hook 0x0B23, one per processor, Windows 10 1709 and later.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ConfigProcessor {
    /// Which processor.
    pub index: u32,
    /// Nominal speed in MHz.
    pub mhz: u32,
    /// Brand string.
    pub name: String,
    /// Such as `Intel64 Family 6 Model 183 Stepping 1`.
    pub identifier: String,
    /// Such as `GenuineIntel`.
    pub vendor: String,
}

/// Hook 0x0B21, or SystemConfigEx 37.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct DeviceFamily {
    /// Major, minor, build and revision; all zero on Windows 8.
    pub version: [u16; 4],
    /// 3 is a desktop.
    pub family: u32,
    /// Form of the device.
    pub form: u32,
}

/// SystemConfigEx 32.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct BuildInfo {
    /// Such as `9200.16384.amd64fre.win8_rtm.120725-1247`.
    pub build_lab: String,
    /// Such as `Windows 8 Pro`.
    pub product: String,
}

/// SystemConfigEx 35.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct VolumeMapping {
    /// Such as `\Device\HarddiskVolume3\`.
    pub nt_path: String,
    /// Such as `C:\`.
    pub dos_path: String,
}

pub(super) fn parse_cpu<'d>(event: &Event<'d>) -> Result<Record<'d>> {
    event.read("SystemConfig CPU event", |bytes, width| {
        // HyperThreadingFlag and HighestUserAddress stand between the names and the processor's kind.
        let kind = 800 + 2 * width;
        Some(Record::ConfigCpu(ConfigCpu {
            mhz: bytes.u32(0)?,
            processors: bytes.u32(4)?,
            memory_mb: bytes.u32(8)?,
            page_size: bytes.u32(12)?,
            computer_name: bytes.utf16_field(20, 256)?,
            domain: bytes.utf16_field(532, 134)?,
            // Older versions end before these.
            architecture: bytes.u16(kind).unwrap_or(0xffff),
            level: bytes.u16(kind + 2).unwrap_or(0),
            revision: bytes.u16(kind + 4).unwrap_or(0),
        }))
    })
}

pub(super) fn parse_processor<'d>(event: &Event<'d>) -> Result<Record<'d>> {
    event.read("SystemConfig Processor event", |bytes, _| {
        Some(Record::ConfigProcessor(ConfigProcessor {
            index: bytes.u32(0)?,
            mhz: bytes.u32(8)?,
            name: bytes.utf16_field(12, 64)?,
            identifier: bytes.utf16_field(140, 128)?,
            vendor: bytes.utf16_field(396, 16)?,
        }))
    })
}

pub(super) fn parse_device_family<'d>(event: &Event<'d>) -> Result<Record<'d>> {
    event.read("DeviceFamily event", |bytes, _| {
        Some(Record::DeviceFamily(DeviceFamily {
            version: [bytes.u16(6)?, bytes.u16(4)?, bytes.u16(2)?, bytes.u16(0)?],
            family: bytes.u32(8)?,
            form: bytes.u32(12)?,
        }))
    })
}

/// SystemConfigEx, by its opcode.
pub(super) fn parse_extended<'d>(event: &Event<'d>, opcode: u8) -> Result<Record<'d>> {
    match opcode {
        32 => event.read("BuildInfo event", |bytes, _| {
            // The install time comes first.
            bytes.u64(0)?;
            let (build_lab, next) = bytes.utf16(8);
            Some(Record::BuildInfo(BuildInfo { build_lab, product: bytes.utf16(next).0 }))
        }),
        35 => event.read("VolumeMapping event", |bytes, _| {
            let (nt_path, next) = bytes.utf16(0);
            Some(Record::VolumeMapping(VolumeMapping { nt_path, dos_path: bytes.utf16(next).0 }))
        }),
        37 => parse_device_family(event),
        _ => Ok(Record::Other),
    }
}
