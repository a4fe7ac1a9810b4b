//! From lazy to stored, and from stored back to lazy.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::prelude::ParquetReadOptions;
use futures::StreamExt;
use towline_api::{Cancel, DatasetFiles, LazyDataset, LazyTable, OperatorError, Rows, Schema, TableFile, Vocabulary};
use towline_tables::TableWriter;

use crate::plan::{Origin, Step};
use crate::run::attempts::Job;
use crate::run::reuse::{Made, Piece, Role};
use crate::run::runner::{Failure, Runner};
use crate::run::value::{NodeValue, StoredDataset};
use crate::store::{Blob, Content, Entry, StoredSplit};

impl Runner {
    /// A dataset with new rows. Where they are stored, all that descends from them reads the stored rows.
    pub(super) fn new_rows(
        &self,
        index: usize,
        lazy: LazyDataset,
        step: Step,
        job: &Job,
    ) -> Result<NodeValue, Failure> {
        let origin = step.origin(self.name(index), None, &lazy.schema);
        if !self.placements[index].is_stored() {
            let stored = None;
            return Ok(NodeValue::Dataset { lazy, origin, stored });
        }
        let stored = self.stored(index, &lazy, &origin, job)?;
        Ok(self.dataset(stored))
    }

    /// A dataset whose rows are those of its input: a projection of them, whether it is stored as well or not.
    pub(super) fn same_rows(
        &self,
        index: usize,
        lazy: LazyDataset,
        step: Step,
        rows: Option<u64>,
        job: &Job,
    ) -> Result<NodeValue, Failure> {
        let origin = step.origin(self.name(index), rows, &lazy.schema);
        let stored = if self.placements[index].is_stored() {
            Some(self.stored(index, &lazy, &origin, job)?)
        } else {
            None
        };
        Ok(NodeValue::Dataset { lazy, origin, stored })
    }

    /// The stored form of a lazy dataset: from the store if its rows are there, else computed and published.
    pub(super) fn stored(
        &self,
        node: usize,
        lazy: &LazyDataset,
        origin: &Origin,
        job: &Job,
    ) -> Result<StoredDataset, Failure> {
        let piece = Piece {
            node,
            role: Role::Rows,
            step: Step::rows(origin),
        };
        let entry = self.produce(piece, || {
            let temp = self.store.temp_dir()?;
            let mut splits = Vec::new();
            for (name, table) in &lazy.splits {
                let path = temp.path().join(format!("{}.parquet", splits.len()));
                let file = self.write(table, &lazy.schema, &path, job)?;
                let blob = self.store.publish_blob(&file.path, "parquet")?;
                splits.push(StoredSplit {
                    name: name.clone(),
                    blob,
                    rows: file.rows,
                });
            }
            Ok(Made::from(Content::Dataset {
                schema: lazy.schema.clone(),
                splits,
                vocabularies: self.blobs_of(&lazy.vocabularies)?,
            }))
        })?;
        let stored = self.stored_dataset(origin.label(), &entry)?;
        self.note(node, |work| work.rows = stored.origin.rows());
        Ok(stored)
    }

    pub(super) fn stored_dataset(&self, label: &str, entry: &Entry) -> Result<StoredDataset, Failure> {
        let files = self.files(entry)?;
        let origin = Origin::stored(label, &entry.content_digest(), Some(files.rows()), Some(&files.schema));
        Ok(StoredDataset { files, origin })
    }

    /// A stored dataset as those that depend on it see it.
    pub(super) fn dataset(&self, stored: StoredDataset) -> NodeValue {
        NodeValue::Dataset {
            lazy: self.scan(&stored.files),
            origin: stored.origin.clone(),
            stored: Some(stored),
        }
    }

    fn write(
        &self,
        table: &LazyTable,
        schema: &Schema,
        path: &std::path::Path,
        job: &Job,
    ) -> Result<TableFile, Failure> {
        let arrow_schema = schema.to_arrow();
        let mut writer = TableWriter::of_schema(path, schema)?;
        self.batches(table, job, |batch| Ok(writer.write(&conform(batch, &arrow_schema)?)?))?;
        Ok(writer.finish()?)
    }

    /// Computes a lazy table and passes its batches on, one by one.
    pub(super) fn batches(
        &self,
        table: &LazyTable,
        job: &Job,
        mut take: impl FnMut(&RecordBatch) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        job.progress.begin("rows", None);
        let frame = table.to_frame()?;
        self.runtime.block_on(async {
            let mut stream = frame.execute_stream().await.map_err(OperatorError::from)?;
            while let Some(batch) = next(&mut stream, &job.cancel).await? {
                take(&batch)?;
                job.progress.advance(batch.num_rows() as u64);
            }
            Ok(())
        })
    }

    /// A stored dataset as tasks see it.
    fn files(&self, entry: &Entry) -> Result<DatasetFiles, Failure> {
        let Content::Dataset {
            schema,
            splits,
            vocabularies,
        } = &entry.content
        else {
            return Err(Failure::from(OperatorError::invalid(
                "the store has something else than a dataset here",
            )));
        };
        let splits = splits
            .iter()
            .map(|split| {
                (
                    split.name.clone(),
                    TableFile {
                        path: self.store.blob_path(&split.blob),
                        rows: split.rows,
                    },
                )
            })
            .collect();
        Ok(DatasetFiles {
            schema: schema.clone(),
            splits,
            vocabularies: self.open_vocabularies(vocabularies),
        })
    }

    /// A stored dataset as plans see it.
    fn scan(&self, files: &DatasetFiles) -> LazyDataset {
        let tables = files.splits.clone();
        let (session, runtime) = (self.session.clone(), self.runtime.clone());
        let rows = Rows::of_splits(files.splits.iter().map(|(name, _)| name), move || {
            let read = |(name, table): &(String, TableFile)| {
                let path = table.path.to_string_lossy().into_owned();
                let read = session.read_parquet(path, ParquetReadOptions::default());
                Ok((name.clone(), runtime.block_on(read)?))
            };
            tables.iter().map(read).collect()
        });
        let table = |(name, base)| (name, LazyTable::of_rows(base, &files.schema));
        LazyDataset {
            schema: files.schema.clone(),
            splits: rows.into_iter().map(table).collect(),
            vocabularies: files.vocabularies.clone(),
        }
    }

    pub(super) fn open_vocabularies(&self, blobs: &[Blob]) -> BTreeMap<String, Vocabulary> {
        blobs
            .iter()
            .map(|blob| (blob.digest.clone(), Vocabulary::at(&self.store.blob_path(blob))))
            .collect()
    }

    /// The blobs of vocabularies that lie in the store already.
    pub(super) fn blobs_of(&self, vocabularies: &BTreeMap<String, Vocabulary>) -> Result<Vec<Blob>, Failure> {
        let mut out = Vec::new();
        for (digest, vocabulary) in vocabularies {
            let path: PathBuf = vocabulary.path().to_owned();
            let bytes = std::fs::metadata(&path).map_err(OperatorError::io(&path))?.len();
            out.push(Blob {
                digest: digest.clone(),
                bytes,
                extension: "parquet".to_owned(),
            });
        }
        Ok(out)
    }
}

/// The next batch; an error if the work is to stop before there is one.
async fn next(stream: &mut SendableRecordBatchStream, cancel: &Cancel) -> Result<Option<RecordBatch>, OperatorError> {
    const LOOK_EVERY: Duration = Duration::from_millis(100);
    loop {
        cancel.check()?;
        if let Ok(batch) = tokio::time::timeout(LOOK_EVERY, stream.next()).await {
            return Ok(batch.transpose()?);
        }
    }
}

/// The batch under the declared schema: the same columns, their types cast where a plan chose another encoding.
fn conform(batch: &RecordBatch, schema: &arrow::datatypes::SchemaRef) -> Result<RecordBatch, OperatorError> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| {
            let column = batch.column_by_name(field.name()).ok_or_else(|| {
                OperatorError::invalid(format!("the plan did not produce the column `{}`", field.name()))
            })?;
            Ok(cast(column, field.data_type())?)
        })
        .collect::<Result<Vec<_>, OperatorError>>()?;
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}
