//! The towers while they learn.

use towline_kernels::{Bag, Numbers, Step, Table, Touched, in_parallel};

use crate::data::feature_table::FeatureTable;
use crate::towers::towers::Towers;
use crate::train::network::compute_backend::Computing;
use crate::train::network::dropout::Dropout;
use crate::train::network::trainable_tower::{Half, Input, Slot};
use crate::train::train_backend::Manner;
use towline_api::Result;

/// Both towers with everything that learning needs.
#[derive(Debug)]
pub(crate) struct Network {
    on: Computing,
    step: Step,
    /// The numbers of all steps so far: what rows that were not touched have missed.
    history: Vec<Numbers>,
    clip_norm: Option<f64>,
    dropout: Option<Dropout>,
    /// The embedding tables, in the order of [`Towers::tables`].
    slots: Vec<Slot>,
    /// The query (user) tower.
    pub(crate) query: Half,
    /// The item tower.
    pub(crate) item: Half,
}

impl Network {
    /// The network with the weights of `towers`.
    pub(crate) fn new(towers: &Towers, manner: &Manner, on: Computing) -> Self {
        let step = manner.step;
        let parts = step.parts();
        let mut widths = vec![1; towers.tables.len()];
        for tower in [&towers.query, &towers.item] {
            for (place, shape) in tower.tables.iter().zip(&tower.shape.embeddings) {
                widths[*place] = shape.dim;
            }
        }
        let slots = towers.tables.iter().zip(widths).map(|(table, width)| Slot {
            table: Table::new(table, width, parts),
            touched: Touched::default(),
        });
        Network {
            on,
            step,
            history: Vec::new(),
            clip_norm: manner.clip_norm,
            dropout: manner.dropout,
            slots: slots.collect(),
            query: Half::new(&towers.query, towers.normalize, parts),
            item: Half::new(&towers.item, towers.normalize, parts),
        }
    }

    /// Where it computes.
    pub(crate) fn on(&self) -> Computing {
        self.on
    }

    /// Steps made so far.
    pub(crate) fn steps(&self) -> usize {
        self.history.len()
    }

    /// Embeds rows of tables: users of `queries`, items of `items`.
    pub(crate) fn forward(
        &mut self,
        queries: (&FeatureTable, &[usize]),
        items: (&FeatureTable, &[usize]),
    ) -> Result<()> {
        self.query.fill(queries.0, queries.1)?;
        self.item.fill(items.0, items.1)?;
        let (isa, step, history) = (self.on.isa, &self.step, &self.history);
        let mut tasks: Vec<(&mut Slot, Vec<&Bag>)> = self.slots.iter_mut().map(|slot| (slot, Vec::new())).collect();
        for input in self.query.inputs.iter().chain(&self.item.inputs) {
            tasks[input.slot].1.push(&input.bag);
        }
        in_parallel(self.on.threads, tasks, |(slot, bags)| {
            slot.table.touch(isa, &bags, &mut slot.touched, step, history);
        });
        let on = self.on;
        let omitted = |tower| self.dropout.map(|dropout| dropout.of(self.history.len() + 1, tower));
        self.query.forward(on, &self.slots, queries.1.len(), omitted(0));
        self.item.forward(on, &self.slots, items.1.len(), omitted(1));
        Ok(())
    }

    /// One step along the gradients that the halves hold; returns what they were multiplied by. `beside` is the sum of the
    /// squares of the gradients that are none of the network's.
    pub(crate) fn learn(&mut self, beside: f64) -> f32 {
        let on = self.on;
        self.query.backward(on);
        self.item.backward(on);
        let mut tasks: Vec<(&mut Slot, Vec<(&mut Input, &[f32], usize)>)> =
            self.slots.iter_mut().map(|slot| (slot, Vec::new())).collect();
        for half in [&mut self.query, &mut self.item] {
            let (gradient, width) = (half.gradient.as_slice(), half.width);
            for input in &mut half.inputs {
                tasks[input.slot].1.push((input, gradient, width));
            }
        }
        in_parallel(self.on.threads, tasks, |(slot, inputs)| {
            for (input, gradient, width) in inputs {
                input.accumulate(on.isa, slot, gradient, width);
            }
        });
        let scale = self.clipping(beside);
        let now = self.history.len() as u32 + 1;
        let numbers = self.step.numbers(now);
        let step = &self.step;
        in_parallel(self.on.threads, self.slots.iter_mut().collect(), |slot| {
            slot.table.apply(on.isa, &slot.touched, scale, step, (now, &numbers));
        });
        self.query.apply(on.isa, scale, step, &numbers);
        self.item.apply(on.isa, scale, step, &numbers);
        self.history.push(numbers);
        scale
    }

    /// What gradients are multiplied by, so that they are together no longer than allowed.
    fn clipping(&self, beside: f64) -> f32 {
        let Some(most) = self.clip_norm else { return 1.0 };
        let tables: f64 = self.slots.iter().map(|slot| slot.touched.square()).sum();
        let square = tables + self.query.square() + self.item.square() + beside;
        (most / square.sqrt().max(most)) as f32
    }

    /// Copies all weights back, those of rows that were not touched lately as if they had been.
    pub(crate) fn download(&mut self, towers: &mut Towers) {
        let (isa, step, history) = (self.on.isa, &self.step, &self.history);
        in_parallel(self.on.threads, self.slots.iter_mut().collect(), |slot| {
            slot.table.flush(isa, step, history);
        });
        for (slot, weights) in self.slots.iter().zip(&mut towers.tables) {
            for (row, target) in weights.chunks_exact_mut(slot.table.width()).enumerate() {
                target.copy_from_slice(slot.table.weights(row));
            }
        }
        self.query.download(&mut towers.query);
        self.item.download(&mut towers.item);
    }

    /// Everything that the next step depends on besides the number of steps so far: tables, layers and attention with what
    /// the optimizer remembers of them, and the last step of each row of each table.
    pub(crate) fn state(&self) -> (Vec<&[f32]>, Vec<&[u32]>) {
        let (mut numbers, mut steps) = (Vec::new(), Vec::new());
        for slot in &self.slots {
            let (rows, last) = slot.table.state();
            numbers.push(rows);
            steps.push(last);
        }
        numbers.extend(self.query.state());
        numbers.extend(self.item.state());
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
        let (tables, others) = numbers.split_at(self.slots.len());
        for ((slot, rows), last) in self.slots.iter_mut().zip(tables).zip(of_rows) {
            slot.table.restore(rows, last);
        }
        let places = [self.query.state_mut(), self.item.state_mut()];
        for (place, values) in places.into_iter().flatten().zip(others) {
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
