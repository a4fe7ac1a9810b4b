//! Instructions, threads and precision of matrix products.

use towline_kernels::{Bf16, Isa, Pair, Strided, gemm, gemm_bf16, pair_columns, pair_rows, transpose};

use crate::train::config::training_options::Precision;

/// Instructions, threads and precision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ComputeBackend {
    /// The instructions for all but products in bf16.
    pub(crate) isa: Isa,
    /// Number of threads.
    pub(crate) threads: usize,
    /// Instructions of bf16 products, with that precision.
    pub(crate) bf16: Option<Bf16>,
}

/// Buffer of a right matrix.
#[derive(Debug, Clone, Default)]
pub(crate) struct RightBuffer {
    single: Vec<f32>,
    pairs: Vec<Pair>,
}

/// Right matrix of products, [depth, columns], in their precision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Right<'a> {
    depth: usize,
    columns: usize,
    numbers: Numbers<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Numbers<'a> {
    Single(&'a [f32]),
    Pairs(Bf16, &'a [Pair]),
}

impl ComputeBackend {
    /// The best that this processor has.
    pub(crate) fn new(precision: Precision, threads: usize) -> Self {
        ComputeBackend {
            isa: Isa::best(),
            threads,
            bf16: match precision {
                Precision::F32 => None,
                Precision::Bf16 => Some(Bf16::best()),
            },
        }
    }

    /// `matrix` [depth, columns] as a right matrix.
    pub(crate) fn right<'a>(
        self,
        matrix: &'a [f32],
        (depth, columns): (usize, usize),
        buffer: &'a mut RightBuffer,
    ) -> Right<'a> {
        let numbers = match self.bf16 {
            None => Numbers::Single(matrix),
            Some(way) => {
                buffer.pairs.resize(depth.div_ceil(2) * columns, Pair::default());
                pair_rows(self.isa, matrix, depth, columns, columns, &mut buffer.pairs);
                Numbers::Pairs(way, &buffer.pairs)
            }
        };
        Right {
            depth,
            columns,
            numbers,
        }
    }

    /// The transpose of `matrix` [columns, depth] as a right matrix.
    pub(crate) fn right_transposed<'a>(
        self,
        matrix: &[f32],
        (depth, columns): (usize, usize),
        buffer: &'a mut RightBuffer,
    ) -> Right<'a> {
        let numbers = match self.bf16 {
            None => {
                buffer.single.resize(depth * columns, 0.0);
                transpose(matrix, columns, depth, &mut buffer.single, columns);
                Numbers::Single(&buffer.single)
            }
            Some(way) => {
                transposed_right(self.isa, matrix, (depth, columns), &mut buffer.pairs);
                Numbers::Pairs(way, &buffer.pairs)
            }
        };
        Right {
            depth,
            columns,
            numbers,
        }
    }
}

impl Right<'_> {
    /// `target = left self`, `left` being [rows, depth] with rows `stride` apart, and `target` [rows, columns] without gaps.
    pub(crate) fn after_rows(&self, isa: Isa, left: &[f32], stride: usize, target: &mut [f32]) {
        let rows = target.len() / self.columns;
        match self.numbers {
            Numbers::Single(right) => {
                let shape = (rows, self.depth, self.columns);
                let left = Strided::rows(left, stride);
                gemm(isa, shape, left, right, self.columns, target, self.columns, false);
            }
            Numbers::Pairs(way, right) => {
                let pairs = self.depth.div_ceil(2);
                let mut lines = vec![Pair::default(); rows * pairs];
                pair_columns(isa, left, self.depth, stride, &mut lines);
                let (shape, lines) = ((rows, pairs, self.columns), Strided::rows(&lines, pairs));
                gemm_bf16(way, shape, lines, (right, self.columns), (target, self.columns), false);
            }
        }
    }

    /// `target = left^T self`, `left` being [depth, rows] with rows of it `stride` apart, and `target` [rows, columns].
    pub(crate) fn after_columns(&self, isa: Isa, left: &[f32], stride: usize, target: &mut [f32]) {
        let rows = target.len() / self.columns;
        match self.numbers {
            Numbers::Single(right) => {
                let shape = (rows, self.depth, self.columns);
                let left = Strided::columns(left, stride);
                gemm(isa, shape, left, right, self.columns, target, self.columns, false);
            }
            Numbers::Pairs(way, right) => {
                let pairs = self.depth.div_ceil(2);
                let lines = transposed_pairs(isa, left, (self.depth, rows), stride);
                let (shape, lines) = ((rows, pairs, self.columns), Strided::rows(&lines, pairs));
                gemm_bf16(way, shape, lines, (right, self.columns), (target, self.columns), false);
            }
        }
    }
}

/// Leaves the transpose of `matrix` [columns, depth] as a right matrix: [depth / 2 rounded up, columns].
pub(crate) fn transposed_right(isa: Isa, matrix: &[f32], (depth, columns): (usize, usize), target: &mut Vec<Pair>) {
    let pairs = depth.div_ceil(2);
    let mut lines = vec![Pair::default(); columns * pairs];
    pair_columns(isa, matrix, depth, depth, &mut lines);
    target.resize(pairs * columns, Pair::default());
    transpose(&lines, columns, pairs, target, columns);
}

/// The transpose of `matrix` [depth, rows], whose rows are `stride` apart, as a left matrix: [rows, depth / 2 rounded up].
pub(crate) fn transposed_pairs(isa: Isa, matrix: &[f32], (depth, rows): (usize, usize), stride: usize) -> Vec<Pair> {
    let pairs = depth.div_ceil(2);
    let mut lines = vec![Pair::default(); pairs * rows];
    pair_rows(isa, matrix, depth, rows, stride, &mut lines);
    let mut left = vec![Pair::default(); rows * pairs];
    transpose(&lines, pairs, rows, &mut left, pairs);
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_precisions_give_the_product_and_its_transposes() {
        let (rows, depth, columns) = (37, 45, 19);
        let values = |count: usize, salt: usize| -> Vec<f32> {
            (0..count)
                .map(|i| ((i * 37 + salt) % 101) as f32 / 50.0 - 1.0)
                .collect()
        };
        let (left, right) = (values(rows * depth, 3), values(depth * columns, 5));
        let flipped = |matrix: &[f32], rows: usize, columns: usize| {
            let mut flipped = vec![0.0; matrix.len()];
            transpose(matrix, rows, columns, &mut flipped, rows);
            flipped
        };
        for precision in [Precision::F32, Precision::Bf16] {
            let on = ComputeBackend::new(precision, 1);
            // A number of bf16 is up to 1 in 256 off, and so is a product of two, twice that.
            let most = if precision == Precision::F32 {
                1e-4
            } else {
                45.0 / 128.0
            };
            let (mut one, mut other) = (RightBuffer::default(), RightBuffer::default());
            let plain = on.right(&right, (depth, columns), &mut one);
            let turned = flipped(&right, depth, columns);
            let turned = on.right_transposed(&turned, (depth, columns), &mut other);
            let left_turned = flipped(&left, rows, depth);
            let mut found = vec![vec![0.0; rows * columns]; 3];
            plain.after_rows(on.isa, &left, depth, &mut found[0]);
            turned.after_rows(on.isa, &left, depth, &mut found[1]);
            plain.after_columns(on.isa, &left_turned, rows, &mut found[2]);
            for row in 0..rows {
                for column in 0..columns {
                    let exact: f64 = (0..depth)
                        .map(|d| f64::from(left[row * depth + d]) * f64::from(right[d * columns + column]))
                        .sum();
                    for found in &found {
                        assert!((f64::from(found[row * columns + column]) - exact).abs() < most);
                    }
                    assert!((found[0][row * columns + column] - found[1][row * columns + column]).abs() < 1e-4);
                    assert!((found[0][row * columns + column] - found[2][row * columns + column]).abs() < 1e-4);
                }
            }
        }
    }
}
