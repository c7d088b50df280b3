//! Added lines take the file's indentation when a place was found with leading blanks ignored.
//!
//! Invariant: only leading blanks change, and an indentation that the hunk's old lines say nothing about
//! stays as it was written. Pure.

use super::text::indentation;

/// What the old lines of a hunk say: (indentation in the patch, indentation in the file), in order.
pub struct Indents<'a> {
    pairs: Vec<(&'a [u8], &'a [u8])>,
}

impl<'a> Indents<'a> {
    /// `lines` are (line of the patch, line of the file); blank ones say nothing.
    pub fn new(lines: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Indents<'a> {
        let solid = lines.filter(|(patch, _)| !patch.trim_ascii().is_empty());
        Indents { pairs: solid.map(|(patch, file)| (indentation(patch), indentation(file))).collect() }
    }

    /// `body` with the indentation that the file would give it.
    pub fn adapt(&self, body: &[u8]) -> Vec<u8> {
        let written = indentation(body);
        let rest = &body[written.len()..];
        if rest.is_empty() {
            return body.to_vec();
        }
        let mut adapted = self.indentation_for(written);
        adapted.extend_from_slice(rest);
        adapted
    }

    fn indentation_for(&self, written: &[u8]) -> Vec<u8> {
        if let Some((_, file)) = self.pairs.iter().rev().find(|(patch, _)| *patch == written) {
            return file.to_vec();
        }
        if let Some(unit) = self.unit() {
            return unit.translate(written);
        }
        if let Some(shift) = self.shift() {
            return shift.apply(written);
        }
        let inner = self.pairs.iter().filter(|(patch, _)| written.starts_with(patch));
        match inner.max_by_key(|(patch, _)| patch.len()) {
            Some((patch, file)) => [*file, &written[patch.len()..]].concat(),
            None => written.to_vec(),
        }
    }

    /// Blanks for tabs, or tabs for blanks, if every pair agrees on one exchange.
    fn unit(&self) -> Option<Unit> {
        let indented = || self.pairs.iter().filter(|(patch, file)| !patch.is_empty() || !file.is_empty());
        let unit = indented().find_map(|(patch, file)| Unit::between(patch, file))?;
        indented().all(|(patch, file)| unit.translate(patch) == *file).then_some(unit)
    }

    /// Blanks that the file has in front of every line, or the patch has.
    fn shift(&self) -> Option<Shift<'a>> {
        let (patch, file) = self.pairs.first()?;
        let shift = match (file.strip_suffix(*patch), patch.strip_suffix(*file)) {
            (Some(more), _) => Shift::Deeper(more),
            (_, Some(less)) => Shift::Flatter(less),
            _ => return None,
        };
        self.pairs.iter().all(|(patch, file)| shift.apply(patch) == *file).then_some(shift)
    }
}

enum Shift<'a> {
    Deeper(&'a [u8]),
    Flatter(&'a [u8]),
}

impl Shift<'_> {
    fn apply(&self, written: &[u8]) -> Vec<u8> {
        match self {
            Shift::Deeper(more) => [more, written].concat(),
            Shift::Flatter(less) => written.strip_prefix(*less).unwrap_or(b"").to_vec(),
        }
    }
}

enum Unit {
    TabsFor { blanks: usize },
    BlanksFor { blanks: usize },
}

impl Unit {
    fn between(patch: &[u8], file: &[u8]) -> Option<Unit> {
        let all = |blanks: &[u8], byte| !blanks.is_empty() && blanks.iter().all(|blank| *blank == byte);
        if all(patch, b' ') && all(file, b'\t') && patch.len().is_multiple_of(file.len()) {
            return Some(Unit::TabsFor { blanks: patch.len() / file.len() });
        }
        if all(patch, b'\t') && all(file, b' ') && file.len().is_multiple_of(patch.len()) {
            return Some(Unit::BlanksFor { blanks: file.len() / patch.len() });
        }
        None
    }

    fn translate(&self, written: &[u8]) -> Vec<u8> {
        match self {
            Unit::TabsFor { blanks } => {
                let spaces = written.iter().take_while(|byte| **byte == b' ').count();
                let tabs = spaces / blanks;
                [&b"\t".repeat(tabs)[..], &written[tabs * blanks..]].concat()
            }
            Unit::BlanksFor { blanks } => {
                let tabs = written.iter().take_while(|byte| **byte == b'\t').count();
                [&b" ".repeat(tabs * blanks)[..], &written[tabs..]].concat()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)], written: &str, expected: &str) {
        let indents = Indents::new(pairs.iter().map(|(patch, file)| (patch.as_bytes(), file.as_bytes())));
        let adapted = indents.adapt(written.as_bytes());
        assert_eq!(String::from_utf8_lossy(&adapted), expected, "{pairs:?} {written:?}");
    }

    #[test]
    fn an_added_line_is_indented_as_the_file_would() {
        check(&[("a:", "    a:"), ("  b", "      b")], "  c", "      c");
        check(&[("a:", "    a:")], "  c", "      c");
        check(&[("    a", "a")], "      b", "  b");
        check(&[("    a", "a")], "  b", "b");
        check(&[("    a", "\ta")], "        b", "\t\tb");
        check(&[("\ta", "  a")], "\t\tb", "    b");
        check(&[("a", "a"), ("    b", "\tb")], "        c", "\t\tc");
        check(&[("  a", "    a"), ("    b", "        b")], "    c", "        c");
        check(&[("a", "a")], "  b", "  b");
        check(&[("", "  ")], "x", "x");
        check(&[("  a", "    a")], "", "");
    }
}
