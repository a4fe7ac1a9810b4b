//! `ParquetExport`: writes datasets as Parquet files.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchReader};
use arrow::datatypes::{Field, Schema as ArrowSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::batch::decode::Decoder;
use towline_api::{
    Artifact, Code, Context, DatasetFiles, DatasetPort, DatasetType, Describe, Form, Inputs, NodeType, Operator,
    OperatorError, Output, Port, Problem, Purity, Receipt, Report, Result, Sink, TableFile, TaskResult, TypeContext,
    suggest, target,
};
use towline_tables::AtomicFile;
use towline_tables::TableWriter;

/// Bytes copied between two checks for cancellation.
const COPY_BYTES: u64 = 64 << 20;

/// Writes a dataset as Parquet files: `<path>/<split>.parquet` for each split, or a single file.
///
/// Files are replaced atomically: each is written under a temporary name and then renamed. Files of an earlier run of the same
/// export that are no longer written are removed; other files are left alone.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ParquetExport {
    /// Folder for the files, one per split; or, if it ends in `.parquet`, the file for the only split. Missing folders are
    /// created.
    pub path: PathBuf,
    /// Split to write, for example `train`; by default all splits.
    #[serde(default)]
    pub split: Option<String>,
    /// Write the original values of encoded columns instead of their ids, in lists element by element. Reserved ids (null, out of
    /// vocabulary) become null; the receipt has their number.
    #[serde(default = "yes")]
    pub decode: bool,
}

fn yes() -> bool {
    true
}

const INPUT: DatasetPort = DatasetPort::required("input", "The dataset to write.");

impl Describe for ParquetExport {
    const NAME: &'static str = "ParquetExport";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Effect;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: ParquetExport\ninput: features\nwith: { path: output/features }\n";
}

impl Operator for ParquetExport {
    fn output_type(&self, inputs: &Inputs<NodeType>, _context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let problems = self.problems(INPUT.input_type(inputs)?);
        if problems.is_empty() {
            Ok(NodeType::Receipt)
        } else {
            Err(problems)
        }
    }

    fn form(&self) -> Form<'_> {
        Form::Sink(self)
    }
}

impl ParquetExport {
    fn single_file(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "parquet")
    }

    fn problems(&self, dataset: &DatasetType) -> Vec<Problem> {
        let names: Vec<&str> = dataset.splits.iter().map(String::as_str).collect();
        match &self.split {
            Some(split) if !names.contains(&split.as_str()) => {
                let help = suggest::sentence(split, &names, "splits");
                vec![
                    Problem::new(Code::BadConfig, format!("there is no split `{split}`"))
                        .at("split")
                        .help(help),
                ]
            }
            None if self.single_file() && names.len() != 1 => {
                let message = format!("one file cannot hold {} splits ({})", names.len(), names.join(", "));
                let help = "name a folder to get one file per split, or choose a split with `split`";
                vec![Problem::new(Code::BadConfig, message).at("path").help(help)]
            }
            _ => Vec::new(),
        }
    }

    fn target(&self, split: &str) -> PathBuf {
        if self.single_file() {
            self.path.clone()
        } else {
            self.path.join(format!("{split}.parquet"))
        }
    }
}

impl Sink for ParquetExport {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let dataset = INPUT.files(inputs)?;
        let splits: Vec<&(String, TableFile)> = dataset
            .splits
            .iter()
            .filter(|(name, _)| self.split.as_ref().is_none_or(|split| split == name))
            .collect();
        let rows = splits.iter().map(|(_, table)| table.rows).sum();
        context.progress.begin("rows", Some(rows));

        let mut export = Export::new(dataset, self.decode)?;
        let mut pending = Vec::new();
        for (name, table) in splits {
            let target = self.target(name);
            let file = AtomicFile::create(&target)?;
            export.write(table, file.path(), context)?;
            pending.push((target, file));
        }
        // Nothing is visible until every split is complete: a failure on the last one changes none of the files.
        let mut files = BTreeMap::new();
        for (target, file) in pending {
            files.insert(target, file.publish()?);
        }

        let mut receipt = Receipt {
            target: self.path.display().to_string(),
            records: rows,
            files,
            details: BTreeMap::new(),
        };
        let mut report = Report::default();
        report.facts.push(("rows".to_owned(), rows.to_string()));
        report.facts.push(("files".to_owned(), receipt.files.len().to_string()));
        export.reserved.retain(|_, count| *count > 0);
        for (column, count) in &export.reserved {
            report
                .warnings
                .push(format!("`{column}`: {count} reserved ids were written as null"));
        }
        if !export.reserved.is_empty() {
            receipt
                .details
                .insert("reserved_ids".to_owned(), json!(export.reserved));
        }
        Ok(Output {
            result: TaskResult::Receipt(receipt),
            metrics: BTreeMap::new(),
            report,
        })
    }

    fn targets(&self) -> Vec<String> {
        let folder = self.path.extension().is_none_or(|extension| extension != "parquet");
        match &self.split {
            Some(split) if folder => vec![target::path(&self.path.join(format!("{split}.parquet")))],
            _ => vec![target::path(&self.path)],
        }
    }
}

/// Decoders, shared by all splits.
struct Export {
    /// Decoders of encoded columns, by name; empty if ids are written.
    decoders: BTreeMap<String, Decoder>,
    /// Number of reserved ids per column.
    reserved: BTreeMap<String, u64>,
}

impl Export {
    fn new(dataset: &DatasetFiles, decode: bool) -> Result<Self> {
        let mut decoders = BTreeMap::new();
        for name in dataset.schema.names().filter(|_| decode) {
            if let Some(decoder) = Decoder::of(dataset, name)? {
                decoders.insert(name.to_owned(), decoder);
            }
        }
        Ok(Export {
            decoders,
            reserved: BTreeMap::new(),
        })
    }

    fn write(&mut self, table: &TableFile, path: &Path, context: &Context) -> Result<()> {
        if self.decoders.is_empty() {
            copy(table, path, context)?;
            context.progress.advance(table.rows);
            return Ok(());
        }
        let batches = table.batches(None)?;
        let schema = Arc::new(self.schema(&batches.schema()));
        let mut writer = TableWriter::create(path, Arc::clone(&schema))?;
        for batch in batches {
            context.cancel.check()?;
            let batch = batch?;
            let mut columns = Vec::with_capacity(batch.num_columns());
            for (field, column) in schema.fields().iter().zip(batch.columns()) {
                if let Some(decoder) = self.decoders.get(field.name()) {
                    let decoded = decoder.decode(column)?;
                    *self.reserved.entry(field.name().clone()).or_default() += decoded.reserved;
                    columns.push(decoded.values);
                } else {
                    columns.push(Arc::clone(column));
                }
            }
            writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
            context.progress.advance(batch.num_rows() as u64);
        }
        writer.finish()?;
        Ok(())
    }

    fn schema(&self, encoded: &ArrowSchema) -> ArrowSchema {
        let fields: Vec<Field> = encoded
            .fields()
            .iter()
            .map(|field| match self.decoders.get(field.name()) {
                Some(decoder) => Field::new(field.name(), decoder.data_type(field.data_type()), true),
                None => field.as_ref().clone(),
            })
            .collect();
        ArrowSchema::new(fields)
    }
}

fn copy(table: &TableFile, path: &Path, context: &Context) -> Result<()> {
    let mut from = File::open(&table.path).map_err(OperatorError::io(&table.path))?;
    let mut to = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(OperatorError::io(path))?;
    loop {
        context.cancel.check()?;
        let copied = std::io::copy(&mut from.by_ref().take(COPY_BYTES), &mut to).map_err(OperatorError::io(path))?;
        if copied == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, Int64Array, ListArray, StringArray, UInt64Array};
    use arrow::datatypes::Int64Type;
    use tempfile::tempdir;

    use super::*;
    use crate::testing::{inputs, receipt, test_context, write_table};
    use towline_api::{Column, Domain, Schema, Vocabulary};

    /// Ids 2 (out of vocabulary), 3 = "x", 4 = "y", as a scalar and as a list column.
    fn encoded(folder: &Path) -> DatasetFiles {
        let vocabulary = folder.join("vocabulary.parquet");
        write_table(
            &vocabulary,
            vec![
                ("id", Arc::new(Int64Array::from(vec![1, 2, 3, 4]))),
                (
                    "value",
                    Arc::new(StringArray::from(vec![None, None, Some("x"), Some("y")])),
                ),
                ("count", Arc::new(UInt64Array::from(vec![0, 1, 5, 3]))),
            ],
        );
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
            Some(vec![Some(3), Some(1)]),
            None,
            Some(vec![Some(4)]),
        ]);
        let table = write_table(
            &folder.join("data.parquet"),
            vec![
                ("n", Arc::new(Int64Array::from(vec![10, 20, 30]))),
                ("item", Arc::new(Int64Array::from(vec![4, 2, 3]))),
                ("items", Arc::new(lists)),
            ],
        );
        let mut schema = Schema::from_arrow(&table.batches(None).unwrap().schema());
        for column in schema.columns.iter_mut().filter(|column| column.name != "n") {
            column.domain = Some(Domain {
                name: "item".into(),
                size: Some(5),
                vocabulary: Some("v".into()),
                ..Domain::default()
            });
        }
        DatasetFiles {
            schema,
            splits: vec![("train".into(), table.clone()), ("valid".into(), table)],
            vocabularies: [("v".to_owned(), Vocabulary::at(&vocabulary))].into(),
        }
    }

    fn export(path: &Path, split: Option<&str>, decode: bool) -> ParquetExport {
        ParquetExport {
            path: path.to_owned(),
            split: split.map(str::to_owned),
            decode,
        }
    }

    #[test]
    fn decodes_scalars_and_lists_and_counts_reserved_ids() {
        let folder = tempdir().unwrap();
        let (context, _keep) = test_context();
        let out = folder.path().join("deep/out");
        let output = export(&out, None, true)
            .run(&inputs(encoded(folder.path())), &context)
            .unwrap();
        let receipt = receipt(&output);
        assert_eq!(receipt.records, 6);
        assert_eq!(receipt.files.len(), 2);
        for (path, size) in &receipt.files {
            assert_eq!(std::fs::metadata(path).unwrap().len(), *size);
        }
        assert_eq!(receipt.details["reserved_ids"], json!({ "item": 2, "items": 2 }));
        assert_eq!(
            std::fs::read_dir(&out).unwrap().count(),
            2,
            "no temporary file stays behind"
        );

        let table = TableFile {
            path: out.join("train.parquet"),
            rows: 3,
        };
        let batch = table.batches(None).unwrap().next().unwrap().unwrap();
        let items: Vec<_> = batch
            .column_by_name("item")
            .unwrap()
            .as_string::<i32>()
            .iter()
            .collect();
        assert_eq!(items, [Some("y"), None, Some("x")]);
        let lists = batch.column_by_name("items").unwrap().as_list::<i32>();
        let first: Vec<_> = lists
            .value(0)
            .as_string::<i32>()
            .iter()
            .map(|s| s.map(str::to_owned))
            .collect();
        assert_eq!(first, [Some("x".to_owned()), None]);
        assert!(lists.is_null(1));
    }

    #[test]
    fn copies_one_split_into_one_file_and_replaces_it() {
        let folder = tempdir().unwrap();
        let (context, _keep) = test_context();
        let out = folder.path().join("out.parquet");
        std::fs::write(&out, "an older file").unwrap();
        let data = encoded(folder.path());
        let source = data.splits[1].1.path.clone();
        let output = export(&out, Some("valid"), false).run(&inputs(data), &context).unwrap();
        assert_eq!(receipt(&output).files.keys().collect::<Vec<_>>(), [&out]);
        assert_eq!(std::fs::read(&out).unwrap(), std::fs::read(source).unwrap());
    }

    #[test]
    fn an_interrupted_export_changes_nothing() {
        let folder = tempdir().unwrap();
        let (context, _keep) = test_context();
        context.cancel.cancel();
        let out = folder.path().join("out");
        let error = export(&out, None, true)
            .run(&inputs(encoded(folder.path())), &context)
            .unwrap_err();
        assert!(matches!(error, OperatorError::Cancelled));
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 0);
    }

    #[test]
    fn one_file_for_two_splits_and_unknown_splits_are_refused() {
        let dataset = DatasetType {
            schema: Schema {
                columns: vec![Column::new("a", arrow::datatypes::DataType::Int64, false)],
            },
            splits: vec!["train".into(), "valid".into()],
        };
        let problems = export(Path::new("a.parquet"), None, true).problems(&dataset);
        assert_eq!(problems[0].code, Code::BadConfig);
        let problems = export(Path::new("a"), Some("vald"), true).problems(&dataset);
        assert_eq!(problems[0].help.as_deref(), Some("did you mean `valid`?"));
        assert!(
            export(Path::new("a.parquet"), Some("valid"), true)
                .problems(&dataset)
                .is_empty()
        );
    }
}
