//! One pass over the training split: its rows, its catalogue, its positives, and warnings about it.

use crate::data::feature_table::FeatureTable;
use crate::data::id_mapping::IdMapping;
use crate::data::positives::{PositivesBuilder, UserPositives};
use crate::data::row_blocks::{BlockWriter, NONE, RowBlock};
use crate::data::sample_weight::SampleWeights;
use crate::data::scaling_checks::FeatureScales;
use crate::data::tower_columns::TowerColumns;
use crate::data::training_rows::{TrainingRows, TrainingRowsBuilder};
use crate::train::config::training_warnings::Warnings;
use crate::train::two_tower_train::TwoTowerTrain;
use towline_api::byte_size::byte_size;
use towline_api::{Column, Context, DatasetFiles, OperatorError, Result};

/// Result of the pass over the training split.
pub(crate) struct DataScan {
    /// Training rows, with the catalogue in order of first occurrence.
    pub(crate) rows: TrainingRows,
    /// Positives of the users.
    pub(crate) liked: UserPositives,
    /// Number of interactions of each item of the catalogue.
    pub(crate) counts: Vec<u64>,
    /// Warnings for the report.
    pub(crate) warnings: Vec<String>,
}

/// The items so far, with the features of their first row.
struct Found {
    table: FeatureTable,
    ids: Vec<u32>,
    counts: Vec<u64>,
    /// Index of each item plus 1, by encoded id.
    places: Vec<u32>,
}

fn narrow(id: i64) -> Result<u32> {
    let narrow = u32::try_from(id).ok().filter(|id| *id < NONE);
    narrow.ok_or_else(|| OperatorError::invalid(format!("id {id} is too large: ids must be below 2^32 - 1")))
}

impl Found {
    /// Index of the item of a row, or [`NONE`] if its features differ from those of its first row.
    fn place(&mut self, items: &FeatureTable, row: usize, id: u32) -> Result<u32> {
        if self.places.len() <= id as usize {
            self.places.resize(id as usize + 1, 0);
        }
        let known = self.places[id as usize];
        let Some(place) = known.checked_sub(1) else {
            self.table.append(&items.select(&[row]))?;
            self.ids.push(id);
            self.counts.push(1);
            self.places[id as usize] = self.ids.len() as u32;
            return Ok(self.ids.len() as u32 - 1);
        };
        self.counts[place as usize] += 1;
        let same = self.table.same(place as usize, items, row);
        Ok(if same { place } else { NONE })
    }
}

impl TwoTowerTrain {
    /// Reads the training split.
    pub(crate) fn survey(
        &self,
        dataset: &DatasetFiles,
        sides: &TowerColumns,
        users: &IdMapping,
        context: &Context,
    ) -> Result<DataScan> {
        let tables = || crate::model::stored_model::tables(dataset, Some(&self.fit_on));
        let columns: Vec<&Column> = sides.query.iter().chain(&sides.item).collect();
        let empty = FeatureTable::empty(&columns);
        let (of_query, of_item) = (empty.project(&sides.query)?, empty.project(&sides.item)?);
        let limit = self.memory_limit.as_deref().and_then(byte_size);
        let (file, mut liked) = match limit {
            Some(_) => {
                let folder = context.temp();
                (Some(BlockWriter::in_folder(folder)), PositivesBuilder::in_files(folder))
            }
            None => (None, PositivesBuilder::Memory(Vec::new())),
        };
        let mut gathered = TrainingRowsBuilder::new(RowBlock::like(&of_query, &of_item), self.shuffle_rows, file);
        let mut found = Found {
            table: of_item,
            ids: Vec::new(),
            counts: Vec::new(),
            places: Vec::new(),
        };
        let mut weights = match &self.sample_weight {
            Some(name) => Some(SampleWeights::of(tables()?, name)?),
            None => None,
        };
        let (mut scales, mut warnings) = (FeatureScales::of(columns.iter().copied()), Warnings::new(sides));
        let mut counts_for_something = weights.is_none();
        FeatureTable::scan(tables()?, &columns, &context.cancel, |batch| {
            scales.add(&batch)?;
            warnings.add(&batch)?;
            let (queries, items) = (batch.project(&sides.query)?, batch.project(&sides.item)?);
            let ids = batch.single(&sides.item_id)?.iter().map(|id| narrow(*id));
            let ids = ids.collect::<Result<Vec<u32>>>()?;
            // Users without an identity share an id but no taste.
            let name = |user: &i64| {
                let nobody = !self.mask_positives || users.is_reserved(*user);
                if nobody { Ok(NONE) } else { narrow(*user) }
            };
            let names = batch
                .single(&sides.user_id)?
                .iter()
                .map(name)
                .collect::<Result<Vec<u32>>>()?;
            for (user, item) in names.iter().zip(&ids).filter(|(user, _)| **user != NONE) {
                liked.add(*user, *item)?;
            }
            let places = ids.iter().enumerate().map(|(row, id)| found.place(&items, row, *id));
            let places = places.collect::<Result<Vec<u32>>>()?;
            let weights = match &mut weights {
                Some(weights) => weights.take(batch.rows)?,
                None => Vec::new(),
            };
            counts_for_something |= weights.iter().any(|weight| *weight > 0.0);
            gathered.extend(batch.rows, |block, range| {
                let rows: Vec<usize> = range.clone().collect();
                block.queries.append(&queries.select(&rows))?;
                block.users.extend_from_slice(&names[range.clone()]);
                block.places.extend_from_slice(&places[range.clone()]);
                let variants: Vec<usize> = range.clone().filter(|row| places[*row] == NONE).collect();
                block.variants.append(&items.select(&variants))?;
                block.variant_items.extend(variants.iter().map(|row| ids[*row]));
                block.weights.extend(weights.get(range).unwrap_or_default());
                Ok(())
            })
        })?;
        if !counts_for_something {
            return Err(OperatorError::invalid("all weights of `sample_weight` are 0"));
        }
        let mut told = warnings.texts();
        told.extend(scales.judge()?);
        let rows = gathered.finish(found.table, found.ids, limit)?;
        if rows.rows < 2 {
            let text = format!("the split `{}` has too few rows to train on", self.fit_on);
            return Err(OperatorError::invalid(text));
        }
        if rows.streams() {
            context
                .progress
                .note("training rows exceed `memory_limit` and are read from disk");
        }
        Ok(DataScan {
            rows,
            liked: liked.finish()?,
            counts: found.counts,
            warnings: told,
        })
    }
}
