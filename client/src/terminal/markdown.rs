//! Markdown made light while it streams: headings and **bold** bright, `code` in colour, bullets as dots. Nothing is
//! laid out anew, so nothing is ever redrawn.
//!
//! Takes harmless text (see `neutralise`). Without colour the text stays as it was written.

use super::render::Paint;

/// A message on its way to the terminal, in pieces cut anywhere.
#[derive(Debug)]
pub struct Markdown {
    paint: Paint,
    /// What cannot be decided before more comes.
    held: String,
    place: Place,
    in_fence: bool,
    bold: bool,
    code: bool,
    /// The character before, to tell **bold** from 2**3.
    before: char,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    LineStart,
    Text,
    Heading,
    Fence,
}

impl Markdown {
    pub fn new(paint: Paint) -> Markdown {
        let place = Place::LineStart;
        Markdown { paint, held: String::new(), place, in_fence: false, bold: false, code: false, before: ' ' }
    }

    /// Takes a piece; gives what can be shown by now.
    pub fn push(&mut self, text: &str) -> String {
        if !self.paint.is_on() {
            return text.to_owned();
        }
        self.held.push_str(text);
        let mut shown = String::new();
        while self.advance(&mut shown, false) {}
        shown
    }

    /// The message is whole: what was held is shown, and styles end.
    pub fn finish(&mut self) -> String {
        let mut shown = String::new();
        while self.advance(&mut shown, true) {}
        self.end_line(&mut shown);
        self.in_fence = false;
        shown
    }

    /// Shows one thing more; false when that needs more text.
    fn advance(&mut self, shown: &mut String, last: bool) -> bool {
        if self.held.is_empty() {
            return false;
        }
        match self.place {
            Place::LineStart => self.begin_line(shown, last),
            _ => self.go_on(shown, last),
        }
    }

    /// Decides what kind of line begins.
    fn begin_line(&mut self, shown: &mut String, last: bool) -> bool {
        let indent = self.held.len() - self.held.trim_start_matches(' ').len();
        let line = &self.held[indent..];
        let undecided = ["```", "- ", "* ", "+ "].iter().any(|mark| mark.starts_with(line))
            || line.chars().all(|character| character == '#');
        if undecided && !last {
            return false;
        }
        let hashes = line.len() - line.trim_start_matches('#').len();
        if line.starts_with("```") {
            self.in_fence = !self.in_fence;
            self.place = Place::Fence;
            shown.push_str(Paint::DIM);
        } else if self.in_fence {
            self.place = Place::Fence;
            shown.push_str(Paint::CYAN);
        } else if (1..=6).contains(&hashes) && line[hashes..].starts_with(' ') {
            self.place = Place::Heading;
            shown.push_str(Paint::BOLD);
            self.held.drain(..indent + hashes + 1);
        } else if ["- ", "* ", "+ "].iter().any(|mark| line.starts_with(mark)) {
            self.place = Place::Text;
            shown.push_str(&self.held[..indent]);
            shown.push_str("• ");
            self.held.drain(..indent + 2);
        } else {
            self.place = Place::Text;
        }
        self.before = ' ';
        true
    }

    fn go_on(&mut self, shown: &mut String, last: bool) -> bool {
        let mut characters = self.held.chars();
        let Some(character) = characters.next() else { return false };
        let next = characters.next();
        if character == '*' && !last && (next.is_none() || (next == Some('*') && characters.next().is_none()))
        {
            return false;
        }
        let mut taken = character.len_utf8();
        match character {
            '\n' => {
                self.end_line(shown);
                shown.push('\n');
            }
            '`' if self.place == Place::Text => {
                self.code = !self.code;
                shown.push_str(if self.code { Paint::CYAN } else { self.base_style() });
            }
            '*' if next == Some('*') && self.place == Place::Text && self.marks_bold() => {
                self.bold = !self.bold;
                shown.push_str(self.base_style());
                taken = 2;
            }
            other => shown.push(other),
        }
        self.before = character;
        self.held.drain(..taken);
        true
    }

    /// Two stars here begin or end bold text.
    fn marks_bold(&self) -> bool {
        let follows_space = self.held[2..].starts_with(|c: char| c.is_whitespace());
        !self.code && (self.bold || (!self.before.is_alphanumeric() && !follows_space))
    }

    fn base_style(&self) -> &'static str {
        if self.bold { Paint::BOLD } else { Paint::PLAIN }
    }

    fn end_line(&mut self, shown: &mut String) {
        let styled = self.bold || self.code || matches!(self.place, Place::Heading | Place::Fence);
        if styled {
            shown.push_str(Paint::PLAIN);
        }
        (self.bold, self.code) = (false, false);
        self.place = Place::LineStart;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same text, with styles written as <b> <c> <d> and </>.
    fn light(text: &str, piece: usize) -> String {
        let mut markdown = Markdown::new(Paint::new(true));
        let mut shown = String::new();
        let characters: Vec<char> = text.chars().collect();
        for piece in characters.chunks(piece) {
            shown.push_str(&markdown.push(&piece.iter().collect::<String>()));
        }
        shown.push_str(&markdown.finish());
        let marks = [(Paint::BOLD, "<b>"), (Paint::CYAN, "<c>"), (Paint::DIM, "<d>"), (Paint::PLAIN, "</>")];
        marks.iter().fold(shown, |shown, (style, mark)| shown.replace(style, mark))
    }

    #[test]
    fn marks_become_styles_however_the_text_is_cut() {
        let check = |text: &str, expected: &str| {
            for piece in [1, 2, 3, 1000] {
                assert_eq!(light(text, piece), expected, "{text:?} in pieces of {piece}");
            }
        };
        check("plain\ntext", "plain\ntext");
        check("# Head\nbody", "<b>Head</>\nbody");
        check("#include <x>", "#include <x>");
        check("a **bold** word", "a <b>bold</> word");
        check("use `x**y` now", "use <c>x**y</> now");
        check("2**3 and 2 ** 3 and a*b", "2**3 and 2 ** 3 and a*b");
        check("**never closed\nnext", "<b>never closed</>\nnext");
        check("- one\n  * two\n-no", "• one\n  • two\n-no");
        check("```sh\nls **x**\n```\nend", "<d>```sh</>\n<c>ls **x**</>\n<d>```</>\nend");
        check("`", "<c></>");
        check("*", "*");
        check("", "");
        check("  ", "  ");
    }

    #[test]
    fn without_colour_the_text_stays_as_it_was_written() {
        let mut markdown = Markdown::new(Paint::new(false));
        assert_eq!(markdown.push("# a **b** `c`") + &markdown.finish(), "# a **b** `c`");
    }
}
