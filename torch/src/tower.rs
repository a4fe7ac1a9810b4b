//! A tower in tensors of libtorch.

use tch::{Kind, TchError, Tensor};

use towline_api::{OperatorError, PADDING_ID};
use towline_recommend::train::backend::{Activation, DropoutMask, Normalize, Pool, Precision, TowerShape};

/// What the scores of padding are under attention: far below all others, and finite, so that gradients are.
const NO_SCORE: f64 = -1e30;

/// What libtorch says, as an error of the operator. Its C++ backtrace helps nobody.
pub(crate) fn torch(error: TchError) -> OperatorError {
    let text = error.to_string();
    OperatorError::invalid(format!("libtorch: {}", text.lines().next().unwrap_or_default()))
}

/// A tower.
#[derive(Debug)]
pub(crate) struct TorchTower {
    /// Its shape.
    pub(crate) shape: TowerShape,
    /// The table of each embedding, [rows, dim].
    pub(crate) tables: Vec<Tensor>,
    /// The vector that the elements of a list are weighed by, [dim], one per embedding.
    pub(crate) attention: Vec<Tensor>,
    /// Weight [outputs, inputs] and bias [outputs] of each layer.
    pub(crate) layers: Vec<(Tensor, Tensor)>,
    /// What is done to its output.
    pub(crate) normalize: Normalize,
    /// What products are computed in.
    pub(crate) precision: Precision,
}

impl TorchTower {
    /// The embeddings of a batch, [batch, dim]. A tensor per column: first of those with embeddings, int64 [batch] or
    /// [batch, length] padded with 0, then of those of numbers, float32 [batch] or [batch, width]. What is dropped does not go into the layers.
    pub(crate) fn forward(&self, inputs: &[Tensor], dropped: Option<DropoutMask>) -> Result<Tensor, TchError> {
        let (of_ids, of_numbers) = inputs.split_at(self.shape.embeddings.len());
        let mut parts = Vec::new();
        for (place, (ids, embedding)) in of_ids.iter().zip(&self.shape.embeddings).enumerate() {
            let (table, query) = (&self.tables[place], &self.attention[place]);
            parts.push(pooled(&two_dimensions(ids)?, table, embedding.pooling, query)?);
        }
        for numbers in of_numbers {
            parts.push(two_dimensions(numbers)?);
        }
        let mut x = if self.shape.adds() {
            Tensor::f_stack(&parts, 0)?.f_sum_dim_intlist([0_i64].as_slice(), false, Kind::Float)?
        } else {
            Tensor::f_cat(&parts, 1)?
        };
        for (index, (weight, bias)) in self.layers.iter().enumerate() {
            if let Some(dropped) = dropped {
                let factors = Tensor::f_from_slice(&dropped.factors(index, x.numel()))?;
                x = x.f_mul(&factors.f_view(x.size().as_slice())?.f_to_device(x.device())?)?;
            }
            x = match self.precision {
                Precision::F32 => x.f_linear(weight, Some(bias))?,
                Precision::Bf16 => product(&x, weight, self.precision)?.f_add(bias)?,
            };
            if index + 1 < self.layers.len() {
                x = activated(self.shape.activation, &x)?;
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

fn activated(activation: Activation, x: &Tensor) -> Result<Tensor, TchError> {
    match activation {
        Activation::Relu => x.f_relu(),
        Activation::LeakyRelu => x.f_leaky_relu(),
        Activation::Elu => x.f_elu(),
        Activation::Tanh => x.f_tanh(),
    }
}

/// `left right^T`, [m, k] and [n, k] to [m, n].
pub(crate) fn product(left: &Tensor, right: &Tensor, precision: Precision) -> Result<Tensor, TchError> {
    match precision {
        Precision::F32 => left.f_matmul(&right.f_tr()?),
        Precision::Bf16 => {
            let right = right.f_to_kind(Kind::BFloat16)?;
            left.f_to_kind(Kind::BFloat16)?
                .f_matmul(&right.f_tr()?)?
                .f_to_kind(Kind::Float)
        }
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
        let scores = rows.f_matmul(query)?.f_masked_fill(&absent, NO_SCORE)?;
        // Where a list is empty all weights are alike, and none counts.
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
