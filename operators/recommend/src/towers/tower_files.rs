//! The weights of towers in a file.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::towers::Side;
use crate::towers::tower_shape::{Architecture, KIND, Pool, TowerShape, prefix, tables};
use crate::towers::towers::{Dense, Tower, Towers};
use towline_api::{OperatorError, Result};

/// A tensor: its name, its shape, its numbers.
type Named<'a> = (String, Vec<usize>, &'a [f32]);

impl Tower {
    fn tensors(&self, side: Side) -> Vec<Named<'_>> {
        let prefix = prefix(side);
        let mut tensors = Vec::new();
        for (shape, query) in self.shape.embeddings.iter().zip(&self.attention) {
            if shape.pooling == Pool::Attention {
                let name = format!("{prefix}.attention.{}", shape.column);
                tensors.push((name, vec![shape.dim], query.as_slice()));
            }
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

    fn read(shape: TowerShape, tables: Vec<usize>, side: Side, file: &SafeTensors<'_>) -> Result<Self> {
        let prefix = prefix(side);
        let attention = shape.embeddings.iter().map(|embedding| match embedding.pooling {
            Pool::Attention => tensor(file, &format!("{prefix}.attention.{}", embedding.column), embedding.dim),
            Pool::Mean | Pool::Sum | Pool::Max => Ok(Vec::new()),
        });
        let attention = attention.collect::<Result<_>>()?;
        let mut inputs = shape.width();
        let mut layers = Vec::new();
        for (index, &outputs) in shape.layers.iter().enumerate() {
            layers.push(Dense {
                weight: tensor(file, &format!("{prefix}.layers.{index}.weight"), inputs * outputs)?,
                bias: tensor(file, &format!("{prefix}.layers.{index}.bias"), outputs)?,
            });
            inputs = outputs;
        }
        Ok(Tower {
            shape,
            tables,
            attention,
            layers,
        })
    }
}

fn tensor(file: &SafeTensors<'_>, name: &str, count: usize) -> Result<Vec<f32>> {
    let view = file.tensor(name).ok().filter(|view| view.dtype() == Dtype::F32);
    let view = view.filter(|view| view.data().len() == 4 * count);
    let view = view.ok_or_else(|| OperatorError::invalid(format!("the model has no usable tensor `{name}`")))?;
    let numbers = view.data().chunks_exact(4);
    Ok(numbers.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
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

    /// Writes the weights as safetensors.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let (shapes, _) = tables(&self.query.shape, &self.item.shape)?;
        let shapes = shapes.into_iter().zip(&self.tables);
        let of_tables = shapes.map(|(shape, table)| (shape.name, vec![shape.rows, shape.dim], table.as_slice()));
        let of_towers = [self.query.tensors(Side::Query), self.item.tensors(Side::Item)].concat();
        let mut bytes: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
        for (name, shape, values) in of_tables.chain(of_towers) {
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
        let (shapes, [of_query, of_item]) = tables(&architecture.query, &architecture.item)?;
        let tables = shapes
            .iter()
            .map(|shape| tensor(&file, &shape.name, shape.rows * shape.dim));
        Ok(Towers {
            normalize: architecture.normalize,
            tables: tables.collect::<Result<_>>()?,
            query: Tower::read(architecture.query, of_query, Side::Query, &file)?,
            item: Tower::read(architecture.item, of_item, Side::Item, &file)?,
        })
    }
}

fn unusable(error: impl std::fmt::Display) -> OperatorError {
    OperatorError::invalid(format!("the weights of the model cannot be used: {error}"))
}
