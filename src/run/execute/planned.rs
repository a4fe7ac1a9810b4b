//! Splits of new rows, planned when they are asked for.

use std::sync::Arc;

use datafusion::dataframe::DataFrame;
use towline_api::{Form, LazyTable, NodeType, OperatorError, Rows, Schema};

use crate::typing::GraphNode;

/// The splits of a node that makes new rows, to be planned by `make` when they are asked for. A node that is not `stored`
/// is part of another's plan and fails there: its errors name it.
pub(super) fn planned(
    node: &GraphNode,
    stored: bool,
    schema: &Schema,
    make: impl Fn(Form<'_>) -> Result<Vec<(String, DataFrame)>, OperatorError> + Send + Sync + 'static,
) -> Vec<(String, LazyTable)> {
    let NodeType::Dataset(dataset) = &node.output else {
        return Vec::new();
    };
    let operator = Arc::clone(&node.built.operator);
    let part = (!stored).then(|| node.name.clone());
    let rows = Rows::of_splits(&dataset.splits, move || {
        make(operator.form()).map_err(|error| match &part {
            Some(name) => error.reworded(|text| format!("in `{name}`, which is a part of its plan: {text}")),
            None => error,
        })
    });
    let table = |(name, base)| (name, LazyTable::of_rows(base, schema));
    rows.into_iter().map(table).collect()
}

/// For a port that the type check has found connected.
pub(in crate::run) fn unconnected() -> OperatorError {
    OperatorError::internal("an input is not connected")
}
