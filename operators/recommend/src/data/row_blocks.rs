//! Blocks of training rows, spilled to disk if they exceed memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, RecordBatch, UInt32Array, new_null_array};
use arrow::datatypes::{DataType, Field, Float32Type, Schema, UInt32Type};

use crate::data::feature_table::FeatureTable;
use towline_api::{OperatorError, Result};
use towline_tables::spill::spill_file::{SpillFile, SpillWriter};

/// Marks a row without a known user, or an item whose features are not in the catalogue.
pub(crate) const NONE: u32 = u32::MAX;

/// Consecutive training rows.
#[derive(Debug, Clone)]
pub(crate) struct RowBlock {
    /// Query features.
    pub(crate) queries: FeatureTable,
    /// The user of each row, or [`NONE`].
    pub(crate) users: Vec<u32>,
    /// The catalogue row of each row's item, or [`NONE`] for the next row of `variants`.
    pub(crate) places: Vec<u32>,
    /// Item features that differ from those of the item's first row.
    pub(crate) variants: FeatureTable,
    /// The items of `variants`.
    pub(crate) variant_items: Vec<u32>,
    /// The sample weight of each row; empty if all are equal.
    pub(crate) weights: Vec<f32>,
}

impl RowBlock {
    /// An empty block with the same columns.
    pub(crate) fn like(queries: &FeatureTable, items: &FeatureTable) -> Self {
        RowBlock {
            queries: queries.select(&[]),
            users: Vec::new(),
            places: Vec::new(),
            variants: items.select(&[]),
            variant_items: Vec::new(),
            weights: Vec::new(),
        }
    }

    /// Memory use in training, in bytes, including the shuffled order and the positives index of each row.
    pub(crate) fn bytes(&self) -> usize {
        let rows = self.users.len();
        self.queries.bytes() + self.variants.bytes() + 4 * self.variant_items.len() + 4 * self.weights.len() + 32 * rows
    }

    /// The rows as a batch: user, catalogue row, weight (null if all are equal) and the query features.
    fn rows_batch(&self) -> Result<RecordBatch> {
        let weights: ArrayRef = if self.weights.is_empty() {
            new_null_array(&DataType::Float32, self.users.len())
        } else {
            Arc::new(Float32Array::from(self.weights.clone()))
        };
        let users: ArrayRef = Arc::new(UInt32Array::from(self.users.clone()));
        let places: ArrayRef = Arc::new(UInt32Array::from(self.places.clone()));
        batch([users, places, weights], &self.queries)
    }

    /// The variants as a batch: item and item features.
    fn variants_batch(&self) -> Result<RecordBatch> {
        let items: ArrayRef = Arc::new(UInt32Array::from(self.variant_items.clone()));
        batch([items], &self.variants)
    }

    /// Fills a block without rows from its two batches; `None` if they have other columns.
    fn filled(mut self, rows: &RecordBatch, variants: &RecordBatch) -> Result<Option<Self>> {
        let numbers = |batch: &RecordBatch, index: usize| {
            let column = batch.columns().get(index)?.as_primitive_opt::<UInt32Type>()?;
            Some(column.values().to_vec())
        };
        let (Some(users), Some(places), Some(items), Some(weights)) = (
            numbers(rows, 0),
            numbers(rows, 1),
            numbers(variants, 0),
            rows.columns()
                .get(2)
                .and_then(|weights| weights.as_primitive_opt::<Float32Type>()),
        ) else {
            return Ok(None);
        };
        (self.users, self.places, self.variant_items) = (users, places, items);
        if weights.null_count() == 0 {
            self.weights = weights.values().to_vec();
        }
        self.queries.append_stored(&rows.columns()[3..], rows.num_rows())?;
        self.variants
            .append_stored(&variants.columns()[1..], variants.num_rows())?;
        Ok(Some(self))
    }
}

/// A batch of these columns and the features of a table.
fn batch<const N: usize>(columns: [ArrayRef; N], features: &FeatureTable) -> Result<RecordBatch> {
    let columns: Vec<ArrayRef> = columns.into_iter().chain(features.to_arrow()?).collect();
    let fields = (0..).zip(&columns);
    let fields: Vec<Field> = fields
        .map(|(index, column)| Field::new(format!("{index}"), column.data_type().clone(), true))
        .collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// Blocks in two temporary files, each with a batch per block: one of rows, one of variants.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    folder: PathBuf,
    files: Option<[SpillWriter; 2]>,
}

impl BlockWriter {
    /// Starts without blocks, with files in `folder`.
    pub(crate) fn in_folder(folder: &Path) -> Self {
        BlockWriter {
            folder: folder.to_owned(),
            files: None,
        }
    }

    /// Appends a block.
    pub(crate) fn push(&mut self, block: &RowBlock) -> Result<()> {
        let batches = [block.rows_batch()?, block.variants_batch()?];
        let files = match &mut self.files {
            Some(files) => files,
            None => {
                let [rows, variants] = batches
                    .each_ref()
                    .map(|batch| SpillWriter::create(&self.folder, &batch.schema()));
                self.files.insert([rows?, variants?])
            }
        };
        for (file, batch) in files.iter_mut().zip(&batches) {
            file.write(batch)?;
        }
        Ok(())
    }

    /// Finishes writing; `None` without blocks.
    pub(crate) fn finish(self) -> Result<Option<BlockFile>> {
        let Some([rows, variants]) = self.files else {
            return Ok(None);
        };
        Ok(Some(BlockFile {
            rows: rows.finish()?,
            variants: variants.finish()?,
        }))
    }
}

/// Reads blocks.
#[derive(Debug)]
pub(crate) struct BlockFile {
    rows: SpillFile,
    variants: SpillFile,
}

impl BlockFile {
    /// Reads a block; `empty` provides the columns.
    pub(crate) fn block(&mut self, index: usize, empty: RowBlock) -> Result<RowBlock> {
        let block = empty.filled(&self.rows.batch(index)?, &self.variants.batch(index)?)?;
        block.ok_or_else(|| OperatorError::invalid("a spill file of training rows has other columns"))
    }
}
