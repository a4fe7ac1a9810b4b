//! Blocks of training rows, spilled to disk if they exceed memory.
//!
//! A block is serialised by [`Block::write`], little-endian: the query features, then per row the user and the
//! catalogue row, then the item features that differ from the catalogue's, and the weights.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::data::feature_table::EncodedTable;
use towline_api::{OperatorError, Result};

/// Marks a row without a known user, or an item whose features are not in the catalogue.
pub(crate) const NONE: u32 = u32::MAX;

/// Consecutive training rows.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    /// Query features.
    pub(crate) queries: EncodedTable,
    /// The user of each row, or [`NONE`].
    pub(crate) users: Vec<u32>,
    /// The catalogue row of each row's item, or [`NONE`] for the next row of `variants`.
    pub(crate) places: Vec<u32>,
    /// Item features that differ from those of the item's first row.
    pub(crate) variants: EncodedTable,
    /// The items of `variants`.
    pub(crate) variant_items: Vec<u32>,
    /// The sample weight of each row; empty if all are equal.
    pub(crate) weights: Vec<f32>,
}

impl Block {
    /// An empty block with the same columns.
    pub(crate) fn like(queries: &EncodedTable, items: &EncodedTable) -> Self {
        Block {
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

    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        self.queries.write(&mut bytes);
        self.users
            .iter()
            .chain(&self.places)
            .for_each(|x| bytes.extend(x.to_le_bytes()));
        bytes.extend((self.variant_items.len() as u32).to_le_bytes());
        self.variants.write(&mut bytes);
        self.variant_items.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
        bytes.extend((self.weights.len() as u32).to_le_bytes());
        self.weights.iter().for_each(|x| bytes.extend(x.to_le_bytes()));
        out.write_all(&bytes)
    }

    /// Parses `rows` rows; `None` if the bytes are invalid.
    fn read(mut self, rows: usize, mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        self.queries.read_more(rows, bytes)?;
        self.users = many(bytes, rows, u32::from_le_bytes)?;
        self.places = many(bytes, rows, u32::from_le_bytes)?;
        let variants = one(bytes, u32::from_le_bytes)? as usize;
        self.variants.read_more(variants, bytes)?;
        self.variant_items = many(bytes, variants, u32::from_le_bytes)?;
        let weights = one(bytes, u32::from_le_bytes)? as usize;
        self.weights = many(bytes, weights, f32::from_le_bytes)?;
        Some(self)
    }
}

/// Parses one value.
pub(crate) fn one<const N: usize, T>(bytes: &mut &[u8], value: impl Fn([u8; N]) -> T) -> Option<T> {
    let (first, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(value(*first))
}

/// Parses `count` values.
pub(crate) fn many<const N: usize, T>(bytes: &mut &[u8], count: usize, value: impl Fn([u8; N]) -> T) -> Option<Vec<T>> {
    let (first, rest) = bytes.split_at_checked(count.checked_mul(N)?)?;
    *bytes = rest;
    Some(first.as_chunks::<N>().0.iter().map(|chunk| value(*chunk)).collect())
}

/// Blocks in a file, with the offset, length and number of rows of each.
#[derive(Debug)]
pub(crate) struct BlockFile {
    path: PathBuf,
    out: Option<BufWriter<File>>,
    blocks: Vec<(u64, u64, usize)>,
}

impl BlockFile {
    /// Creates the file.
    pub(crate) fn create(path: &Path) -> Result<Self> {
        Ok(BlockFile {
            out: Some(BufWriter::new(File::create(path).map_err(OperatorError::io(path))?)),
            path: path.to_owned(),
            blocks: Vec::new(),
        })
    }

    /// Appends a block.
    pub(crate) fn push(&mut self, block: &Block) -> Result<()> {
        let Some(out) = &mut self.out else { return Ok(()) };
        let mut bytes = Vec::new();
        block.write(&mut bytes).map_err(OperatorError::io(&self.path))?;
        out.write_all(&bytes).map_err(OperatorError::io(&self.path))?;
        let start = self.blocks.last().map_or(0, |(start, length, _)| start + length);
        self.blocks.push((start, bytes.len() as u64, block.users.len()));
        Ok(())
    }

    /// Flushes the file; blocks can be read after that.
    pub(crate) fn finish(&mut self) -> Result<()> {
        match self.out.take() {
            Some(mut out) => out.flush().map_err(OperatorError::io(&self.path)),
            None => Ok(()),
        }
    }

    /// Reads a block; `empty` provides the columns.
    pub(crate) fn block(&self, index: usize, empty: Block) -> Result<Block> {
        let (start, length, rows) = self.blocks[index];
        let mut bytes = vec![0; length as usize];
        let mut file = File::open(&self.path).map_err(OperatorError::io(&self.path))?;
        let found = file
            .seek(SeekFrom::Start(start))
            .and_then(|_| file.read_exact(&mut bytes));
        found.map_err(OperatorError::io(&self.path))?;
        let block = empty.read(rows, &bytes);
        block.ok_or_else(|| {
            OperatorError::invalid(format!(
                "{}: the spill file was changed during the run",
                self.path.display()
            ))
        })
    }
}
