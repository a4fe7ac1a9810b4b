//! Queries over one input, run on every split.

use datafusion::dataframe::DataFrame;

use towline_api::{
    Code, DatasetPort, DatasetType, Inputs, LazyDataset, NodeType, Problem, Result, Schema, TableContext, TypeContext,
    suggest,
};
use towline_tables::sql_planning::{plan_query, problem, rowless};

/// Table name of the input in a query.
pub(crate) const TABLE: &str = "input";
/// Row number column of a [`numbered`] input.
pub(crate) const ROW: &str = "\"__row\"";

/// The input with row numbers, so that a query can restore the row order.
pub(crate) fn numbered() -> String {
    format!("(SELECT *, row_number() OVER () AS {ROW} FROM {TABLE})")
}

/// The output type of a query over `input`; planning errors become problems of the parameter `key`.
pub(crate) fn query_type(
    port: DatasetPort,
    inputs: &Inputs<NodeType>,
    context: &TypeContext,
    key: &str,
    query: impl FnOnce(&Schema) -> String,
) -> Result<DatasetType, Vec<Problem>> {
    let input = port.input_type(inputs)?;
    let query = query(&input.schema);
    let frame = plan_query(&context.session, vec![(TABLE, rowless(&input.schema))], &query)
        .map_err(|error| vec![problem(&error, &[&input.schema], key)])?;
    Ok(DatasetType {
        schema: input.schema.carried_to(frame.schema().as_arrow()),
        splits: input.splits.clone(),
    })
}

/// Runs the query on every split of `input`.
pub(crate) fn query_splits(
    port: DatasetPort,
    inputs: &Inputs<LazyDataset>,
    context: &TableContext,
    query: impl Fn(&Schema) -> String,
) -> Result<Vec<(String, DataFrame)>> {
    let input = port.lazy(inputs)?;
    let query = query(&input.schema);
    let planned = |(name, table): &(String, towline_api::LazyTable)| {
        let view = table.to_frame()?.into_view();
        Ok((name.clone(), plan_query(&context.session, vec![(TABLE, view)], &query)?))
    };
    input.splits.iter().map(planned).collect()
}

/// A problem if the parameter `key` names a split that the input does not have.
pub(crate) fn unknown_split(split: &str, splits: &[String], key: &str) -> Option<Problem> {
    if splits.iter().any(|known| known == split) {
        return None;
    }
    let known: Vec<&str> = splits.iter().map(String::as_str).collect();
    let problem = Problem::new(Code::UnknownSplit, format!("there is no split `{split}`"));
    Some(problem.at(key).help(suggest::sentence(split, &known, "splits")))
}

/// Problems for names in a parameter that are not input columns.
pub(crate) fn unknown<'a>(names: impl IntoIterator<Item = &'a String>, schema: &Schema, key: &str) -> Vec<Problem> {
    let unknown = names.into_iter().filter(|name| schema.get(name).is_none());
    unknown
        .map(|name| Problem::unknown_column(name, schema).at(key))
        .collect()
}
