//! From frequencies to a vocabulary: which values get an id, and in which order.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, UInt64Array, new_null_array};
use arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use hashbrown::HashMap;

use crate::features::categorical::categorify::count::{Counted, Frequencies, Key};
use crate::features::categorical::categorify::keys::{Keys, Values};
use crate::features::categorical::categorify::spill::{ByRank, write_ranked};
use towline_api::{NULL_ID, OOV_ID, OperatorError, Result};
use towline_tables::TableWriter;
use towline_tables::spill::external_sort::SortedRuns;

/// Number of values that are ranked, hashed or written at once.
const BLOCK: usize = 1 << 16;

/// Limits of a vocabulary.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VocabularyLimits {
    pub(crate) min_count: u64,
    pub(crate) max_size: Option<u64>,
    pub(crate) oov_buckets: u64,
}

impl VocabularyLimits {
    /// The first id of the vocabulary's own values, after the reserved ids.
    pub(crate) fn first_value_id(self) -> i64 {
        OOV_ID + self.oov_buckets as i64
    }

    /// Maximum number of values with an id.
    fn room(self) -> usize {
        let room = self
            .max_size
            .map(|size| size.saturating_sub(self.first_value_id() as u64));
        room.and_then(|room| usize::try_from(room).ok()).unwrap_or(usize::MAX)
    }
}

/// Given values, in order of their ids.
#[derive(Debug)]
pub(crate) struct GivenValues {
    pub(crate) keys: Keys,
    /// Whether other values are appended.
    pub(crate) grow: bool,
}

/// Writes the vocabulary. Its bytes depend on the counts alone, because ids are assigned by a total order.
pub(crate) fn write(
    (values, nulls, counted): (Values, u64, Counted),
    limits: VocabularyLimits,
    given: Option<GivenValues>,
    path: &Path,
    folder: &Path,
) -> Result<()> {
    let mut ranking = Ranking {
        reserved: vec![0; 1 + limits.oov_buckets as usize],
        values,
        limits,
        path,
        folder,
    };
    ranking.reserved[0] = nulls;
    match (counted, given) {
        (Counted::Numbers(tally), given) => ranking.write(tally, given, |keys| match keys {
            Keys::Numbers(numbers) => numbers.values().to_vec(),
            Keys::Bytes(_) => Vec::new(),
        }),
        (Counted::Bytes(tally), given) => ranking.write(tally, given, |keys| match keys {
            Keys::Bytes(bytes) => bytes.iter().flatten().map(Box::from).collect(),
            Keys::Numbers(_) => Vec::new(),
        }),
    }
}

struct Ranking<'a> {
    reserved: Vec<u64>,
    values: Values,
    limits: VocabularyLimits,
    path: &'a Path,
    folder: &'a Path,
}

impl Ranking<'_> {
    fn write<K: Key + std::hash::Hash>(
        mut self,
        tally: Frequencies<K>,
        given: Option<GivenValues>,
        keys_of: impl Fn(&Keys) -> Vec<K>,
    ) -> Result<()> {
        let grow = given.as_ref().is_none_or(|given| given.grow);
        let first: Vec<K> = given.map(|given| keys_of(&given.keys)).unwrap_or_default();
        let mut known: HashMap<K, u64> = first.iter().map(|key| (key.clone(), 0)).collect();
        let room = if grow {
            self.limits.room().saturating_sub(first.len())
        } else {
            0
        };
        match tally {
            Frequencies::Memory(entries) => {
                let mut entries = take_known(entries, &mut known);
                K::rank(&mut entries);
                let frequent = entries.partition_point(|(_, count)| *count >= self.limits.min_count);
                let rare = entries.split_off(frequent.min(room));
                self.spread(&rare)?;
                let mut writer = self.start(&first, &known)?;
                for block in entries.chunks(BLOCK) {
                    writer.block(&self.values, block)?;
                }
                writer.finish()
            }
            Frequencies::Disk(runs, most) => self.write_from_disk(runs, most.max(BLOCK), room, &first, known),
        }
    }

    /// The same for counts beyond the memory limit: sorted by rank in runs, which are merged while the vocabulary is
    /// written.
    fn write_from_disk<K: Key + std::hash::Hash>(
        mut self,
        runs: SortedRuns<K>,
        most: usize,
        room: usize,
        first: &[K],
        mut known: HashMap<K, u64>,
    ) -> Result<()> {
        let mut in_rank = SortedRuns::in_folder(self.folder);
        let (mut frequent, mut rare, mut total) = (Vec::new(), Vec::new(), 0);
        runs.totals(|key: K, count| {
            if let Some(total) = known.get_mut(&key) {
                *total += count;
            } else if count < self.limits.min_count || room == 0 {
                rare.push((key, count));
                if rare.len() == BLOCK {
                    self.spread(&std::mem::take(&mut rare))?;
                }
            } else {
                total += 1;
                frequent.push((key, count));
                if frequent.len() == most {
                    write_ranked(&mut in_rank, std::mem::take(&mut frequent))?;
                }
            }
            Ok(())
        })?;
        write_ranked(&mut in_rank, frequent)?;
        self.spread(&rare)?;
        let ranked = if total > room {
            self.chosen(in_rank, most, room)?
        } else {
            in_rank
        };
        let mut writer = self.start(first, &known)?;
        let mut block = Vec::with_capacity(BLOCK);
        for entry in ranked.merged()? {
            block.push(entry?);
            if block.len() == BLOCK {
                writer.block(&self.values, &std::mem::take(&mut block))?;
            }
        }
        writer.block(&self.values, &block)?;
        writer.finish()
    }

    /// The values that get an id. The buckets' counts come first in the file but are known only after the whole
    /// ranking, so a pass of its own counts the values beyond the limit.
    fn chosen<K: Key>(
        &mut self,
        in_rank: SortedRuns<K, ByRank>,
        most: usize,
        room: usize,
    ) -> Result<SortedRuns<K, ByRank>> {
        let mut chosen = SortedRuns::in_folder(self.folder);
        let (mut block, mut beyond) = (Vec::new(), Vec::new());
        for (place, entry) in in_rank.merged()?.enumerate() {
            let (list, full): (&mut Vec<_>, _) = if place < room {
                (&mut block, most)
            } else {
                (&mut beyond, BLOCK)
            };
            list.push(entry?);
            if list.len() == full {
                let list = std::mem::take(list);
                if place < room {
                    write_ranked(&mut chosen, list)?;
                } else {
                    self.spread(&list)?;
                }
            }
        }
        write_ranked(&mut chosen, block)?;
        self.spread(&beyond)?;
        Ok(chosen)
    }

    /// Adds the counts of out-of-vocabulary values to their buckets.
    fn spread<K: Key>(&mut self, rare: &[(K, u64)]) -> Result<()> {
        for block in rare.chunks(BLOCK) {
            let hashes = self.values.hashes(&K::collect(block))?;
            for ((_, count), hash) in block.iter().zip(hashes) {
                // Bucket b has id 2 + b, which is at index 1 + b because null is at index 0.
                self.reserved[1 + (hash % self.limits.oov_buckets) as usize] += count;
            }
        }
        Ok(())
    }

    /// Opens the file and writes the reserved ids and the given values.
    fn start<K: Key + std::hash::Hash>(&self, first: &[K], known: &HashMap<K, u64>) -> Result<Writer> {
        let data_type = self.values.data_type();
        let schema = Arc::new(ArrowSchema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("value", data_type.clone(), true),
            Field::new("count", DataType::UInt64, false),
        ]));
        let mut writer = Writer {
            file: TableWriter::create(self.path, Arc::clone(&schema))?,
            schema,
            next: NULL_ID,
        };
        for block in self.reserved.chunks(BLOCK) {
            writer.rows(new_null_array(&data_type, block.len()), block.to_vec())?;
        }
        for block in first.chunks(BLOCK) {
            let counted: Vec<(K, u64)> = block
                .iter()
                .map(|key| (key.clone(), known.get(key).copied().unwrap_or_default()))
                .collect();
            writer.block(&self.values, &counted)?;
        }
        Ok(writer)
    }
}

fn take_known<K: Key + std::hash::Hash>(entries: Vec<(K, u64)>, known: &mut HashMap<K, u64>) -> Vec<(K, u64)> {
    if known.is_empty() {
        return entries;
    }
    let new = |(key, count): &(K, u64)| match known.get_mut(key) {
        Some(total) => {
            *total += count;
            false
        }
        None => true,
    };
    let mut entries = entries;
    entries.retain(new);
    entries
}

struct Writer {
    file: TableWriter,
    schema: SchemaRef,
    next: i64,
}

impl Writer {
    fn block<K: Key>(&mut self, values: &Values, block: &[(K, u64)]) -> Result<()> {
        if block.is_empty() {
            return Ok(());
        }
        let counts = block.iter().map(|(_, count)| *count).collect();
        self.rows(values.array(&K::collect(block))?, counts)
    }

    fn rows(&mut self, values: ArrayRef, counts: Vec<u64>) -> Result<()> {
        if values.len() != counts.len() {
            return Err(OperatorError::internal("a vocabulary has as many counts as values"));
        }
        let ids = Int64Array::from_iter_values((self.next..).take(counts.len()));
        self.next += counts.len() as i64;
        let columns: Vec<ArrayRef> = vec![Arc::new(ids), values, Arc::new(UInt64Array::from(counts))];
        self.file
            .write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)
    }

    fn finish(self) -> Result<()> {
        self.file.finish()?;
        Ok(())
    }
}
