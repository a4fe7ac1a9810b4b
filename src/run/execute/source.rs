//! Sources: rows from outside, lazily.

use towline_api::{Form, LazyTable, OperatorError, Schema, Source, TableContext};

use crate::run::execute::planned::{planned, unconnected};
use crate::typing::GraphNode;

/// The splits of a source.
pub(in crate::run) fn read(
    node: &GraphNode,
    source: &dyn Source,
    stored: bool,
    schema: &Schema,
    tables: &TableContext,
) -> Result<Vec<(String, LazyTable)>, OperatorError> {
    if source.in_place() {
        // What is wrong with the files is an error of the source, not of the first node that reads it.
        let table = |(name, frame)| (name, LazyTable::from_frame(frame));
        return Ok(source.read(tables)?.into_iter().map(table).collect());
    }
    let tables = tables.clone();
    Ok(planned(node, stored, schema, move |form| match form {
        Form::Source(source) => source.read(&tables),
        _ => Err(unconnected()),
    }))
}
