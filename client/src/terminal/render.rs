//! How things look in the person's terminal: styles, tails of output, patches, plans.
//!
//! Pure: values in, text out. Text of models and tools is neutralised here, so whoever prints what these functions
//! give needs no care. Nothing here redraws.

use super::neutralise::{neutralise, neutralise_line};

/// Styles, or none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

impl Paint {
    pub const PLAIN: &'static str = "\u{1b}[0m";
    pub const BOLD: &'static str = "\u{1b}[1m";
    pub const DIM: &'static str = "\u{1b}[2m";
    pub const RED: &'static str = "\u{1b}[31m";
    pub const GREEN: &'static str = "\u{1b}[32m";
    pub const YELLOW: &'static str = "\u{1b}[33m";
    pub const CYAN: &'static str = "\u{1b}[36m";

    pub fn new(on: bool) -> Paint {
        Paint { on }
    }

    /// Styles when `is_terminal`, unless NO_COLOR or a dumb terminal forbids them.
    pub fn of_terminal(is_terminal: bool) -> Paint {
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        Paint::new(is_terminal && !set("NO_COLOR") && !dumb)
    }

    pub fn is_on(self) -> bool {
        self.on
    }

    /// `text`, which is harmless already, in a style.
    pub fn paint(self, style: &str, text: &str) -> String {
        if self.on { format!("{style}{text}{}", Paint::PLAIN) } else { text.to_owned() }
    }
}

/// The last lines of output, each behind a bar; the rest is only counted.
pub fn tail(paint: Paint, output: &str, lines: usize, columns: usize) -> String {
    let harmless = neutralise(output);
    let all: Vec<&str> = harmless.trim_end().lines().collect();
    let left_out = all.len().saturating_sub(lines);
    let mut shown = String::new();
    if left_out > 0 {
        shown.push_str(&bar(paint, &format!("… {left_out} more {}", plural(left_out, "line"))));
    }
    for line in &all[left_out..] {
        shown.push_str(&bar(paint, &clip(line, columns)));
    }
    shown
}

/// A unified diff: added lines green, removed red, places dim.
pub fn diff(paint: Paint, diff: &str) -> String {
    let mut shown = String::new();
    for line in neutralise(diff).lines() {
        let style = match line.as_bytes() {
            [b'+', b'+', b'+', ..] | [b'-', b'-', b'-', ..] => Paint::BOLD,
            [b'+', ..] => Paint::GREEN,
            [b'-', ..] => Paint::RED,
            [b'@', ..] => Paint::CYAN,
            [b' ', ..] | [] => "",
            _ => Paint::DIM,
        };
        let line = if style.is_empty() { line.to_owned() } else { paint.paint(style, line) };
        shown.push_str(&format!("  {line}\n"));
    }
    shown
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tick {
    Open,
    Now,
    Done,
    /// In the words of the model.
    Said,
}

/// A list of steps, one line each.
pub fn steps<'a>(paint: Paint, steps: impl IntoIterator<Item = (Tick, &'a str, &'a str)>) -> String {
    let mut shown = String::new();
    for (tick, step, status) in steps {
        let step = neutralise_line(step);
        let line = match tick {
            Tick::Open => format!("☐ {step}"),
            Tick::Now => paint.paint(Paint::BOLD, &format!("▶ {step}")),
            Tick::Done => format!("{} {}", paint.paint(Paint::GREEN, "☑"), paint.paint(Paint::DIM, &step)),
            Tick::Said => format!("☐ {step} ({})", neutralise_line(status)),
        };
        shown.push_str(&format!("  {line}\n"));
    }
    shown
}

/// A command for people: argv quoted where a shell would need it, a command line as it is; at most `columns` wide.
pub fn command(argv: &[String], columns: usize) -> String {
    let words: Vec<String> = match argv {
        [line] => vec![line.clone()],
        argv => argv.iter().map(|word| quote(word)).collect(),
    };
    clip(&neutralise_line(&words.join(" ")), columns)
}

/// A time for people: `0.2 s`, `12 s`, `3 m 07 s`.
pub fn seconds(seconds: f64) -> String {
    match seconds {
        short if short < 9.95 => format!("{short:.1} s"),
        medium if medium < 59.5 => format!("{medium:.0} s"),
        long => {
            let whole = long.round() as u64;
            format!("{} m {:02} s", whole / 60, whole % 60)
        }
    }
}

/// A count with thousands: `950`, `12.3k`, `1.2M`.
pub fn count(number: u64) -> String {
    match number {
        small if small < 1000 => small.to_string(),
        thousands if thousands < 999_950 => format!("{:.1}k", thousands as f64 / 1e3),
        millions => format!("{:.1}M", millions as f64 / 1e6),
    }
}

pub fn plural(number: usize, noun: &str) -> String {
    if number == 1 { noun.to_owned() } else { format!("{noun}s") }
}

/// At most `columns` characters, with a mark where something is missing.
pub fn clip(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}…")
}

fn bar(paint: Paint, line: &str) -> String {
    format!("  {} {line}\n", paint.paint(Paint::DIM, "│"))
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,+@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFF: Paint = Paint { on: false };
    const ON: Paint = Paint { on: true };

    #[test]
    fn a_tail_counts_what_it_leaves_out_and_is_harmless() {
        let check =
            |output: &str, expected: &str| assert_eq!(tail(OFF, output, 2, 12), expected, "{output:?}");
        check("", "");
        check("one\n", "  │ one\n");
        check("a\nb\nc\nd\n\n", "  │ … 2 more lines\n  │ c\n  │ d\n");
        check("a\nb\nc", "  │ … 1 more line\n  │ b\n  │ c\n");
        check("\u{1b}]52;c;x\u{7}0123456789abcdef", "  │ 0123456789a…\n");
    }

    #[test]
    fn a_diff_is_coloured_by_line() {
        let text = "--- a\n+++ b\n@@ -1 +1 @@\n same\n-old\n+new\n";
        assert_eq!(diff(OFF, text), "  --- a\n  +++ b\n  @@ -1 +1 @@\n   same\n  -old\n  +new\n");
        let coloured = diff(ON, text);
        assert!(coloured.contains("\u{1b}[31m-old\u{1b}[0m") && coloured.contains("\u{1b}[32m+new\u{1b}[0m"));
        assert_eq!(diff(OFF, "+\u{1b}[2Jx"), "  +x\n");
    }

    #[test]
    fn steps_show_how_far_they_are() {
        let list = [
            (Tick::Done, "look", ""),
            (Tick::Now, "mend", ""),
            (Tick::Open, "test", ""),
            (Tick::Said, "x", "later"),
        ];
        assert_eq!(steps(OFF, list), "  ☑ look\n  ▶ mend\n  ☐ test\n  ☐ x (later)\n");
    }

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        let check = |argv: &[&str], expected: &str| {
            let argv: Vec<String> = argv.iter().map(|word| word.to_string()).collect();
            assert_eq!(command(&argv, 30), expected);
        };
        check(&["cargo test 2>&1 | tail"], "cargo test 2>&1 | tail");
        check(&["grep", "it's", "src/a.rs"], r"grep 'it'\''s' src/a.rs");
        check(&["echo", ""], "echo ''");
        check(&["cat <<X\nline\nX\n"], "cat <<X⏎line⏎X");
        check(&["printf", "\u{1b}[2J"], "printf ''");
        check(&["0123456789012345678901234567890123456789"], "01234567890123456789012345678…");
    }

    #[test]
    fn times_and_counts_are_short() {
        let times =
            [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.96, "10 s"), (59.6, "1 m 00 s"), (187.0, "3 m 07 s")];
        times.iter().for_each(|(value, expected)| assert_eq!(seconds(*value), *expected));
        let counts = [(999, "999"), (12_345, "12.3k"), (999_999, "1.0M")];
        counts.iter().for_each(|(value, expected)| assert_eq!(count(*value), *expected));
    }
}
