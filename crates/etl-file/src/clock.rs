//! Ticks, time since the start of the trace, and UTC, converted exactly.
//!
//! A trace counts in ticks of its session's clock. Every conversion here is a multiplication and one division of
//! 128-bit integers: nothing is rounded twice, and rounding is towards minus infinity.

use std::fmt;
use std::time::{Duration, SystemTime};

/// A raw timestamp in ticks of the session's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Tick(pub i64);

/// UTC in units of 100 ns since 1601-01-01, as Windows counts (FILETIME).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FileTime(pub i64);

impl FileTime {
    /// 1970-01-01 UTC.
    const UNIX_EPOCH: Self = Self(116_444_736_000_000_000);

    /// The same time as the operating system's type; `None` where that cannot hold it, as on Windows before 1601.
    pub fn to_system_time(self) -> Option<SystemTime> {
        let distance = self.0.abs_diff(Self::UNIX_EPOCH.0);
        let distance = Duration::new(distance / FILETIME_FREQUENCY, (distance % FILETIME_FREQUENCY) as u32 * 100);
        if self < Self::UNIX_EPOCH {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        }
    }

    /// The same time, rounded down to 100 ns; `None` outside the years that a FILETIME can hold.
    pub fn from_system_time(time: SystemTime) -> Option<Self> {
        let units = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => (after.as_nanos() / 100).try_into().ok()?,
            Err(before) => i64::try_from(before.duration().as_nanos().div_ceil(100)).ok()?.checked_neg()?,
        };
        Self::UNIX_EPOCH.0.checked_add(units).map(Self)
    }
}

/// What a session's timestamps count (ReservedFlags of TRACE_LOGFILE_HEADER; names after WNODE_HEADER's ClientContext).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ClockKind(pub u32);

impl ClockKind {
    /// Not converted by the session; counts like the performance counter.
    pub const RAW: Self = Self(0);
    /// QueryPerformanceCounter, at the header's PerfFreq.
    pub const QPC: Self = Self(1);
    /// System time: every timestamp is a FILETIME.
    pub const SYSTEM_TIME: Self = Self(2);
    /// Processor cycles, at CpuSpeedInMHz.
    pub const CPU_CYCLES: Self = Self(3);
}

impl fmt::Display for ClockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::RAW => f.write_str("raw"),
            Self::QPC => f.write_str("performance counter"),
            Self::SYSTEM_TIME => f.write_str("system time"),
            Self::CPU_CYCLES => f.write_str("processor cycles"),
            Self(other) => write!(f, "clock type {other}"),
        }
    }
}

/// Time since the start of the trace as an exact fraction: `ticks / frequency` seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Elapsed {
    /// Ticks since the trace started; negative for events stamped before it.
    pub ticks: i128,
    /// Ticks per second, never 0.
    pub frequency: u64,
}

impl Elapsed {
    /// Whole nanoseconds, rounded down.
    pub fn nanos(&self) -> i128 {
        (self.ticks * 1_000_000_000).div_euclid(i128::from(self.frequency))
    }

    /// Seconds, as near as an `f64` comes.
    pub fn seconds(&self) -> f64 {
        let frequency = i128::from(self.frequency);
        // The whole part is split off first, so that a long uptime does not eat the fraction's digits.
        self.ticks.div_euclid(frequency) as f64 + self.ticks.rem_euclid(frequency) as f64 / self.frequency as f64
    }
}

/// A session's clock: how its ticks relate to the start of the trace and to UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    kind: ClockKind,
    frequency: u64,
    start: Tick,
    start_time: FileTime,
}

/// FILETIME units per second.
const FILETIME_FREQUENCY: u64 = 10_000_000;

impl Clock {
    /// A clock that reads `start` at `start_time`. `perf_frequency` is in ticks per second and `cpu_mhz` in MHz; only
    /// the one that `kind` needs is looked at. A frequency of 0 or below cannot divide and is taken as 10 MHz, the
    /// performance counter of every Windows 10 and 11 measured.
    pub fn new(kind: ClockKind, start: Tick, start_time: FileTime, perf_frequency: i64, cpu_mhz: u32) -> Self {
        let given = match kind {
            ClockKind::SYSTEM_TIME => FILETIME_FREQUENCY,
            ClockKind::CPU_CYCLES => u64::from(cpu_mhz) * 1_000_000,
            _ => u64::try_from(perf_frequency).unwrap_or(0),
        };
        Self { kind, frequency: if given == 0 { FILETIME_FREQUENCY } else { given }, start, start_time }
    }

    /// What the ticks count.
    pub fn kind(&self) -> ClockKind {
        self.kind
    }

    /// Ticks per second, never 0.
    pub fn frequency(&self) -> u64 {
        self.frequency
    }

    /// The tick at which the trace started: the timestamp of the log-file header event.
    pub fn start(&self) -> Tick {
        self.start
    }

    /// UTC at which the trace started.
    pub fn start_time(&self) -> FileTime {
        self.start_time
    }

    /// Time from the start of the trace to `tick`.
    pub fn elapsed(&self, tick: Tick) -> Elapsed {
        Elapsed { ticks: i128::from(tick.0) - i128::from(self.start.0), frequency: self.frequency }
    }

    /// Seconds from the start of the trace to `tick`.
    pub fn seconds(&self, tick: Tick) -> f64 {
        self.elapsed(tick).seconds()
    }

    /// UTC of `tick`, rounded down to 100 ns; saturates at the ends of FILETIME.
    pub fn utc(&self, tick: Tick) -> FileTime {
        let units = (self.elapsed(tick).ticks * i128::from(FILETIME_FREQUENCY)).div_euclid(self.frequency.into());
        FileTime(saturate(i128::from(self.start_time.0) + units))
    }

    /// The first tick at or after `nanos` nanoseconds from the start; saturates. The inverse of
    /// [`Elapsed::nanos`] whenever a tick is a nanosecond or longer.
    pub fn tick_at_nanos(&self, nanos: i128) -> Tick {
        let scaled = nanos.saturating_mul(self.frequency.into());
        let up = scaled.saturating_add(999_999_999).div_euclid(1_000_000_000);
        Tick(saturate(up.saturating_add(self.start.0.into())))
    }

    /// The tick nearest to `seconds` from the start; saturates. The inverse of [`Self::seconds`] for up to 2^50 ticks on
    /// either side of the start, which are 3.5 years of a 10 MHz counter.
    pub fn tick_at_seconds(&self, seconds: f64) -> Tick {
        // A conversion of a float to an integer saturates, and takes what is not a number as 0.
        let ticks = (seconds * self.frequency as f64).round() as i128;
        Tick(saturate(ticks.saturating_add(self.start.0.into())))
    }

    /// The first tick at or after a UTC time; saturates.
    pub fn tick_at_utc(&self, time: FileTime) -> Tick {
        self.tick_at_nanos((i128::from(time.0) - i128::from(self.start_time.0)) * 100)
    }
}

fn saturate(value: i128) -> i64 {
    value.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

impl fmt::Display for FileTime {
    /// ISO 8601 in UTC with 100 ns digits: `2020-07-28T14:37:04.1234567Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS_PER_DAY: i64 = 86_400 * FILETIME_FREQUENCY as i64;
        let (days, rest) = (self.0.div_euclid(UNITS_PER_DAY), self.0.rem_euclid(UNITS_PER_DAY));
        let (year, month, day) = civil(days);
        let (seconds, fraction) = (rest / FILETIME_FREQUENCY as i64, rest % FILETIME_FREQUENCY as i64);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:07}Z")
    }
}

/// Year, month and day of a day counted from 1601-01-01, in the proleptic Gregorian calendar.
///
/// 1601 begins a 400-year cycle, so the leap rule needs no offset. Counting the year from March puts the leap day at
/// its end, and month lengths then follow (153 m + 2) / 5.
fn civil(days_since_1601: i64) -> (i64, i64, i64) {
    const DAYS_IN_400_YEARS: i64 = 146_097;
    // 1600-03-01 is 306 days before 1601-01-01.
    let days = days_since_1601 + 306;
    let (cycle, day_of_cycle) = (days.div_euclid(DAYS_IN_400_YEARS), days.rem_euclid(DAYS_IN_400_YEARS));
    let year_of_cycle =
        (day_of_cycle - day_of_cycle / 1460 + day_of_cycle / 36_524 - day_of_cycle / (DAYS_IN_400_YEARS - 1)) / 365;
    let day_of_year = day_of_cycle - (365 * year_of_cycle + year_of_cycle / 4 - year_of_cycle / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (1600 + 400 * cycle + year_of_cycle + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn utc_prints_as_a_calendar_date() {
        let check = |filetime: i64, text: &str| assert_eq!(FileTime(filetime).to_string(), text);
        check(0, "1601-01-01T00:00:00.0000000Z");
        check(116_444_736_000_000_000, "1970-01-01T00:00:00.0000000Z");
        check(125_963_423_999_999_999, "2000-02-29T23:59:59.9999999Z");
        check(133_537_247_990_000_001, "2024-02-29T23:59:59.0000001Z");
        check(-1, "1600-12-31T23:59:59.9999999Z");
    }

    #[test]
    fn ticks_convert_exactly() {
        let qpc = Clock::new(ClockKind::QPC, Tick(1000), FileTime(5_000), 3, 0);
        assert_eq!(qpc.elapsed(Tick(1001)).nanos(), 333_333_333);
        assert_eq!(qpc.utc(Tick(1003)), FileTime(10_005_000));
        assert_eq!(qpc.utc(Tick(999)), FileTime(5_000 - 3_333_334), "rounding is downwards on both sides of the start");
        assert_eq!(qpc.tick_at_nanos(333_333_333), Tick(1001));
        assert_eq!(qpc.tick_at_nanos(333_333_334), Tick(1002));

        let cycles = Clock::new(ClockKind::CPU_CYCLES, Tick(0), FileTime(0), 1, 2500);
        assert_eq!(cycles.utc(Tick(2500)), FileTime(10));
        let system = Clock::new(ClockKind::SYSTEM_TIME, Tick(77), FileTime(77), 0, 0);
        assert_eq!(system.utc(Tick(1_000_077)), FileTime(1_000_077));
    }

    #[test]
    fn seconds_lead_back_to_their_tick() {
        for frequency in [1, 3, 10_000_000, 2_998_765_432] {
            let clock = Clock::new(ClockKind::QPC, Tick(-17), FileTime(0), frequency, 0);
            for tick in [0, 1, -1, -17, 12_345_678_901, -12_345_678_901, 1 << 50, -(1 << 50)] {
                assert_eq!(clock.tick_at_seconds(clock.seconds(Tick(tick))), Tick(tick), "{frequency} Hz");
            }
            assert_eq!(clock.tick_at_seconds(f64::INFINITY), Tick(i64::MAX));
            assert_eq!(clock.tick_at_seconds(f64::NAN), Tick(-17));
        }
    }

    #[test]
    fn system_time_is_the_same_time() {
        let check = |filetime: i64, seconds: i64, nanos: u32| {
            let unsigned = Duration::from_secs(seconds.unsigned_abs());
            let second =
                if seconds < 0 { SystemTime::UNIX_EPOCH - unsigned } else { SystemTime::UNIX_EPOCH + unsigned };
            let expected = second + Duration::from_nanos(nanos.into());
            assert_eq!(FileTime(filetime).to_system_time(), Some(expected));
            assert_eq!(FileTime::from_system_time(expected), Some(FileTime(filetime)));
        };
        check(116_444_736_000_000_000, 0, 0);
        check(116_444_736_000_000_001, 0, 100);
        check(116_444_735_999_999_999, -1, 999_999_900);
        check(133_537_247_990_000_001, 1_709_251_199, 100);
        check(0, -11_644_473_600, 0);
        let odd = SystemTime::UNIX_EPOCH + Duration::from_nanos(199);
        assert_eq!(FileTime::from_system_time(odd), Some(FileTime(116_444_736_000_000_001)));
        let odd = SystemTime::UNIX_EPOCH - Duration::from_nanos(199);
        assert_eq!(FileTime::from_system_time(odd), Some(FileTime(116_444_735_999_999_998)), "down, not towards 1970");
        for extreme in [i64::MIN, i64::MAX] {
            let _ = FileTime(extreme).to_system_time();
        }
    }

    #[test]
    fn extreme_values_do_not_overflow() {
        for kind in 0..5 {
            for start in [i64::MIN, -1, 0, i64::MAX] {
                let clock = Clock::new(ClockKind(kind), Tick(start), FileTime(i64::MAX), i64::MIN, u32::MAX);
                for tick in [i64::MIN, 0, i64::MAX] {
                    let _ = (
                        clock.utc(Tick(tick)).to_string(),
                        clock.elapsed(Tick(tick)).nanos(),
                        clock.seconds(Tick(tick)),
                    );
                    let _ = (clock.tick_at_nanos(i128::MAX), clock.tick_at_utc(FileTime(tick)));
                }
            }
        }
    }
}
