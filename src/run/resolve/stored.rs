//! From lazy to stored, and from entries back to values.

use std::collections::BTreeMap;

use datafusion::prelude::ParquetReadOptions;
use towline_api::{
    Artifact, DatasetFiles, LazyDataset, LazyTable, ModelFiles, OperatorError, Rows, TableFile, Vocabulary,
};

use crate::plan::{Origin, Step};
use crate::run::failure::Failure;
use crate::run::resolve::{Fitted, Resolver};
use crate::run::value::{NodeValue, StoredDataset};
use crate::run::work::{Entries, Role, Work, WorkItem};
use crate::store::{Blob, Content, Entry};
use crate::typing::NodeId;

impl Resolver {
    /// A dataset with new rows. Where they are stored, all that descends from them reads the stored rows.
    pub(super) fn new_rows(
        &self,
        id: NodeId,
        lazy: LazyDataset,
        step: Step,
        entries: &mut dyn Entries,
    ) -> Result<Option<NodeValue>, Failure> {
        let origin = step.origin(&self.graph[id].name, None, &lazy.schema);
        if !self.is_stored(id) {
            let stored = None;
            return Ok(Some(NodeValue::Dataset { lazy, origin, stored }));
        }
        let stored = self.stored(id, &lazy, &origin, entries)?;
        Ok(stored.map(|stored| self.dataset(stored)))
    }

    /// A dataset whose rows are those of its input: a projection of them, whether it is stored as well or not.
    pub(super) fn same_rows(
        &self,
        id: NodeId,
        lazy: LazyDataset,
        step: Step,
        rows: Option<u64>,
        entries: &mut dyn Entries,
    ) -> Result<Option<NodeValue>, Failure> {
        let origin = step.origin(&self.graph[id].name, rows, &lazy.schema);
        let mut stored = None;
        if self.is_stored(id) {
            stored = self.stored(id, &lazy, &origin, entries)?;
            if stored.is_none() {
                return Ok(None);
            }
        }
        Ok(Some(NodeValue::Dataset { lazy, origin, stored }))
    }

    /// The stored form of a lazy dataset.
    pub(super) fn stored(
        &self,
        id: NodeId,
        lazy: &LazyDataset,
        origin: &Origin,
        entries: &mut dyn Entries,
    ) -> Result<Option<StoredDataset>, Failure> {
        let item = WorkItem {
            node: id,
            role: Role::Rows,
            step: Step::rows(origin),
        };
        let Some(entry) = entries.entry(item, Work::Rows(lazy))? else {
            return Ok(None);
        };
        let stored = self.stored_dataset(origin.label(), &entry)?;
        entries.note_rows(stored.origin.rows());
        Ok(Some(stored))
    }

    /// What an entry stands for, for those that depend on it.
    pub(super) fn value(&self, id: NodeId, entry: &Entry, entries: &mut dyn Entries) -> Result<NodeValue, Failure> {
        let name = &self.graph[id].name;
        let digest = entry.content_digest();
        let artifact = match &entry.content {
            Content::Dataset { .. } => {
                let stored = self.stored_dataset(name, entry)?;
                entries.note_rows(stored.origin.rows());
                return Ok(self.dataset(stored));
            }
            Content::Model {
                model_type,
                description,
                files,
                vocabularies,
            } => Artifact::Model(ModelFiles {
                digest: digest.clone(),
                model_type: model_type.clone(),
                description: description.clone(),
                files: files
                    .iter()
                    .map(|(name, blob)| (name.clone(), self.store.blob_path(blob)))
                    .collect(),
                vocabularies: self.vocabularies(vocabularies),
                metrics: entry.metrics.clone(),
            }),
            Content::Receipt { receipt } => Artifact::Receipt(receipt.clone()),
            Content::Metrics | Content::State { .. } => Artifact::Metrics(entry.metrics.clone()),
        };
        let origin = Origin::stored(name, &digest, None, None);
        Ok(NodeValue::Other { artifact, origin })
    }

    /// What the entry of a fit stands for.
    pub(in crate::run) fn state(&self, id: NodeId, entry: &Entry) -> Fitted {
        let label = format!("fit of {}", self.graph[id].name);
        let origin = Origin::stored(&label, &entry.content_digest(), None, None);
        (self.store.state(entry), origin)
    }

    fn stored_dataset(&self, label: &str, entry: &Entry) -> Result<StoredDataset, Failure> {
        let files = self.files(entry)?;
        let origin = Origin::stored(label, &entry.content_digest(), Some(files.rows()), Some(&files.schema));
        Ok(StoredDataset { files, origin })
    }

    /// A stored dataset as those that depend on it see it.
    fn dataset(&self, stored: StoredDataset) -> NodeValue {
        NodeValue::Dataset {
            lazy: self.scan(&stored.files),
            origin: stored.origin.clone(),
            stored: Some(stored),
        }
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
        let file = |split: &crate::store::StoredSplit| TableFile {
            path: self.store.blob_path(&split.blob),
            rows: split.rows,
        };
        Ok(DatasetFiles {
            schema: schema.clone(),
            splits: splits.iter().map(|split| (split.name.clone(), file(split))).collect(),
            vocabularies: self.vocabularies(vocabularies),
        })
    }

    /// A stored dataset as plans see it.
    fn scan(&self, files: &DatasetFiles) -> LazyDataset {
        let tables = files.splits.clone();
        let context = self.tables.clone();
        let rows = Rows::of_splits(files.splits.iter().map(|(name, _)| name), move || {
            let read = |(name, table): &(String, TableFile)| {
                let path = table.path.to_string_lossy().into_owned();
                let read = context.session.read_parquet(path, ParquetReadOptions::default());
                Ok((name.clone(), context.runtime.block_on(read)?))
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

    fn vocabularies(&self, blobs: &[Blob]) -> BTreeMap<String, Vocabulary> {
        blobs
            .iter()
            .map(|blob| (blob.digest.clone(), Vocabulary::at(&self.store.blob_path(blob))))
            .collect()
    }
}
