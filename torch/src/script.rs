//! A tower as TorchScript, for serving elsewhere.

use tch::{CModule, Device, Kind, TchError, Tensor, no_grad};
use towline_api::Result;
use towline_recommend::torch_worker::{ColumnShape, ScriptRequest};
use towline_recommend::train::backend::{Precision, Tower, Towers};

use crate::tower::{TorchTower, torch};

/// Writes a tower as TorchScript. Its method `forward` takes one tensor per column: first of those with embeddings, int64,
/// then of those of numbers, float32, each in the order of the tower.
pub fn write_script(towers: &Towers, request: &ScriptRequest) -> Result<()> {
    let (tower, columns) = (towers.tower(request.side), &request.columns);
    let trace = || -> Result<(), TchError> {
        let script = constants(towers, tower)?;
        let widths = tower.shape.numbers.iter().map(|numbers| Some(numbers.width as i64));
        let widths = tower.shape.embeddings.iter().map(|_| None).chain(widths);
        let example = |(shape, width): (&ColumnShape, Option<i64>)| {
            let kind = if width.is_some() { Kind::Float } else { Kind::Int64 };
            match shape {
                ColumnShape::Single => Tensor::f_ones([2], (kind, Device::Cpu)),
                ColumnShape::Lists => Tensor::f_ones([2, width.unwrap_or(3)], (kind, Device::Cpu)),
            }
        };
        let inputs = columns.iter().zip(widths).map(example).collect::<Result<Vec<_>, _>>()?;
        let mut failure = None;
        let mut forward = |inputs: &[Tensor]| match script.forward(inputs, None) {
            Ok(output) => vec![output],
            Err(error) => {
                failure = Some(error);
                Vec::new()
            }
        };
        let module = CModule::create_by_tracing("Tower", "forward", &inputs, &mut forward);
        match failure {
            Some(error) => Err(error),
            None => module?.save(&request.path),
        }
    };
    no_grad(trace).map_err(torch)
}

/// The tower with its weights as constants.
fn constants(towers: &Towers, tower: &Tower) -> Result<TorchTower, TchError> {
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
    Ok(TorchTower {
        shape: tower.shape.clone(),
        tables: tables.collect::<Result<_, TchError>>()?,
        attention: attention.collect::<Result<_, TchError>>()?,
        layers: layers.collect::<Result<_, TchError>>()?,
        normalize: towers.normalize,
        precision: Precision::F32,
    })
}
