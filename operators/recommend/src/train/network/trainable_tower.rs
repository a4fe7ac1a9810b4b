//! One tower while it learns.

use towline_kernels::{
    Bag, Isa, Numbers, Pooling, Step, Table, Touched, in_parallel, normalize_rows, normalize_rows_backward, update,
};

use crate::data::feature_column::IdFeatures;
use crate::data::feature_table::FeatureTable;
use crate::towers::activation::Activation;
use crate::towers::tower_shape::{Normalize, Pool};
use crate::towers::towers::Tower;
use crate::train::network::compute_backend::Computing;
use crate::train::network::dense_layers::Layer;
use crate::train::network::dropout::Omitted;
use towline_api::{PADDING_ID, Result};

/// Rows that one thread gathers: fixed, since it is only a matter of speed.
const ROWS: usize = 512;

/// An embedding table, and what the batch at hand does with it.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The table.
    pub(crate) table: Table,
    /// The rows that the batch names.
    pub(crate) touched: Touched,
}

/// One tower.
#[derive(Debug)]
pub(crate) struct Half {
    /// Its columns with embeddings.
    pub(crate) inputs: Vec<Input>,
    numbers: Vec<NumbersInput>,
    /// Its layers.
    pub(crate) layers: Vec<Layer>,
    activation: Activation,
    /// What the step at hand leaves out.
    omitted: Option<Omitted>,
    normalize: Normalize,
    /// Width of the pooled embeddings of a row, numbers included.
    pub(crate) width: usize,
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
    way: Way,
    /// Where its embedding begins in a row.
    offset: usize,
    /// The ids of the batch at hand.
    pub(crate) bag: Bag,
}

/// How a list becomes one embedding.
#[derive(Debug)]
enum Way {
    Plain(Pooling),
    /// The query comes before what the optimizer remembers of it.
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
    offset: usize,
    /// The numbers of the batch at hand, row-major [rows, width].
    values: Vec<f32>,
}

impl Way {
    fn new(pooling: Pool, query: &[f32], parts: usize) -> Self {
        let pooling = match pooling {
            Pool::Mean => Pooling::Mean,
            Pool::Sum => Pooling::Sum,
            Pool::Max => Pooling::Max,
            Pool::Attention => {
                let mut state = query.to_vec();
                state.resize(query.len() * parts, 0.0);
                return Way::Attention {
                    query: state,
                    gradient: vec![0.0; query.len()],
                };
            }
        };
        Way::Plain(pooling)
    }
}

impl Input {
    /// Adds to the gradients of the table, and of the query, what `gradient` says of the pooled rows, which are `width`
    /// apart.
    pub(crate) fn accumulate(&mut self, isa: Isa, slot: &mut Slot, gradient: &[f32], width: usize) {
        let gradient = (gradient, width, self.offset);
        match &mut self.way {
            Way::Plain(pooling) => slot
                .table
                .accumulate(isa, &self.bag, *pooling, gradient, &mut slot.touched),
            Way::Attention { query, gradient: own } => {
                own.fill(0.0);
                let query = &query[..own.len()];
                slot.table
                    .attend_backward(isa, &self.bag, query, gradient, &mut slot.touched, own);
            }
        }
    }

    fn pool(
        &self,
        isa: Isa,
        table: &Table,
        range: std::ops::Range<usize>,
        (out, width): (&mut [f32], usize),
        add: bool,
    ) {
        let out = (out, width, self.offset);
        match &self.way {
            Way::Plain(pooling) => table.pool(isa, &self.bag, *pooling, range, out, add),
            Way::Attention { query, gradient } => {
                table.attend(isa, &self.bag, &query[..gradient.len()], range, out, add);
            }
        }
    }
}

impl Half {
    /// A tower that learns; `parts` numbers are kept of each weight.
    pub(crate) fn new(tower: &Tower, normalize: Normalize, parts: usize) -> Self {
        let starts = tower.shape.parts();
        let (of_embeddings, of_numbers) = starts.split_at(tower.shape.embeddings.len());
        let embeddings = tower.shape.embeddings.iter().zip(&tower.tables).zip(&tower.attention);
        let inputs = embeddings
            .zip(of_embeddings)
            .map(|(((shape, slot), query), part)| Input {
                column: shape.column.clone(),
                slot: *slot,
                way: Way::new(shape.pooling, query, parts),
                offset: part.1,
                bag: Bag::default(),
            });
        let numbers = of_numbers.iter().map(|(column, offset, width)| NumbersInput {
            column: (*column).to_owned(),
            width: *width,
            offset: *offset,
            values: Vec::new(),
        });
        Half {
            inputs: inputs.collect(),
            numbers: numbers.collect(),
            layers: tower.layers.iter().map(|layer| Layer::new(layer, parts)).collect(),
            activation: tower.shape.activation,
            omitted: None,
            normalize,
            width: tower.shape.width(),
            activations: vec![Vec::new(); tower.layers.len() + 1],
            lengths: Vec::new(),
            gradient: Vec::new(),
        }
    }

    /// Takes these rows of `data` for the next pass.
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

    /// The embeddings of the rows that were filled in, without what is omitted of what goes into the layers.
    pub(crate) fn forward(&mut self, on: Computing, slots: &[Slot], rows: usize, omitted: Option<Omitted>) {
        self.omitted = omitted;
        let (inputs, numbers, width) = (&self.inputs, &self.numbers, self.width);
        let pooled = &mut self.activations[0];
        pooled.resize(rows * width, 0.0);
        let gather = |(index, out): (usize, &mut [f32])| {
            let range = index * ROWS..index * ROWS + out.len() / width;
            for (place, input) in inputs.iter().enumerate() {
                let add = place > 0 && input.offset == 0;
                input.pool(on.isa, &slots[input.slot].table, range.clone(), (&mut *out, width), add);
            }
            for input in numbers {
                let values = &input.values[range.start * input.width..range.end * input.width];
                for (out, values) in out.chunks_exact_mut(width).zip(values.chunks_exact(input.width)) {
                    out[input.offset..][..input.width].copy_from_slice(values);
                }
            }
        };
        in_parallel(
            on.threads,
            pooled.chunks_mut(ROWS * width).enumerate().collect(),
            gather,
        );
        let last = self.layers.len().saturating_sub(1);
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let (before, after) = self.activations.split_at_mut(index + 1);
            if let Some(omitted) = omitted {
                omitted.apply(on.threads, index, &mut before[index]);
            }
            let activation = (index < last).then_some(self.activation);
            layer.forward(on, &before[index], &mut after[0], activation);
        }
        if self.normalize == Normalize::L2 {
            let dim = self.dim();
            let output = self.activations.last_mut().into_iter();
            output.for_each(|output| normalize_rows(output, dim, &mut self.lengths));
        }
    }

    /// Width of the output.
    pub(crate) fn dim(&self) -> usize {
        self.layers.last().map_or(self.width, Layer::outputs)
    }

    /// The embeddings of the rows, row-major [rows, dim].
    pub(crate) fn output(&self) -> &[f32] {
        self.activations.last().map_or(&[], Vec::as_slice)
    }

    /// From the gradient by the output to that by the pooled embeddings.
    pub(crate) fn backward(&mut self, on: Computing) {
        if self.normalize == Normalize::L2
            && let Some(output) = self.activations.last()
        {
            let dim = output.len() / self.lengths.len().max(1);
            normalize_rows_backward(&mut self.gradient, output, dim.max(1), &self.lengths);
        }
        let last = self.layers.len().saturating_sub(1);
        for (index, layer) in self.layers.iter_mut().enumerate().rev() {
            let (input, output) = (&self.activations[index], &self.activations[index + 1]);
            let keep = self.omitted.map_or(1.0, Omitted::keep);
            let activation = (index < last).then_some((self.activation, keep));
            layer.backward(on, input, output, &mut self.gradient, activation);
            if let Some(omitted) = self.omitted {
                omitted.apply(on.threads, index, &mut self.gradient);
            }
        }
    }

    /// Moves everything but the tables by its gradients times `scale`.
    pub(crate) fn apply(&mut self, isa: Isa, scale: f32, step: &Step, numbers: &Numbers) {
        for layer in &mut self.layers {
            layer.apply(isa, scale, step, numbers);
        }
        for input in &mut self.inputs {
            if let Way::Attention { query, gradient } = &mut input.way {
                update(isa, query, gradient, scale, step, numbers);
            }
        }
    }

    /// The sum of the squares of all gradients but those of the tables.
    pub(crate) fn square(&self) -> f64 {
        let attention = self.inputs.iter().filter_map(|input| match &input.way {
            Way::Attention { gradient, .. } => Some(gradient.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>()),
            Way::Plain(_) => None,
        });
        self.layers.iter().map(Layer::square).chain(attention).sum()
    }

    /// Copies everything but the tables back.
    pub(crate) fn download(&self, tower: &mut Tower) {
        for (layer, dense) in self.layers.iter().zip(&mut tower.layers) {
            layer.download(dense);
        }
        for (input, target) in self.inputs.iter().zip(&mut tower.attention) {
            if let Way::Attention { query, gradient } = &input.way {
                target.copy_from_slice(&query[..gradient.len()]);
            }
        }
    }

    /// Everything but the tables that the next step depends on, with what the optimizer remembers.
    pub(crate) fn state(&self) -> Vec<&[f32]> {
        let attention = self.inputs.iter().filter_map(|input| match &input.way {
            Way::Attention { query, .. } => Some(query.as_slice()),
            Way::Plain(_) => None,
        });
        self.layers.iter().flat_map(Layer::state).chain(attention).collect()
    }

    /// The places of [`Half::state`].
    pub(crate) fn state_mut(&mut self) -> Vec<&mut [f32]> {
        let attention = self.inputs.iter_mut().filter_map(|input| match &mut input.way {
            Way::Attention { query, .. } => Some(query.as_mut_slice()),
            Way::Plain(_) => None,
        });
        let layers = self.layers.iter_mut().flat_map(Layer::state_mut);
        layers.chain(attention).collect()
    }

    /// The columns of the batch at hand whose embeddings are not finite any more.
    pub(crate) fn broken(&self, slots: &[Slot]) -> Vec<&str> {
        let broken = |input: &&Input| {
            let table = &slots[input.slot].table;
            let mut ids = input.bag.ids.iter();
            ids.any(|id| table.weights(*id as usize).iter().any(|x| !x.is_finite()))
        };
        let broken = self.inputs.iter().filter(broken);
        broken.map(|input| input.column.as_str()).collect()
    }
}
