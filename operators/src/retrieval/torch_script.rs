//! A tower as TorchScript, for serving elsewhere.

use std::path::Path;

use tch::{CModule, Device, Kind, TchError, Tensor, no_grad};

use super::towers::{Normalize, Pool, Tower};
use crate::contract::{OperatorError, PADDING_ID, Result};

/// What libtorch says, as an error of the operator. Its C++ backtrace helps nobody.
fn torch(error: TchError) -> OperatorError {
    let text = error.to_string();
    OperatorError::invalid(format!("libtorch: {}", text.lines().next().unwrap_or_default()))
}

/// Writes a tower as TorchScript. Its method `forward` takes one tensor of ids per column, in the order of the tower's
/// embeddings: int64 [batch], or for lists [batch, length] padded with 0.
pub(crate) fn write_script(tower: &Tower, lists: &[bool], normalize: Normalize, path: &Path) -> Result<()> {
    towline_torch::load().map_err(|error| OperatorError::invalid(error.to_string()))?;
    let trace = || -> Result<(), TchError> {
        let script = Script::new(tower, normalize)?;
        let example = |&list: &bool| {
            let shape: &[i64] = if list { &[2, 3] } else { &[2] };
            Tensor::f_ones(shape, (Kind::Int64, Device::Cpu))
        };
        let inputs = lists.iter().map(example).collect::<Result<Vec<_>, _>>()?;
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
    layers: Vec<(Tensor, Tensor)>,
    normalize: Normalize,
}

impl<'a> Script<'a> {
    fn new(tower: &'a Tower, normalize: Normalize) -> Result<Self, TchError> {
        let matrix = |values: &[f32], rows: usize| Tensor::f_from_slice(values)?.f_view([rows as i64, -1]);
        let tables = tower
            .shape
            .embeddings
            .iter()
            .zip(&tower.tables)
            .map(|(shape, table)| matrix(table, shape.rows));
        let layers = tower.layers.iter().map(|layer| {
            Ok((
                matrix(&layer.weight, layer.bias.len())?,
                Tensor::f_from_slice(&layer.bias)?,
            ))
        });
        Ok(Script {
            tower,
            tables: tables.collect::<Result<_, TchError>>()?,
            layers: layers.collect::<Result<_, TchError>>()?,
            normalize,
        })
    }

    fn forward(&self, inputs: &[Tensor]) -> Result<Tensor, TchError> {
        let mut parts = Vec::new();
        for ((ids, table), shape) in inputs.iter().zip(&self.tables).zip(&self.tower.shape.embeddings) {
            let ids = if ids.dim() == 1 {
                ids.f_unsqueeze(-1)?
            } else {
                ids.shallow_clone()
            };
            parts.push(pooled(&ids, table, shape.pooling)?);
        }
        let mut x = if self.tower.shape.adds() {
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

/// The pooled embeddings of ids [batch, length], padding left out: [batch, dim].
fn pooled(ids: &Tensor, table: &Tensor, pooling: Pool) -> Result<Tensor, TchError> {
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
