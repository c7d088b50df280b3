//! Tables: columns as wide as they need to be, and no wider than the terminal.
//!
//! Invariant: a cell holds no control characters, so that what a command is called cannot act on the terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Space between columns.
const GAP: usize = 2;
/// A column that must shrink keeps at least this much.
const NARROWEST: usize = 8;

/// Rows of cells under headings.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(headings: &[&str]) -> Table {
        Table { rows: vec![headings.iter().map(|heading| heading.to_string()).collect()] }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().map(|cell| plain(&cell)).collect());
    }

    /// The table as lines. With a width, the widest columns are cut until it fits; without one nothing is cut.
    pub fn render(&self, width: Option<usize>) -> String {
        let mut widths = self.natural_widths();
        if let Some(width) = width {
            shrink(&mut widths, width);
        }
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let cut = cut(cell, *width);
                let pad = width + GAP - cut.width();
                line.push_str(&cut);
                line.extend(std::iter::repeat_n(' ', pad));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    fn natural_widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widest = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.width()).max().unwrap_or(0)
        };
        (0..columns).map(widest).collect()
    }
}

/// Take from the widest column, again and again, until the sum fits or every column is at its narrowest.
fn shrink(widths: &mut [usize], width: usize) {
    let gaps = GAP * widths.len().saturating_sub(1);
    let mut over = (widths.iter().sum::<usize>() + gaps).saturating_sub(width);
    while over > 0 {
        let Some(widest) = widths.iter_mut().max() else { return };
        if *widest <= NARROWEST {
            return;
        }
        *widest -= 1;
        over -= 1;
    }
}

/// At most `width` columns; what is cut ends in an ellipsis.
fn cut(cell: &str, width: usize) -> String {
    if cell.width() <= width {
        return cell.to_string();
    }
    let mut kept = String::new();
    let mut used = 0;
    for c in cell.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide + 1 > width {
            break;
        }
        kept.push(c);
        used += wide;
    }
    kept.push('…');
    kept
}

/// Control characters would act on the terminal: they are shown as a replacement.
fn plain(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[&[&str]]) -> Table {
        let mut table = Table::new(rows[0]);
        for row in &rows[1..] {
            table.row(row.iter().map(|cell| cell.to_string()));
        }
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let table = table(&[&["ID", "STATE", "COMMAND"], &["k3", "running", "bash"]]);
        assert_eq!(table.render(None), "ID  STATE    COMMAND\nk3  running  bash\n");
    }

    #[test]
    fn a_table_fits_its_terminal_by_cutting_the_widest_column() {
        let table = table(&[&["ID", "COMMAND"], &["k3f9", "cargo test --workspace --all-targets"]]);
        assert_eq!(table.render(Some(20)), "ID    COMMAND\nk3f9  cargo test --…\n");
        for line in table.render(Some(20)).lines() {
            assert!(line.width() <= 20, "{line}");
        }
    }

    #[test]
    fn wide_characters_count_twice() {
        let table = table(&[&["A", "B"], &["日本", "x"]]);
        assert_eq!(table.render(None), "A     B\n日本  x\n");
        assert_eq!(cut("日本語日本語", 5), "日本…");
    }

    #[test]
    fn a_cell_cannot_act_on_the_terminal() {
        let table = table(&[&["A"], &["a\x1b[2Jb\nc"]]);
        assert_eq!(table.render(None), "A\na\u{fffd}[2Jb\u{fffd}c\n");
    }
}
