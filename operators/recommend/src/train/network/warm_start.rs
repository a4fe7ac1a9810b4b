//! Warm start: weights of an earlier model as initial weights.
//!
//! A row of an embedding table goes to the id that stands for the same value now. Where a vocabulary has grown these are the
//! same ids, and where it was made anew they are found by value; the ids for null and for what is out of the vocabulary go
//! to each other. Rows of values that the earlier model did not know, and columns that it did not have, begin afresh. A table
//! that several columns share takes a row from the first of them that knew its value.

use std::collections::{BTreeMap, HashMap};

use arrow::array::{Array, AsArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use crate::towers::Side;
use crate::towers::tower_shape::EmbeddingShape;
use crate::towers::towers::{Tower, Towers};
use towline_api::{Column, OperatorError, Result, Schema, Vocabulary};

/// The columns of a tower and what their ids stand for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EncodedColumns<'a> {
    /// The columns, those of the tower among them.
    pub(crate) columns: &'a Schema,
    /// Their vocabularies, by digest.
    pub(crate) vocabularies: &'a BTreeMap<String, Vocabulary>,
}

/// How many rows of the embedding tables are those of the earlier model, and how many began afresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WarmStartCounts {
    /// WarmStartCounts over.
    pub(crate) kept: usize,
    /// Of values that the earlier model did not know.
    pub(crate) fresh: usize,
}

impl<'a> EncodedColumns<'a> {
    fn vocabulary(self, column: &'a Column) -> Option<(&'a str, &'a Vocabulary)> {
        let digest = column.domain.as_ref()?.vocabulary.as_deref()?;
        Some((digest, self.vocabularies.get(digest)?))
    }
}

/// A model and what its ids stand for, side by side: the query's, then the item's.
pub(crate) type Known<'a> = (&'a Towers, [EncodedColumns<'a>; 2]);

/// Gives `towers` the weights of an earlier model, as far as they mean the same.
pub(crate) fn take_over(
    towers: &mut Towers,
    now: [EncodedColumns<'_>; 2],
    (earlier, then): Known<'_>,
) -> Result<WarmStartCounts> {
    let mut filled: Vec<Vec<bool>> = towers.tables.iter().map(|_| Vec::new()).collect();
    for (side, (now, then)) in [Side::Query, Side::Item].into_iter().zip(now.into_iter().zip(then)) {
        let (tower, before) = (towers.tower(side).clone(), earlier.tower(side));
        if tower.shape.layers != before.shape.layers {
            let text = format!(
                "the layers of `warm_start` are {:?}, those of this model {:?}",
                before.shape.layers, tower.shape.layers
            );
            return Err(OperatorError::invalid(text));
        }
        for (shape, place) in tower.shape.embeddings.iter().zip(&tower.tables) {
            let filled = &mut filled[*place];
            filled.resize(shape.rows, false);
            let known = before
                .shape
                .embeddings
                .iter()
                .position(|old| old.column == shape.column);
            let Some(known) = known else { continue };
            let old = (&before.shape.embeddings[known], &earlier.tables[before.tables[known]]);
            rows_of(&mut towers.tables[*place], filled, (shape, now), (old.0, old.1, then))?;
        }
        let tower = match side {
            Side::Query => &mut towers.query,
            Side::Item => &mut towers.item,
        };
        layers(tower, before);
        attention(tower, before);
    }
    let rows: usize = filled.iter().map(Vec::len).sum();
    let kept = filled.iter().flatten().filter(|kept| **kept).count();
    Ok(WarmStartCounts {
        kept,
        fresh: rows - kept,
    })
}

/// Takes over the rows of a table that are not `filled` yet, by what one of its columns knows.
fn rows_of(
    table: &mut [f32],
    filled: &mut [bool],
    (shape, now): (&EmbeddingShape, EncodedColumns<'_>),
    (old_shape, old_table, then): (&EmbeddingShape, &[f32], EncodedColumns<'_>),
) -> Result<()> {
    if old_shape.dim != shape.dim {
        let text = format!(
            "the embeddings of `{}` are {} wide in `warm_start` and {} here: set `embedding_dims`",
            shape.column, old_shape.dim, shape.dim
        );
        return Err(OperatorError::invalid(text));
    }
    let rows = rows(&shape.column, (now, shape.rows), (then, old_shape.rows))?;
    for ((target, filled), source) in table.chunks_exact_mut(shape.dim).zip(filled).zip(rows) {
        if let Some(source) = source.filter(|_| !*filled) {
            target.copy_from_slice(&old_table[source * shape.dim..][..shape.dim]);
            *filled = true;
        }
    }
    Ok(())
}

/// What the elements of lists are weighed by, where a column is still pooled by attention.
fn attention(tower: &mut Tower, earlier: &Tower) {
    let old = |column: &str| {
        let place = earlier.shape.embeddings.iter().position(|old| old.column == column)?;
        Some(&earlier.attention[place])
    };
    for (shape, query) in tower.shape.embeddings.iter().zip(&mut tower.attention) {
        if let Some(old) = old(&shape.column).filter(|old| old.len() == query.len()) {
            query.copy_from_slice(old);
        }
    }
}

/// For each row of a table now the row that it had then.
fn rows(
    column: &str,
    now: (EncodedColumns<'_>, usize),
    then: (EncodedColumns<'_>, usize),
) -> Result<Vec<Option<usize>>> {
    let vocabulary = |(meaning, _): (EncodedColumns<'_>, usize)| {
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
    let own = |tower: &Tower| -> Vec<(String, usize, usize)> {
        let parts = tower.shape.parts().into_iter();
        parts
            .map(|(column, start, width)| (column.to_owned(), start, width))
            .collect()
    };
    let (columns, old_columns) = (own(tower), own(earlier));
    for (index, (layer, old)) in tower.layers.iter_mut().zip(&earlier.layers).enumerate() {
        layer.bias.copy_from_slice(&old.bias);
        if index > 0 {
            layer.weight.copy_from_slice(&old.weight);
            continue;
        }
        for (target, source) in layer.weight.chunks_exact_mut(now).zip(old.weight.chunks_exact(then)) {
            for (column, start, dim) in &columns {
                let before = old_columns
                    .iter()
                    .find(|(other, _, width)| other == column && width == dim);
                if let Some((_, before, _)) = before {
                    target[*start..][..*dim].copy_from_slice(&source[*before..][..*dim]);
                }
            }
        }
    }
}
