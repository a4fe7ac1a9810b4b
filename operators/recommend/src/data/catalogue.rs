//! The catalogue: the items of the training data with their features and frequencies.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, UInt64Type};

use crate::data::feature_table::FeatureTable;
use crate::data::id_mapping::IdMapping;
use towline_api::{Cancel, Column, OperatorError, Result, Schema, TableFile};
use towline_tables::TableWriter;

/// File name of a model's catalogue.
pub(crate) const ITEMS: &str = "items.parquet";
/// Frequency column; the underscore avoids a clash with item columns.
const COUNT: &str = "_count";

/// Distinct items by encoded id.
#[derive(Debug, Clone)]
pub(crate) struct ItemTable {
    table: FeatureTable,
    counts: Vec<u64>,
    columns: Schema,
    item_id: String,
}

impl ItemTable {
    /// The items of `train`; features are taken from an item's first row.
    pub(crate) fn collect(train: &FeatureTable, columns: &Schema, item_id: &str) -> Result<Self> {
        let mut found: BTreeMap<i64, (usize, u64)> = BTreeMap::new();
        for (row, &id) in train.single(item_id)?.iter().enumerate() {
            found.entry(id).or_insert((row, 0)).1 += 1;
        }
        let rows: Vec<usize> = found.values().map(|(row, _)| *row).collect();
        let table = train.project(&columns.columns)?.select(&rows);
        let counts = found.values().map(|(_, count)| *count).collect();
        Ok(ItemTable {
            table,
            counts,
            columns: columns.clone(),
            item_id: item_id.to_owned(),
        })
    }

    /// A table of distinct items with these frequencies.
    pub(crate) fn distinct(table: FeatureTable, counts: Vec<u64>, columns: &Schema, item_id: &str) -> Self {
        ItemTable {
            table,
            counts,
            columns: columns.clone(),
            item_id: item_id.to_owned(),
        }
    }

    /// Adds the items of `others` that are missing here, with frequency 0.
    pub(crate) fn and(self, others: &Self) -> Result<Self> {
        let known: std::collections::HashSet<i64> = self.table.single(&self.item_id)?.iter().copied().collect();
        let ids = others.table.single(&self.item_id)?;
        let new: Vec<usize> = (0..ids.len()).filter(|&row| !known.contains(&ids[row])).collect();
        let table = self.table.and(&others.table.select(&new))?;
        let mut counts = self.counts;
        counts.resize(table.rows, 0);
        let ids = table.single(&self.item_id)?;
        let mut order: Vec<usize> = (0..table.rows).collect();
        order.sort_by_key(|&row| ids[row]);
        Ok(ItemTable {
            table: table.select(&order),
            counts: order.iter().map(|&row| counts[row]).collect(),
            columns: self.columns,
            item_id: self.item_id,
        })
    }

    /// Writes the items as Parquet, ordered by encoded id.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let mut schema = self.columns.clone();
        schema.columns.push(Column::new(COUNT, DataType::UInt64, false));
        let mut arrays = self.table.to_arrow()?;
        arrays.push(Arc::new(UInt64Array::from(self.counts.clone())));
        let fields = schema.columns.iter().zip(&arrays);
        let fields: Vec<_> = fields
            .map(|(c, array)| arrow::datatypes::Field::new(&c.name, array.data_type().clone(), c.nullable))
            .collect();
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        let mut writer = TableWriter::create(path, Arc::clone(&schema))?;
        writer.write(&RecordBatch::try_new(schema, arrays)?)?;
        writer.finish().map(|_| ())
    }

    /// Reads a file written by [`ItemTable::write`].
    pub(crate) fn read(path: &Path, columns: &Schema, item_id: &str, cancel: &Cancel) -> Result<Self> {
        let file = TableFile {
            path: path.to_owned(),
            rows: 0,
        };
        let table = FeatureTable::read([&file], &columns.columns.iter().collect::<Vec<_>>(), cancel)?;
        let mut counts = Vec::with_capacity(table.rows);
        for batch in file.batches(Some(&[COUNT]))? {
            let batch = batch?;
            let column = batch
                .column_by_name(COUNT)
                .and_then(|column| column.as_primitive_opt::<UInt64Type>());
            let column =
                column.ok_or_else(|| OperatorError::internal("the model's catalogue has no column of frequencies"))?;
            counts.extend_from_slice(column.values());
        }
        Ok(ItemTable {
            table,
            counts,
            columns: columns.clone(),
            item_id: item_id.to_owned(),
        })
    }
}

/// Recommendable items (reserved ids are not), ordered by original id, which breaks ties.
#[derive(Debug, Clone)]
pub(crate) struct Catalogue {
    /// Item features.
    pub(crate) table: FeatureTable,
    /// Original ids.
    pub(crate) original: ArrayRef,
    /// Row by encoded id.
    pub(crate) rows: HashMap<i64, u32>,
    counts: Vec<u64>,
    originals: IdMapping,
}

impl Catalogue {
    /// Builds the catalogue.
    pub(crate) fn new(items: &ItemTable, originals: &IdMapping) -> Result<Self> {
        let all = items.table.single(&items.item_id)?;
        let kept: Vec<usize> = (0..all.len()).filter(|&row| !originals.is_reserved(all[row])).collect();
        let ids: Vec<i64> = kept.iter().map(|&row| all[row]).collect();
        let order = originals.ascending(&ids)?;
        let places: Vec<usize> = order.iter().map(|&place| kept[place]).collect();
        let ids: Vec<i64> = order.iter().map(|&place| ids[place]).collect();
        Ok(Catalogue {
            table: items.table.select(&places),
            original: originals.decode(&ids)?,
            rows: ids.iter().enumerate().map(|(row, &id)| (id, row as u32)).collect(),
            counts: places.iter().map(|&place| items.counts[place]).collect(),
            originals: originals.clone(),
        })
    }

    /// Whether the id is reserved: padding, null, or an out-of-vocabulary bucket that items share.
    pub(crate) fn is_reserved(&self, id: i64) -> bool {
        self.originals.is_reserved(id)
    }

    /// The mapping from encoded to original item ids.
    pub(crate) fn originals(&self) -> &IdMapping {
        &self.originals
    }

    /// Frequency of each item.
    pub(crate) fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Number of items.
    pub(crate) fn len(&self) -> usize {
        self.original.len()
    }

    /// Relative frequency of each item.
    pub(crate) fn shares(&self) -> Vec<f64> {
        let total = self.counts.iter().sum::<u64>().max(1) as f64;
        self.counts.iter().map(|&count| count as f64 / total).collect()
    }

    /// Whether each item is in the head: the most frequent items that make up half of the interactions.
    pub(crate) fn head(&self) -> Vec<bool> {
        let (mut head, mut left) = (vec![false; self.len()], self.counts.iter().sum::<u64>() as f64 / 2.0);
        for row in self.by_popularity() {
            if left <= 0.0 {
                break;
            }
            head[row as usize] = true;
            left -= self.counts[row as usize] as f64;
        }
        head
    }

    /// All rows by frequency descending, ties by original id.
    pub(crate) fn by_popularity(&self) -> Vec<u32> {
        by_count(&self.counts)
    }
}

/// Rows by count descending, ties by row.
pub(crate) fn by_count(counts: &[u64]) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..counts.len() as u32).collect();
    rows.sort_by_key(|&row| std::cmp::Reverse(counts[row as usize]));
    rows
}
