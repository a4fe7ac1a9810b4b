//! `MerlinExport`: writes a dataset for Merlin and NVTabular.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::merlin::categories::{write_meta, write_unique};
use crate::merlin::feature::Feature;
use crate::merlin::{schema_json, schema_text};
use towline_api::{
    Artifact, Context, DatasetPort, Describe, Form, Inputs, NodeType, Operator, OperatorError, Output, Port, Problem,
    Purity, Receipt, Result, Sink, TaskResult, TypeContext, target,
};
use towline_tables::AtomicFile;
use towline_tables::TableWriter;

/// Writes a dataset in the file layout of Merlin and NVTabular.
///
/// `<path>/<split>/part_0.parquet` has the encoded rows of each split, with the schema beside it in
/// `.merlin/schema.json` and `schema.pbtxt`. `<path>/categories` has `unique.<column>.parquet` and
/// `meta.<column>.parquet` for every encoded column. Types that Merlin does not support (dates, booleans) are integers
/// in its schema; `.merlin/towline.json` has the original types, and `MerlinSource` prefers it. Each file is written
/// atomically, the schemas last.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MerlinExport {
    /// Output folder, for example `output/merlin`; it is created if missing.
    pub path: PathBuf,
}

const INPUT: DatasetPort = DatasetPort::required("input", "The dataset to write.");

impl Describe for MerlinExport {
    const NAME: &'static str = "MerlinExport";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Effect;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: MerlinExport\ninput: features\nwith: { path: output/merlin }\n";
}

impl Operator for MerlinExport {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        INPUT.input_type(inputs).map(|_| NodeType::Receipt)
    }

    fn form(&self) -> Form<'_> {
        Form::Sink(self)
    }
}

/// Writes a file atomically and records it.
fn publish(files: &mut BTreeMap<PathBuf, u64>, target: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let file = AtomicFile::create(target)?;
    write(file.path())?;
    let size = file.publish()?;
    files.insert(std::path::absolute(target).map_err(OperatorError::io(target))?, size);
    Ok(())
}

impl Sink for MerlinExport {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let dataset = INPUT.files(inputs)?;
        let mut files = BTreeMap::new();
        let mut features = Vec::new();
        for column in &dataset.schema.columns {
            let vocabulary = dataset.vocabulary_of(&column.name);
            features.push(Feature::of(column, vocabulary.is_some()));
            let Some(vocabulary) = vocabulary else { continue };
            let table = vocabulary.load()?;
            let folder = self.path.join("categories");
            let file = |kind: &str| folder.join(format!("{kind}.{}.parquet", column.name));
            publish(&mut files, &file("unique"), |path| {
                write_unique(path, &column.name, &table)
            })?;
            publish(&mut files, &file("meta"), |path| write_meta(path, &table))?;
        }
        context.progress.begin("rows", Some(dataset.rows()));
        for (split, table) in &dataset.splits {
            let folder = self.path.join(split);
            publish(&mut files, &folder.join("part_0.parquet"), |path| {
                let mut writer = TableWriter::create(path, dataset.schema.to_arrow())?;
                for batch in table.batches(None)? {
                    context.cancel.check()?;
                    let batch = batch?;
                    context.progress.advance(batch.num_rows() as u64);
                    writer.write(&batch)?;
                }
                writer.finish().map(|_| ())
            })?;
            let own =
                serde_json::to_string(&dataset.schema).map_err(|error| OperatorError::internal(error.to_string()))?;
            let schemas = [
                (".merlin/towline.json", own),
                ("schema.pbtxt", schema_text::write(&features)),
                (".merlin/schema.json", schema_json::write(&features)),
            ];
            for (name, text) in schemas {
                let write = |path: &Path| std::fs::write(path, &text).map_err(OperatorError::io(path));
                publish(&mut files, &folder.join(name), write)?;
            }
        }
        Ok(Output::new(TaskResult::Receipt(Receipt {
            target: self.path.display().to_string(),
            records: dataset.rows(),
            files,
            details: BTreeMap::new(),
        })))
    }

    fn targets(&self) -> Vec<String> {
        vec![target::path(&self.path)]
    }
}
