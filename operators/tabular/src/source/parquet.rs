//! `ParquetSource`: reads Parquet files.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use arrow::datatypes::Schema as ArrowSchema;
use datafusion::dataframe::DataFrame;
use datafusion::datasource::file_format::options::ReadOptions;
use datafusion::prelude::ParquetReadOptions;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
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

/// Reads Parquet files. Set `path` or `splits`. A path is a file, a folder (all its `.parquet` files) or a glob
/// (`data/part-*.parquet`); all files must have the same columns.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetSource {
    /// Path of a dataset with one split, which is named `train`.
    #[serde(default)]
    #[schemars(transform = towline_api::cache_ignored)]
    pub path: Option<String>,
    /// Path of each split: `{ train: data/train.parquet, valid: data/valid.parquet }`.
    #[serde(default)]
    #[schemars(transform = towline_api::cache_ignored)]
    pub splits: Option<BTreeMap<String, String>>,
    /// With `path`: divides the rows into splits, with the parameters of the operator `Split`: `fraction` (with `seed`
    /// and `key`), `time` or `leave_last`.
    #[serde(default)]
    pub split: Option<Split>,
    /// Expected column types (`int64`, `float64`, `string`, `bool`, `date`, `timestamp`, or an Arrow type such as
    /// `UInt32`); a file with a missing column or another type is an error. `validate --offline` requires all columns.
    #[serde(default)]
    #[schemars(transform = towline_api::cache_ignored)]
    pub schema: Option<BTreeMap<String, String>>,
}

impl ParquetSource {
    /// Deviations of the files from `schema`.
    fn broken_promises(&self, found: &Schema) -> Vec<Problem> {
        let promised = self.schema.iter().flatten();
        promised
            .filter_map(|(name, word)| {
                let promised = declared_type::data_type(word)?;
                match found.get(name) {
                    None => Some(Problem::unknown_column(name, found).at("schema")),
                    Some(column) if column.data_type != promised => {
                        let message = format!("the column `{name}` is {}, not {promised}", column.data_type);
                        Some(Problem::new(Code::BadSource, message).at("schema"))
                    }
                    Some(_) => None,
                }
            })
            .collect()
    }

    fn locate(&self) -> Result<Vec<SplitFiles>, Vec<Problem>> {
        locate(self.path.as_ref(), self.splits.as_ref(), "parquet")
    }
}

/// The columns of a file, from its footer.
fn schema_of(path: &Path) -> Result<ArrowSchema> {
    let file = File::open(path).map_err(OperatorError::io(path))?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(OperatorError::parquet(path))?;
    Ok(reader.schema().as_ref().clone())
}

impl Describe for ParquetSource {
    const NAME: &'static str = "ParquetSource";
    const CODE_VERSION: u32 = 2;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[];
    const EXAMPLE: &'static str =
        "op: ParquetSource\nwith: { splits: { train: data/train.parquet, valid: data/valid.parquet } }\n";

    fn check(&self) -> Vec<Problem> {
        let mut problems = check(self.path.as_ref(), self.splits.as_ref(), self.split.as_ref());
        problems.extend(declared_type::check(self.schema.as_ref()));
        problems
    }
}

impl Operator for ParquetSource {
    fn output_type(&self, _: &Inputs<NodeType>, context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        if context.offline {
            let schema = declared_type::only(self.schema.as_ref())?;
            let splits = without_files(self.splits.as_ref());
            return dataset_type(splits, schema, self.split.as_ref(), context).map(NodeType::Dataset);
        }
        let splits = self.locate()?;
        let schema = Schema::from_arrow(common_schema(&splits, schema_of)?.as_ref());
        let broken = self.broken_promises(&schema);
        if !broken.is_empty() {
            return Err(broken);
        }
        dataset_type(splits, schema, self.split.as_ref(), context).map(NodeType::Dataset)
    }

    fn form(&self) -> Form<'_> {
        Form::Source(self)
    }
}

impl Source for ParquetSource {
    fn files(&self) -> Result<Vec<(String, PathBuf)>> {
        all_files(self.locate())
    }

    fn read(&self, context: &TableContext) -> Result<Vec<(String, DataFrame)>> {
        let splits = run_time(self.locate())?;
        let schema = run_time(common_schema(&splits, schema_of))?;
        let state = context.session.state();
        let frames = splits
            .into_iter()
            .map(|split| {
                let options = ParquetReadOptions::default()
                    .to_listing_options(state.config(), state.default_table_options())
                    .with_file_extension("");
                Ok((
                    split.name,
                    table(&context.session, &split.files, schema.clone(), options)?,
                ))
            })
            .collect::<Result<_>>()?;
        divided(frames, self.split.as_ref(), context)
    }

    fn in_place(&self) -> bool {
        self.split.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_found_before_the_run() {
        let source = ParquetSource {
            path: Some("no/such/file.parquet".into()),
            splits: None,
            split: None,
            schema: None,
        };
        let context = TypeContext {
            session: datafusion::prelude::SessionContext::new(),
            offline: false,
        };
        let problems = source.output_type(&Inputs(Vec::new()), &context).unwrap_err();
        assert_eq!(problems[0].code, Code::BadSource);
        assert_eq!(
            ParquetSource {
                path: None,
                splits: None,
                split: None,
                schema: None,
            }
            .check()[0]
                .code,
            Code::MissingKey
        );
    }

    #[test]
    fn globs_become_one_split_and_files_must_agree() {
        use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
        use std::sync::Arc;

        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, column: ArrayRef| {
            let batch = RecordBatch::try_from_iter([("Id", column)]).unwrap();
            let mut writer = towline_tables::TableWriter::create(&folder.path().join(name), batch.schema()).unwrap();
            writer.write(&batch).unwrap();
            writer.finish().unwrap();
        };
        write("part-1.parquet", Arc::new(Int64Array::from(vec![1, 2])));
        write("part-2.parquet", Arc::new(Int64Array::from(vec![Some(3), None])));
        write("valid.parquet", Arc::new(Int64Array::from(vec![4])));
        let session = datafusion::prelude::SessionContext::new();
        let types = TypeContext {
            session: session.clone(),
            offline: false,
        };
        let place = |name: &str| folder.path().join(name).display().to_string();
        let splits = BTreeMap::from([
            ("a".into(), place("valid.parquet")),
            ("train".into(), place("part-*.parquet")),
        ]);
        let source = ParquetSource {
            path: None,
            splits: Some(splits),
            split: None,
            schema: None,
        };
        let NodeType::Dataset(found) = source.output_type(&Inputs(Vec::new()), &types).unwrap() else {
            panic!("a dataset")
        };
        assert_eq!(found.splits, ["train", "a"]);
        assert!(found.schema.columns[0].nullable);
        assert_eq!(source.files().unwrap().len(), 3);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let context = TableContext {
            session,
            runtime: runtime.handle().clone(),
        };
        let frames = source.read(&context).unwrap();
        for (frame, rows) in frames.into_iter().map(|(_, frame)| frame).zip([4, 1]) {
            assert_eq!(found.schema, Schema::from_arrow(frame.schema().as_arrow()));
            assert_eq!(runtime.block_on(frame.count()).unwrap(), rows);
        }
        write("part-3.parquet", Arc::new(Int32Array::from(vec![1])));
        let problems = source.output_type(&Inputs(Vec::new()), &types).unwrap_err();
        assert!(
            problems[0].message.contains("part-3.parquet"),
            "{}",
            problems[0].message
        );
    }
}
