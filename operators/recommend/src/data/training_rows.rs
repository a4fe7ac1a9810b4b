//! Training rows: all in memory, or a shuffle window at a time.
//!
//! An epoch visits blocks in random order and shuffles all rows within a window of several blocks. The order, and so
//! the trained model, is the same in memory and on disk.

use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::data::feature_table::FeatureTable;
use crate::data::row_blocks::{BlockFile, BlockWriter, NONE, RowBlock};
use towline_api::{OperatorError, Result};

/// Blocks per window.
const BLOCKS: usize = 64;

/// The rows in memory.
#[derive(Debug)]
pub(crate) struct RowWindow {
    /// Query features of each row.
    pub(crate) queries: FeatureTable,
    /// Item features: the catalogue, followed by the rows that differ from it.
    pub(crate) items: FeatureTable,
    /// The item of each row of `items`.
    pub(crate) item_ids: Vec<u32>,
    /// The user of each row, if known.
    pub(crate) users: Vec<Option<u32>>,
    /// The row of `items` of each training row.
    pub(crate) places: Vec<usize>,
    /// The sample weight of each row; empty if all are equal.
    pub(crate) weights: Vec<f32>,
    /// Number of rows of `items` that are the catalogue.
    pub(crate) catalogue: usize,
}

impl RowWindow {
    /// Without training rows, and with this catalogue.
    pub(crate) fn new(queries: FeatureTable, items: FeatureTable, item_ids: Vec<u32>) -> Self {
        RowWindow {
            queries,
            catalogue: items.rows,
            items,
            item_ids,
            users: Vec::new(),
            places: Vec::new(),
            weights: Vec::new(),
        }
    }

    /// The item of a row.
    pub(crate) fn item(&self, row: usize) -> u32 {
        self.item_ids[self.places[row]]
    }

    fn clear(&mut self) {
        self.queries.truncate(0);
        self.items.truncate(self.catalogue);
        self.item_ids.truncate(self.catalogue);
        self.users.clear();
        self.places.clear();
        self.weights.clear();
    }

    fn push(&mut self, block: &RowBlock) -> Result<()> {
        let mut next = self.items.rows;
        for &place in &block.places {
            let variant = place == NONE;
            self.places.push(if variant { next } else { place as usize });
            next += usize::from(variant);
        }
        self.queries.append(&block.queries)?;
        self.items.append(&block.variants)?;
        self.item_ids.extend_from_slice(&block.variant_items);
        let users = block.users.iter();
        self.users.extend(users.map(|user| (*user != NONE).then_some(*user)));
        self.weights.extend_from_slice(&block.weights);
        Ok(())
    }
}

/// All training rows.
#[derive(Debug)]
pub(crate) struct TrainingRows {
    /// Number of rows.
    pub(crate) rows: usize,
    /// The rows in memory.
    pub(crate) chunk: RowWindow,
    of_block: usize,
    /// The spill file, if not all rows are in memory.
    file: Option<BlockFile>,
    /// A block without rows.
    empty: RowBlock,
    /// The first row of each block in memory, if not all are.
    held: Vec<usize>,
}

/// Collects training rows.
#[derive(Debug)]
pub(crate) struct TrainingRowsBuilder {
    blocks: Vec<RowBlock>,
    pending: RowBlock,
    of_block: usize,
    rows: usize,
    file: Option<BlockWriter>,
    sizes: Vec<usize>,
}

impl TrainingRowsBuilder {
    /// Starts empty; at most `window` rows are shuffled together. With `file`, blocks are spilled.
    pub(crate) fn new(empty: RowBlock, window: usize, file: Option<BlockWriter>) -> Self {
        TrainingRowsBuilder {
            blocks: Vec::new(),
            pending: empty,
            of_block: window.div_ceil(BLOCKS).max(1),
            rows: 0,
            file,
            sizes: Vec::new(),
        }
    }

    /// Adds `rows` rows: `add` appends a range of them to the given block.
    pub(crate) fn extend(
        &mut self,
        rows: usize,
        mut add: impl FnMut(&mut RowBlock, std::ops::Range<usize>) -> Result<()>,
    ) -> Result<()> {
        let mut first = 0;
        while first < rows {
            let room = self.of_block - self.pending.users.len();
            let end = rows.min(first + room);
            add(&mut self.pending, first..end)?;
            self.rows += end - first;
            first = end;
            if self.pending.users.len() == self.of_block {
                self.close()?;
            }
        }
        Ok(())
    }

    fn close(&mut self) -> Result<()> {
        let next = RowBlock::like(&self.pending.queries, &self.pending.variants);
        let block = std::mem::replace(&mut self.pending, next);
        self.sizes.push(block.bytes());
        match &mut self.file {
            Some(file) => file.push(&block),
            None => {
                self.blocks.push(block);
                Ok(())
            }
        }
    }

    /// Finishes with this catalogue. If the rows exceed `limit` bytes, only a window of them is kept in memory.
    pub(crate) fn finish(
        mut self,
        items: FeatureTable,
        item_ids: Vec<u32>,
        limit: Option<usize>,
    ) -> Result<TrainingRows> {
        if !self.pending.users.is_empty() {
            self.close()?;
        }
        let empty = self.pending;
        let mut rows = TrainingRows {
            rows: self.rows,
            chunk: RowWindow::new(empty.queries.clone(), items, item_ids),
            of_block: self.of_block,
            file: None,
            empty,
            held: Vec::new(),
        };
        let file = self.file.map(BlockWriter::finish).transpose()?.flatten();
        let Some(mut file) = file else {
            for block in self.blocks.drain(..) {
                rows.chunk.push(&block)?;
            }
            return Ok(rows);
        };
        let limit = limit.unwrap_or(usize::MAX);
        let total: usize = self.sizes.iter().sum();
        if total <= limit {
            for index in 0..self.sizes.len() {
                rows.chunk.push(&file.block(index, rows.empty.clone())?)?;
            }
            return Ok(rows);
        }
        self.sizes.sort_unstable_by(|a, b| b.cmp(a));
        let largest: usize = self.sizes.iter().take(BLOCKS).sum();
        if largest > limit {
            return Err(OperatorError::invalid(format!(
                "`memory_limit` is {limit} bytes, but the rows that are shuffled together take up to {largest}: raise it, \
                 or lower `shuffle_rows`"
            )));
        }
        rows.file = Some(file);
        Ok(rows)
    }
}

impl TrainingRows {
    /// The windows of an epoch: lists of blocks that are shuffled together.
    pub(crate) fn windows(&self, rng: &mut ChaCha8Rng) -> Vec<Vec<usize>> {
        let mut blocks: Vec<usize> = (0..self.rows.div_ceil(self.of_block)).collect();
        blocks.shuffle(rng);
        blocks.chunks(BLOCKS).map(<[usize]>::to_vec).collect()
    }

    fn rows_of(&self, block: usize) -> std::ops::Range<usize> {
        let first = block * self.of_block;
        first..self.rows.min(first + self.of_block)
    }

    /// Number of steps per epoch. It varies by one if the last block, which is shorter, is not in the last window.
    pub(crate) fn steps(&self, batch_size: usize) -> usize {
        let of_window = BLOCKS * self.of_block;
        let steps = |rows: usize| rows / batch_size + usize::from(rows % batch_size > 1);
        self.rows / of_window * steps(of_window) + steps(self.rows % of_window)
    }

    /// Loads the blocks of a window; returns the range start of each block's rows.
    pub(crate) fn take(&mut self, blocks: &[usize]) -> Result<Vec<usize>> {
        let Some(file) = &mut self.file else {
            return Ok(blocks.iter().flat_map(|block| self.rows_of(*block)).collect());
        };
        self.chunk.clear();
        self.held.clear();
        for &block in blocks {
            self.held.push(block * self.of_block);
            self.chunk.push(&file.block(block, self.empty.clone())?)?;
        }
        Ok((0..self.chunk.users.len()).collect())
    }

    /// The row number in the split of a row in memory.
    pub(crate) fn number(&self, row: usize) -> usize {
        if self.file.is_none() {
            return row;
        }
        // Only the split's last block is shorter than the others.
        let mut left = row;
        for &first in &self.held {
            let length = self.rows_of(first / self.of_block).len();
            if left < length {
                return first + left;
            }
            left -= length;
        }
        row
    }

    /// Whether rows are read from disk in every epoch.
    pub(crate) fn streams(&self) -> bool {
        self.file.is_some()
    }
}
