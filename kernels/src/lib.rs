//! The hot loops of training, of exact top-k and of encoding on a CPU, chosen at run time by what the processor can do.
//!
//! Every kernel takes an [`Isa`]: AVX-512, AVX2, or what every processor has. Element by element kernels are one text,
//! compiled once per instruction set, and give the same bits on all of them; matrix products round differently where
//! the processor fuses multiplication and addition. No result depends on the number of threads.
//!
//! The one crate of the workspace with `unsafe` code; it is kept to the matrix and top-k kernels and the
//! dispatch.

// The body of a kernel has to be part of each version that `by_isa` compiles, and takes slices rather than structures.
#![allow(clippy::inline_always, clippy::too_many_arguments)]
// Matrices and their sizes are called as in the literature.
#![allow(clippy::many_single_char_names)]

#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod bag;
mod bf16;
mod catch_up;
mod chance;
mod dictionary;
mod gemm;
#[cfg(target_arch = "x86_64")]
mod gemm_x86;
mod integers;
mod invert;
mod isa;
mod least_squares;
mod mask;
mod optimizer;
mod packing;
mod parallel;
mod pooling;
mod softmax;
mod table;
mod top_k;
mod vector;

pub use bag::Bag;
pub use bf16::{Bf16, Pair, gemm_bf16, pair_columns, pair_rows};
pub use chance::{by_chance, chance, mixed};
pub use dictionary::IntegerDictionary;
pub use gemm::{Strided, gemm, transpose};
pub use integers::{IntegerCounts, IntegerIds, rank, sort, widened};
pub use invert::invert;
pub use isa::Isa;
pub use least_squares::{Likes, Weights, solve_rows};
pub use mask::{Mask, Positives};
pub use optimizer::{Decay, Numbers, Rule, Schedule, Step, update};
pub use packing::{bits, pack_differences, pack_flags, pack_run, pack_runs};
pub use parallel::in_parallel;
pub use pooling::Pooling;
pub use softmax::softmax_gradient;
pub use table::{Table, Touched};
pub use top_k::{Excluded, Found, Hit, ItemIndex, Proposer, Search, TopKError, dot};
pub use vector::{
    add_bias, add_scaled, column_sums, normalize_rows, normalize_rows_backward, relu, relu_backward, scale,
};
