//! The towers: embeddings per column, concatenated, through an MLP. Computed in plain Rust.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::columns::{EncodedTable, Ids};
use super::scoring::{dot, shards};
use crate::contract::{OperatorError, PADDING_ID, Result, Score};

/// What is done to the output of a tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Normalize {
    /// Nothing: scores are dot products.
    #[default]
    None,
    /// Scaled to length 1: scores are cosines.
    L2,
}

impl Normalize {
    /// What the product of two embeddings then is.
    pub(crate) fn score(self) -> Score {
        match self {
            Normalize::None => Score::Dot,
            Normalize::L2 => Score::Cosine,
        }
    }
}

/// How the embeddings of a list become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pool {
    /// Their mean.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// The highest of each component.
    Max,
}

/// The embedding table of one column.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct EmbeddingShape {
    /// The column.
    pub(crate) column: String,
    /// Number of ids.
    pub(crate) rows: usize,
    /// Width of a row.
    pub(crate) dim: usize,
    /// How several ids become one embedding; without any it is zero.
    #[serde(default)]
    pub(crate) pooling: Pool,
}

/// The shape of one tower.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TowerShape {
    /// Its embedding tables, in the order of their concatenation.
    pub(crate) embeddings: Vec<EmbeddingShape>,
    /// Widths of its layers; the last is the width of the embedding it makes. Without layers the embeddings of the columns,
    /// all equally wide, are added instead of concatenated.
    pub(crate) layers: Vec<usize>,
}

/// A model's description of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Architecture {
    /// The family: [`KIND`].
    pub(crate) kind: String,
    /// What is done to the towers' outputs.
    pub(crate) normalize: Normalize,
    /// The query (user) tower.
    pub(crate) query: TowerShape,
    /// The item tower.
    pub(crate) item: TowerShape,
}

/// The family of models that this module computes.
pub(crate) const KIND: &str = "two_tower";
/// The file of a model's weights.
pub(crate) const WEIGHTS: &str = "weights.safetensors";

/// A fully connected layer.
#[derive(Debug, Clone)]
pub(crate) struct Dense {
    /// Row-major [outputs, inputs].
    pub(crate) weight: Vec<f32>,
    /// [outputs].
    pub(crate) bias: Vec<f32>,
}

/// One tower with its weights.
#[derive(Debug, Clone)]
pub(crate) struct Tower {
    /// Its shape.
    pub(crate) shape: TowerShape,
    /// Row-major [rows, dim], one per embedding.
    pub(crate) tables: Vec<Vec<f32>>,
    /// Its layers.
    pub(crate) layers: Vec<Dense>,
}

impl Tower {
    /// Fresh weights: embeddings normal with deviation 0.05, layers uniform by Glorot and Bengio (2010), no bias.
    pub(crate) fn init(shape: TowerShape, rng: &mut ChaCha8Rng) -> Self {
        let tables = shape
            .embeddings
            .iter()
            .map(|e| (0..e.rows * e.dim).map(|_| 0.05 * normal(rng)).collect())
            .collect();
        let mut uniform =
            |count: usize, bound: f32| -> Vec<f32> { (0..count).map(|_| rng.random_range(-bound..=bound)).collect() };
        let mut inputs = shape.width();
        let mut layers = Vec::new();
        for &outputs in &shape.layers {
            let bound = (6.0 / (inputs + outputs) as f32).sqrt();
            layers.push(Dense {
                weight: uniform(inputs * outputs, bound),
                bias: vec![0.0; outputs],
            });
            inputs = outputs;
        }
        Tower { shape, tables, layers }
    }

    /// The embeddings of the rows of `table`, row-major [rows, dim].
    pub(crate) fn embed(&self, table: &EncodedTable, normalize: Normalize, threads: usize) -> Result<Vec<f32>> {
        let names = self
            .shape
            .embeddings
            .iter()
            .map(|embedding| table.get(&embedding.column));
        let columns: Vec<&Ids> = names.collect::<Result<_>>()?;
        let dim = self.shape.dim();
        let mut out = vec![0.0; table.rows * dim];
        std::thread::scope(|scope| {
            let mut rest = out.as_mut_slice();
            for range in shards(table.rows, threads) {
                let (part, after) = rest.split_at_mut(range.len() * dim);
                rest = after;
                let columns = &columns;
                scope.spawn(move || {
                    let mut scratch = (Vec::new(), Vec::new());
                    for (row, target) in range.zip(part.chunks_exact_mut(dim)) {
                        self.embed_row(columns, row, &mut scratch);
                        target.copy_from_slice(&scratch.0);
                        if normalize == Normalize::L2 {
                            let length = dot(target, target).sqrt().max(1e-12);
                            for x in target.iter_mut() {
                                *x /= length;
                            }
                        }
                    }
                });
            }
        });
        Ok(out)
    }

    /// Leaves the output for a row in the first of the two vectors.
    fn embed_row(&self, columns: &[&Ids], row: usize, (input, output): &mut (Vec<f32>, Vec<f32>)) {
        input.clear();
        input.resize(self.shape.width(), 0.0);
        let mut start = 0;
        for ((shape, table), ids) in self.shape.embeddings.iter().zip(&self.tables).zip(columns) {
            output.clear();
            output.resize(shape.dim, 0.0);
            pool_row(table, ids.row(row), shape.pooling, output);
            input[start..]
                .iter_mut()
                .zip(output.iter())
                .for_each(|(sum, x)| *sum += x);
            if !self.shape.adds() {
                start += shape.dim;
            }
        }
        for (index, layer) in self.layers.iter().enumerate() {
            output.clear();
            for (weights, bias) in layer.weight.chunks_exact(input.len()).zip(&layer.bias) {
                let value = dot(weights, input) + bias;
                output.push(if index + 1 < self.layers.len() {
                    value.max(0.0)
                } else {
                    value
                });
            }
            std::mem::swap(input, output);
        }
    }

    fn tensors(&self, prefix: &str) -> Vec<(String, Vec<usize>, &[f32])> {
        let mut tensors = Vec::new();
        for (shape, table) in self.shape.embeddings.iter().zip(&self.tables) {
            tensors.push((
                format!("{prefix}.embedding.{}", shape.column),
                vec![shape.rows, shape.dim],
                table.as_slice(),
            ));
        }
        for (index, layer) in self.layers.iter().enumerate() {
            let (inputs, outputs) = (layer.weight.len() / layer.bias.len(), layer.bias.len());
            tensors.push((
                format!("{prefix}.layers.{index}.weight"),
                vec![outputs, inputs],
                layer.weight.as_slice(),
            ));
            tensors.push((
                format!("{prefix}.layers.{index}.bias"),
                vec![outputs],
                layer.bias.as_slice(),
            ));
        }
        tensors
    }

    fn read(shape: TowerShape, prefix: &str, file: &SafeTensors<'_>) -> Result<Self> {
        let tensor = |name: String, count: usize| -> Result<Vec<f32>> {
            let view = file.tensor(&name).ok().filter(|view| view.dtype() == Dtype::F32);
            let view = view.filter(|view| view.data().len() == 4 * count);
            let view =
                view.ok_or_else(|| OperatorError::invalid(format!("the model has no usable tensor `{name}`")))?;
            Ok(view
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect())
        };
        let tables = shape
            .embeddings
            .iter()
            .map(|e| tensor(format!("{prefix}.embedding.{}", e.column), e.rows * e.dim));
        let tables = tables.collect::<Result<_>>()?;
        let mut inputs = shape.width();
        let mut layers = Vec::new();
        for (index, &outputs) in shape.layers.iter().enumerate() {
            let weight = tensor(format!("{prefix}.layers.{index}.weight"), inputs * outputs)?;
            layers.push(Dense {
                weight,
                bias: tensor(format!("{prefix}.layers.{index}.bias"), outputs)?,
            });
            inputs = outputs;
        }
        Ok(Tower { shape, tables, layers })
    }
}

impl TowerShape {
    /// Whether the embeddings of the columns are added instead of concatenated.
    pub(crate) fn adds(&self) -> bool {
        self.layers.is_empty()
    }

    /// Width of the concatenated or added embeddings.
    pub(crate) fn width(&self) -> usize {
        let widths = self.embeddings.iter().map(|embedding| embedding.dim);
        if self.adds() {
            widths.max().unwrap_or(0)
        } else {
            widths.sum()
        }
    }

    /// Width of the output.
    pub(crate) fn dim(&self) -> usize {
        self.layers.last().copied().unwrap_or_else(|| self.width())
    }

    /// Whether a tower can have this shape.
    fn is_sound(&self) -> bool {
        let width = self.width();
        width > 0 && !self.layers.contains(&0) && (!self.adds() || self.embeddings.iter().all(|e| e.dim == width))
    }
}

/// A draw from the normal distribution with mean 0 and deviation 1 (Box and Muller's method).
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    let (a, b) = (1.0 - rng.random::<f32>(), rng.random::<f32>());
    (-2.0 * a.ln()).sqrt() * (std::f32::consts::TAU * b).cos()
}

/// The pooled rows of `ids` without padding; `out` is zero before.
fn pool_row(table: &[f32], ids: &[i64], pooling: Pool, out: &mut [f32]) {
    let mut count = 0.0_f32;
    for &id in ids.iter().filter(|&&id| id != PADDING_ID) {
        let weights = &table[id as usize * out.len()..][..out.len()];
        let highest = pooling == Pool::Max && count > 0.0;
        for (x, weight) in out.iter_mut().zip(weights) {
            *x = if highest { x.max(*weight) } else { *x + weight };
        }
        count += 1.0;
    }
    if pooling == Pool::Mean && count > 1.0 {
        for x in out {
            *x /= count;
        }
    }
}

/// Both towers.
#[derive(Debug, Clone)]
pub(crate) struct Towers {
    /// What is done to their outputs.
    pub(crate) normalize: Normalize,
    /// The query (user) tower.
    pub(crate) query: Tower,
    /// The item tower.
    pub(crate) item: Tower,
}

impl Towers {
    /// The description that [`Towers::read`] needs.
    pub(crate) fn architecture(&self) -> Architecture {
        Architecture {
            kind: KIND.to_owned(),
            normalize: self.normalize,
            query: self.query.shape.clone(),
            item: self.item.shape.clone(),
        }
    }

    /// The towers whose every weight is the mean of those of `all`, which have the same shape. The first gives the shape.
    ///
    /// # Panics
    /// If there are none.
    pub(crate) fn mean(all: &VecDeque<Self>) -> Self {
        let mut mean = all[0].clone();
        for other in all.iter().skip(1) {
            for (sum, part) in mean.arrays_mut().into_iter().zip(other.arrays()) {
                sum.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
            }
        }
        let share = 1.0 / all.len() as f32;
        mean.arrays_mut().into_iter().flatten().for_each(|x| *x *= share);
        mean
    }

    /// All weights, table by table and layer by layer.
    pub(crate) fn arrays(&self) -> Vec<&Vec<f32>> {
        let mut all = Vec::new();
        for tower in [&self.query, &self.item] {
            all.extend(&tower.tables);
            all.extend(tower.layers.iter().flat_map(|layer| [&layer.weight, &layer.bias]));
        }
        all
    }

    /// The same, to be changed.
    pub(crate) fn arrays_mut(&mut self) -> Vec<&mut Vec<f32>> {
        let mut all = Vec::new();
        for tower in [&mut self.query, &mut self.item] {
            all.extend(&mut tower.tables);
            let layers = tower.layers.iter_mut();
            all.extend(layers.flat_map(|layer| [&mut layer.weight, &mut layer.bias]));
        }
        all
    }

    /// Writes the weights as safetensors.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let tensors = [self.query.tensors("query"), self.item.tensors("item")].concat();
        let mut bytes: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
        for (name, shape, values) in tensors {
            bytes.insert(name, (shape, values.iter().flat_map(|x| x.to_le_bytes()).collect()));
        }
        let mut views = Vec::new();
        for (name, (shape, data)) in &bytes {
            views.push((
                name.as_str(),
                TensorView::new(Dtype::F32, shape.clone(), data).map_err(unusable)?,
            ));
        }
        let data = safetensors::serialize(views, None).map_err(unusable)?;
        std::fs::write(path, data).map_err(OperatorError::io(path))
    }

    /// Reads the weights of the described towers.
    pub(crate) fn read(architecture: Architecture, path: &Path) -> Result<Self> {
        if architecture.kind != KIND || !architecture.query.is_sound() || !architecture.item.is_sound() {
            return Err(OperatorError::invalid(format!(
                "not a two-tower model: it is `{}`",
                architecture.kind
            )));
        }
        let data = std::fs::read(path).map_err(OperatorError::io(path))?;
        let file = SafeTensors::deserialize(&data).map_err(unusable)?;
        Ok(Towers {
            normalize: architecture.normalize,
            query: Tower::read(architecture.query, "query", &file)?,
            item: Tower::read(architecture.item, "item", &file)?,
        })
    }
}

fn unusable(error: impl std::fmt::Display) -> OperatorError {
    OperatorError::invalid(format!("the weights of the model cannot be used: {error}"))
}
