//! What stands on a terminal after some bytes: enough of a terminal for what `dunlin` itself draws, and nothing more.

/// Columns of cells, endless rows: what scrolled off is kept, the cursor cannot go above the last `height` rows.
pub struct Grid {
    columns: usize,
    height: usize,
    rows: Vec<Row>,
    row: usize,
    column: usize,
}

#[derive(Clone, Default)]
struct Row {
    cells: Vec<char>,
    /// It was full, and goes on in the next.
    goes_on: bool,
}

impl Grid {
    /// A new terminal.
    pub fn new(columns: usize, height: usize) -> Self {
        Self { columns, height, rows: vec![Row::default()], row: 0, column: 0 }
    }

    /// What is to be read after `bytes` on a new terminal, without styles and blank ends.
    pub fn text_of(bytes: &str, columns: usize, height: usize) -> String {
        let mut grid = Self::new(columns, height);
        grid.feed(bytes);
        grid.text()
    }

    /// What is to be read now, without styles and blank ends.
    pub fn text(&self) -> String {
        let rows = self.rows.iter().map(|row| row.cells.iter().collect::<String>().trim_end().to_owned());
        rows.collect::<Vec<_>>().join("\n").trim_end().to_owned()
    }

    /// Gives it other columns: lines that went on in the next row are wrapped anew, and the cursor stays with its text.
    pub fn resize(&mut self, columns: usize) {
        let mut rows = Vec::new();
        let mut cursor = (0, 0);
        let mut line: Vec<char> = Vec::new();
        for (at, row) in self.rows.iter().enumerate() {
            if at == self.row {
                let offset = line.len() + self.column;
                cursor = (rows.len() + offset / columns, offset % columns);
            }
            line.extend(&row.cells);
            if row.goes_on {
                continue;
            }
            let mut pieces: Vec<Row> =
                line.chunks(columns).map(|cells| Row { cells: cells.to_vec(), goes_on: true }).collect();
            pieces.resize(pieces.len().max(1), Row::default());
            pieces.last_mut().expect("one at least").goes_on = false;
            rows.append(&mut pieces);
            line.clear();
        }
        rows.resize(rows.len().max(cursor.0 + 1), Row::default());
        (self.row, self.column) = cursor;
        (self.rows, self.columns) = (rows, columns);
    }

    /// Writes to it.
    pub fn feed(&mut self, text: &str) {
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
                self.rows[self.row].cells.truncate(self.column);
                self.rows[self.row].goes_on = false;
                self.rows.truncate(self.row + 1);
            }
            "m" | "h" | "l" => {}
            _ => panic!("a sequence that dunlin does not draw with: {body:?}"),
        }
    }

    fn put(&mut self, character: char) {
        if self.column == self.columns {
            self.column = 0;
            self.rows[self.row].goes_on = true;
            self.down();
        }
        let cells = &mut self.rows[self.row].cells;
        cells.resize(cells.len().max(self.column + 1), ' ');
        cells[self.column] = character;
        self.column += 1;
    }

    fn down(&mut self) {
        self.row += 1;
        if self.row == self.rows.len() {
            self.rows.push(Row::default());
        }
    }

    fn top(&self) -> usize {
        self.rows.len().saturating_sub(self.height)
    }
}
