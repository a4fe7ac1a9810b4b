//! Shared code of the operators that add tags.

use std::collections::BTreeSet;

use towline_api::{
    Code, Columns, DatasetPort, DatasetType, Inputs, NamedExpr, NodeType, Problem, Result, Schema, Tag, contradiction,
};

/// `schema` with `tags` added to every column, or the contradictions.
pub(crate) fn tagged(schema: &Schema, tags: &[Tag]) -> Result<Schema, Vec<Problem>> {
    let mut schema = schema.clone();
    let mut problems = Vec::new();
    for column in &mut schema.columns {
        column.tags.extend(tags);
        if let Some((a, b)) = contradiction(&column.tags) {
            let message = format!("column `{}` would have the contradictory tags {a} and {b}", column.name);
            problems.push(Problem::new(Code::TagConflict, message).help("select other columns, or tag them once"));
        }
    }
    if problems.is_empty() { Ok(schema) } else { Err(problems) }
}

/// The output type of an operator that adds `tags` to every column on `port`.
pub(crate) fn tagged_type(
    port: DatasetPort,
    inputs: &Inputs<NodeType>,
    tags: &[Tag],
) -> Result<NodeType, Vec<Problem>> {
    let input = port.input_type(inputs)?;
    let schema = tagged(&input.schema, tags)?;
    Ok(NodeType::Dataset(DatasetType {
        schema,
        splits: input.splits.clone(),
    }))
}

/// A problem if the tags contradict each other.
pub(crate) fn clash(tags: &[Tag]) -> Option<Problem> {
    let set: BTreeSet<Tag> = tags.iter().copied().collect();
    let (a, b) = contradiction(&set)?;
    Some(Problem::new(Code::TagConflict, format!("the tags {a} and {b} contradict each other")).at("tags"))
}

/// The identity: tags change the schema only.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unchanged;

impl Columns for Unchanged {
    fn project(&self, inputs: &[&[NamedExpr]]) -> Result<Vec<NamedExpr>> {
        Ok(inputs.concat())
    }
}
