//! Values as they are typed: moments, patterns, numbers.

use std::ops::RangeInclusive;

use mkdump::{Moment, NameFilter};

/// A moment: seconds, or a raw timestamp.
pub fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(number) = text.parse() {
        return Ok(Moment::Number(number));
    }
    let seconds = text.parse().ok().filter(|seconds: &f64| seconds.is_finite());
    let allowed = "allowed are seconds from the start of the trace, such as 1.5, and raw timestamps";
    seconds.map(Moment::Seconds).ok_or_else(|| allowed.into())
}

/// A pattern for names.
pub fn glob(text: &str) -> Result<String, String> {
    let pattern = text.to_owned();
    NameFilter::new(std::slice::from_ref(&pattern), &[]).map_err(|error| error.why)?;
    Ok(pattern)
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
    use mkdump::Moment;

    use super::{glob, id, moment, range};

    #[test]
    fn moments() {
        assert_eq!(moment("12"), Ok(Moment::Number(12)));
        assert_eq!(moment("1.5"), Ok(Moment::Seconds(1.5)));
        for bad in ["", "never", "nan", "inf", "1 s"] {
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
    fn patterns() {
        assert_eq!(glob("*.sys"), Ok("*.sys".to_owned()));
        assert!(glob("a[").is_err());
    }
}
