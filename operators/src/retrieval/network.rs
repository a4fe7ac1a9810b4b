//! The towers while they learn.

use towline_kernels::{
    Bag, Isa, Numbers, Pooling, Step, Table, Touched, in_parallel, normalize_rows, normalize_rows_backward,
};

use super::columns::{EncodedTable, Ids};
use super::dense_layers::Layer;
use super::towers::{Normalize, Pool, Tower, Towers};
use crate::contract::{PADDING_ID, Result};

/// Rows that one thread gathers: fixed, since it is only a matter of speed.
const ROWS: usize = 512;

/// Both towers with everything that learning needs.
#[derive(Debug)]
pub(crate) struct Network {
    isa: Isa,
    threads: usize,
    step: Step,
    /// The numbers of all steps so far: what rows that were not touched have missed.
    history: Vec<Numbers>,
    clip_norm: Option<f64>,
    slots: Vec<Slot>,
    /// The query (user) tower.
    pub(crate) query: Half,
    /// The item tower.
    pub(crate) item: Half,
}

/// An embedding table, and what the batch at hand does with it.
#[derive(Debug)]
struct Slot {
    table: Table,
    touched: Touched,
}

/// One tower.
#[derive(Debug)]
pub(crate) struct Half {
    inputs: Vec<Input>,
    layers: Vec<Layer>,
    normalize: Normalize,
    /// Width of the pooled embeddings of a row.
    width: usize,
    /// The pooled embeddings and the output of each layer, row-major [rows, width].
    activations: Vec<Vec<f32>>,
    lengths: Vec<f32>,
    /// The gradient by the output, and in the end by the pooled embeddings.
    pub(crate) gradient: Vec<f32>,
}

/// A column of a tower.
#[derive(Debug)]
struct Input {
    column: String,
    slot: usize,
    pooling: Pooling,
    /// Where its embedding begins in a row.
    offset: usize,
    bag: Bag,
}

impl Half {
    fn new(tower: &Tower, normalize: Normalize, parts: usize, slots: &mut Vec<Slot>) -> Self {
        let mut inputs = Vec::new();
        let mut offset = 0;
        for (shape, table) in tower.shape.embeddings.iter().zip(&tower.tables) {
            let pooling = match shape.pooling {
                Pool::Mean => Pooling::Mean,
                Pool::Sum => Pooling::Sum,
                Pool::Max => Pooling::Max,
            };
            inputs.push(Input {
                column: shape.column.clone(),
                slot: slots.len(),
                pooling,
                offset,
                bag: Bag::default(),
            });
            slots.push(Slot {
                table: Table::new(table, shape.dim, parts),
                touched: Touched::default(),
            });
            if !tower.shape.adds() {
                offset += shape.dim;
            }
        }
        Half {
            inputs,
            layers: tower.layers.iter().map(|layer| Layer::new(layer, parts)).collect(),
            normalize,
            width: tower.shape.width(),
            activations: vec![Vec::new(); tower.layers.len() + 1],
            lengths: Vec::new(),
            gradient: Vec::new(),
        }
    }

    fn fill(&mut self, data: &EncodedTable, rows: &[usize]) -> Result<()> {
        for input in &mut self.inputs {
            match data.get(&input.column)? {
                Ids::Single(ids) => input.bag.fill(rows, ids, PADDING_ID),
                Ids::Lists { offsets, values } => input.bag.fill_lists(rows, offsets, values, PADDING_ID),
            }
        }
        Ok(())
    }

    fn forward(&mut self, on: (Isa, usize), slots: &[Slot], rows: usize) {
        let (inputs, width) = (&self.inputs, self.width);
        let pooled = &mut self.activations[0];
        pooled.resize(rows * width, 0.0);
        let gather = |(index, out): (usize, &mut [f32])| {
            let range = index * ROWS..index * ROWS + out.len() / width;
            for (place, input) in inputs.iter().enumerate() {
                let add = place > 0 && input.offset == 0;
                let out = (&mut *out, width, input.offset);
                slots[input.slot]
                    .table
                    .pool(on.0, &input.bag, input.pooling, range.clone(), out, add);
            }
        };
        in_parallel(on.1, pooled.chunks_mut(ROWS * width).enumerate().collect(), gather);
        let last = self.layers.len().saturating_sub(1);
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let (before, after) = self.activations.split_at_mut(index + 1);
            layer.forward(on, &before[index], &mut after[0], index < last);
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
    fn backward(&mut self, on: (Isa, usize)) {
        if self.normalize == Normalize::L2
            && let Some(output) = self.activations.last()
        {
            let dim = output.len() / self.lengths.len().max(1);
            normalize_rows_backward(&mut self.gradient, output, dim.max(1), &self.lengths);
        }
        let last = self.layers.len().saturating_sub(1);
        for (index, layer) in self.layers.iter_mut().enumerate().rev() {
            let (input, output) = (&self.activations[index], &self.activations[index + 1]);
            layer.backward(on, input, output, &mut self.gradient, index < last);
        }
    }

    fn download(&self, slots: &[Slot], tower: &mut Tower) {
        for (input, weights) in self.inputs.iter().zip(&mut tower.tables) {
            let table = &slots[input.slot].table;
            for (row, target) in weights.chunks_exact_mut(table.width()).enumerate() {
                target.copy_from_slice(table.weights(row));
            }
        }
        for (layer, dense) in self.layers.iter().zip(&mut tower.layers) {
            layer.download(dense);
        }
    }

    /// The columns whose embeddings are not finite any more.
    fn broken(&self, slots: &[Slot]) -> Vec<&str> {
        let broken = |input: &&Input| {
            let table = &slots[input.slot].table;
            input
                .bag
                .ids
                .iter()
                .any(|id| table.weights(*id as usize).iter().any(|x| !x.is_finite()))
        };
        self.inputs
            .iter()
            .filter(broken)
            .map(|input| input.column.as_str())
            .collect()
    }
}

impl Network {
    /// The network with the weights of `towers`.
    pub(crate) fn new(towers: &Towers, step: Step, clip_norm: Option<f64>, threads: usize) -> Self {
        let mut slots = Vec::new();
        let query = Half::new(&towers.query, towers.normalize, step.parts(), &mut slots);
        let item = Half::new(&towers.item, towers.normalize, step.parts(), &mut slots);
        Network {
            isa: Isa::best(),
            threads,
            step,
            history: Vec::new(),
            clip_norm,
            slots,
            query,
            item,
        }
    }

    /// Where it computes: instructions and threads.
    pub(crate) fn on(&self) -> (Isa, usize) {
        (self.isa, self.threads)
    }

    /// Steps made so far.
    pub(crate) fn steps(&self) -> usize {
        self.history.len()
    }

    /// Embeds rows of `data`: users of `query_rows`, items of `item_rows`.
    pub(crate) fn forward(&mut self, data: &EncodedTable, query_rows: &[usize], item_rows: &[usize]) -> Result<()> {
        self.query.fill(data, query_rows)?;
        self.item.fill(data, item_rows)?;
        let (isa, step, history) = (self.isa, &self.step, &self.history);
        let mut tasks: Vec<(&mut Slot, Vec<&Bag>)> = self.slots.iter_mut().map(|slot| (slot, Vec::new())).collect();
        for input in self.query.inputs.iter().chain(&self.item.inputs) {
            tasks[input.slot].1.push(&input.bag);
        }
        in_parallel(self.threads, tasks, |(slot, bags)| {
            slot.table.touch(isa, &bags, &mut slot.touched, step, history);
        });
        let on = self.on();
        self.query.forward(on, &self.slots, query_rows.len());
        self.item.forward(on, &self.slots, item_rows.len());
        Ok(())
    }

    /// One step along the gradients that the halves hold.
    pub(crate) fn learn(&mut self) {
        let on = self.on();
        self.query.backward(on);
        self.item.backward(on);
        let halves = [&self.query, &self.item];
        in_parallel(
            self.threads,
            self.slots.iter_mut().enumerate().collect(),
            |(index, slot)| {
                for half in halves {
                    for input in half.inputs.iter().filter(|input| input.slot == index) {
                        let gradient = (half.gradient.as_slice(), half.width, input.offset);
                        slot.table
                            .accumulate(on.0, &input.bag, input.pooling, gradient, &mut slot.touched);
                    }
                }
            },
        );
        let scale = self.clipping();
        let now = self.history.len() as u32 + 1;
        let numbers = self.step.numbers(now);
        let step = &self.step;
        in_parallel(self.threads, self.slots.iter_mut().collect(), |slot| {
            slot.table.apply(on.0, &slot.touched, scale, step, (now, &numbers));
        });
        for layer in self.query.layers.iter_mut().chain(&mut self.item.layers) {
            layer.apply(on.0, scale, step, &numbers);
        }
        self.history.push(numbers);
    }

    /// What gradients are multiplied by, so that they are together no longer than allowed.
    fn clipping(&self) -> f32 {
        let Some(most) = self.clip_norm else { return 1.0 };
        let layers = self.query.layers.iter().chain(&self.item.layers);
        let square: f64 = self
            .slots
            .iter()
            .map(|slot| slot.touched.square())
            .chain(layers.map(Layer::square))
            .sum();
        (most / square.sqrt().max(most)) as f32
    }

    /// Copies all weights back, those of rows that were not touched lately as if they had been.
    pub(crate) fn download(&mut self, towers: &mut Towers) {
        let (isa, step, history) = (self.isa, &self.step, &self.history);
        in_parallel(self.threads, self.slots.iter_mut().collect(), |slot| {
            slot.table.flush(isa, step, history);
        });
        self.query.download(&self.slots, &mut towers.query);
        self.item.download(&self.slots, &mut towers.item);
    }

    /// Everything that the next step depends on besides the number of steps so far: tables and layers with what the
    /// optimizer remembers of them, and the last step of each row of each table.
    pub(crate) fn state(&self) -> (Vec<&[f32]>, Vec<&[u32]>) {
        let (mut numbers, mut steps) = (Vec::new(), Vec::new());
        for slot in &self.slots {
            let (rows, last) = slot.table.state();
            numbers.push(rows);
            steps.push(last);
        }
        for layer in self.query.layers.iter().chain(&self.item.layers) {
            numbers.extend(layer.state());
        }
        (numbers, steps)
    }

    /// Takes up where [`Network::state`] was written down; `false`, with nothing changed, if the sizes are not those of
    /// this network.
    pub(crate) fn restore(&mut self, steps: usize, numbers: &[Vec<f32>], of_rows: &[Vec<u32>]) -> bool {
        let (own, own_steps) = self.state();
        let sizes = own.iter().map(|x| x.len()).eq(numbers.iter().map(Vec::len));
        if !sizes || !own_steps.iter().map(|x| x.len()).eq(of_rows.iter().map(Vec::len)) {
            return false;
        }
        let (tables, layers) = numbers.split_at(self.slots.len());
        for ((slot, rows), last) in self.slots.iter_mut().zip(tables).zip(of_rows) {
            slot.table.restore(rows, last);
        }
        let places = self.query.layers.iter_mut().chain(&mut self.item.layers);
        for (place, values) in places.flat_map(Layer::state_mut).zip(layers) {
            place.copy_from_slice(values);
        }
        self.history = (1..=steps as u32).map(|step| self.step.numbers(step)).collect();
        true
    }

    /// The columns of the batch at hand whose embeddings are not finite any more.
    pub(crate) fn broken(&self) -> Vec<&str> {
        [self.query.broken(&self.slots), self.item.broken(&self.slots)].concat()
    }
}
