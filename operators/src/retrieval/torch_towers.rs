//! The towers as tensors: for training, and as TorchScript for serving elsewhere.

use std::path::Path;

use tch::nn::{Path as Variables, VarStore};
use tch::{CModule, Device, Kind, TchError, Tensor, no_grad};

use super::columns::{EncodedTable, Ids};
use super::towers::{Normalize, Tower};
use crate::contract::{OperatorError, PADDING_ID, Result};

/// What libtorch says, as an error of the operator. Its C++ backtrace helps nobody.
pub(crate) fn torch(error: TchError) -> OperatorError {
    let text = error.to_string();
    OperatorError::invalid(format!("libtorch: {}", text.lines().next().unwrap_or_default()))
}

/// Loads libtorch: what uses it begins with this, so that an error can be told.
pub(crate) fn load_torch() -> Result<()> {
    towline_torch::load().map_err(|error| OperatorError::invalid(error.to_string()))
}

/// One tower that can be trained.
#[derive(Debug)]
pub(crate) struct TorchTower {
    columns: Vec<String>,
    tables: Vec<Tensor>,
    layers: Vec<(Tensor, Tensor)>,
    normalize: Normalize,
}

impl TorchTower {
    /// The variables of `tower`, with its weights.
    pub(crate) fn new(tower: &Tower, normalize: Normalize, variables: &Variables<'_>) -> Result<Self, TchError> {
        let mut tables = Vec::new();
        for (index, (shape, table)) in tower.shape.embeddings.iter().zip(&tower.tables).enumerate() {
            let table = Tensor::f_from_slice(table)?.f_view([shape.rows as i64, shape.dim as i64])?;
            tables.push(variables.var_copy(&format!("embedding{index}"), &table));
        }
        let mut layers = Vec::new();
        for (index, layer) in tower.layers.iter().enumerate() {
            let weight = Tensor::f_from_slice(&layer.weight)?.f_view([layer.bias.len() as i64, -1])?;
            let weight = variables.var_copy(&format!("weight{index}"), &weight);
            let bias = variables.var_copy(&format!("bias{index}"), &Tensor::f_from_slice(&layer.bias)?);
            layers.push((weight, bias));
        }
        let columns = tower
            .shape
            .embeddings
            .iter()
            .map(|embedding| embedding.column.clone())
            .collect();
        Ok(TorchTower {
            columns,
            tables,
            layers,
            normalize,
        })
    }

    /// The embeddings of these rows, [rows, dim].
    pub(crate) fn forward(&self, table: &EncodedTable, rows: &[usize], device: Device) -> Result<Tensor> {
        let mut parts = Vec::new();
        for (column, weights) in self.columns.iter().zip(&self.tables) {
            parts.push(pooled(table.get(column)?, rows, weights, device).map_err(torch)?);
        }
        self.finish(&parts).map_err(torch)
    }

    /// Through the layers: [batch, width of each part] to [batch, dim].
    fn finish(&self, parts: &[Tensor]) -> Result<Tensor, TchError> {
        let mut x = Tensor::f_cat(parts, 1)?;
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

    /// Copies the weights back.
    pub(crate) fn download(&self, tower: &mut Tower) -> Result<(), TchError> {
        for (tensor, table) in self.tables.iter().zip(&mut tower.tables) {
            copy(tensor, table)?;
        }
        for ((weight, bias), layer) in self.layers.iter().zip(&mut tower.layers) {
            copy(weight, &mut layer.weight)?;
            copy(bias, &mut layer.bias)?;
        }
        Ok(())
    }
}

fn copy(tensor: &Tensor, target: &mut [f32]) -> Result<(), TchError> {
    let count = target.len();
    tensor
        .f_detach()?
        .f_to_device(Device::Cpu)?
        .f_contiguous()?
        .f_copy_data(target, count)
}

/// The embedding of one id a row, or the mean of a row's ids without padding; a row without ids is zero.
fn pooled(ids: &Ids, rows: &[usize], weights: &Tensor, device: Device) -> Result<Tensor, TchError> {
    match ids {
        Ids::Single(ids) => {
            let ids: Vec<i64> = rows.iter().map(|&row| ids[row]).collect();
            Tensor::f_embedding(
                weights,
                &Tensor::f_from_slice(&ids)?.f_to_device(device)?,
                -1,
                false,
                false,
            )
        }
        Ids::Lists { .. } => {
            let mut values = Vec::new();
            let mut offsets = Vec::with_capacity(rows.len());
            for &row in rows {
                offsets.push(values.len() as i64);
                values.extend(ids.row(row).iter().copied().filter(|&id| id != PADDING_ID));
            }
            let values = Tensor::f_from_slice(&values)?.f_to_device(device)?;
            let offsets = Tensor::f_from_slice(&offsets)?.f_to_device(device)?;
            let mean = 1;
            let (bags, ..) =
                Tensor::f_embedding_bag(weights, &values, &offsets, false, mean, false, None::<Tensor>, false)?;
            Ok(bags)
        }
    }
}

/// Writes a tower as TorchScript. Its method `forward` takes one tensor of ids per column, in the order of the tower's
/// embeddings: int64 [batch], or for lists [batch, length] padded with 0.
pub(crate) fn write_script(tower: &Tower, lists: &[bool], normalize: Normalize, path: &Path) -> Result<()> {
    let variables = VarStore::new(Device::Cpu);
    let trace = || -> Result<(), TchError> {
        let mut traced = TorchTower::new(tower, normalize, &variables.root())?;
        // Tracing keeps constants only of tensors that ask for no gradient.
        traced.tables = traced.tables.iter().map(Tensor::f_detach).collect::<Result<_, _>>()?;
        traced.layers = traced
            .layers
            .iter()
            .map(|(w, b)| Ok((w.f_detach()?, b.f_detach()?)))
            .collect::<Result<_, TchError>>()?;
        let example = |&list: &bool| {
            let shape: &[i64] = if list { &[2, 3] } else { &[2] };
            Tensor::f_ones(shape, (Kind::Int64, Device::Cpu))
        };
        let inputs = lists.iter().map(example).collect::<Result<Vec<_>, _>>()?;
        let mut failure = None;
        let mut forward = |inputs: &[Tensor]| match traced.padded(inputs) {
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

impl TorchTower {
    fn padded(&self, inputs: &[Tensor]) -> Result<Tensor, TchError> {
        let mut parts = Vec::new();
        for (ids, weights) in inputs.iter().zip(&self.tables) {
            let rows = Tensor::f_embedding(weights, ids, -1, false, false)?;
            parts.push(if ids.dim() == 1 {
                rows
            } else {
                let present = ids.f_ne(PADDING_ID)?.f_to_kind(Kind::Float)?.f_unsqueeze(-1)?;
                let sum = rows
                    .f_mul(&present)?
                    .f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)?;
                sum.f_div(
                    &present
                        .f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)?
                        .f_clamp_min(1.0)?,
                )?
            });
        }
        self.finish(&parts)
    }
}
