//! Owns amounts as people write them: sizes, times, rates and counts, each with its unit in the text.
//!
//! Invariant: what is printed parses to the same value, and a number that does not fit is an error, never
//! a wrap. Does not know which amounts a profile has; `schema.rs` does.

use std::fmt;
use std::time::Duration;

/// A number of bytes. Written `65536`, `"512MiB"`, `"10MB"` (MiB = 1024², MB = 1000²).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// Bytes a second. Written `"8MiB/s"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BytesPerSecond(pub u64);

/// A ceiling: how much, and whether a machine that cannot enforce it must refuse.
///
/// `value` is `None` when the profile says `"unlimited"`; that is a value somebody chose, not a missing one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Limit<T> {
    pub value: Option<T>,
    pub hard: bool,
}

impl<T> Limit<T> {
    pub fn soft(value: T) -> Self {
        Self { value: Some(value), hard: false }
    }

    /// Whether it must hold.
    pub fn is_hard(&self) -> bool {
        self.hard && self.value.is_some()
    }

    pub fn unlimited() -> Self {
        Self { value: None, hard: false }
    }
}

/// Something a limit can be counted in.
pub trait Amount: Copy + PartialEq {
    /// What to write, for error messages.
    const EXAMPLE: &'static str;

    fn parse(text: &str) -> Result<Self, String>;

    /// A bare TOML integer. Refused by amounts that would leave the unit to guessing.
    fn from_integer(number: u64) -> Result<Self, String>;

    fn print(self) -> String;

    fn is_zero(self) -> bool;
}

impl Amount for u64 {
    const EXAMPLE: &'static str = "512";

    fn parse(text: &str) -> Result<Self, String> {
        scaled(text, &[("", 1)], Self::EXAMPLE)
    }

    fn from_integer(number: u64) -> Result<Self, String> {
        Ok(number)
    }

    fn print(self) -> String {
        self.to_string()
    }

    fn is_zero(self) -> bool {
        self == 0
    }
}

impl Amount for Bytes {
    const EXAMPLE: &'static str = "\"512MiB\"";

    fn parse(text: &str) -> Result<Self, String> {
        scaled(text, SIZES, Self::EXAMPLE).map(Bytes)
    }

    fn from_integer(number: u64) -> Result<Self, String> {
        Ok(Bytes(number))
    }

    fn print(self) -> String {
        let (unit, factor) = largest_exact(self.0, BINARY_SIZES);
        format!("{}{unit}", self.0 / factor)
    }

    fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl Amount for BytesPerSecond {
    const EXAMPLE: &'static str = "\"8MiB/s\"";

    fn parse(text: &str) -> Result<Self, String> {
        let size = text.trim_end().strip_suffix("/s").ok_or_else(|| unreadable(text, Self::EXAMPLE))?;
        scaled(size, SIZES, Self::EXAMPLE).map(BytesPerSecond)
    }

    fn from_integer(number: u64) -> Result<Self, String> {
        Err(no_unit(number, Self::EXAMPLE))
    }

    fn print(self) -> String {
        format!("{}/s", Bytes(self.0).print())
    }

    fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl Amount for Duration {
    const EXAMPLE: &'static str = "\"30m\"";

    fn parse(text: &str) -> Result<Self, String> {
        scaled(text, TIMES_MS, Self::EXAMPLE).map(Duration::from_millis)
    }

    fn from_integer(number: u64) -> Result<Self, String> {
        Err(no_unit(number, Self::EXAMPLE))
    }

    fn print(self) -> String {
        let ms = u64::try_from(self.as_millis()).unwrap_or(u64::MAX);
        let (unit, factor) = largest_exact(ms, TIMES_MS);
        format!("{}{unit}", ms / factor)
    }

    fn is_zero(self) -> bool {
        Duration::is_zero(&self)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.print())
    }
}

/// Each unit with its factor, small to large; the printer takes the largest that divides exactly.
const BINARY_SIZES: &[(&str, u64)] =
    &[("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

const SIZES: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

const TIMES_MS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

fn scaled(text: &str, units: &[(&str, u64)], example: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = (&text[..digits], text[digits..].trim_start());
    if number.is_empty() {
        return Err(unreadable(text, example));
    }
    let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let factor = factor.ok_or_else(|| unreadable(text, example))?;
    number
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(factor))
        .ok_or_else(|| format!("{text:?} does not fit in 64 bits: write a smaller amount or \"unlimited\""))
}

fn largest_exact(value: u64, units: &'static [(&'static str, u64)]) -> (&'static str, u64) {
    let exact = units.iter().rev().find(|(_, factor)| value != 0 && value.is_multiple_of(*factor));
    *exact.unwrap_or(&units[0])
}

fn unreadable(text: &str, example: &str) -> String {
    format!("{text:?} is no amount this key understands: write one such as {example}")
}

fn no_unit(number: u64, example: &str) -> String {
    format!("{number} has no unit: write one such as {example}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check<T: Amount + std::fmt::Debug>(text: &str, expected: T, printed: &str) {
        assert_eq!(T::parse(text), Ok(expected), "{text}");
        assert_eq!(expected.print(), printed, "{text}");
        assert_eq!(T::parse(printed), Ok(expected), "{printed}");
    }

    #[test]
    fn amounts_print_in_the_largest_exact_unit() {
        check("512MiB", Bytes(512 << 20), "512MiB");
        check("2048 MiB", Bytes(2 << 30), "2GiB");
        check("10MB", Bytes(10_000_000), "10000000B");
        check("0B", Bytes(0), "0B");
        check("8MiB/s", BytesPerSecond(8 << 20), "8MiB/s");
        check("90s", Duration::from_secs(90), "90s");
        check("120m", Duration::from_secs(7200), "2h");
        check("1500ms", Duration::from_millis(1500), "1500ms");
        check("512", 512u64, "512");
    }

    fn refused<T: Amount + std::fmt::Debug>(text: &str, part: &str) {
        let message = T::parse(text).expect_err(text);
        assert!(message.contains(part), "{text}: {message}");
    }

    #[test]
    fn amounts_that_mean_nothing_or_too_much_are_refused() {
        refused::<Bytes>("512", "such as \"512MiB\"");
        refused::<Bytes>("512 mib", "such as");
        refused::<Bytes>("-1MiB", "such as");
        refused::<Bytes>("1.5GiB", "such as");
        refused::<Bytes>("18446744073709551615KiB", "does not fit in 64 bits");
        refused::<Bytes>("99999999999999999999B", "does not fit in 64 bits");
        refused::<Duration>("30", "such as \"30m\"");
        refused::<Duration>("", "such as");
        refused::<BytesPerSecond>("8MiB", "such as \"8MiB/s\"");
        refused::<u64>("ten", "such as");
    }
}
