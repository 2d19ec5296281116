//! Values as they are typed: moments, patterns, numbers.

use std::ops::RangeInclusive;

use mkdump::report::ipt::SymbolPattern;
use mkdump::{GivenCapability, Moment, NameFilter};

/// A moment: seconds, or a raw timestamp.
pub fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(number) = text.parse() {
        return Ok(Moment::Number(number));
    }
    let allowed =
        "allowed are seconds from the start of the trace, such as 1.5, times such as 1m40.5s, and raw timestamps";
    time(text).map(Moment::Seconds).ok_or_else(|| allowed.into())
}

/// A time from the start of the trace, in seconds.
pub fn seconds(text: &str) -> Result<f64, String> {
    time(text)
        .ok_or_else(|| "allowed are seconds from the start of the trace, such as 1.5, and times such as 1m40.5s".into())
}

/// Seconds, or days, hours, minutes and seconds as all lists show them: `1 m 40.5 s`, with blanks or without.
fn time(text: &str) -> Option<f64> {
    if let Ok(seconds) = text.trim().parse::<f64>() {
        return Some(seconds).filter(|seconds| seconds.is_finite());
    }
    let compact: String = text.chars().filter(|c| *c != ' ').collect();
    let mut rest = compact.as_str();
    let mut seconds = 0.0;
    for (unit, length) in [('d', 86_400.0), ('h', 3600.0), ('m', 60.0), ('s', 1.0)] {
        if let Some((number, after)) = rest.split_once(unit) {
            let is_number = number.bytes().all(|c| c.is_ascii_digit() || c == b'.');
            seconds += number.parse::<f64>().ok().filter(|_| is_number)? * length;
            rest = after;
        }
    }
    (rest.is_empty() && !compact.is_empty()).then_some(seconds).filter(|seconds| seconds.is_finite())
}

/// A pattern for names.
pub fn glob(text: &str) -> Result<String, String> {
    let pattern = text.to_owned();
    NameFilter::new(std::slice::from_ref(&pattern), &[]).map_err(|error| error.why)?;
    Ok(pattern)
}

/// A pattern for names of functions.
pub fn symbol(text: &str) -> Result<SymbolPattern, String> {
    SymbolPattern::new(text).map_err(|error| error.why)
}

/// A number of levels.
pub fn level(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| "allowed are numbers from 1 on".into())
}

/// A number or a range of numbers: `3`, `2-5`.
pub fn range(text: &str) -> Result<RangeInclusive<usize>, String> {
    let number = |text: &str| {
        let allowed = || "allowed are numbers and ranges of them, such as 0,3-5".to_owned();
        text.trim().parse::<usize>().map_err(|_| allowed())
    };
    let Some((first, last)) = text.split_once('-') else { return number(text).map(|number| number..=number) };
    let (first, last) = (number(first)?, number(last)?);
    if last < first { Err(format!("{last} comes before {first}")) } else { Ok(first..=last) }
}

/// A capability of the processor: a hexadecimal number, with `-` in front for one that it lacks.
pub fn capability(text: &str) -> Result<GivenCapability, String> {
    let (digits, is_set) = text.strip_prefix('-').map_or((text, true), |digits| (digits, false));
    let digits = digits.strip_prefix("0x").unwrap_or(digits);
    let number = u32::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'));
    let number = number.filter(|&number| number < GivenCapability::LIMIT);
    let allowed =
        || format!("allowed are hexadecimal numbers below {:x}, such as 0,13b, and -0", GivenCapability::LIMIT);
    number.map(|number| GivenCapability { number, is_set }).ok_or_else(allowed)
}

/// The id of a process or thread, decimal or, after `0x`, hexadecimal.
pub fn id(text: &str) -> Result<u32, String> {
    number(text).ok_or_else(|| "allowed are ids such as 100 or 0x64".into())
}

/// A number up to 32 bits, decimal or, after `0x`, hexadecimal.
pub fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) if !digits.starts_with('+') => u32::from_str_radix(digits, 16).ok(),
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use mkdump::{GivenCapability, Moment};

    use super::{capability, glob, id, moment, range, seconds};

    #[test]
    fn moments() {
        assert_eq!(moment("12"), Ok(Moment::Number(12)));
        assert_eq!(moment("1.5"), Ok(Moment::Seconds(1.5)));
        assert_eq!(moment("1 s"), Ok(Moment::Seconds(1.0)));
        for (text, expected) in [
            ("1m40.25s", 100.25),
            ("1 m 40.250 s", 100.25),
            ("8 h 12 m 6 s", 29_526.0),
            ("2d", 172_800.0),
            ("1h5s", 3605.0),
        ] {
            assert_eq!((moment(text), seconds(text)), (Ok(Moment::Seconds(expected)), Ok(expected)), "{text}");
        }
        assert_eq!(seconds("-0.5"), Ok(-0.5));
        for bad in ["", " ", "s", "5 s 1 m", "1m1m", "1x", "-1m", "1e3s", "nan", "inf"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        for bad in ["", "never", "nan", "inf", "1 q"] {
            assert!(moment(bad).unwrap_err().contains("seconds"), "{bad}");
        }
    }

    #[test]
    fn ranges_and_ids() {
        assert_eq!((range(" 3"), range("5-7")), (Ok(3..=3), Ok(5..=7)));
        for bad in ["", "a", "5-3", "-2", "99999999999999999999999"] {
            assert!(range(bad).is_err(), "{bad}");
        }
        assert_eq!((id("100"), id("0x64"), id("0XfF")), (Ok(100), Ok(100), Ok(255)));
        for bad in ["", "0x", "64h", "-1", "0x+1", "0x100000000"] {
            assert!(id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn capabilities() {
        let given = |number, is_set| Ok(GivenCapability { number, is_set });
        let found = ["0", "-0", "13b", "0x13B", "-1"].map(capability);
        assert_eq!(found, [given(0, true), given(0, false), given(0x13b, true), given(0x13b, true), given(1, false)]);
        for bad in ["", "-", "erms", "+1", "161", "fffffffff", "--1"] {
            assert!(capability(bad).unwrap_err().contains("hexadecimal"), "{bad}");
        }
    }

    #[test]
    fn patterns() {
        assert_eq!(glob("*.sys"), Ok("*.sys".to_owned()));
        assert!(glob("a[").is_err());
    }
}
