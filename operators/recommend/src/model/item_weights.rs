//! Item-to-item models: an item's score is the sum of its weights from the items of the user's history.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};

use crate::towers::scoring::{Scored, best, shards};
use towline_api::{Cancel, OperatorError, Result};

/// The model family.
pub(crate) const KIND: &str = "item_weights";
/// Name of the weights file.
pub(crate) const FILE: &str = "item_weights.safetensors";

/// Metadata in a model file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Description {
    /// The model family: [`KIND`].
    pub(crate) kind: String,
}

/// Item-to-item weights; rows and columns are catalogue rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum WeightMatrix {
    /// Row-major [items, items].
    Dense(Vec<f32>),
    /// Compressed sparse rows: row `r` has `values[offsets[r]..offsets[r + 1]]` in the corresponding `columns`.
    Sparse {
        /// Start of each row, and the end of the last one.
        offsets: Vec<u64>,
        /// Column indexes.
        columns: Vec<u32>,
        /// Values.
        values: Vec<f32>,
    },
}

/// The model.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ItemWeights {
    /// Number of items.
    pub(crate) items: usize,
    /// Each user's history as ascending catalogue rows, by encoded id.
    pub(crate) histories: HashMap<i64, Vec<u32>>,
    /// Item-to-item weights.
    pub(crate) weights: WeightMatrix,
}

impl ItemWeights {
    /// Writes a user's scores of all items to `scores`; zeros without a history.
    fn scores(&self, user: i64, scores: &mut [f32]) {
        scores.fill(0.0);
        for &item in self.histories.get(&user).map_or(&[][..], Vec::as_slice) {
            match &self.weights {
                WeightMatrix::Dense(weights) => {
                    let row = &weights[item as usize * self.items..][..self.items];
                    scores.iter_mut().zip(row).for_each(|(score, weight)| *score += weight);
                }
                WeightMatrix::Sparse {
                    offsets,
                    columns,
                    values,
                } => {
                    let range = offsets[item as usize] as usize..offsets[item as usize + 1] as usize;
                    for (column, weight) in columns[range.clone()].iter().zip(&values[range]) {
                        scores[*column as usize] += weight;
                    }
                }
            }
        }
    }

    /// Memory use in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let weights = match &self.weights {
            WeightMatrix::Dense(weights) => 4 * weights.len(),
            WeightMatrix::Sparse { offsets, values, .. } => 8 * (offsets.len() + values.len()),
        };
        weights + self.histories.values().map(|items| 32 + 4 * items.len()).sum::<usize>()
    }

    /// The `k` best items of each user among those that are `eligible(place, row)`; `done` reports finished users.
    pub(crate) fn top_k(
        &self,
        users: &[i64],
        k: usize,
        eligible: &(dyn Fn(usize, u32) -> bool + Sync),
        threads: usize,
        cancel: &Cancel,
        done: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<Vec<Scored>>> {
        let mut out: Vec<Vec<Scored>> = vec![Vec::new(); users.len()];
        std::thread::scope(|scope| {
            let mut rest = out.as_mut_slice();
            for range in shards(users.len(), threads) {
                let (part, after) = rest.split_at_mut(range.len());
                rest = after;
                scope.spawn(move || {
                    let mut scores = vec![0.0; self.items];
                    for (place, target) in range.zip(part) {
                        if cancel.is_cancelled() {
                            return;
                        }
                        self.scores(users[place], &mut scores);
                        *target = best(&scores, k, |row| eligible(place, row));
                        done(1);
                    }
                });
            }
        });
        cancel.check()?;
        Ok(out)
    }

    /// Writes the model file.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let histories: BTreeMap<&i64, &Vec<u32>> = self.histories.iter().collect();
        let mut starts = vec![0_u64];
        for items in histories.values() {
            starts.push(starts[starts.len() - 1] + items.len() as u64);
        }
        let mut bytes: BTreeMap<&str, (Dtype, usize, Vec<u8>)> = BTreeMap::new();
        let mut put = |name, dtype, count, data| bytes.insert(name, (dtype, count, data));
        put(
            "users",
            Dtype::I64,
            histories.len(),
            histories.keys().flat_map(|id| id.to_le_bytes()).collect(),
        );
        put(
            "starts",
            Dtype::U64,
            starts.len(),
            starts.iter().flat_map(|x| x.to_le_bytes()).collect(),
        );
        let met: Vec<u32> = histories.values().flat_map(|items| items.iter().copied()).collect();
        put(
            "met",
            Dtype::U32,
            met.len(),
            met.iter().flat_map(|x| x.to_le_bytes()).collect(),
        );
        match &self.weights {
            WeightMatrix::Dense(weights) => {
                put(
                    "weights",
                    Dtype::F32,
                    weights.len(),
                    weights.iter().flat_map(|x| x.to_le_bytes()).collect(),
                );
            }
            WeightMatrix::Sparse {
                offsets,
                columns,
                values,
            } => {
                put(
                    "offsets",
                    Dtype::U64,
                    offsets.len(),
                    offsets.iter().flat_map(|x| x.to_le_bytes()).collect(),
                );
                put(
                    "columns",
                    Dtype::U32,
                    columns.len(),
                    columns.iter().flat_map(|x| x.to_le_bytes()).collect(),
                );
                put(
                    "values",
                    Dtype::F32,
                    values.len(),
                    values.iter().flat_map(|x| x.to_le_bytes()).collect(),
                );
            }
        }
        let mut views = Vec::new();
        for (name, (dtype, count, data)) in &bytes {
            views.push((*name, TensorView::new(*dtype, vec![*count], data).map_err(unusable)?));
        }
        let data = safetensors::serialize(views, None).map_err(unusable)?;
        std::fs::write(path, data).map_err(OperatorError::io(path))
    }

    /// Reads a model file for a catalogue of `items` items.
    pub(crate) fn read(path: &Path, items: usize) -> Result<Self> {
        let data = std::fs::read(path).map_err(OperatorError::io(path))?;
        let file = SafeTensors::deserialize(&data).map_err(unusable)?;
        let (users, starts) = (
            numbers(&file, "users", i64::from_le_bytes)?,
            numbers(&file, "starts", u64::from_le_bytes)?,
        );
        let met = numbers(&file, "met", u32::from_le_bytes)?;
        let weights = if file.tensor("weights").is_ok() {
            WeightMatrix::Dense(numbers(&file, "weights", f32::from_le_bytes)?)
        } else {
            WeightMatrix::Sparse {
                offsets: numbers(&file, "offsets", u64::from_le_bytes)?,
                columns: numbers(&file, "columns", u32::from_le_bytes)?,
                values: numbers(&file, "values", f32::from_le_bytes)?,
            }
        };
        let rises = |starts: &[u64], rows: usize, end: usize| {
            starts.len() == rows + 1 && starts.is_sorted() && starts.last() == Some(&(end as u64))
        };
        let inside = |rows: &[u32]| rows.iter().all(|row| (*row as usize) < items);
        let sound = match &weights {
            WeightMatrix::Dense(weights) => weights.len() == items * items,
            WeightMatrix::Sparse {
                offsets,
                columns,
                values,
            } => rises(offsets, items, values.len()) && columns.len() == values.len() && inside(columns),
        };
        if !sound || !rises(&starts, users.len(), met.len()) || !inside(&met) {
            return Err(unusable("the shapes of its tensors do not match"));
        }
        let history =
            |(place, user): (usize, i64)| (user, met[starts[place] as usize..starts[place + 1] as usize].to_vec());
        Ok(ItemWeights {
            items,
            histories: users.into_iter().enumerate().map(history).collect(),
            weights,
        })
    }
}

fn numbers<const N: usize, T>(file: &SafeTensors<'_>, name: &str, parse: fn([u8; N]) -> T) -> Result<Vec<T>> {
    let view = file.tensor(name).map_err(unusable)?;
    let (chunks, rest) = view.data().as_chunks::<N>();
    if !rest.is_empty() {
        return Err(unusable(format!("the tensor `{name}` is truncated")));
    }
    Ok(chunks.iter().map(|bytes| parse(*bytes)).collect())
}

fn unusable(error: impl std::fmt::Display) -> OperatorError {
    OperatorError::invalid(format!("the weights of the model cannot be used: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_add_up_over_the_history_and_survive_being_stored() {
        let dense = WeightMatrix::Dense(vec![0.0, 1.0, 2.0, 0.5, 0.0, 4.0, 0.0, 0.0, 0.0]);
        let sparse = WeightMatrix::Sparse {
            offsets: vec![0, 2, 4, 4],
            columns: vec![1, 2, 0, 2],
            values: vec![1.0, 2.0, 0.5, 4.0],
        };
        let histories = HashMap::from([(7, vec![0, 1]), (9, vec![2])]);
        let folder = tempfile::tempdir().unwrap();
        for weights in [dense, sparse] {
            let model = ItemWeights {
                items: 3,
                histories: histories.clone(),
                weights,
            };
            let path = folder.path().join(FILE);
            model.write(&path).unwrap();
            assert_eq!(ItemWeights::read(&path, 3).unwrap(), model);
            assert!(ItemWeights::read(&path, 4).is_err());
            let eligible = |place: usize, row: u32| place > 0 || row > 1;
            let lists = model
                .top_k(&[7, 9, 1], 2, &eligible, 2, &Cancel::default(), &|_| {})
                .unwrap();
            let rows: Vec<Vec<(u32, f32)>> = lists
                .iter()
                .map(|list| list.iter().map(|scored| (scored.row, scored.score)).collect())
                .collect();
            assert_eq!(
                rows,
                [vec![(2, 6.0)], vec![(0, 0.0), (1, 0.0)], vec![(0, 0.0), (1, 0.0)]]
            );
        }
    }
}
