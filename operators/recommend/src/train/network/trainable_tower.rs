//! One tower in training: forward and backward pass.

use std::ops::Range;

use towline_kernels::{
    Bag, Isa, Numbers, Pooling, Step, Table, Touched, normalize_rows, normalize_rows_backward, update,
};

use crate::data::feature_column::IdFeatures;
use crate::data::feature_table::FeatureTable;
use crate::towers::activation::Activation;
use crate::towers::forward_pass::{self, Columns, TowerOps};
use crate::towers::tower_shape::{Normalize, Pool, TowerShape};
use crate::towers::towers::Tower;
use crate::train::network::compute_backend::ComputeBackend;
use crate::train::network::dense_layers::Layer;
use crate::train::network::dropout::DropoutMask;
use towline_api::{PADDING_ID, Result};

/// An embedding table with the gradients of the present batch.
#[derive(Debug)]
pub(crate) struct TrainableTable {
    /// The table.
    pub(crate) table: Table,
    /// Rows of the present batch, with their gradients.
    pub(crate) touched: Touched,
}

/// One tower in training.
#[derive(Debug)]
pub(crate) struct TrainableTower {
    shape: TowerShape,
    /// Its columns with embeddings.
    pub(crate) inputs: Vec<Input>,
    numbers: Vec<NumbersInput>,
    /// Its layers.
    pub(crate) layers: Vec<Layer>,
    /// Dropout mask of the present step.
    dropped: Option<DropoutMask>,
    normalize: Normalize,
    /// The pooled embeddings and the output of each layer, row-major [rows, width].
    activations: Vec<Vec<f32>>,
    lengths: Vec<f32>,
    /// The gradient by the output, and in the end by the pooled embeddings.
    pub(crate) gradient: Vec<f32>,
}

/// A column of a tower that has embeddings.
#[derive(Debug)]
pub(crate) struct Input {
    column: String,
    /// The place of its table.
    pub(crate) slot: usize,
    pooling: PoolingOp,
    /// Where its embedding begins in a row.
    offset: usize,
    /// The ids of the batch at hand.
    pub(crate) bag: Bag,
}

/// Pooling of a list.
#[derive(Debug)]
enum PoolingOp {
    Plain(Pooling),
    /// The query vector, then its moments.
    Attention {
        query: Vec<f32>,
        gradient: Vec<f32>,
    },
}

/// A column of numbers of a tower.
#[derive(Debug)]
struct NumbersInput {
    column: String,
    width: usize,
    /// The numbers of the batch at hand, row-major [rows, width].
    values: Vec<f32>,
}

impl PoolingOp {
    fn new(pooling: Pool, query: &[f32], parts: usize) -> Self {
        let pooling = match pooling {
            Pool::Mean => Pooling::Mean,
            Pool::Sum => Pooling::Sum,
            Pool::Max => Pooling::Max,
            Pool::Attention => {
                let mut state = query.to_vec();
                state.resize(query.len() * parts, 0.0);
                return PoolingOp::Attention {
                    query: state,
                    gradient: vec![0.0; query.len()],
                };
            }
        };
        PoolingOp::Plain(pooling)
    }
}

impl Input {
    /// Adds to the gradients of the table, and of the query, what `gradient` says of the pooled rows, which are `width`
    /// apart.
    pub(crate) fn accumulate(&mut self, isa: Isa, slot: &mut TrainableTable, gradient: &[f32], width: usize) {
        let gradient = (gradient, width, self.offset);
        match &mut self.pooling {
            PoolingOp::Plain(pooling) => slot
                .table
                .accumulate(isa, &self.bag, *pooling, gradient, &mut slot.touched),
            PoolingOp::Attention { query, gradient: own } => {
                own.fill(0.0);
                let query = &query[..own.len()];
                slot.table
                    .attend_backward(isa, &self.bag, query, gradient, &mut slot.touched, own);
            }
        }
    }

    fn pool(&self, isa: Isa, table: &Table, range: Range<usize>, out: Columns<'_>, add: bool) {
        let out = (out.rows, out.stride, out.offset);
        match &self.pooling {
            PoolingOp::Plain(pooling) => table.pool(isa, &self.bag, *pooling, range, out, add),
            PoolingOp::Attention { query, gradient } => {
                table.attend(isa, &self.bag, &query[..gradient.len()], range, out, add);
            }
        }
    }
}

/// The operations of training: the fastest of the processor.
struct KernelOps<'a> {
    on: ComputeBackend,
    slots: &'a [TrainableTable],
    inputs: &'a [Input],
    numbers: &'a [NumbersInput],
    layers: &'a mut [Layer],
    dropped: Option<DropoutMask>,
    /// The lengths of the rows before they are scaled.
    lengths: &'a mut Vec<f32>,
}

impl TowerOps for KernelOps<'_> {
    fn threads(&self) -> usize {
        self.on.threads
    }

    fn pool(&self, column: usize, rows: Range<usize>, out: Columns<'_>, add: bool) {
        let input = &self.inputs[column];
        input.pool(self.on.isa, &self.slots[input.slot].table, rows, out, add);
    }

    fn numbers(&self, column: usize, row: usize) -> &[f32] {
        let NumbersInput { values, width, .. } = &self.numbers[column];
        &values[row * width..][..*width]
    }

    fn drop_out(&mut self, layer: usize, input: &mut [f32]) {
        if let Some(dropped) = self.dropped {
            dropped.apply(self.on.threads, layer, input);
        }
    }

    fn dense(&mut self, layer: usize, input: &[f32], output: &mut Vec<f32>, activation: Option<Activation>) {
        self.layers[layer].forward(self.on, input, output, activation);
    }

    fn scale_to_length_one(&mut self, rows: &mut [f32], width: usize) {
        normalize_rows(rows, width, self.lengths);
    }
}

impl TrainableTower {
    /// The tower with initial weights; `parts` is one weight and its moments.
    pub(crate) fn new(tower: &Tower, normalize: Normalize, parts: usize) -> Self {
        let starts = tower.shape.parts();
        let (of_embeddings, of_numbers) = starts.split_at(tower.shape.embeddings.len());
        let embeddings = tower.shape.embeddings.iter().zip(&tower.tables).zip(&tower.attention);
        let inputs = embeddings
            .zip(of_embeddings)
            .map(|(((shape, slot), query), part)| Input {
                column: shape.column.clone(),
                slot: *slot,
                pooling: PoolingOp::new(shape.pooling, query, parts),
                offset: part.1,
                bag: Bag::default(),
            });
        let numbers = of_numbers.iter().map(|(column, _, width)| NumbersInput {
            column: (*column).to_owned(),
            width: *width,
            values: Vec::new(),
        });
        TrainableTower {
            shape: tower.shape.clone(),
            inputs: inputs.collect(),
            numbers: numbers.collect(),
            layers: tower.layers.iter().map(|layer| Layer::new(layer, parts)).collect(),
            dropped: None,
            normalize,
            activations: vec![Vec::new(); tower.layers.len() + 1],
            lengths: Vec::new(),
            gradient: Vec::new(),
        }
    }

    /// Takes these rows of `data` as the next batch.
    pub(crate) fn fill(&mut self, data: &FeatureTable, rows: &[usize]) -> Result<()> {
        for input in &mut self.inputs {
            match data.get(&input.column)? {
                IdFeatures::Single(ids) => input.bag.fill(rows, ids, PADDING_ID),
                IdFeatures::Lists { offsets, values } => input.bag.fill_lists(rows, offsets, values, PADDING_ID),
            }
        }
        for input in &mut self.numbers {
            let numbers = data.numbers(&input.column, input.width)?;
            input.values.clear();
            for &row in rows {
                input.values.extend_from_slice(numbers.row(row));
            }
        }
        Ok(())
    }

    /// The embeddings of the rows that were filled in, with dropout on the input of each layer.
    pub(crate) fn forward(
        &mut self,
        on: ComputeBackend,
        slots: &[TrainableTable],
        rows: usize,
        dropped: Option<DropoutMask>,
    ) {
        self.dropped = dropped;
        let mut ops = KernelOps {
            on,
            slots,
            inputs: &self.inputs,
            numbers: &self.numbers,
            layers: &mut self.layers,
            dropped,
            lengths: &mut self.lengths,
        };
        forward_pass::forward(&self.shape, self.normalize, &mut ops, rows, &mut self.activations);
    }

    /// Width of the concatenated inputs of a row.
    pub(crate) fn width(&self) -> usize {
        self.shape.width()
    }

    /// Width of the output.
    pub(crate) fn dim(&self) -> usize {
        self.shape.dim()
    }

    /// The embeddings of the rows, row-major [rows, dim].
    pub(crate) fn output(&self) -> &[f32] {
        self.activations.last().map_or(&[], Vec::as_slice)
    }

    /// From the gradient by the output to that by the pooled embeddings.
    pub(crate) fn backward(&mut self, on: ComputeBackend) {
        if self.normalize == Normalize::L2
            && let Some(output) = self.activations.last()
        {
            let dim = output.len() / self.lengths.len().max(1);
            normalize_rows_backward(&mut self.gradient, output, dim.max(1), &self.lengths);
        }
        let last = self.layers.len().saturating_sub(1);
        for (index, layer) in self.layers.iter_mut().enumerate().rev() {
            let (input, output) = (&self.activations[index], &self.activations[index + 1]);
            let keep = self.dropped.map_or(1.0, DropoutMask::keep);
            let activation = (index < last).then_some((self.shape.activation, keep));
            layer.backward(on, input, output, &mut self.gradient, activation);
            if let Some(dropped) = self.dropped {
                dropped.apply(on.threads, index, &mut self.gradient);
            }
        }
    }

    /// Optimizer step of all weights but the tables, with gradients times `scale`.
    pub(crate) fn apply(&mut self, isa: Isa, scale: f32, step: &Step, numbers: &Numbers) {
        for layer in &mut self.layers {
            layer.apply(isa, scale, step, numbers);
        }
        for input in &mut self.inputs {
            if let PoolingOp::Attention { query, gradient } = &mut input.pooling {
                update(isa, query, gradient, scale, step, numbers);
            }
        }
    }

    /// The sum of the squares of all gradients but those of the tables.
    pub(crate) fn square(&self) -> f64 {
        let attention = self.inputs.iter().filter_map(|input| match &input.pooling {
            PoolingOp::Attention { gradient, .. } => Some(gradient.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>()),
            PoolingOp::Plain(_) => None,
        });
        self.layers.iter().map(Layer::square).chain(attention).sum()
    }

    /// Copies everything but the tables back.
    pub(crate) fn download(&self, tower: &mut Tower) {
        for (layer, dense) in self.layers.iter().zip(&mut tower.layers) {
            layer.download(dense);
        }
        for (input, target) in self.inputs.iter().zip(&mut tower.attention) {
            if let PoolingOp::Attention { query, gradient } = &input.pooling {
                target.copy_from_slice(&query[..gradient.len()]);
            }
        }
    }

    /// Everything but the tables that the next step depends on, with what the optimizer remembers.
    pub(crate) fn state(&self) -> Vec<&[f32]> {
        let attention = self.inputs.iter().filter_map(|input| match &input.pooling {
            PoolingOp::Attention { query, .. } => Some(query.as_slice()),
            PoolingOp::Plain(_) => None,
        });
        self.layers.iter().flat_map(Layer::state).chain(attention).collect()
    }

    /// The places of [`TrainableTower::state`].
    pub(crate) fn state_mut(&mut self) -> Vec<&mut [f32]> {
        let attention = self.inputs.iter_mut().filter_map(|input| match &mut input.pooling {
            PoolingOp::Attention { query, .. } => Some(query.as_mut_slice()),
            PoolingOp::Plain(_) => None,
        });
        let layers = self.layers.iter_mut().flat_map(Layer::state_mut);
        layers.chain(attention).collect()
    }

    /// The columns of the batch at hand whose embeddings are not finite any more.
    pub(crate) fn broken(&self, slots: &[TrainableTable]) -> Vec<&str> {
        let broken = |input: &&Input| {
            let table = &slots[input.slot].table;
            let mut ids = input.bag.ids.iter();
            ids.any(|id| table.weights(*id as usize).iter().any(|x| !x.is_finite()))
        };
        let broken = self.inputs.iter().filter(broken);
        broken.map(|input| input.column.as_str()).collect()
    }
}
