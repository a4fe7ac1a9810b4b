//! Embedding tables whose rows are touched only where a batch names them.

use std::collections::HashMap;

use crate::Isa;
use crate::isa::by_isa;
use crate::optimizer::{Missed, Numbers, Step, catch_up, update};

/// How the rows of a list become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean; zero without any.
    Mean,
    /// Their sum.
    Sum,
    /// The highest of each component; zero without any.
    Max,
}

/// The ids of one column in a batch: those of row `r` are `ids[offsets[r]..offsets[r + 1]]`.
#[derive(Debug, Clone, Default)]
pub struct Bag {
    /// The ids of all rows.
    pub ids: Vec<u32>,
    /// Where each row begins, and the end of the last one.
    pub offsets: Vec<u32>,
}

impl Bag {
    /// Makes it hold these rows of a column that has one id a row; `skip` is none.
    ///
    /// # Panics
    /// If a row is outside of the column.
    pub fn fill(&mut self, rows: &[usize], ids: &[i64], skip: i64) {
        self.clear();
        for &row in rows {
            self.push(&ids[row..=row], skip);
        }
    }

    /// The same for a column of lists: row `r` has `values[offsets[r]..offsets[r + 1]]`.
    ///
    /// # Panics
    /// If a row is outside of the column.
    pub fn fill_lists(&mut self, rows: &[usize], offsets: &[usize], values: &[i64], skip: i64) {
        self.clear();
        for &row in rows {
            self.push(&values[offsets[row]..offsets[row + 1]], skip);
        }
    }

    fn clear(&mut self) {
        self.ids.clear();
        self.offsets.clear();
        self.offsets.push(0);
    }

    fn push(&mut self, ids: &[i64], skip: i64) {
        self.ids
            .extend(ids.iter().filter(|&&id| id != skip).map(|&id| id as u32));
        self.offsets.push(self.ids.len() as u32);
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn row(&self, row: usize) -> std::ops::Range<usize> {
        self.offsets[row] as usize..self.offsets[row + 1] as usize
    }
}

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
    ids: Vec<u32>,
    /// Row-major [ids, width].
    gradients: Vec<f32>,
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

    /// Adds to the gradients of the rows that `bag` names what `gradient` says of its pooled rows. Rows of `gradient`
    /// are `stride` apart and begin at `offset`.
    ///
    /// # Panics
    /// If the bag was not among those that were touched last.
    pub fn accumulate(
        &self,
        isa: Isa,
        bag: &Bag,
        pooling: Pooling,
        (gradient, stride, offset): (&[f32], usize, usize),
        touched: &mut Touched,
    ) {
        accumulate(isa, self, bag, pooling, gradient, stride, offset, touched);
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

    /// Writes the pooled rows `range` of `bag` to `out`, whose rows are `stride` apart and begin at `offset`; with
    /// `add`, adds them.
    ///
    /// # Panics
    /// If an id is outside of the table or `out` too short.
    pub fn pool(
        &self,
        isa: Isa,
        bag: &Bag,
        pooling: Pooling,
        range: std::ops::Range<usize>,
        (out, stride, offset): (&mut [f32], usize, usize),
        add: bool,
    ) {
        pool(isa, self, bag, pooling, range, out, stride, offset, add);
    }
}

by_isa! {
    fn pool(
        table: &Table,
        bag: &Bag,
        pooling: Pooling,
        range: std::ops::Range<usize>,
        out: &mut [f32],
        stride: usize,
        offset: usize,
        add: bool,
    ) = pool_rows;
}

#[inline(always)]
fn pool_rows(
    table: &Table,
    bag: &Bag,
    pooling: Pooling,
    range: std::ops::Range<usize>,
    out: &mut [f32],
    stride: usize,
    offset: usize,
    add: bool,
) {
    let mut best = vec![0.0_f32; if pooling == Pooling::Max { table.width } else { 0 }];
    for (row, out) in range.zip(out.chunks_mut(stride)) {
        let out = &mut out[offset..][..table.width];
        if !add {
            out.fill(0.0);
        }
        let ids = &bag.ids[bag.row(row)];
        if pooling == Pooling::Max {
            if let [first, rest @ ..] = ids {
                best.copy_from_slice(table.weights(*first as usize));
                for id in rest {
                    for (best, x) in best.iter_mut().zip(table.weights(*id as usize)) {
                        *best = if *x > *best { *x } else { *best };
                    }
                }
                out.iter_mut().zip(&best).for_each(|(out, x)| *out += x);
            }
            continue;
        }
        let factor = factor(pooling, ids.len());
        for id in ids {
            for (out, x) in out.iter_mut().zip(table.weights(*id as usize)) {
                *out += x * factor;
            }
        }
    }
}

by_isa! {
    fn accumulate(
        table: &Table,
        bag: &Bag,
        pooling: Pooling,
        gradient: &[f32],
        stride: usize,
        offset: usize,
        touched: &mut Touched,
    ) = accumulate_rows;
}

#[inline(always)]
fn accumulate_rows(
    table: &Table,
    bag: &Bag,
    pooling: Pooling,
    gradient: &[f32],
    stride: usize,
    offset: usize,
    touched: &mut Touched,
) {
    let width = table.width;
    for (row, gradient) in gradient.chunks(stride).take(bag.offsets.len() - 1).enumerate() {
        let gradient = &gradient[offset..][..width];
        let ids = &bag.ids[bag.row(row)];
        if pooling == Pooling::Max {
            for (component, gradient) in gradient.iter().enumerate() {
                let weight = |id: &u32| table.weights(*id as usize)[component];
                let Some(first) = ids.first() else { break };
                // The first of several that are equally high, as in the forward pass.
                let winner = ids
                    .iter()
                    .fold(first, |best, id| if weight(id) > weight(best) { id } else { best });
                touched.gradients[table.place[*winner as usize] as usize * width + component] += gradient;
            }
            continue;
        }
        let factor = factor(pooling, ids.len());
        for id in ids {
            let target = table.gradient_of(touched, *id);
            for (target, gradient) in target.iter_mut().zip(gradient) {
                *target += gradient * factor;
            }
        }
    }
}

/// What each of `count` rows counts for.
#[inline(always)]
fn factor(pooling: Pooling, count: usize) -> f32 {
    if pooling == Pooling::Mean {
        1.0 / count.max(1) as f32
    } else {
        1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer::{Decay, Rule, Schedule};

    fn bag(rows: &[&[i64]]) -> Bag {
        let mut offsets = vec![0];
        for row in rows {
            offsets.push(offsets[offsets.len() - 1] + row.len());
        }
        let mut bag = Bag::default();
        bag.fill_lists(&(0..rows.len()).collect::<Vec<_>>(), &offsets, &rows.concat(), 0);
        bag
    }

    #[test]
    fn pooling_skips_padding_and_its_gradient_goes_where_it_came_from() {
        let weights = [0.0, 0.0, 1.0, 10.0, 3.0, 2.0, 5.0, 6.0];
        let bag = bag(&[&[1, 0, 2], &[], &[3, 3]]);
        let expected = [
            (
                Pooling::Mean,
                [2.0, 6.0, 0.0, 0.0, 5.0, 6.0],
                [0.5, 0.5, 0.5, 0.5, 2.0, 2.0],
            ),
            (
                Pooling::Sum,
                [4.0, 12.0, 0.0, 0.0, 10.0, 12.0],
                [1.0, 1.0, 1.0, 1.0, 4.0, 4.0],
            ),
            (
                Pooling::Max,
                [3.0, 10.0, 0.0, 0.0, 5.0, 6.0],
                [0.0, 1.0, 1.0, 0.0, 2.0, 2.0],
            ),
        ];
        for isa in Isa::available() {
            for (pooling, pooled, gradients) in expected {
                let schedule = Schedule {
                    peak: 0.1,
                    warm_up: 0,
                    cosine: None,
                };
                let step = Step {
                    rule: Rule::Sgd,
                    decay: Decay::None,
                    schedule,
                };
                let mut table = Table::new(&weights, 2, 1);
                let mut touched = Touched::default();
                table.touch(isa, &[&bag], &mut touched, &step, &[]);
                let mut out = vec![7.0; 9];
                table.pool(isa, &bag, pooling, 0..3, (&mut out, 3, 1), false);
                let found: Vec<f32> = out.chunks(3).flat_map(|row| row[1..].to_vec()).collect();
                assert_eq!(found, pooled);
                assert_eq!(out[0], 7.0);
                let gradient = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 2.0, 2.0];
                table.accumulate(isa, &bag, pooling, (&gradient, 3, 1), &mut touched);
                assert_eq!(touched.ids, [1, 2, 3]);
                assert_eq!(touched.gradients, gradients, "{pooling:?}");
            }
        }
    }

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
            let everything = bag(&[&[1, 2, 3, 4, 5, 6, 7, 8, 9]]);
            let mut history = Vec::new();
            for number in 1..=60_u32 {
                let id = i64::from(1 + number * number % 9);
                let named = bag(&[&[id]]);
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
