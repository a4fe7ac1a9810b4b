//! `Similarity`: row-wise similarity of two list columns.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, RecordBatch, UInt64Array};
use hashbrown::{HashMap, HashSet};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use arrow::datatypes::{DataType, Int64Type, UInt64Type};

use crate::features::categorical::categorify::count::{as_list, is_list};
use crate::features::categorical::categorify::keys::{Keys, Values, value_type};
use crate::features::columns_of::{column, unknown};
use crate::features::fit_split::{default_split, unknown_split};
use crate::features::vector::vectors::doubles;
use towline_api::{
    Code, Column, DatasetPort, DatasetType, Describe, FitContext, FitOutput, Fitter, Form, Inputs, NamedExpr, NodeType,
    Operator, OperatorError, Port, Problem, Purity, Result, Schema, State, Stateful, TableFile, Tag, TypeContext,
};
use towline_tables::TableWriter;
use towline_tables::array_function::array_function;

/// Row-wise similarity of two list columns, as one column of `Float64`, tagged `continuous`.
///
/// Lists of floats are vectors of equal length. Other lists are bags of words: a sparse vector of term frequencies,
/// weighted with `tf_idf` by the inverse document frequency ln(lists / lists with the term), fitted on the lists of
/// both columns. A null list gives null, a null element of a vector NaN; a null term is ignored. An empty list and a
/// zero vector have similarity 0.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Similarity {
    /// First list column, for example `user_genres`.
    pub left: String,
    /// Second list column, for example `genres`.
    pub right: String,
    /// Similarity measure: `cosine`, `inner` (dot product) or `tf_idf` (cosine of TF-IDF vectors; not for vectors of
    /// floats).
    #[serde(default)]
    pub metric: Metric,
    /// Name of the output column.
    #[serde(default = "similarity")]
    pub name: String,
    /// The split to fit the inverse document frequencies on.
    #[serde(default = "default_split")]
    pub fit_on: String,
}

/// Similarity measure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Cosine similarity.
    #[default]
    Cosine,
    /// Dot product.
    Inner,
    /// Cosine of TF-IDF vectors.
    TfIdf,
}

fn similarity() -> String {
    "similarity".to_owned()
}

const INPUT: DatasetPort = DatasetPort::required("input", "Rows with both columns.");

impl Describe for Similarity {
    const NAME: &'static str = "Similarity";
    const CODE_VERSION: u32 = 2;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str =
        "op: Similarity\ninput: rows\nwith: { left: user_genres, right: genres, metric: tf_idf }\n";
}

impl Operator for Similarity {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        let mut problems: Vec<Problem> = unknown_split(&self.fit_on, &input.splits).into_iter().collect();
        problems.extend(unknown([self.left.as_str()], &input.schema, "left"));
        problems.extend(unknown([self.right.as_str()], &input.schema, "right"));
        let found: Vec<&Column> = [&self.left, &self.right]
            .into_iter()
            .filter_map(|name| input.schema.get(name))
            .collect();
        for column in &found {
            if !column.is_list() || value_type(column.element_type()).is_none() {
                let message = format!(
                    "column `{}` holds {}, not lists of values",
                    column.name, column.data_type
                );
                problems.push(Problem::new(Code::WrongType, message).at_port("input"));
            }
        }
        if let [left, right] = found.as_slice() {
            let vectors = left.element_type().is_floating();
            let same = value_type(left.element_type()) == value_type(right.element_type());
            if vectors != right.element_type().is_floating() || (!vectors && !same) {
                let message = format!("`{}` and `{}` hold different kinds of values", left.name, right.name);
                problems.push(Problem::new(Code::WrongType, message).at_port("input"));
            }
            if vectors && self.metric == Metric::TfIdf {
                problems.push(Problem::new(Code::Conflict, "`tf_idf` needs lists of terms, not vectors").at("metric"));
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let column = Column::new(&self.name, DataType::Float64, true).with_tag(Tag::Continuous);
        Ok(NodeType::Dataset(DatasetType {
            schema: Schema { columns: vec![column] },
            splits: input.splits.clone(),
        }))
    }

    fn form(&self) -> Form<'_> {
        Form::Stateful(self)
    }
}

/// XXH3 hash of each element, `None` for null; equal terms have equal hashes.
fn words(elements: &ArrayRef) -> Result<Vec<Option<u64>>> {
    let found = elements.data_type();
    let kept = value_type(found).ok_or_else(|| OperatorError::internal(format!("{found} cannot be a term")))?;
    let values = Values::of(&kept);
    let keys: Keys = values.keys(std::slice::from_ref(elements))?;
    let nulls = match &keys {
        Keys::Numbers(keys) => keys.nulls().cloned(),
        Keys::Bytes(keys) => keys.nulls().cloned(),
    };
    let present = |row: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(row));
    let hashes = values.hashes(&keys)?.into_iter().enumerate();
    Ok(hashes.map(|(row, hash)| present(row).then_some(hash)).collect())
}

impl Stateful for Similarity {
    fn fit_on(&self) -> &str {
        &self.fit_on
    }

    fn fit_columns(&self, _: &Schema) -> Vec<String> {
        if self.metric == Metric::TfIdf {
            vec![self.left.clone(), self.right.clone()]
        } else {
            Vec::new()
        }
    }

    fn fitter(&self, _: &Schema, _: &FitContext<'_>) -> Result<Box<dyn Fitter>> {
        Ok(Box::new(Fit::default()))
    }

    fn project(&self, state: &State, _: &Schema, _: &str, columns: &[NamedExpr]) -> Result<Vec<NamedExpr>> {
        let arguments = vec![
            column(columns, &self.left)?.expr.clone(),
            column(columns, &self.right)?.expr.clone(),
        ];
        let table = state
            .tables
            .get("words")
            .ok_or_else(|| OperatorError::internal("the fit state has no terms"))?;
        let weights = Arc::new(if self.metric == Metric::TfIdf {
            weights(table.vocabulary.path(), state)?
        } else {
            HashMap::new()
        });
        let metric = self.metric;
        let name = format!("similarity_{metric:?}_{}", table.digest);
        let body = move |arrays: &[ArrayRef]| similarities(&arrays[0], &arrays[1], metric, &weights);
        Ok(vec![NamedExpr {
            name: self.name.clone(),
            expr: array_function(name, DataType::Float64, true, arguments, body),
        }])
    }

    fn refine(&self, _: &State, output: &Schema) -> Result<Schema> {
        Ok(output.clone())
    }
}

/// The fitted inverse document frequency of each term.
fn weights(path: &Path, state: &State) -> Result<HashMap<u64, f64>> {
    let lists = state.facts.get("lists").and_then(Value::as_u64).unwrap_or_default() as f64;
    let mut out = HashMap::new();
    let table = TableFile {
        path: path.to_owned(),
        rows: 0,
    };
    for batch in table.batches(None)? {
        let batch = batch?;
        let (words, counts) = (
            batch.column(0).as_primitive::<UInt64Type>(),
            batch.column(1).as_primitive::<Int64Type>(),
        );
        for (word, count) in words.values().iter().zip(counts.values()) {
            out.insert(*word, (lists / *count as f64).ln());
        }
    }
    Ok(out)
}

fn similarities(left: &ArrayRef, right: &ArrayRef, metric: Metric, weights: &HashMap<u64, f64>) -> Result<ArrayRef> {
    let (left, right) = (as_list(left)?, as_list(right)?);
    let (left, right) = (left.as_list::<i32>(), right.as_list::<i32>());
    let range = |list: &arrow::array::ListArray, row: usize| {
        list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize
    };
    let present = |row: usize| left.is_valid(row) && right.is_valid(row);
    let out: Float64Array = if left.values().data_type().is_floating() {
        let (a, b) = (doubles(left.values())?, doubles(right.values())?);
        let of = |row: usize| {
            let (a, b) = (&a[range(left, row)], &b[range(right, row)]);
            if a.len() != b.len() {
                let message = format!(
                    "the vectors of a row have different lengths, {} and {}",
                    a.len(),
                    b.len()
                );
                return Err(OperatorError::invalid(message));
            }
            Ok(compare(
                a.iter().zip(b).map(|(a, b)| a * b).sum(),
                norm(a),
                norm(b),
                metric,
            ))
        };
        (0..left.len())
            .map(|row| if present(row) { of(row).map(Some) } else { Ok(None) })
            .collect::<Result<_>>()?
    } else {
        let (a, b) = (words(left.values())?, words(right.values())?);
        let weight = |word: u64| {
            if metric == Metric::TfIdf {
                weights.get(&word).copied().unwrap_or_default()
            } else {
                1.0
            }
        };
        let of = |row: usize| {
            let (a, b) = (bag(&a[range(left, row)], &weight), bag(&b[range(right, row)], &weight));
            let at = |word: u64| {
                b.binary_search_by_key(&word, |(word, _)| *word)
                    .map_or(0.0, |place| b[place].1)
            };
            let inner = a.iter().map(|(word, weight)| weight * at(*word)).sum();
            let norm = |bag: &[(u64, f64)]| bag.iter().map(|(_, w)| w * w).sum::<f64>().sqrt();
            compare(inner, norm(&a), norm(&b), metric)
        };
        (0..left.len()).map(|row| present(row).then(|| of(row))).collect()
    };
    Ok(Arc::new(out))
}

fn norm(vector: &[f64]) -> f64 {
    vector.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn compare(inner: f64, left: f64, right: f64, metric: Metric) -> f64 {
    if metric == Metric::Inner {
        inner
    } else if left == 0.0 || right == 0.0 {
        0.0
    } else {
        inner / (left * right)
    }
}

/// The sorted terms of a list with their weighted frequencies.
fn bag(words: &[Option<u64>], weight: &impl Fn(u64) -> f64) -> Vec<(u64, f64)> {
    let mut words: Vec<u64> = words.iter().copied().flatten().collect();
    words.sort_unstable();
    words
        .chunk_by(|a, b| a == b)
        .map(|same| (same[0], same.len() as f64 * weight(same[0])))
        .collect()
}

/// Document frequency of each term.
#[derive(Default)]
struct Fit {
    lists: u64,
    counts: HashMap<u64, i64>,
}

impl Fitter for Fit {
    fn update(&mut self, batch: &RecordBatch) -> Result<()> {
        for array in batch.columns().iter().filter(|array| is_list(array.data_type())) {
            let list = as_list(array)?;
            let list = list.as_list::<i32>();
            let words = words(list.values())?;
            for row in (0..list.len()).filter(|row| list.is_valid(*row)) {
                self.lists += 1;
                let range = list.value_offsets()[row] as usize..list.value_offsets()[row + 1] as usize;
                let distinct: HashSet<u64> = words[range].iter().copied().flatten().collect();
                for word in distinct {
                    *self.counts.entry(word).or_insert(0) += 1;
                }
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>, folder: &Path) -> Result<FitOutput> {
        let mut counts: Vec<(u64, i64)> = self.counts.into_iter().collect();
        counts.sort_unstable();
        let columns: [(&str, ArrayRef); 2] = [
            (
                "word",
                Arc::new(UInt64Array::from_iter_values(counts.iter().map(|(word, _)| *word))),
            ),
            (
                "lists",
                Arc::new(Int64Array::from_iter_values(counts.iter().map(|(_, count)| *count))),
            ),
        ];
        let batch = RecordBatch::try_from_iter(columns)?;
        let path = folder.join("words.parquet");
        let mut writer = TableWriter::create(&path, batch.schema())?;
        writer.write(&batch)?;
        writer.finish()?;
        let mut output = FitOutput::default();
        output.tables.insert("words".to_owned(), path);
        output.facts.insert("lists".to_owned(), self.lists.into());
        Ok(output)
    }
}

#[cfg(test)]
#[path = "similarity_tests.rs"]
mod tests;
