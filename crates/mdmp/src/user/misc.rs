//! MiscInfo (stream 15), `MINIDUMP_MISC_INFO` to `MINIDUMP_MISC_INFO_5`: the size field says which.

use super::streams::{self, Stream, StreamType};
use crate::{Blob, BlobId, Error, Layout};

/// Facts about the process. Absent facts have their bit in Flags1 clear; the smallest version of the structure that
/// holds all facts given is written (24, 44, 232, 832 or 1364 bytes).
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct MiscInfo {
    /// Process id; without it dbgeng shows f0f0f0f0 (measured).
    pub process_id: Option<u32>,
    /// When the process started and what it used.
    pub times: Option<ProcessTimes>,
    /// Version 2: clock rates of the processor.
    pub power: Option<PowerInfo>,
    /// Version 3: `SECURITY_MANDATORY_*_RID`.
    pub integrity_level: Option<u32>,
    /// Version 3: `MEM_EXECUTE_OPTION_*`.
    pub execute_flags: Option<u32>,
    /// Version 3: not 0 for a protected process.
    pub protected_process: Option<u32>,
    /// Version 3.
    pub time_zone: Option<TimeZone>,
    /// Version 4: the system's build lab string; dbgeng prints it in its banner. Up to 259 UTF-16 units.
    pub build_string: Option<String>,
    /// Version 4: the writer's build. Up to 39 UTF-16 units; written only together with `build_string`.
    pub debug_build: Option<String>,
    /// Version 5: the XSAVE area's layout.
    pub xstate: Option<XstateConfig>,
    /// Version 5.
    pub process_cookie: Option<u32>,
}

/// Process times: creation in seconds since 1970 UTC, the others in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ProcessTimes {
    /// Seconds since 1970 UTC.
    pub create: u32,
    /// Seconds in user mode.
    pub user: u32,
    /// Seconds in kernel mode.
    pub kernel: u32,
}

/// `PROCESSOR_POWER_INFORMATION`, the same for all processors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PowerInfo {
    /// Highest clock rate, MHz.
    pub max_mhz: u32,
    /// Clock rate, MHz.
    pub current_mhz: u32,
    /// Limit on the clock rate, MHz.
    pub mhz_limit: u32,
    /// Deepest idle state.
    pub max_idle_state: u32,
    /// Idle state.
    pub current_idle_state: u32,
}

/// `SYSTEMTIME`: in a time zone, the day on which it changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct SystemTime {
    /// 0 in a rule that holds every year.
    pub year: u16,
    /// 1 to 12; 0 for no rule.
    pub month: u16,
    /// 0 is Sunday.
    pub day_of_week: u16,
    /// Day of the month; in a yearly rule the week, 5 being the last.
    pub day: u16,
    /// 0 to 23.
    pub hour: u16,
    /// 0 to 59.
    pub minute: u16,
    /// 0 to 59.
    pub second: u16,
    /// 0 to 999.
    pub milliseconds: u16,
}

/// `TIME_ZONE_INFORMATION` and its id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TimeZone {
    /// `TIME_ZONE_ID_*`: 0 unknown, 1 standard, 2 daylight.
    pub id: u32,
    /// UTC = local time + bias, minutes.
    pub bias: i32,
    /// Up to 31 UTF-16 units.
    pub standard_name: String,
    /// When standard time begins.
    pub standard_date: SystemTime,
    /// Added to `bias` in standard time, minutes.
    pub standard_bias: i32,
    /// Up to 31 UTF-16 units.
    pub daylight_name: String,
    /// When daylight time begins.
    pub daylight_date: SystemTime,
    /// Added to `bias` in daylight time, minutes.
    pub daylight_bias: i32,
}

/// `XSTATE_CONFIG_FEATURE_MSC_INFO`: where the parts of an XSAVE area lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XstateConfig {
    /// Bytes of a context with all its extended state.
    pub context_size: u32,
    /// Bit n: `features[n]` holds.
    pub enabled_features: u64,
    /// Offset and size of each part, in bytes.
    pub features: [(u32, u32); 64],
}

/// Flags1 bits, `MINIDUMP_MISC1_*` and following (minidumpapiset.h).
mod flag {
    pub(super) const PROCESS_ID: u32 = 0x1;
    pub(super) const PROCESS_TIMES: u32 = 0x2;
    pub(super) const PROCESSOR_POWER_INFO: u32 = 0x4;
    pub(super) const PROCESS_INTEGRITY: u32 = 0x10;
    pub(super) const PROCESS_EXECUTE_FLAGS: u32 = 0x20;
    pub(super) const TIMEZONE: u32 = 0x40;
    pub(super) const PROTECTED_PROCESS: u32 = 0x80;
    pub(super) const BUILD_STRING: u32 = 0x100;
    pub(super) const PROCESS_COOKIE: u32 = 0x200;
}

/// Bytes of the structure by version, 1 to 5.
const SIZES: [u32; 5] = [24, 44, 232, 832, 1364];

impl MiscInfo {
    /// Only a process id.
    pub fn with_process_id(process_id: u32) -> MiscInfo {
        MiscInfo { process_id: Some(process_id), ..MiscInfo::default() }
    }

    /// The version of the structure that holds all facts given, 1 to 5.
    pub fn version(&self) -> u8 {
        if self.xstate.is_some() || self.process_cookie.is_some() {
            5
        } else if self.build_string.is_some() || self.debug_build.is_some() {
            4
        } else if self.integrity_level.is_some()
            || self.execute_flags.is_some()
            || self.protected_process.is_some()
            || self.time_zone.is_some()
        {
            3
        } else if self.power.is_some() {
            2
        } else {
            1
        }
    }

    fn flags(&self) -> u32 {
        let bit = |given: bool, bit: u32| if given { bit } else { 0 };
        bit(self.process_id.is_some(), flag::PROCESS_ID)
            | bit(self.times.is_some(), flag::PROCESS_TIMES)
            | bit(self.power.is_some(), flag::PROCESSOR_POWER_INFO)
            | bit(self.integrity_level.is_some(), flag::PROCESS_INTEGRITY)
            | bit(self.execute_flags.is_some(), flag::PROCESS_EXECUTE_FLAGS)
            | bit(self.time_zone.is_some(), flag::TIMEZONE)
            | bit(self.protected_process.is_some(), flag::PROTECTED_PROCESS)
            | bit(self.build_string.is_some() || self.debug_build.is_some(), flag::BUILD_STRING)
            | bit(self.process_cookie.is_some(), flag::PROCESS_COOKIE)
    }
}

impl<'a> Stream<'a> for MiscInfo {
    fn stream_type(&self) -> StreamType {
        StreamType::MISC_INFO
    }

    fn place(&self, layout: &mut Layout<'a>) -> Result<BlobId, Error> {
        let version = usize::from(self.version());
        let mut blob = streams::blob(self.stream_type());
        blob.u32(SIZES[version - 1]).u32(self.flags()).u32(self.process_id.unwrap_or(0));
        let times = self.times.unwrap_or_default();
        blob.u32(times.create).u32(times.user).u32(times.kernel);
        if version >= 2 {
            let power = self.power.unwrap_or_default();
            blob.u32(power.max_mhz).u32(power.current_mhz).u32(power.mhz_limit);
            blob.u32(power.max_idle_state).u32(power.current_idle_state);
        }
        if version >= 3 {
            blob.u32(self.integrity_level.unwrap_or(0)).u32(self.execute_flags.unwrap_or(0));
            blob.u32(self.protected_process.unwrap_or(0));
            let zone = self.time_zone.clone().unwrap_or_default();
            blob.u32(zone.id).bytes(&zone.bias.to_le_bytes());
            fixed(&mut blob, "MiscInfo: StandardName", &zone.standard_name, 32)?;
            system_time(&mut blob, zone.standard_date).bytes(&zone.standard_bias.to_le_bytes());
            fixed(&mut blob, "MiscInfo: DaylightName", &zone.daylight_name, 32)?;
            system_time(&mut blob, zone.daylight_date).bytes(&zone.daylight_bias.to_le_bytes());
        }
        if version >= 4 {
            fixed(&mut blob, "MiscInfo: BuildString", self.build_string.as_deref().unwrap_or(""), 260)?;
            fixed(&mut blob, "MiscInfo: DbgBldStr", self.debug_build.as_deref().unwrap_or(""), 40)?;
        }
        if version >= 5 {
            // With SizeOfInfo 0 the description of the XSAVE area counts as absent.
            let none = XstateConfig { context_size: 0, enabled_features: 0, features: [(0, 0); 64] };
            let xstate = self.xstate.as_ref().unwrap_or(&none);
            blob.u32(if self.xstate.is_some() { 528 } else { 0 });
            blob.u32(xstate.context_size).u64(xstate.enabled_features);
            for (offset, size) in xstate.features {
                blob.u32(offset).u32(size);
            }
            blob.u32(self.process_cookie.unwrap_or(0));
        }
        debug_assert_eq!(blob.len(), SIZES[version - 1] as usize);
        Ok(layout.push(blob))
    }
}

/// A NUL-terminated text in a field of `units` UTF-16 units.
fn fixed(blob: &mut Blob, field: &str, text: &str, units: usize) -> Result<(), Error> {
    let used = text.encode_utf16().count();
    if used >= units || text.contains('\0') {
        let allowed = format!("at most {} UTF-16 units without NUL", units - 1);
        return Err(Error::rule(field, format!("{text:?}, {used} units"), allowed, "all readers"));
    }
    blob.utf16(text).zeros(2 * (units - used));
    Ok(())
}

fn system_time(blob: &mut Blob, time: SystemTime) -> &mut Blob {
    blob.u16(time.year).u16(time.month).u16(time.day_of_week).u16(time.day);
    blob.u16(time.hour).u16(time.minute).u16(time.second).u16(time.milliseconds)
}
