//! The line that a person edits: text, cursor, what was cut, the lines before. Pure.
//!
//! It does not know keys, prompts or what a line means; positions are bytes on character borders.

use unicode_width::UnicodeWidthChar;

/// A line under edit; it may have several lines.
#[derive(Debug, Default)]
pub struct Line {
    text: String,
    at: usize,
    cut: String,
    /// Lines entered before, oldest first.
    history: Vec<String>,
    /// Which of them stands here; none: the new line.
    recalled: Option<usize>,
    /// The new line while an old one stands here.
    fresh: String,
}

/// The most lines that are remembered.
pub const HISTORY_LINES: usize = 1000;

impl Line {
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn at(&self) -> usize {
        self.at
    }

    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Replaces all of it; the cursor stands behind it.
    pub fn set(&mut self, text: &str) {
        self.text = text.to_owned();
        self.at = self.text.len();
    }

    /// Gives the line away and begins a new one.
    pub fn take(&mut self) -> String {
        self.at = 0;
        self.recalled = None;
        self.fresh.clear();
        std::mem::take(&mut self.text)
    }

    pub fn insert(&mut self, text: &str) {
        self.text.insert_str(self.at, text);
        self.at += text.len();
    }

    /// Replaces what stands between `from` and the cursor.
    pub fn replace_from(&mut self, from: usize, text: &str) {
        self.text.replace_range(from..self.at, text);
        self.at = from + text.len();
    }

    pub fn backspace(&mut self) {
        let from = self.before();
        self.text.replace_range(from..self.at, "");
        self.at = from;
    }

    pub fn delete(&mut self) {
        let to = self.behind();
        self.text.replace_range(self.at..to, "");
    }

    pub fn left(&mut self) {
        self.at = self.before();
    }

    pub fn right(&mut self) {
        self.at = self.behind();
    }

    pub fn word_left(&mut self) {
        let before = self.text[..self.at].trim_end_matches(|c: char| !c.is_alphanumeric());
        self.at = before.trim_end_matches(char::is_alphanumeric).len();
    }

    pub fn word_right(&mut self) {
        let behind = self.text[self.at..].trim_start_matches(|c: char| !c.is_alphanumeric());
        self.at = self.text.len() - behind.trim_start_matches(char::is_alphanumeric).len();
    }

    pub fn home(&mut self) {
        self.at = self.row_start();
    }

    pub fn end(&mut self) {
        self.at = self.row_end();
    }

    /// Cuts what stands before the cursor in its row; at its start, the line break.
    pub fn cut_to_start(&mut self) {
        let start = self.row_start();
        self.cut(if start == self.at { self.before() } else { start }, self.at);
    }

    /// Cuts what stands behind the cursor in its row; at its end, the line break.
    pub fn cut_to_end(&mut self) {
        let end = self.row_end();
        self.cut(self.at, if end == self.at { self.behind() } else { end });
    }

    /// Cuts the word before the cursor, as far as blanks go.
    pub fn cut_word(&mut self) {
        let before = self.text[..self.at].trim_end();
        let from = before
            .rfind(char::is_whitespace)
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        self.cut(from, self.at);
    }

    /// Puts what was cut last.
    pub fn put_back(&mut self) {
        let cut = self.cut.clone();
        self.insert(&cut);
    }

    /// A row up, or the line before.
    pub fn up(&mut self) {
        if self.row_start() > 0 {
            let column = self.text[self.row_start()..self.at].chars().count();
            self.at = self.row_start() - 1;
            self.at = self.row_start();
            self.step(column);
        } else {
            let before = self.recalled.unwrap_or(self.history.len());
            if let Some(index) = before.checked_sub(1) {
                self.recall(Some(index));
            }
        }
    }

    /// A row down, or the line behind.
    pub fn down(&mut self) {
        if self.row_end() < self.text.len() {
            let column = self.text[self.row_start()..self.at].chars().count();
            self.at = self.row_end() + 1;
            self.step(column);
        } else if let Some(index) = self.recalled {
            self.recall(Some(index + 1).filter(|index| *index < self.history.len()));
        }
    }

    /// The newest older line that holds what stands before the cursor; again, the one before that.
    pub fn search_back(&mut self) {
        let needle = self.text[..self.at].to_owned();
        let before = self.recalled.unwrap_or(self.history.len());
        if let Some(index) = self.history[..before].iter().rposition(|line| line.contains(&needle)) {
            self.recall(Some(index));
            let found = self.text.find(&needle).unwrap_or(0);
            self.at = found + needle.len();
        }
    }

    /// Remembers a line; one that begins with a blank is not meant to be.
    pub fn remember(&mut self, line: &str) {
        let known = self.history.last().is_some_and(|last| last == line);
        if known || line.trim().is_empty() || line.starts_with(' ') {
            return;
        }
        self.history.push(line.to_owned());
        let many = self.history.len().saturating_sub(HISTORY_LINES);
        self.history.drain(..many);
    }

    fn recall(&mut self, index: Option<usize>) {
        if self.recalled.is_none() {
            self.fresh = std::mem::take(&mut self.text);
        }
        self.recalled = index;
        let text = match index {
            Some(index) => self.history[index].clone(),
            None => std::mem::take(&mut self.fresh),
        };
        self.set(&text);
    }

    fn cut(&mut self, from: usize, to: usize) {
        if from < to {
            self.cut = self.text[from..to].to_owned();
            self.text.replace_range(from..to, "");
            self.at = from;
        }
    }

    fn step(&mut self, columns: usize) {
        for _ in 0..columns {
            if self.at < self.row_end() {
                self.at = self.behind();
            }
        }
    }

    fn row_start(&self) -> usize {
        self.text[..self.at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    fn row_end(&self) -> usize {
        self.text[self.at..].find('\n').map_or(self.text.len(), |newline| self.at + newline)
    }

    /// Where the character before the cursor begins, with the marks that sit on it.
    fn before(&self) -> usize {
        let mut characters = self.text[..self.at].char_indices().rev();
        let found = characters.find(|(_, character)| !sits_on_another(*character));
        found.map_or(0, |(at, _)| at)
    }

    fn behind(&self) -> usize {
        let mut characters = self.text[self.at..].char_indices().skip(1);
        let found = characters.find(|(_, character)| !sits_on_another(*character));
        found.map_or(self.text.len(), |(at, _)| self.at + at)
    }
}

fn sits_on_another(character: char) -> bool {
    character != '\n' && character.width() == Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `|` is the cursor.
    fn check(before: &str, act: fn(&mut Line), after: &str) {
        let mut line = Line::default();
        line.set(&before.replace('|', ""));
        line.at = before.find('|').unwrap();
        act(&mut line);
        let mut shown = line.text().to_owned();
        shown.insert(line.at(), '|');
        assert_eq!(shown, after, "{before}");
    }

    #[test]
    fn a_line_is_edited_as_one_expects() {
        check("ab|c", Line::backspace, "a|c");
        check("|abc", Line::backspace, "|abc");
        check("ae\u{301}|b", Line::backspace, "a|b");
        check("a|bc", Line::delete, "a|c");
        check("日|本", Line::left, "|日本");
        check("ab |cd ef", Line::word_right, "ab cd| ef");
        check("ab cd| ef", Line::word_left, "ab |cd ef");
        check("ab cd  |ef", Line::cut_word, "ab |ef");
        check("one\ntw|o", Line::cut_to_start, "one\n|o");
        check("one\n|two", Line::cut_to_start, "one|two");
        check("on|e\ntwo", Line::cut_to_end, "on|\ntwo");
        check("on|\ntwo", Line::cut_to_end, "on|two");
        check("one\nt|wo", Line::home, "one\n|two");
        check("o|ne\ntwo", Line::end, "one|\ntwo");
        check("one\ntw|o", Line::up, "on|e\ntwo");
        check("one|\nt", Line::down, "one\nt|");
        check(
            "ab cd|",
            |line| {
                line.cut_word();
                line.put_back();
                line.put_back()
            },
            "ab cdcd|",
        );
        check("x /at|", |line| line.replace_from(2, "/attach "), "x /attach |");
    }

    #[test]
    fn lines_before_are_recalled_and_the_new_one_is_not_lost() {
        let mut line = Line::default();
        for entered in ["first", "second", "second", " secret", ""] {
            line.remember(entered);
        }
        line.set("new");
        let mut seen = Vec::new();
        for act in [Line::up, Line::up, Line::up, Line::down, Line::down, Line::down] as [fn(&mut Line); 6] {
            act(&mut line);
            seen.push(line.text().to_owned());
        }
        assert_eq!(seen, ["second", "first", "first", "second", "new", "new"]);
        assert_eq!(line.take(), "new");
        assert!(line.is_empty());
        line.set("fir");
        line.search_back();
        assert_eq!((line.text(), line.at()), ("first", 3));
    }
}
