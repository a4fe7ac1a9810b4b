//! The towers while they learn with libtorch, on a CUDA device: autograd over the whole matrix of scores, and an optimizer
//! that visits every row of every table at every step.

use tch::{Device, Kind, TchError, Tensor};
use towline_kernels::Step;

use crate::data::feature_column::IdFeatures;
use crate::data::feature_table::FeatureTable;
use crate::towers::towers::{Tower, Towers};
use crate::train::config::training_options::Precision;
use crate::train::network::dropout::Dropout;
use crate::train::network::temperature::{LEAST, Warmth};
use crate::train::torch::torch_optimizer::{Variable, values};
use crate::train::torch::torch_tower::{TorchTower, product, torch};
use crate::train::train_backend::{Candidates, Compared, Manner, Pairs};
use towline_api::{OperatorError, PADDING_ID, Result};

/// Both towers with everything that learning needs.
#[derive(Debug)]
pub(crate) struct TorchNetwork {
    device: Device,
    step: Step,
    made: usize,
    clip_norm: Option<f64>,
    dropout: Option<Dropout>,
    precision: Precision,
    temperature: Warmth,
    /// In the order of [`Towers::arrays`]; a learnt temperature, as the logarithm of its inverse, comes last.
    variables: Vec<Variable>,
    query: TorchTower,
    item: TorchTower,
    loss: Option<Tensor>,
}

/// The first CUDA device, if libtorch and the system have one.
pub(crate) fn cuda() -> Result<Device> {
    towline_torch::load().map_err(|error| OperatorError::invalid(error.to_string()))?;
    if tch::Cuda::is_available() {
        Ok(Device::Cuda(0))
    } else {
        Err(OperatorError::invalid(
            "`device: cuda`: libtorch finds no CUDA device. The libraries that `cargo xtask setup` fetches are for the \
             processor alone; build with a libtorch for CUDA (set LIBTORCH), or train with `device: cpu`",
        ))
    }
}

impl TorchNetwork {
    /// The network with the weights of `towers`.
    pub(crate) fn new(towers: &Towers, manner: &Manner, precision: Precision, device: Device) -> Result<Self> {
        let step = manner.step;
        let new = || -> Result<Self, TchError> {
            let parts = step.parts();
            let mut widths = vec![1; towers.tables.len()];
            for tower in [&towers.query, &towers.item] {
                for (place, shape) in tower.tables.iter().zip(&tower.shape.embeddings) {
                    widths[*place] = shape.dim as i64;
                }
            }
            let tables = towers.tables.iter().zip(widths);
            let mut variables = tables
                .map(|(table, width)| Variable::new(table, &[-1, width], parts, device))
                .collect::<Result<Vec<_>, _>>()?;
            let mut tower = |tower: &Tower| -> Result<TorchTower, TchError> {
                let tables = tower
                    .tables
                    .iter()
                    .map(|place| variables[*place].weights.shallow_clone());
                let tables = tables.collect();
                let mut add = |values: &[f32], shape: &[i64]| -> Result<Tensor, TchError> {
                    variables.push(Variable::new(values, shape, parts, device)?);
                    Ok(variables
                        .last()
                        .map_or_else(Tensor::new, |last| last.weights.shallow_clone()))
                };
                let mut layers = Vec::new();
                for layer in &tower.layers {
                    let outputs = layer.bias.len() as i64;
                    layers.push((add(&layer.weight, &[outputs, -1])?, add(&layer.bias, &[outputs])?));
                }
                let attention = tower.attention.iter();
                let attention = attention.map(|query| add(query, &[query.len() as i64]));
                Ok(TorchTower {
                    attention: attention.collect::<Result<_, _>>()?,
                    shape: tower.shape.clone(),
                    tables,
                    layers,
                    normalize: towers.normalize,
                    precision,
                })
            };
            let (query, item) = (tower(&towers.query)?, tower(&towers.item)?);
            if manner.temperature.learnt {
                let log = -manner.temperature.first.ln() as f32;
                variables.push(Variable::new(&[log], &[1], parts, device)?);
            }
            Ok(TorchNetwork {
                device,
                step,
                made: 0,
                clip_norm: manner.clip_norm,
                dropout: manner.dropout,
                precision,
                temperature: manner.temperature,
                variables,
                query,
                item,
                loss: None,
            })
        };
        new().map_err(torch)
    }

    /// Steps made so far.
    pub(crate) fn steps(&self) -> usize {
        self.made
    }

    /// The embeddings of the users, [batch, dim], and of the candidates, [candidates, dim].
    fn forward(&self, compared: &Compared<'_>) -> Result<(Tensor, Tensor)> {
        let queries = self.columns(&self.query, compared.queries)?;
        let items = self.columns(&self.item, compared.items)?;
        let omitted = |tower| self.dropout.map(|dropout| dropout.of(self.made + 1, tower));
        let queries = self.query.forward(&queries, omitted(0));
        let items = self.item.forward(&items, omitted(1));
        Ok((queries.map_err(torch)?, items.map_err(torch)?))
    }

    /// The columns of these rows as the tower takes them.
    fn columns(&self, tower: &TorchTower, (table, rows): (&FeatureTable, &[usize])) -> Result<Vec<Tensor>> {
        let mut columns = Vec::new();
        for embedding in &tower.shape.embeddings {
            let (ids, longest) = padded(table.get(&embedding.column)?, rows);
            columns.push(self.tensor(&ids, longest));
        }
        for shape in &tower.shape.numbers {
            let numbers = table.numbers(&shape.column, shape.width)?;
            let values: Vec<f32> = rows.iter().flat_map(|row| numbers.row(*row)).copied().collect();
            columns.push(self.tensor(&values, shape.width));
        }
        columns.into_iter().collect::<Result<_, _>>().map_err(torch)
    }

    /// A matrix on the device.
    fn tensor<T: tch::kind::Element>(&self, values: &[T], width: usize) -> Result<Tensor, TchError> {
        let rows = (values.len() / width.max(1)) as i64;
        Tensor::f_from_slice(values)?
            .f_view([rows, width as i64])?
            .f_to_device(self.device)
    }

    /// The weighted sum of the losses of the rows.
    pub(crate) fn softmax(&mut self, compared: &Compared<'_>, candidates: &Candidates<'_>) -> Result<f64> {
        let (queries, items) = self.forward(compared)?;
        let loss = || -> Result<Tensor, TchError> {
            let count = candidates.log_q.len();
            let scores = self.warmed(&product(&queries, &items, self.precision)?)?;
            let targets: Vec<i64> = candidates.targets.iter().map(|(place, _)| i64::from(*place)).collect();
            let own_log_q: Vec<f32> = candidates.targets.iter().map(|(_, own)| *own).collect();
            let targets = self.tensor(&targets, 1)?;
            let own = scores
                .f_gather(1, &targets, false)?
                .f_sub(&self.tensor(&own_log_q, 1)?)?;
            let rows = candidates.targets.len();
            let words = count.div_ceil(64);
            let bits: Vec<i64> = (0..rows)
                .flat_map(|row| &candidates.mask.line(row)[..words])
                .map(|word| word.cast_signed())
                .collect();
            let blocked = unpacked(&self.tensor(&bits, words)?, count)?;
            let others = scores
                .f_sub(&self.tensor(candidates.log_q, count)?)?
                .f_masked_fill(&blocked, f64::NEG_INFINITY)?;
            let logits = others.f_scatter(1, &targets, &own)?;
            let losses = logits.f_logsumexp([1_i64].as_slice(), true)?.f_sub(&own)?;
            losses.f_mul(&self.tensor(candidates.weights, 1)?)?.f_sum(Kind::Float)
        };
        let loss = loss().map_err(torch)?;
        self.kept(loss)
    }

    /// The weighted sum of the losses of the pairs.
    pub(crate) fn pairwise(&mut self, compared: &Compared<'_>, pairs: &Pairs<'_>) -> Result<f64> {
        let (queries, items) = self.forward(compared)?;
        let (mut rows, mut own, mut other, mut weights) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (row, (&(mine, found), weight)) in pairs.places.iter().zip(pairs.weights).enumerate() {
            if let Some(found) = found {
                rows.push(row as i64);
                own.push(i64::from(mine));
                other.push(i64::from(found));
                weights.push(*weight);
            }
        }
        let loss = || -> Result<Tensor, TchError> {
            let chosen = |tensor: &Tensor, places: &[i64]| {
                let places = self.tensor(places, 1)?.f_view([-1_i64])?;
                tensor.f_index_select(0, &places)
            };
            let apart = chosen(&items, &own)?.f_sub(&chosen(&items, &other)?)?;
            let ahead = chosen(&queries, &rows)?.f_mul(&apart)?;
            let ahead = self.warmed(&ahead.f_sum_dim_intlist([1_i64].as_slice(), true, Kind::Float)?)?;
            let losses = ahead.f_neg()?.f_softplus()?;
            losses.f_mul(&self.tensor(&weights, 1)?)?.f_sum(Kind::Float)
        };
        let loss = loss().map_err(torch)?;
        self.kept(loss)
    }

    /// A learnt temperature's logarithm of the inverse.
    fn log(&self) -> Option<&Variable> {
        self.variables.last().filter(|_| self.temperature.learnt)
    }

    /// Scores divided by the temperature.
    fn warmed(&self, scores: &Tensor) -> Result<Tensor, TchError> {
        match self.log() {
            Some(log) => scores.f_mul(&log.weights.f_exp()?),
            None => scores.f_mul_scalar(1.0 / self.temperature.first),
        }
    }

    /// What scores are divided by now.
    pub(crate) fn temperature(&self) -> Result<f64> {
        let value = |log: &Variable| Ok((-log.weights.f_double_value(&[0]).map_err(torch)?).exp());
        self.log().map_or(Ok(self.temperature.first), value)
    }

    fn kept(&mut self, loss: Tensor) -> Result<f64> {
        let value = loss.f_double_value(&[]).map_err(torch)?;
        self.loss = Some(loss);
        Ok(value)
    }

    /// One step along the gradients of the last loss.
    pub(crate) fn learn(&mut self) -> Result<()> {
        let Some(loss) = self.loss.take() else { return Ok(()) };
        let mut step = || -> Result<(), TchError> {
            self.variables.iter_mut().try_for_each(Variable::reset)?;
            loss.f_backward()?;
            let scale = match self.clip_norm {
                Some(most) => {
                    let squares = self.variables.iter().map(Variable::square);
                    let squares = squares.collect::<Result<Vec<_>, _>>()?;
                    let length = Tensor::f_stack(&squares, 0)?
                        .f_sum(Kind::Double)?
                        .f_double_value(&[])?
                        .sqrt();
                    most / length.max(most)
                }
                None => 1.0,
            };
            self.made += 1;
            let numbers = self.step.numbers(self.made as u32);
            let towers = self.variables.len() - usize::from(self.temperature.learnt);
            let (weights, log) = self.variables.split_at_mut(towers);
            let mut weights = weights.iter_mut();
            weights.try_for_each(|variable| variable.apply(scale, &self.step, &numbers))?;
            // The temperature does not decay.
            let step = self.step.without_decay();
            let numbers = step.numbers(self.made as u32);
            let mut log = log.iter_mut();
            log.try_for_each(|log| {
                log.apply(scale, &step, &numbers)?;
                log.at_most(-LEAST.ln())
            })
        };
        step().map_err(torch)
    }

    /// Copies all weights back.
    pub(crate) fn download(&self, towers: &mut Towers) -> Result<()> {
        for (variable, array) in self.variables.iter().zip(towers.arrays_mut()) {
            *array = values(&variable.weights).map_err(torch)?;
        }
        Ok(())
    }

    /// Weights and what the optimizer remembers of them, in the order of [`Towers::arrays`].
    pub(crate) fn state(&self) -> Result<Vec<Vec<f32>>> {
        let state = self.variables.iter().map(Variable::state);
        state.collect::<Result<_, _>>().map_err(torch)
    }

    /// Takes up where [`TorchNetwork::state`] was written down; `false`, with nothing changed, if the sizes are not those
    /// of this network.
    pub(crate) fn restore(&mut self, steps: usize, numbers: &[Vec<f32>]) -> Result<bool> {
        let sizes = self.variables.iter().map(Variable::size);
        if !sizes.eq(numbers.iter().map(Vec::len)) {
            return Ok(false);
        }
        let variables = self.variables.iter_mut().zip(numbers);
        for (variable, state) in variables {
            variable.restore(state).map_err(torch)?;
        }
        self.made = steps;
        Ok(true)
    }

    /// The columns whose embeddings are not finite any more.
    pub(crate) fn broken(&self) -> Vec<&str> {
        let finite = |table: &Tensor| table.f_isfinite()?.f_all()?.f_int64_value(&[]);
        let towers = [&self.query, &self.item];
        let columns = towers
            .into_iter()
            .flat_map(|tower| tower.shape.embeddings.iter().zip(&tower.tables));
        let broken = columns.filter(|(_, table)| finite(table).is_ok_and(|all| all == 0));
        broken.map(|(shape, _)| shape.column.as_str()).collect()
    }
}

/// The ids of rows, and how many there are of each; lists are filled up with padding.
fn padded(ids: &IdFeatures, rows: &[usize]) -> (Vec<i64>, usize) {
    match ids {
        IdFeatures::Single(ids) => (rows.iter().map(|&row| ids[row]).collect(), 1),
        IdFeatures::Lists { offsets, values } => {
            let list = |row: usize| &values[offsets[row]..offsets[row + 1]];
            let longest = rows.iter().map(|&row| list(row).len()).max().unwrap_or(0).max(1);
            let mut all = Vec::with_capacity(rows.len() * longest);
            for (index, &row) in rows.iter().enumerate() {
                all.extend_from_slice(list(row));
                all.resize((index + 1) * longest, PADDING_ID);
            }
            (all, longest)
        }
    }
}

/// The first `count` bits of each row of `words` [rows, words], the lowest of a word first: bool [rows, count].
fn unpacked(words: &Tensor, count: usize) -> Result<Tensor, TchError> {
    let (rows, places) = (words.size()[0], Tensor::f_arange(64, (Kind::Int64, words.device()))?);
    let bits = words.f_unsqueeze(-1)?.f_bitwise_right_shift(&places)?;
    let bits = bits
        .f_bitwise_and(1)?
        .f_view([rows, -1])?
        .f_narrow(1, 0, count as i64)?;
    bits.f_to_kind(Kind::Bool)
}
