//! Target means per category, out of fold where required.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, UInt64Type};
use serde_json::Value;

use crate::features::target::groups::GroupTable;
use towline_api::{Result, State};

/// The fold of row number `place`: SplitMix64's finaliser over row number and seed.
pub(crate) fn fold(place: u64, seed: u64, folds: u64) -> usize {
    let mut x = place
        .wrapping_add(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((x ^ (x >> 31)) % folds) as usize
}

/// Count and sum of a target.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) count: u64,
    pub(crate) sum: f64,
}

impl Sum {
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
    }

    fn without(self, other: Sum) -> Sum {
        Sum {
            count: self.count.saturating_sub(other.count),
            sum: self.sum - other.sum,
        }
    }
}

fn total(parts: impl IntoIterator<Item = Sum>) -> Sum {
    parts.into_iter().fold(Sum::default(), |a, b| Sum {
        count: a.count + b.count,
        sum: a.sum + b.sum,
    })
}

/// The fitted sums of a target, by part.
pub(crate) fn sums_of(state: &State, target: &str, parts: usize) -> Vec<Sum> {
    let facts = state.facts.get(target).and_then(Value::as_array);
    let sum = |value: &Value| Sum {
        count: value.get("count").and_then(Value::as_u64).unwrap_or_default(),
        sum: value.get("sum").and_then(Value::as_f64).unwrap_or_default(),
    };
    facts.map_or_else(|| vec![Sum::default(); parts], |facts| facts.iter().map(sum).collect())
}

/// Computes the means of one target for the rows of one category.
pub(crate) struct Means {
    pub(crate) groups: Arc<GroupTable>,
    pub(crate) all: Vec<Sum>,
    pub(crate) target: String,
    pub(crate) smoothing: f64,
    /// What to exclude on the fitted split.
    pub(crate) left_out: Option<LeftOut>,
}

/// The rows that are excluded from a row's mean on the fitted split.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LeftOut {
    /// The row itself.
    Row,
    /// The row's fold.
    Fold { seed: u64, folds: u64 },
}

impl Means {
    /// The means. Arguments: the category's columns and, if anything is excluded, the target or the row number.
    pub(crate) fn of(&self, arrays: &[ArrayRef]) -> Result<ArrayRef> {
        let keys = if self.left_out.is_some() {
            &arrays[..arrays.len() - 1]
        } else {
            arrays
        };
        let places = self.groups.places(keys)?;
        let parts: Vec<Option<(&Float64Array, &UInt64Array)>> = (0..self.all.len())
            .map(|part| {
                let sums = self.groups.column(&format!("{}_sum_{part}", self.target))?;
                let counts = self.groups.column(&format!("{}_count_{part}", self.target))?;
                Some((sums.as_primitive::<Float64Type>(), counts.as_primitive::<UInt64Type>()))
            })
            .collect();
        let sum_at = |place: Option<usize>, part: usize| match (place, parts[part]) {
            (Some(place), Some((sums, counts))) => Sum {
                count: counts.value(place),
                sum: sums.value(place),
            },
            _ => Sum::default(),
        };
        let everything = total(self.all.iter().copied());
        let last = arrays.last().filter(|_| self.left_out.is_some());
        let own = last.map(|last| cast(last, &DataType::Float64)).transpose()?;
        let own = own.as_ref().map(AsArray::as_primitive::<Float64Type>);
        let mean = |row: usize| {
            let place = places.is_valid(row).then(|| places.value(row) as usize);
            let mut group = total((0..self.all.len()).map(|part| sum_at(place, part)));
            let mut all = everything;
            if let (Some(own), Some(left_out)) = (own, self.left_out) {
                let (from_group, from_all) = match left_out {
                    LeftOut::Row if own.is_valid(row) && !own.value(row).is_nan() => {
                        let (count, sum) = (1, own.value(row));
                        (Sum { count, sum }, Sum { count, sum })
                    }
                    LeftOut::Row => Default::default(),
                    LeftOut::Fold { seed, folds } => {
                        let part = fold(own.value(row) as u64 - 1, seed, folds);
                        (sum_at(place, part), self.all[part])
                    }
                };
                group = group.without(from_group);
                all = all.without(from_all);
            }
            let mean = (all.count > 0).then(|| all.sum / all.count as f64)?;
            let weight = group.count as f64 + self.smoothing;
            Some(if weight > 0.0 {
                (group.sum + self.smoothing * mean) / weight
            } else {
                mean
            })
        };
        Ok(Arc::new((0..places.len()).map(mean).collect::<Float64Array>()))
    }
}
