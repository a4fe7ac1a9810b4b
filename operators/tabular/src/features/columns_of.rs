//! Shared checks of operators that process each column separately.

use arrow::datatypes::DataType;

use towline_api::{
    Code, Column, DatasetPort, DatasetType, Inputs, NamedExpr, NodeType, OperatorError, Problem, Result, Schema,
    contradiction,
};

/// The output type of an operator that maps every column of `input` through `change`.
pub(crate) fn each_column(
    port: DatasetPort,
    inputs: &Inputs<NodeType>,
    change: impl Fn(&Column) -> Result<Column, Problem>,
) -> Result<NodeType, Vec<Problem>> {
    let input = port.input_type(inputs)?;
    let mut schema = Schema::default();
    let mut problems = Vec::new();
    for column in &input.schema.columns {
        match change(column) {
            Ok(column) => {
                if let Some((a, b)) = contradiction(&column.tags) {
                    let message = format!("column `{}` would have the contradictory tags {a} and {b}", column.name);
                    problems
                        .push(Problem::new(Code::TagConflict, message).help("select other columns, or tag them once"));
                }
                schema.columns.push(column);
            }
            Err(problem) => problems.push(problem.at_port(port.name())),
        }
    }
    if !problems.is_empty() {
        return Err(problems);
    }
    Ok(NodeType::Dataset(DatasetType {
        schema,
        splits: input.splits.clone(),
    }))
}

/// A problem if a column is not numeric.
pub(crate) fn number(column: &Column, what: &str) -> Result<(), Problem> {
    if column.data_type.is_numeric() {
        return Ok(());
    }
    let message = format!("column `{}` holds {}, which {what}", column.name, column.data_type);
    Err(Problem::new(Code::WrongType, message).help("select numeric columns"))
}

/// Problems for names in a parameter that are not input columns.
pub(crate) fn unknown<'a>(names: impl IntoIterator<Item = &'a str>, schema: &Schema, key: &str) -> Vec<Problem> {
    let unknown = names.into_iter().filter(|name| schema.get(name).is_none());
    unknown
        .map(|name| Problem::unknown_column(name, schema).at(key))
        .collect()
}

/// The expression of the column `name`.
pub(crate) fn column<'a>(columns: &'a [NamedExpr], name: &str) -> Result<&'a NamedExpr> {
    let column = columns.iter().find(|column| column.name == name);
    column.ok_or_else(|| OperatorError::internal(format!("there is no column `{name}`")))
}

/// The type of the column `name`.
pub(crate) fn type_of<'a>(schema: &'a Schema, name: &str) -> Result<&'a DataType> {
    let column = schema.get(name);
    let column = column.ok_or_else(|| OperatorError::internal(format!("there is no column `{name}`")))?;
    Ok(&column.data_type)
}
