//! The products of the in-batch loss in bf16.
//!
//! All three have a left matrix whose rows are contiguous and a right one in pairs of rows: the gradient by the candidates
//! is therefore made transposed, [dim, candidates].

use towline_kernels::{Bf16, Isa, Pair, Strided, gemm_bf16, pair_columns, pair_rows};

use crate::train::losses::in_batch::Block;
use crate::train::network::compute_backend::{ComputeBackend, transposed_pairs, transposed_right};

/// The embeddings of the candidates, twice.
#[derive(Debug, Default)]
pub(crate) struct Factors {
    /// Row-major [dim / 2, candidates].
    for_scores: Vec<Pair>,
    /// Row-major [candidates / 2, dim].
    for_queries: Vec<Pair>,
}

impl Factors {
    /// Takes these embeddings, row-major [candidates, dim].
    pub(crate) fn fill(&mut self, on: ComputeBackend, embeddings: &[f32], dim: usize) {
        let count = embeddings.len() / dim;
        self.for_queries.resize(count.div_ceil(2) * dim, Pair::default());
        pair_rows(on.isa, embeddings, count, dim, dim, &mut self.for_queries);
        transposed_right(on.isa, embeddings, (dim, count), &mut self.for_scores);
    }
}

/// The memory that a block is worked on in.
#[derive(Debug, Default)]
pub(crate) struct PairsOfBlock {
    left: Vec<Pair>,
    right: Vec<Pair>,
}

impl PairsOfBlock {
    /// The scores of the block's rows, [rows, candidates].
    pub(crate) fn scores(&mut self, (isa, way): (Isa, Bf16), block: Block<'_>, factors: &Factors, scores: &mut [f32]) {
        let (dim, pairs) = (block.dim, block.dim.div_ceil(2));
        self.left.resize(block.rows * pairs, Pair::default());
        pair_columns(isa, block.queries, dim, dim, &mut self.left);
        let (shape, left) = ((block.rows, pairs, block.count), Strided::rows(&self.left, pairs));
        let right = (factors.for_scores.as_slice(), block.count);
        gemm_bf16(way, shape, left, right, (scores, block.stride), false);
    }

    /// Multiplies the gradients by the scores out: by the queries, [rows, dim], and by the candidates, [dim, candidates].
    pub(crate) fn gradients(
        &mut self,
        (isa, way): (Isa, Bf16),
        block: Block<'_>,
        factors: &Factors,
        by_score: &[f32],
        (by_query, by_item): (&mut [f32], &mut [f32]),
        accumulate: bool,
    ) {
        let Block {
            rows,
            count,
            dim,
            stride,
            ..
        } = block;
        let pairs = count.div_ceil(2);
        self.left.resize(rows * pairs, Pair::default());
        pair_columns(isa, by_score, count, stride, &mut self.left);
        let (left, right) = (Strided::rows(&self.left, pairs), (factors.for_queries.as_slice(), dim));
        gemm_bf16(way, (rows, pairs, dim), left, right, (by_query, dim), false);

        let pairs = rows.div_ceil(2);
        let queries = transposed_pairs(isa, block.queries, (rows, dim), dim);
        self.right.resize(pairs * count, Pair::default());
        pair_rows(isa, by_score, rows, count, stride, &mut self.right);
        let (left, right) = (Strided::rows(&queries, pairs), (self.right.as_slice(), count));
        gemm_bf16(way, (dim, pairs, count), left, right, (by_item, count), accumulate);
    }
}
