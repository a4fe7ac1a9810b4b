//! Tables for a person.

use comfy_table::{Cell, ContentArrangement, Table, presets};
use towline_api::{Report, Schema};

use crate::plan::grouped;

/// A table with these heads and rows, without lines but one below the head.
pub(super) fn table(heads: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heads.iter().map(Cell::new).collect::<Vec<_>>());
    for row in rows {
        table.add_row(row);
    }
    table.lines().map(|line| format!("  {}\n", line.trim_end())).collect()
}

/// The warnings and tables of a report.
pub(super) fn of_report(report: &Report) -> String {
    let warnings = report.warnings.iter().map(|warning| format!("  warning: {warning}\n"));
    let tables = report.tables.iter().map(|own| {
        let heads: Vec<&str> = own.columns.iter().map(String::as_str).collect();
        format!("  {}\n{}", own.title, table(&heads, own.rows.clone()))
    });
    warnings.chain(tables).collect()
}

/// The columns of a schema with their meaning.
pub(super) fn schema(schema: &Schema) -> String {
    let rows = schema
        .columns
        .iter()
        .map(|column| {
            let tags: Vec<&str> = column.tags.iter().map(|tag| tag.as_str()).collect();
            let domain = column
                .domain
                .as_ref()
                .map_or_else(String::new, |domain| match domain.size {
                    Some(size) => format!("{} ({} ids)", domain.name, grouped(size)),
                    None => domain.name.clone(),
                });
            vec![
                column.name.clone(),
                column.data_type.to_string(),
                tags.join(", "),
                domain,
            ]
        })
        .collect();
    table(&["column", "type", "tags", "domain"], rows)
}

/// A duration in words: `0.4 s`, `2 min 5 s`.
pub(super) fn seconds(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    format!("{} min {:.0} s", (seconds / 60.0).floor(), seconds % 60.0)
}
