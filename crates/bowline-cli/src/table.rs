//! Columns that are as wide as their widest cell.

use crate::style;

/// Lines of a table with a head; the last column is not padded. Cells may hold foreign text.
pub(crate) fn lines(head: &[&str], rows: &[Vec<String>]) -> Vec<String> {
    let clean = |row: &Vec<String>| row.iter().map(|cell| style::plain(cell)).collect();
    let rows: Vec<Vec<String>> = rows.iter().map(clean).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let head = std::iter::once(line(head.to_vec()));
    head.chain(rows.iter().map(|row| line(row.iter().map(String::as_str).collect()))).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn columns_line_up() {
        let rows = [vec!["\x1b[2Ja".to_owned(), "1".to_owned()], vec!["längst".to_owned(), "2".to_owned()]];
        assert_eq!(super::lines(&["NAME", "N"], &rows), ["NAME    N", "a       1", "längst  2"]);
    }
}
