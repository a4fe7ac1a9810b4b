//! Comparison of expected and actual rows.

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// Relative tolerance of floating-point numbers: the precision of a decimal that is written with
/// seven digits.
const TOLERANCE: f64 = 1e-6;
/// Maximum number of lines of a shown difference.
const MAX_LINES: usize = 40;

/// A value of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cell {
    /// The value as text.
    pub(super) text: String,
    /// The value, if it is a fraction.
    pub(super) fraction: Option<f64>,
}

impl Cell {
    fn is(&self, other: &Cell) -> bool {
        match (self.fraction, other.fraction) {
            (Some(a), Some(b)) => a == b || (a - b).abs() <= TOLERANCE * a.abs().max(b.abs()),
            _ => self.text == other.text,
        }
    }
}

/// A row of a table.
pub(super) type Row = Vec<Cell>;

/// Whether the order of rows is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The order is compared.
    #[default]
    Exact,
    /// The order is ignored.
    Any,
}

/// The status of a row in the difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RowStatus {
    Same,
    Missing,
    Extra,
}

/// The difference of two tables of the same columns as text, with `-` before rows that are missing and `+` before rows
/// that nobody expected; nothing if there is none.
pub(super) fn difference(headers: &[String], expected: &[Row], found: &[Row], order: Order) -> Option<String> {
    let lines = match order {
        Order::Exact => in_order(expected, found),
        Order::Any => in_any_order(expected, found),
    };
    if lines.iter().all(|(mark, _)| *mark == RowStatus::Same) {
        return None;
    }
    Some(render(headers, &lines))
}

fn is_row(a: &Row, b: &Row) -> bool {
    a.iter().zip(b).all(|(a, b)| a.is(b))
}

fn in_order<'r>(expected: &'r [Row], found: &'r [Row]) -> Vec<(RowStatus, &'r Row)> {
    // Rows as numbers, so that rows within the tolerance are equal: the first expected row that is like them.
    let number = |row: &Row, own: usize| expected.iter().position(|other| is_row(other, row)).unwrap_or(own);
    let old: Vec<usize> = expected.iter().map(|row| number(row, 0)).collect();
    let new: Vec<usize> = found
        .iter()
        .enumerate()
        .map(|(at, row)| number(row, expected.len() + at))
        .collect();
    let mut lines = Vec::new();
    for operation in capture_diff_slices(Algorithm::Myers, &old, &new) {
        let (gone, came) = (&expected[operation.old_range()], &found[operation.new_range()]);
        if matches!(operation, DiffOp::Equal { .. }) {
            lines.extend(came.iter().map(|row| (RowStatus::Same, row)));
        } else {
            lines.extend(gone.iter().map(|row| (RowStatus::Missing, row)));
            lines.extend(came.iter().map(|row| (RowStatus::Extra, row)));
        }
    }
    lines
}

fn in_any_order<'r>(expected: &'r [Row], found: &'r [Row]) -> Vec<(RowStatus, &'r Row)> {
    let mut left: Vec<&Row> = expected.iter().collect();
    let (mut same, mut extra) = (Vec::new(), Vec::new());
    for row in found {
        match left.iter().position(|other| is_row(other, row)) {
            Some(at) => {
                left.remove(at);
                same.push((RowStatus::Same, row));
            }
            None => extra.push((RowStatus::Extra, row)),
        }
    }
    same.extend(left.into_iter().map(|row| (RowStatus::Missing, row)));
    same.extend(extra);
    same
}

fn render(headers: &[String], lines: &[(RowStatus, &Row)]) -> String {
    let widths: Vec<usize> = (0..headers.len())
        .map(|at| {
            let cells = lines
                .iter()
                .take(MAX_LINES)
                .map(|(_, row)| row[at].text.chars().count());
            cells.chain([headers[at].chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let line = |sign: char, texts: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = texts
            .zip(&widths)
            .map(|(text, &width)| format!("{text:width$}"))
            .collect();
        format!("{sign} {}\n", cells.join("  ")).trim_end().to_owned() + "\n"
    };
    let mut out = line(' ', &mut headers.iter().map(String::as_str));
    for (mark, row) in lines.iter().take(MAX_LINES) {
        let sign = match mark {
            RowStatus::Same => ' ',
            RowStatus::Missing => '-',
            RowStatus::Extra => '+',
        };
        out.push_str(&line(sign, &mut row.iter().map(|cell| cell.text.as_str())));
    }
    if lines.len() > MAX_LINES {
        out.push_str(&format!("  and {} more\n", lines.len() - MAX_LINES));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rows: &[&[&str]]) -> Vec<Row> {
        let cell = |text: &&str| Cell {
            text: (*text).to_owned(),
            fraction: text.contains('.').then(|| text.parse().ok()).flatten(),
        };
        rows.iter().map(|row| row.iter().map(cell).collect()).collect()
    }

    fn headers() -> [String; 2] {
        ["user".to_owned(), "x".to_owned()]
    }

    #[test]
    fn order_counts_unless_it_does_not() {
        let expected = rows(&[&["1", "a"], &["2", "b"], &["3", "c"]]);
        let found = rows(&[&["2", "b"], &["1", "a"], &["3", "c"]]);
        assert_eq!(difference(&headers(), &expected, &found, Order::Any), None);
        assert_eq!(difference(&headers(), &expected, &expected, Order::Exact), None);
        let text = difference(&headers(), &expected, &found, Order::Exact).expect("they differ");
        assert_eq!(text, "  user  x\n+ 2     b\n  1     a\n- 2     b\n  3     c\n");
    }

    #[test]
    fn equal_rows_are_counted() {
        let expected = rows(&[&["1", "a"], &["1", "a"]]);
        let found = rows(&[&["1", "a"], &["22", "a"]]);
        for order in [Order::Any, Order::Exact] {
            let text = difference(&headers(), &expected, &found, order).expect("they differ");
            assert_eq!(text, "  user  x\n  1     a\n- 1     a\n+ 22    a\n");
        }
    }

    #[test]
    fn fractions_are_compared_to_six_digits() {
        let expected = rows(&[&["1", "0.3333333"]]);
        assert_eq!(
            difference(&headers(), &expected, &rows(&[&["1", "0.33333334"]]), Order::Exact),
            None
        );
        assert!(difference(&headers(), &expected, &rows(&[&["1", "0.33334"]]), Order::Exact).is_some());
    }

    #[test]
    fn a_long_difference_is_cut() {
        let found: Vec<Row> = (0..100).flat_map(|_| rows(&[&["1", "a"]])).collect();
        let text = difference(&headers(), &[], &found, Order::Exact).expect("they differ");
        assert_eq!(text.lines().count(), MAX_LINES + 2);
        assert!(text.ends_with("and 60 more\n"), "{text}");
    }
}
