//! Beginning where an earlier model ended.
//!
//! A row of an embedding table goes to the id that stands for the same value now. Where a vocabulary has grown these are the
//! same ids, and where it was made anew they are found by value; the ids for null and for what is out of the vocabulary go
//! to each other. Rows of values that the earlier model did not know, and columns that it did not have, begin afresh.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::towers::Tower;
use crate::contract::{Column, OperatorError, Result, Schema, Vocabulary};

/// The columns of a tower and what their ids stand for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meaning<'a> {
    /// The columns, those of the tower among them.
    pub(crate) columns: &'a Schema,
    /// Their vocabularies, by digest.
    pub(crate) vocabularies: &'a BTreeMap<String, Vocabulary>,
}

/// How many rows of the embedding tables are those of the earlier model, and how many began afresh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Taken over.
    pub(crate) kept: usize,
    /// Of values that the earlier model did not know.
    pub(crate) fresh: usize,
}

impl<'a> Meaning<'a> {
    fn vocabulary(self, column: &'a Column) -> Option<(&'a str, &'a Vocabulary)> {
        let digest = column.domain.as_ref()?.vocabulary.as_deref()?;
        Some((digest, self.vocabularies.get(digest)?))
    }
}

/// Gives `tower` the weights of `earlier`, as far as they mean the same.
pub(crate) fn take_over(tower: &mut Tower, now: Meaning<'_>, earlier: &Tower, then: Meaning<'_>) -> Result<Taken> {
    if tower.shape.layers != earlier.shape.layers {
        let text = format!(
            "the layers of `warm_start` are {:?}, those of this model {:?}",
            earlier.shape.layers, tower.shape.layers
        );
        return Err(OperatorError::invalid(text));
    }
    let mut taken = Taken::default();
    for (shape, table) in tower.shape.embeddings.iter().zip(&mut tower.tables) {
        let before = earlier
            .shape
            .embeddings
            .iter()
            .position(|other| other.column == shape.column);
        let Some(before) = before else {
            taken.fresh += shape.rows;
            continue;
        };
        let (old_shape, old_table) = (&earlier.shape.embeddings[before], &earlier.tables[before]);
        if old_shape.dim != shape.dim {
            let text = format!(
                "the embeddings of `{}` are {} wide in `warm_start` and {} here: set `embedding_dims`",
                shape.column, old_shape.dim, shape.dim
            );
            return Err(OperatorError::invalid(text));
        }
        let rows = rows(&shape.column, (now, shape.rows), (then, old_shape.rows))?;
        for (target, source) in table.chunks_exact_mut(shape.dim).zip(&rows) {
            match source {
                Some(source) => {
                    target.copy_from_slice(&old_table[source * shape.dim..][..shape.dim]);
                    taken.kept += 1;
                }
                None => taken.fresh += 1,
            }
        }
    }
    layers(tower, earlier);
    Ok(taken)
}

/// For each row of a table now the row that it had then.
fn rows(column: &str, now: (Meaning<'_>, usize), then: (Meaning<'_>, usize)) -> Result<Vec<Option<usize>>> {
    let vocabulary = |(meaning, _): (Meaning<'_>, usize)| {
        let found = meaning
            .columns
            .get(column)
            .and_then(|column| meaning.vocabulary(column));
        found.map(|(digest, vocabulary)| (digest.to_owned(), vocabulary.clone()))
    };
    match (vocabulary(now), vocabulary(then)) {
        (Some((digest, _)), Some((other, _))) if digest == other => {}
        (None, None) => {}
        (Some((_, now_values)), Some((_, then_values))) => {
            let (now_values, then_values) = (now_values.load()?, then_values.load()?);
            let known = texts(then_values.values())?;
            let known: HashMap<&str, usize> = known
                .iter()
                .enumerate()
                .filter_map(|(row, value)| Some((value.as_deref()?, row + 1)))
                .collect();
            let reserved = now_values.first_value_id().min(then_values.first_value_id()) as usize;
            let mut rows: Vec<Option<usize>> = vec![None; now.1];
            (0..reserved.min(now.1)).for_each(|row| rows[row] = Some(row));
            for (row, value) in texts(now_values.values())?.iter().enumerate() {
                let before = value.as_deref().and_then(|value| known.get(value).copied());
                if let (Some(target), Some(before)) = (rows.get_mut(row + 1), before) {
                    *target = Some(before);
                }
            }
            return Ok(rows);
        }
        // Ids that are looked up on one side alone cannot be compared.
        _ => return Ok(vec![None; now.1]),
    }
    Ok((0..now.1).map(|row| (row < then.1).then_some(row)).collect())
}

fn texts(values: &dyn Array) -> Result<Vec<Option<String>>> {
    let texts = cast(values, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>().iter();
    Ok(texts.map(|text| text.map(str::to_owned)).collect())
}

/// The layers; of the first one the part of each column goes to where that column is now.
fn layers(tower: &mut Tower, earlier: &Tower) {
    let (now, then) = (tower.shape.width(), earlier.shape.width());
    let offsets = |tower: &Tower| -> Vec<(String, usize, usize)> {
        let mut start = 0;
        let columns = tower.shape.embeddings.iter().map(|embedding| {
            start += embedding.dim;
            (embedding.column.clone(), start - embedding.dim, embedding.dim)
        });
        columns.collect()
    };
    let (columns, old_columns) = (offsets(tower), offsets(earlier));
    for (index, (layer, old)) in tower.layers.iter_mut().zip(&earlier.layers).enumerate() {
        layer.bias.copy_from_slice(&old.bias);
        if index > 0 {
            layer.weight.copy_from_slice(&old.weight);
            continue;
        }
        for (target, source) in layer.weight.chunks_exact_mut(now).zip(old.weight.chunks_exact(then)) {
            for (column, start, dim) in &columns {
                let before = old_columns.iter().find(|(other, ..)| other == column);
                if let Some((_, before, _)) = before {
                    target[*start..][..*dim].copy_from_slice(&source[*before..][..*dim]);
                }
            }
        }
    }
}
