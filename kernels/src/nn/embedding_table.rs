//! Embedding tables whose rows are touched only where a batch names them.

use std::collections::HashMap;

use crate::Isa;
use crate::nn::bag::Bag;
use crate::nn::catch_up::{Missed, catch_up};
use crate::nn::optimizer::{Numbers, Step, update};

/// An embedding table: rows of `[weights | what the optimizer remembers]`.
#[derive(Debug, Clone)]
pub struct Table {
    width: usize,
    stride: usize,
    rows: Vec<f32>,
    /// The last step that each row has made.
    last: Vec<u32>,
    /// The place of a row in [`Touched::ids`], valid if that place holds the row.
    place: Vec<u32>,
}

/// The rows that a batch names, each once, with their gradients.
#[derive(Debug, Clone, Default)]
pub struct Touched {
    pub(crate) ids: Vec<u32>,
    /// Row-major [ids, width].
    pub(crate) gradients: Vec<f32>,
}

impl Touched {
    /// The sum of the squares of all gradients.
    pub fn square(&self) -> f64 {
        self.gradients.iter().map(|x| f64::from(*x) * f64::from(*x)).sum()
    }
}

impl Table {
    /// A table with these weights, row-major [rows, width].
    pub fn new(weights: &[f32], width: usize, parts: usize) -> Self {
        let count = weights.len() / width;
        let mut rows = vec![0.0; count * width * parts];
        for (row, weights) in rows.chunks_exact_mut(width * parts).zip(weights.chunks_exact(width)) {
            row[..width].copy_from_slice(weights);
        }
        Table {
            width,
            stride: width * parts,
            rows,
            last: vec![0; count],
            place: vec![0; count],
        }
    }

    /// Width of a row's weights.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The weights of a row.
    pub fn weights(&self, row: usize) -> &[f32] {
        &self.rows[row * self.stride..][..self.width]
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.last.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// Everything there is: rows with their memory, and the last step of each.
    pub fn state(&self) -> (&[f32], &[u32]) {
        (&self.rows, &self.last)
    }

    /// Takes up where [`Table::state`] was written down; `false` if the sizes are not this table's.
    pub fn restore(&mut self, rows: &[f32], last: &[u32]) -> bool {
        let fits = rows.len() == self.rows.len() && last.len() == self.last.len();
        if fits {
            self.rows.copy_from_slice(rows);
            self.last.copy_from_slice(last);
        }
        fits
    }

    /// Gathers the rows that `bags` name, brought to where step `now - 1` would have left them; the gradients are zero.
    ///
    /// # Panics
    /// If an id is outside of the table.
    pub fn touch(&mut self, isa: Isa, bags: &[&Bag], touched: &mut Touched, step: &Step, history: &[Numbers]) {
        touched.ids.clear();
        for &id in bags.iter().flat_map(|bag| &bag.ids) {
            let place = self.place[id as usize] as usize;
            if touched.ids.get(place) != Some(&id) {
                self.place[id as usize] = touched.ids.len() as u32;
                touched.ids.push(id);
            }
        }
        touched.gradients.clear();
        touched.gradients.resize(touched.ids.len() * self.width, 0.0);
        self.advance(isa, touched.ids.iter().map(|id| *id as usize), step, history);
    }

    /// Brings all rows to where the last step would have left them.
    pub fn flush(&mut self, isa: Isa, step: &Step, history: &[Numbers]) {
        self.advance(isa, 0..self.last.len(), step, history);
    }

    fn advance(&mut self, isa: Isa, rows: impl Iterator<Item = usize>, step: &Step, history: &[Numbers]) {
        let now = history.len() as u32;
        // Many rows have missed equally much: what they missed is worked out once.
        let mut known: HashMap<u32, Missed> = HashMap::new();
        for row in rows {
            let last = self.last[row];
            let missed = now - last;
            if missed == 0 {
                continue;
            }
            let steps = &history[last as usize..];
            let what = known.entry(missed).or_insert_with(|| step.missed(steps));
            let target = &mut self.rows[row * self.stride..][..self.stride];
            catch_up(isa, target, self.width, what, step, steps);
            self.last[row] = now;
        }
    }

    /// The gradient of a row that was touched last.
    #[inline(always)]
    pub(crate) fn gradient_of<'t>(&self, touched: &'t mut Touched, id: u32) -> &'t mut [f32] {
        &mut touched.gradients[self.place[id as usize] as usize * self.width..][..self.width]
    }

    /// Moves the touched rows by their gradients times `scale`; `numbers` are those of step `now`.
    pub fn apply(&mut self, isa: Isa, touched: &Touched, scale: f32, step: &Step, (now, numbers): (u32, &Numbers)) {
        for (&id, gradient) in touched.ids.iter().zip(touched.gradients.chunks_exact(self.width)) {
            let row = &mut self.rows[id as usize * self.stride..][..self.stride];
            update(isa, row, gradient, scale, step, numbers);
            self.last[id as usize] = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::optimizer::{Decay, Rule, Schedule};
    use crate::nn::pooling::Pooling;

    #[test]
    fn rows_that_a_batch_does_not_name_catch_up_when_they_are_next_read() {
        let schedule = Schedule {
            peak: 0.05,
            warm_up: 0,
            cosine: None,
        };
        for decay in [Decay::None, Decay::Coupled(1e-2), Decay::Decoupled(1e-1)] {
            let step = Step {
                rule: Rule::Adam {
                    beta1: 0.9,
                    beta2: 0.999,
                },
                decay,
                schedule,
            };
            let weights: Vec<f32> = (0..20).map(|place| place as f32 / 20.0).collect();
            let (mut lazy, mut dense) = (Table::new(&weights, 2, 3), Table::new(&weights, 2, 3));
            let (mut some, mut all) = (Touched::default(), Touched::default());
            let everything = Bag::of(&[&[1, 2, 3, 4, 5, 6, 7, 8, 9]]);
            let mut history = Vec::new();
            for number in 1..=60_u32 {
                let id = i64::from(1 + number * number % 9);
                let named = Bag::of(&[&[id]]);
                let gradient = [0.1 + number as f32 / 50.0, -0.2];
                lazy.touch(Isa::best(), &[&named], &mut some, &step, &history);
                lazy.accumulate(Isa::best(), &named, Pooling::Sum, (&gradient, 2, 0), &mut some);
                dense.touch(Isa::best(), &[&everything], &mut all, &step, &history);
                dense.accumulate(Isa::best(), &named, Pooling::Sum, (&gradient, 2, 0), &mut all);
                let numbers = step.numbers(number);
                lazy.apply(Isa::best(), &some, 1.0, &step, (number, &numbers));
                dense.apply(Isa::best(), &all, 1.0, &step, (number, &numbers));
                history.push(numbers);
            }
            lazy.flush(Isa::best(), &step, &history);
            dense.flush(Isa::best(), &step, &history);
            for row in 0..10 {
                for (a, b) in lazy.weights(row).iter().zip(dense.weights(row)) {
                    assert!((a - b).abs() < 1e-4, "{decay:?}, row {row}: {a} {b}");
                }
            }
        }
    }
}
