//! The source that replaces a node whose rows a test gives.

use std::path::{Path, PathBuf};

use arrow::array::{ArrayRef, RecordBatch};
use datafusion::dataframe::DataFrame;
use datafusion::prelude::ParquetReadOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use towline_api::{
    DatasetType, Describe, Form, Inputs, NodeType, Operator, Port, Problem, Purity, Result, Schema, Source,
    TableContext, TypeContext,
};
use towline_tables::TableWriter;

/// The rows that a test gives for a node. No pipeline can name it: a name has no space.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GivenRows {
    /// The columns.
    #[schemars(with = "serde_json::Value")]
    pub(super) schema: Schema,
    /// The splits, in order, each with its Parquet file.
    #[schemars(transform = towline_api::cache_ignored)]
    pub(super) splits: Vec<GivenSplit>,
}

/// A split.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct GivenSplit {
    /// Its name.
    pub(super) name: String,
    /// Its file.
    pub(super) path: PathBuf,
}

impl Describe for GivenRows {
    const NAME: &'static str = "given rows";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[];
    const EXAMPLE: &'static str = "op: given rows\nwith: { schema: [], splits: [] }\n";
}

impl Operator for GivenRows {
    fn output_type(&self, _: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        Ok(NodeType::Dataset(DatasetType {
            schema: self.schema.clone(),
            splits: self.splits.iter().map(|split| split.name.clone()).collect(),
        }))
    }

    fn form(&self) -> Form<'_> {
        Form::Source(self)
    }
}

impl Source for GivenRows {
    fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        let file = |split: &GivenSplit| (split.name.clone(), split.path.clone());
        Ok(self.splits.iter().map(file).collect())
    }

    fn read(&self, context: &TableContext) -> Result<Vec<(String, DataFrame)>> {
        self.splits
            .iter()
            .map(|split| {
                let path = split.path.to_string_lossy().into_owned();
                let read = context.session.read_parquet(path, ParquetReadOptions::default());
                Ok((split.name.clone(), context.runtime.block_on(read)?))
            })
            .collect()
    }

    fn in_place(&self) -> bool {
        true
    }
}

/// Writes the rows of a split.
pub(super) fn write(path: &Path, schema: &Schema, columns: Vec<ArrayRef>) -> Result<()> {
    let schema = schema.to_arrow();
    let mut writer = TableWriter::create(path, std::sync::Arc::clone(&schema))?;
    writer.write(&RecordBatch::try_new(schema, columns)?)?;
    writer.finish()?;
    Ok(())
}
