//! A tower as TorchScript, for serving elsewhere.

use std::path::Path;

use tch::{CModule, Device, Kind, TchError, Tensor, no_grad};

use super::encode::Side;
use super::tower_shape::{Normalize, Pool};
use super::towers::{Tower, Towers};
use crate::contract::{OperatorError, PADDING_ID, Result};

/// What libtorch says, as an error of the operator. Its C++ backtrace helps nobody.
fn torch(error: TchError) -> OperatorError {
    let text = error.to_string();
    OperatorError::invalid(format!("libtorch: {}", text.lines().next().unwrap_or_default()))
}

/// How a tower takes a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A value a row: [batch].
    Single,
    /// Padded lists of ids, [batch, length], or vectors, [batch, width].
    Lists,
}

/// Writes a tower as TorchScript. Its method `forward` takes one tensor per column: first of those with embeddings, int64,
/// then of those of numbers, float32, each in the order of the tower.
pub(crate) fn write_script(towers: &Towers, side: Side, columns: &[Shape], path: &Path) -> Result<()> {
    towline_torch::load().map_err(|error| OperatorError::invalid(error.to_string()))?;
    let tower = towers.tower(side);
    let trace = || -> Result<(), TchError> {
        let script = Script::new(towers, tower)?;
        let widths = tower.shape.numbers.iter().map(|numbers| Some(numbers.width as i64));
        let widths = tower.shape.embeddings.iter().map(|_| None).chain(widths);
        let example = |(shape, width): (&Shape, Option<i64>)| {
            let kind = if width.is_some() { Kind::Float } else { Kind::Int64 };
            match shape {
                Shape::Single => Tensor::f_ones([2], (kind, Device::Cpu)),
                Shape::Lists => Tensor::f_ones([2, width.unwrap_or(3)], (kind, Device::Cpu)),
            }
        };
        let inputs = columns.iter().zip(widths).map(example).collect::<Result<Vec<_>, _>>()?;
        let mut failure = None;
        let mut forward = |inputs: &[Tensor]| match script.forward(inputs) {
            Ok(output) => vec![output],
            Err(error) => {
                failure = Some(error);
                Vec::new()
            }
        };
        let module = CModule::create_by_tracing("Tower", "forward", &inputs, &mut forward);
        match failure {
            Some(error) => Err(error),
            None => module?.save(path),
        }
    };
    no_grad(trace).map_err(torch)
}

/// A tower in tensors.
struct Script<'a> {
    tower: &'a Tower,
    tables: Vec<Tensor>,
    attention: Vec<Tensor>,
    layers: Vec<(Tensor, Tensor)>,
    normalize: Normalize,
}

impl<'a> Script<'a> {
    fn new(towers: &Towers, tower: &'a Tower) -> Result<Self, TchError> {
        let matrix = |values: &[f32], rows: usize| Tensor::f_from_slice(values)?.f_view([rows as i64, -1]);
        let tables = tower.shape.embeddings.iter().zip(&tower.tables);
        let tables = tables.map(|(shape, place)| matrix(&towers.tables[*place], shape.rows));
        let layers = tower.layers.iter().map(|layer| {
            Ok((
                matrix(&layer.weight, layer.bias.len())?,
                Tensor::f_from_slice(&layer.bias)?,
            ))
        });
        let attention = tower.attention.iter().map(|query| Tensor::f_from_slice(query));
        Ok(Script {
            tower,
            tables: tables.collect::<Result<_, TchError>>()?,
            attention: attention.collect::<Result<_, TchError>>()?,
            layers: layers.collect::<Result<_, TchError>>()?,
            normalize: towers.normalize,
        })
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor, TchError> {
        let shape = &self.tower.shape;
        let (of_ids, of_numbers) = inputs.split_at(shape.embeddings.len());
        let mut parts = Vec::new();
        for (place, (ids, embedding)) in of_ids.iter().zip(&shape.embeddings).enumerate() {
            let ids = two_dimensions(ids)?;
            parts.push(pooled(
                &ids,
                &self.tables[place],
                embedding.pooling,
                &self.attention[place],
            )?);
        }
        for numbers in of_numbers {
            parts.push(two_dimensions(numbers)?);
        }
        let mut x = if shape.adds() {
            Tensor::f_stack(&parts, 0)?.f_sum_dim_intlist([0_i64].as_slice(), false, Kind::Float)?
        } else {
            Tensor::f_cat(&parts, 1)?
        };
        for (index, (weight, bias)) in self.layers.iter().enumerate() {
            x = x.f_linear(weight, Some(bias))?;
            if index + 1 < self.layers.len() {
                x = x.f_relu()?;
            }
        }
        if self.normalize == Normalize::L2 {
            let length = x
                .f_norm_scalaropt_dim(2.0, [1_i64].as_slice(), true)?
                .f_clamp_min(1e-12)?;
            x = x.f_div(&length)?;
        }
        Ok(x)
    }
}

fn two_dimensions(column: &Tensor) -> Result<Tensor, TchError> {
    if column.dim() == 1 {
        column.f_unsqueeze(-1)
    } else {
        Ok(column.shallow_clone())
    }
}

/// The pooled embeddings of ids [batch, length], padding left out: [batch, dim].
fn pooled(ids: &Tensor, table: &Tensor, pooling: Pool, query: &Tensor) -> Result<Tensor, TchError> {
    let rows = Tensor::f_embedding(table, ids, -1, false, false)?;
    let present = ids.f_ne(PADDING_ID)?.f_unsqueeze(-1)?;
    if pooling == Pool::Max {
        let absent = present.f_logical_not()?;
        let highest = rows
            .f_masked_fill(&absent, f64::NEG_INFINITY)?
            .f_amax([1_i64].as_slice(), false)?;
        let none = absent.f_all_dim(1, false)?;
        return highest.f_masked_fill(&none, 0.0);
    }
    if pooling == Pool::Attention {
        let absent = present.f_logical_not()?.f_squeeze_dim(-1)?;
        let scores = rows.f_matmul(query)?.f_masked_fill(&absent, f64::NEG_INFINITY)?;
        // Where a list is empty all weights are undefined, and none counts.
        let weights = scores.f_softmax(1, Kind::Float)?.f_masked_fill(&absent, 0.0)?;
        let weighted = rows.f_mul(&weights.f_unsqueeze(-1)?)?;
        return weighted.f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Float);
    }
    let present = present.f_to_kind(Kind::Float)?;
    let sum = rows
        .f_mul(&present)?
        .f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)?;
    if pooling == Pool::Sum {
        return Ok(sum);
    }
    let count = present
        .f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)?
        .f_clamp_min(1.0)?;
    sum.f_div(&count)
}
