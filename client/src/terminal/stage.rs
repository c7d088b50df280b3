//! The lower edge of a terminal: what was said scrolls by above and is never touched again; below it stand a few lines
//! that change, and the line that a person types, drawn again at each change.
//!
//! Takes harmless text (see `neutralise`). A plain stage draws nothing again: text goes through, and the prompt is text
//! like any other. Rows are counted as the terminal wraps them, also anew when its size changes, so that it is known how
//! far up the edge begins.

use std::io::Write;

use unicode_width::UnicodeWidthChar;

use super::render::Paint;

/// The line a person types, and where its cursor is, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Input {
    pub prompt: String,
    pub text: String,
    pub at: usize,
}

/// A terminal's lower edge.
#[derive(Debug)]
pub struct Stage<W> {
    out: W,
    plain: bool,
    /// Of a plain stage.
    at_line_start: bool,
    columns: usize,
    rows: usize,
    /// What was written behind the last line break, and the styles in force where it begins.
    partial: String,
    style: String,
    live: Vec<String>,
    input: Option<Input>,
    /// What stands from where the partial line begins down to the cursor, a line each, the last one cut at the cursor.
    to_cursor: Vec<String>,
    /// What came while somebody else has the terminal.
    held: Option<String>,
}

impl<W: Write> Stage<W> {
    pub fn new(out: W, plain: bool, columns: usize, rows: usize) -> Stage<W> {
        let (columns, rows) = (columns.max(20), rows.max(6));
        let (partial, style, live) = (String::new(), String::new(), Vec::new());
        Stage {
            out,
            plain,
            at_line_start: true,
            columns,
            rows,
            partial,
            style,
            live,
            input: None,
            to_cursor: Vec::new(),
            held: None,
        }
    }

    pub fn is_plain(&self) -> bool {
        self.plain
    }

    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Writes behind what was written before, above the edge.
    pub fn write(&mut self, text: &str) {
        if let Some(held) = &mut self.held {
            held.push_str(text);
            return;
        }
        if self.plain {
            // A prompt that waits is left standing; what comes begins on a line of its own.
            let parted = if self.input.take().is_some() && !text.starts_with('\n') { "\n" } else { "" };
            self.send(&format!("{parted}{text}"));
            self.at_line_start = text.ends_with('\n');
            return;
        }
        let mut drawn = self.to_top();
        let whole = std::mem::take(&mut self.partial) + text;
        drawn.push_str(&self.style);
        drawn.push_str(&whole);
        let begin = whole.rfind('\n').map_or(0, |newline| newline + 1);
        self.style = style_behind(&self.style, &whole[..begin]);
        self.partial = whole[begin..].to_owned();
        if self.rows_of(&self.partial) > self.rows / 2 {
            // More could not be drawn again once its beginning has left the screen.
            drawn.push('\n');
            self.style = style_behind(&self.style, &self.partial);
            self.partial.clear();
        }
        drawn.push_str(&self.edge());
        self.send(&drawn);
    }

    /// Puts whole lines above the line that is being written.
    pub fn insert(&mut self, lines: &str) {
        if self.held.is_some() || self.plain || self.partial.is_empty() {
            let begun = self.plain && !self.at_line_start;
            return self.write(&format!("{}{lines}", if begun { "\n" } else { "" }));
        }
        let mut drawn = self.to_top();
        drawn.push_str(&format!("{}{lines}{}{}", Paint::PLAIN, self.style, self.partial));
        drawn.push_str(&self.edge());
        self.send(&drawn);
    }

    /// Draws other changing lines; the typed line stays.
    pub fn show_live(&mut self, live: Vec<String>) {
        let input = self.input.clone();
        self.show(live, input);
    }

    /// Draws other changing lines and another typed line below; each of `live` fits in a row.
    pub fn show(&mut self, live: Vec<String>, input: Option<Input>) {
        if self.plain {
            let waits = self.input.is_some();
            if let (Some(input), false, None) = (&input, waits, &self.held) {
                let prompt = input.prompt.clone();
                self.send(&prompt);
            }
            self.input = input;
            return;
        }
        if (&live, &input) == (&self.live, &self.input) {
            return;
        }
        (self.live, self.input) = (live, input);
        self.draw();
    }

    /// The window has another size. Its terminal has wrapped anew what stands there, as nearly all do by now; on one that does
    /// not, a line may be lost from the screen or stand there twice.
    pub fn resize(&mut self, columns: usize, rows: usize) {
        (self.columns, self.rows) = (columns.max(20), rows.max(6));
        self.draw();
    }

    /// Clears the screen above the edge.
    pub fn clear(&mut self) {
        if !self.plain && self.held.is_none() {
            self.to_cursor.clear();
            let edge = self.edge();
            self.send(&format!("\x1b[H\x1b[2J{}{}{edge}", self.style, self.partial));
        }
    }

    /// Takes the edge away and keeps what is written, until [`Stage::resume`]: somebody else has the terminal.
    pub fn lend(&mut self) {
        (self.live, self.input) = (Vec::new(), None);
        self.draw();
        self.held = Some(String::new());
    }

    pub fn resume(&mut self) {
        let held = self.held.take().unwrap_or_default();
        self.partial.clear();
        self.to_cursor.clear();
        self.write(&held);
    }

    /// Rings.
    pub fn bell(&mut self) {
        self.send("\x07");
    }

    fn draw(&mut self) {
        if self.plain || self.held.is_some() {
            return;
        }
        let mut drawn = self.to_top();
        drawn.push_str(&self.style);
        drawn.push_str(&self.partial);
        drawn.push_str(&self.edge());
        self.send(&drawn);
    }

    /// From wherever the cursor is to where the partial line begins, and nothing below it.
    fn to_top(&self) -> String {
        let rows: usize = self.to_cursor.iter().map(|line| self.rows_of(line)).sum();
        match rows.saturating_sub(1) {
            0 => "\r\x1b[J".into(),
            rows => format!("\r\x1b[{rows}A\x1b[J"),
        }
    }

    /// What stands below the partial line; the cursor is left in the typed line.
    fn edge(&mut self) -> String {
        let partial = Some(&self.partial).filter(|partial| !partial.is_empty());
        let mut to_cursor: Vec<String> = partial.into_iter().chain(&self.live).cloned().collect();
        let mut below = self.live.clone();
        let mut back = String::new();
        if let Some(input) = &self.input {
            let laid = lay_out(input, self.columns - 1, (self.rows / 2).max(3));
            let (row, column) = laid.cursor;
            let up = laid.rows.len() - 1 - row;
            if up > 0 {
                back.push_str(&format!("\x1b[{up}A"));
            }
            back.push('\r');
            if column > 0 {
                back.push_str(&format!("\x1b[{column}C"));
            }
            to_cursor.extend_from_slice(&laid.rows[..row]);
            to_cursor.push(cut_at(&laid.rows[row], column));
            below.extend(laid.rows);
        }
        self.to_cursor = to_cursor;
        if below.is_empty() {
            return String::new();
        }
        let parted = if self.partial.is_empty() { "" } else { "\n" };
        format!("{}{parted}{}{back}", Paint::PLAIN, below.join("\n"))
    }

    /// A terminal that is gone is no reason to stop.
    fn send(&mut self, text: &str) {
        let _ = self.out.write_all(text.as_bytes()).and_then(|()| self.out.flush());
    }

    /// How many rows a line takes, as terminals wrap it.
    fn rows_of(&self, line: &str) -> usize {
        let (mut rows, mut column) = (1, 0);
        let mut characters = line.chars();
        while let Some(character) = characters.next() {
            match character {
                '\u{1b}' => drop(characters.by_ref().find(char::is_ascii_alphabetic)),
                '\t' => column = (column / 8 * 8 + 8).min(self.columns - 1),
                other => {
                    let width = other.width().unwrap_or(0);
                    if column + width > self.columns {
                        (rows, column) = (rows + 1, 0);
                    }
                    column += width;
                }
            }
        }
        rows
    }
}

/// The styles in force behind `text`, when `before` were in force at its beginning.
fn style_behind(before: &str, text: &str) -> String {
    let mut style = before.to_owned();
    let mut rest = text;
    while let Some(at) = rest.find("\x1b[") {
        let Some(end) = rest[at..].find('m') else { break };
        let sequence = &rest[at..=at + end];
        if sequence == Paint::PLAIN {
            style.clear()
        } else {
            style.push_str(sequence)
        }
        rest = &rest[at + end + 1..];
    }
    style
}

/// What of a row without styles lies before a column.
fn cut_at(row: &str, column: usize) -> String {
    let mut width = 0;
    let before = row.chars().take_while(|character| {
        width += character.width().unwrap_or(0);
        width <= column
    });
    before.collect()
}

struct Laid {
    rows: Vec<String>,
    /// Row and column.
    cursor: (usize, usize),
}

/// The typed line in rows of at most `columns`, and of them at most `most`, those around the cursor.
fn lay_out(input: &Input, columns: usize, most: usize) -> Laid {
    let prompt_width: usize = input.prompt.chars().filter_map(UnicodeWidthChar::width).sum();
    let indent = " ".repeat(prompt_width);
    let (mut rows, mut column) = (vec![input.prompt.clone()], prompt_width);
    let mut cursor = None;
    for (at, character) in input.text.char_indices() {
        let shown = match character {
            '\n' | '\t' => ' ',
            control if control.is_control() => '␛',
            other => other,
        };
        let width = shown.width().unwrap_or(0);
        if column + width > columns {
            rows.push(indent.clone());
            column = prompt_width;
        }
        if at == input.at {
            cursor = Some((rows.len() - 1, column));
        }
        if character == '\n' {
            rows.push(indent.clone());
            column = prompt_width;
            continue;
        }
        rows.last_mut().expect("one row at least").push(shown);
        column += width;
    }
    let mut cursor = cursor.unwrap_or((rows.len() - 1, column));
    if rows.len() > most {
        let first = cursor.0.saturating_sub(most / 2).min(rows.len() - most);
        rows = rows[first..first + most].to_vec();
        cursor.0 -= first;
    }
    Laid { rows, cursor }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage() -> Stage<Vec<u8>> {
        Stage::new(Vec::new(), false, 20, 8)
    }

    fn typed(text: &str) -> Option<Input> {
        Some(Input { prompt: "› ".into(), text: text.into(), at: text.len() })
    }

    fn drawn(stage: &mut Stage<Vec<u8>>) -> String {
        String::from_utf8(std::mem::take(&mut stage.out)).unwrap()
    }

    #[test]
    fn text_goes_above_the_edge_and_the_edge_is_drawn_again() {
        let mut stage = stage();
        stage.show(vec!["· 1 s".into()], typed("hi"));
        assert_eq!(drawn(&mut stage), "\r\x1b[J\x1b[0m· 1 s\n› hi\r\x1b[4C");
        stage.write("one\ntw");
        assert_eq!(drawn(&mut stage), "\r\x1b[1A\x1b[Jone\ntw\x1b[0m\n· 1 s\n› hi\r\x1b[4C");
        stage.write("o\n");
        assert_eq!(drawn(&mut stage), "\r\x1b[2A\x1b[Jtwo\n\x1b[0m· 1 s\n› hi\r\x1b[4C");
        stage.show(vec!["· 1 s".into()], typed("hi"));
        assert_eq!(drawn(&mut stage), "", "nothing changed");
        stage.show(Vec::new(), None);
        assert_eq!(drawn(&mut stage), "\r\x1b[1A\x1b[J");
    }

    #[test]
    fn a_line_that_wraps_and_has_a_style_is_drawn_again_from_its_beginning() {
        let mut stage = stage();
        stage.show(Vec::new(), typed(""));
        stage.write("\x1b[1mbold\n");
        stage.write("0123456789012345678901234");
        drawn(&mut stage);
        stage.write("5");
        let text = drawn(&mut stage);
        assert!(text.starts_with("\r\x1b[2A\x1b[J\x1b[1m01234567890123456789012345\x1b[0m\n"), "{text:?}");
    }

    #[test]
    fn a_typed_line_wraps_and_shows_the_rows_around_its_cursor() {
        let check = |text: &str, at: usize, rows: &[&str], cursor: (usize, usize)| {
            let laid = lay_out(&Input { prompt: "› ".into(), text: text.into(), at }, 10, 3);
            assert_eq!(
                (laid.rows, laid.cursor),
                (rows.iter().map(|row| row.to_string()).collect(), cursor),
                "{text:?}"
            );
        };
        check("", 0, &["› "], (0, 2));
        check("one\ntwo", 7, &["› one", "  two"], (1, 5));
        check("0123456789", 8, &["› 01234567", "  89"], (1, 2));
        check("日本日本日", 15, &["› 日本日本", "  日"], (1, 4));
        check("a\nb\nc\nd\ne", 4, &["  b", "  c", "  d"], (1, 2));
        check("\x1b[2J", 4, &["› ␛[2J"], (0, 6));
    }

    #[test]
    fn a_window_of_another_size_is_drawn_from_where_the_terminal_has_moved_the_edge_to() {
        let mut stage = Stage::new(Vec::new(), false, 40, 12);
        stage.write("a line that is 30 columns wide");
        stage.show(vec!["· a live one of 25 columns".into()], typed("thirteen more"));
        drawn(&mut stage);
        let up = |stage: &mut Stage<Vec<u8>>, columns: usize| {
            stage.resize(columns, 12);
            let drawn = drawn(stage);
            let up = drawn.strip_prefix("\r\x1b[").expect("it goes up").split('A').next().unwrap().to_owned();
            up.parse::<usize>().expect("so many rows")
        };
        assert_eq!(up(&mut stage, 20), 4, "two rows and two above the typed one");
        assert_eq!(up(&mut stage, 60), 2);
        stage.show(Vec::new(), typed("a typed line of thirty columns"));
        drawn(&mut stage);
        assert_eq!(up(&mut stage, 24), 3, "two rows above, and one of the typed line's own");
    }

    #[test]
    fn whoever_borrows_the_terminal_finds_it_clean_and_nothing_is_lost_meanwhile() {
        let mut stage = stage();
        stage.show(vec!["live".into()], typed("half"));
        drawn(&mut stage);
        stage.lend();
        assert_eq!(drawn(&mut stage), "\r\x1b[1A\x1b[J");
        stage.write("meanwhile\n");
        stage.show(vec!["live".into()], typed("half"));
        assert_eq!(drawn(&mut stage), "");
        stage.resume();
        assert!(drawn(&mut stage).contains("meanwhile\n"));
    }

    #[test]
    fn a_plain_stage_draws_nothing_again() {
        let mut stage = Stage::new(Vec::new(), true, 20, 8);
        stage.show(vec!["live".into()], typed(""));
        stage.show(vec!["more".into()], typed("x"));
        stage.write("answer\n");
        stage.show(Vec::new(), typed(""));
        assert_eq!(drawn(&mut stage), "› \nanswer\n› ");
    }
}
