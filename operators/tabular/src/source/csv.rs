//! `CsvSource`: reads CSV files.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::datatypes::{DataType, Field, Schema as ArrowSchema};
use datafusion::dataframe::DataFrame;
use datafusion::datasource::file_format::options::ReadOptions;
use datafusion::prelude::CsvReadOptions;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::declared_type;
use crate::rows::sampling::split::Split;
use crate::source::location::{
    SplitFiles, all_files, check, common_schema, dataset_type, divided, locate, run_time, table, without_files,
};
use towline_api::{
    Code, Describe, Form, Inputs, NodeType, Operator, OperatorError, Port, Problem, Purity, Result, Schema, Source,
    TableContext, TypeContext,
};

/// Number of rows for type inference.
const INFER_ROWS: usize = 10_000;

/// Reads CSV files. Set `path` or `splits`. A path is a file, a folder (all its `.csv` files) or a glob
/// (`data/part-*.csv`); all files must have the same columns. Column types are inferred from the first 10,000 rows of
/// each file unless `schema` sets them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CsvSource {
    /// Path of a dataset with one split, which is named `train`.
    #[serde(default)]
    #[schemars(transform = towline_api::cache_ignored)]
    pub path: Option<String>,
    /// Path of each split: `{ train: data/train.csv, valid: data/valid.csv }`.
    #[serde(default)]
    #[schemars(transform = towline_api::cache_ignored)]
    pub splits: Option<BTreeMap<String, String>>,
    /// With `path`: divides the rows into splits, with the parameters of the operator `Split`: `fraction` (with `seed`
    /// and `key`), `time` or `leave_last`.
    #[serde(default)]
    pub split: Option<Split>,
    /// Field delimiter; one ASCII character.
    #[serde(default = "comma")]
    pub delimiter: String,
    /// Whether the first line has the column names; without a header, columns are named `column_1`, `column_2` and so
    /// on.
    #[serde(default = "yes")]
    pub header: bool,
    /// Column types that override inference: `int64`, `float64`, `string`, `bool`, `date`, `timestamp`, or an Arrow
    /// type such as `UInt32`. `validate --offline` requires all columns.
    #[serde(default)]
    pub schema: Option<BTreeMap<String, String>>,
}

fn comma() -> String {
    ",".to_owned()
}

fn yes() -> bool {
    true
}

impl CsvSource {
    fn locate(&self) -> Result<Vec<SplitFiles>, Vec<Problem>> {
        locate(self.path.as_ref(), self.splits.as_ref(), "csv")
    }

    fn delimiter_byte(&self) -> Option<u8> {
        if let [byte] = self.delimiter.as_bytes() {
            Some(*byte).filter(u8::is_ascii)
        } else {
            None
        }
    }

    fn schema_of(&self, path: &Path) -> Result<ArrowSchema> {
        let file = File::open(path).map_err(OperatorError::io(path))?;
        let format = arrow::csv::reader::Format::default()
            .with_header(self.header)
            .with_delimiter(self.delimiter_byte().unwrap_or(b','));
        let (guess, _) = format
            .infer_schema(file, Some(INFER_ROWS))
            .map_err(|error| OperatorError::invalid(format!("{}: {error}", path.display())))?;
        let given = |name: &str| {
            self.schema
                .as_ref()
                .and_then(|types| declared_type::data_type(types.get(name)?))
        };
        let fields: Vec<Field> = guess
            .fields()
            .iter()
            .map(|field| {
                // A column without values in the inspected rows has no type; text can hold any later value.
                let guess = if field.data_type() == &DataType::Null {
                    &DataType::Utf8
                } else {
                    field.data_type()
                };
                let data_type = given(field.name()).unwrap_or_else(|| guess.clone());
                Field::new(field.name(), data_type, true)
            })
            .collect();
        Ok(ArrowSchema::new(fields))
    }
}

impl Describe for CsvSource {
    const NAME: &'static str = "CsvSource";
    const CODE_VERSION: u32 = 2;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[];
    const EXAMPLE: &'static str = "op: CsvSource\nwith: { path: data/ratings.csv, schema: { movieId: int64 } }\n";

    fn check(&self) -> Vec<Problem> {
        let mut problems = check(self.path.as_ref(), self.splits.as_ref(), self.split.as_ref());
        if self.delimiter_byte().is_none() {
            problems.push(Problem::new(Code::BadConfig, "the delimiter must be one ASCII character").at("delimiter"));
        }
        problems.extend(declared_type::check(self.schema.as_ref()));
        problems
    }
}

impl Operator for CsvSource {
    fn output_type(&self, _: &Inputs<NodeType>, context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        if context.offline {
            let schema = declared_type::only(self.schema.as_ref())?;
            let splits = without_files(self.splits.as_ref());
            return dataset_type(splits, schema, self.split.as_ref(), context).map(NodeType::Dataset);
        }
        let splits = self.locate()?;
        let schema = Schema::from_arrow(common_schema(&splits, |path| self.schema_of(path))?.as_ref());
        let unknown = self
            .schema
            .iter()
            .flatten()
            .filter(|(name, _)| schema.get(name).is_none());
        let problems: Vec<Problem> = unknown
            .map(|(name, _)| Problem::unknown_column(name, &schema).at("schema"))
            .collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        dataset_type(splits, schema, self.split.as_ref(), context).map(NodeType::Dataset)
    }

    fn form(&self) -> Form<'_> {
        Form::Source(self)
    }
}

impl Source for CsvSource {
    fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        all_files(self.locate())
    }

    fn read(&self, context: &TableContext) -> Result<Vec<(String, DataFrame)>> {
        let splits = run_time(self.locate())?;
        let schema = run_time(common_schema(&splits, |path| self.schema_of(path)))?;
        let state = context.session.state();
        let frames = splits
            .into_iter()
            .map(|split| {
                // A quoted value can contain line breaks, so a file cannot be split at any line break.
                let options = CsvReadOptions::new()
                    .has_header(self.header)
                    .delimiter(self.delimiter_byte().unwrap_or(b','))
                    .newlines_in_values(true)
                    .file_extension("")
                    .to_listing_options(state.config(), state.default_table_options());
                Ok((
                    split.name,
                    table(&context.session, &split.files, schema.clone(), options)?,
                ))
            })
            .collect::<Result<_>>()?;
        divided(frames, self.split.as_ref(), context)
    }
}

#[cfg(test)]
mod tests {
    use arrow::util::pretty::pretty_format_batches;
    use datafusion::prelude::SessionContext;

    use super::*;

    #[test]
    fn guesses_types_and_reads_quoted_line_breaks() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.csv"), "Id;name;w\n1;\"x\ny\";0.5\n2;;\n").unwrap();
        let config = serde_json::json!({ "path": folder.path(), "delimiter": ";", "schema": { "Id": "int32" } });
        let source: CsvSource = serde_json::from_value(config).unwrap();
        assert!(source.check().is_empty());
        let session = SessionContext::new();
        let found = source
            .output_type(
                &Inputs(Vec::new()),
                &TypeContext {
                    session: session.clone(),
                    offline: false,
                },
            )
            .unwrap();
        let NodeType::Dataset(found) = found else {
            panic!("a dataset")
        };
        let types: Vec<&DataType> = found.schema.columns.iter().map(|column| &column.data_type).collect();
        assert_eq!(types, [&DataType::Int32, &DataType::Utf8, &DataType::Float64]);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let context = TableContext {
            session,
            runtime: runtime.handle().clone(),
        };
        let (name, frame) = source.read(&context).unwrap().remove(0);
        assert_eq!(name, "train");
        assert_eq!(found.schema, Schema::from_arrow(frame.schema().as_arrow()));
        let batches = runtime.block_on(frame.collect()).unwrap();
        assert_eq!(
            batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(),
            2
        );
        assert!(pretty_format_batches(&batches).unwrap().to_string().contains("0.5"));
    }
}
