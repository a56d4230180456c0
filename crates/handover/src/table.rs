//! Text in columns, as wide as their widest cell.
//!
//! A cell may hold a name that the other side has chosen: control characters, which could move a terminal's cursor,
//! are shown as `?`.

/// Rows under a heading.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table whose columns are called `heading`.
    pub(crate) fn new<const N: usize>(heading: [&str; N]) -> Self {
        Self::without_heading().row(heading.map(str::to_owned))
    }

    /// A table that explains itself, such as a list of properties.
    pub(crate) fn without_heading() -> Self {
        Self { rows: Vec::new() }
    }

    /// The table with one row more.
    pub(crate) fn row<const N: usize>(mut self, cells: [String; N]) -> Self {
        self.rows
            .push(cells.iter().map(|cell| printable(cell)).collect());
        self
    }

    /// The table with a row more for each item.
    pub(crate) fn rows<T, const N: usize>(
        self,
        items: impl IntoIterator<Item = T>,
        cells: impl Fn(T) -> [String; N],
    ) -> Self {
        items
            .into_iter()
            .fold(self, |table, item| table.row(cells(item)))
    }

    /// The text, each line ended.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let line = row.iter().enumerate().map(|(column, cell)| {
                let width = self.width(column);
                format!("{cell:width$}{GAP}")
            });
            text.push_str(line.collect::<String>().trim_end());
            text.push('\n');
        }
        text
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    }
}

fn printable(cell: &str) -> String {
    cell.chars()
        .map(|character| {
            if character.is_control() {
                '?'
            } else {
                character
            }
        })
        .collect()
}

const GAP: &str = "  ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let table = Table::new(["NAME", "PORT"])
            .rows([("web", 80), ("a-long-name", 8080)], |row| {
                [row.0.to_owned(), row.1.to_string()]
            });
        assert_eq!(
            table.render(),
            "NAME         PORT\n\
             web          80\n\
             a-long-name  8080\n"
        );
    }

    #[test]
    fn a_cell_cannot_steer_the_terminal() {
        let table = Table::without_heading().row(["\x1b[2Jgone\n".to_owned()]);
        assert_eq!(table.render(), "?[2Jgone?\n");
    }
}
