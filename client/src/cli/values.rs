//! Values on the command line: durations, times, terminal sizes, signals.

use std::time::Duration;

use nix::sys::signal::Signal;

/// Longest duration that is taken: a hundred years, so that adding it to a clock cannot overflow.
const MAX_DURATION_SECONDS: f64 = 100.0 * 366.0 * 86_400.0;

/// `10s`, `5m`, `1.5h`, `250ms`, `2d`; a bare number is seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        _ => return Err("write a number with ms, s, m, h or d, such as 90s".into()),
    };
    let seconds =
        number.parse::<f64>().map_err(|_| "write a number with ms, s, m, h or d, such as 90s".to_string())?
            * scale;
    if seconds > MAX_DURATION_SECONDS {
        return Err("longer than a hundred years".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// A moment in the past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    Ago(Duration),
    UnixMs(i64),
}

impl Since {
    pub fn parse(text: &str) -> Result<Since, String> {
        match text.strip_prefix('@') {
            None => duration(text).map(Since::Ago),
            Some(seconds) => match seconds.parse::<f64>() {
                Ok(seconds) if seconds.is_finite() => Ok(Since::UnixMs((seconds * 1000.0) as i64)),
                _ => Err("write @ and seconds since 1970, such as @1790000000".into()),
            },
        }
    }

    /// Unix milliseconds, seen from `now_unix_ms`.
    pub fn unix_ms(self, now_unix_ms: i64) -> i64 {
        match self {
            Since::Ago(ago) => now_unix_ms.saturating_sub(ago.as_millis().try_into().unwrap_or(i64::MAX)),
            Since::UnixMs(at) => at,
        }
    }
}

/// `COLUMNSxROWS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TerminalSize {
    pub columns: u16,
    pub rows: u16,
}

impl TerminalSize {
    pub fn parse(text: &str) -> Result<TerminalSize, String> {
        let parse = || {
            let (columns, rows) = text.split_once(['x', 'X'])?;
            let (columns, rows) = (columns.parse().ok()?, rows.parse().ok()?);
            let held = 1..=1000;
            (held.contains(&columns) && held.contains(&rows)).then_some(TerminalSize { columns, rows })
        };
        parse().ok_or_else(|| "write columns x rows, each from 1 to 1000, such as 120x40".into())
    }
}

/// A signal by name or number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignalNumber(pub i32);

impl SignalNumber {
    pub fn parse(text: &str) -> Result<SignalNumber, String> {
        if let Ok(number) = text.parse::<i32>() {
            return match number {
                // 64 is SIGRTMAX; real-time signals have numbers only.
                1..=64 => Ok(SignalNumber(number)),
                _ => Err("signals have numbers from 1 to 64".into()),
            };
        }
        let upper = text.to_ascii_uppercase();
        let name = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
        name.parse::<Signal>()
            .map(|signal| SignalNumber(signal as i32))
            .map_err(|_| "no such signal: write a name such as TERM or INT, or a number".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let check = |text: &str, expected_ms: Option<u64>| {
            let read = duration(text).ok().map(|duration| duration.as_millis() as u64);
            assert_eq!(read, expected_ms, "{text}");
        };
        check("10", Some(10_000));
        check("10s", Some(10_000));
        check("250ms", Some(250));
        check("1.5h", Some(5_400_000));
        check("2d", Some(172_800_000));
        for wrong in ["", "s", "-1s", "1w", "1 s", "1.2.3s", "99999999999d", "NaN"] {
            check(wrong, None);
        }
    }

    #[test]
    fn since_is_ago_or_a_unix_time() {
        let check = |text: &str, expected: i64| {
            assert_eq!(Since::parse(text).unwrap().unix_ms(1_000_000), expected, "{text}");
        };
        check("5m", 700_000);
        check("@12.5", 12_500);
        assert!(Since::parse("@").is_err());
        assert!(Since::parse("yesterday").is_err());
    }

    #[test]
    fn sizes_are_columns_x_rows() {
        assert_eq!(TerminalSize::parse("120x40"), Ok(TerminalSize { columns: 120, rows: 40 }));
        for wrong in ["", "120", "0x4", "4x0", "1001x4", "ax4", "120x40x2"] {
            assert!(TerminalSize::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn signals_have_names_and_numbers() {
        let check = |text: &str, expected: Option<i32>| {
            assert_eq!(SignalNumber::parse(text).ok().map(|signal| signal.0), expected, "{text}");
        };
        check("TERM", Some(15));
        check("sigint", Some(2));
        check("9", Some(9));
        check("34", Some(34));
        check("0", None);
        check("65", None);
        check("NOPE", None);
    }
}
