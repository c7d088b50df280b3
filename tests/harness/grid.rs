//! What stands on a terminal after some bytes: enough of a terminal for what `dunlin` itself draws, and nothing more.

/// Columns of cells, endless rows: what scrolled off is kept, the cursor cannot go above the last `height` rows.
pub struct Grid {
    columns: usize,
    height: usize,
    rows: Vec<Vec<char>>,
    row: usize,
    column: usize,
}

impl Grid {
    /// What is to be read after `bytes` on a new terminal, without styles and blank ends.
    pub fn text_of(bytes: &str, columns: usize, height: usize) -> String {
        let mut grid = Self { columns, height, rows: vec![Vec::new()], row: 0, column: 0 };
        grid.feed(bytes);
        let rows = grid.rows.iter().map(|row| row.iter().collect::<String>().trim_end().to_owned());
        rows.collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    fn feed(&mut self, text: &str) {
        let mut characters = text.chars();
        while let Some(character) = characters.next() {
            match character {
                '\r' => self.column = 0,
                '\n' => self.down(),
                '\u{1b}' => {
                    assert_eq!(characters.next(), Some('['), "an escape that dunlin does not draw with");
                    let rest = characters.as_str();
                    let end = rest.find(|last: char| last.is_ascii_alphabetic()).expect("an end");
                    self.control(&rest[..=end]);
                    characters = rest[end + 1..].chars();
                }
                '\u{7}' => {}
                other => self.put(other),
            }
        }
    }

    fn control(&mut self, body: &str) {
        let (parameters, last) = body.split_at(body.len() - 1);
        let count = parameters.parse().unwrap_or(1);
        match last {
            "A" => self.row = self.row.saturating_sub(count).max(self.top()),
            "C" => self.column = (self.column + count).min(self.columns - 1),
            "J" => {
                self.rows[self.row].truncate(self.column);
                self.rows.truncate(self.row + 1);
            }
            "m" | "h" | "l" => {}
            _ => panic!("a sequence that dunlin does not draw with: {body:?}"),
        }
    }

    fn put(&mut self, character: char) {
        if self.column == self.columns {
            self.column = 0;
            self.down();
        }
        let row = &mut self.rows[self.row];
        row.resize(row.len().max(self.column + 1), ' ');
        row[self.column] = character;
        self.column += 1;
    }

    fn down(&mut self) {
        self.row += 1;
        if self.row == self.rows.len() {
            self.rows.push(Vec::new());
        }
    }

    fn top(&self) -> usize {
        self.rows.len().saturating_sub(self.height)
    }
}
