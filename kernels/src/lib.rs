//! CPU kernels for training, exact top-k and encoding, dispatched at run time by instruction set.
//!
//! Every kernel takes an [`Isa`]: AVX-512, AVX2, or portable code. Element-wise kernels are compiled once per instruction
//! set from one source and give the same bits on all of them; matrix products round differently where the processor
//! fuses multiplication and addition. No result depends on the number of threads.
//!
//! The `unsafe` code of this crate is confined to the matrix and top-k kernels and the dispatch; every safe function
//! checks the bounds that they rely on.

// The body of a kernel has to be part of each version that `by_isa` compiles, and takes slices rather than structures.
#![allow(clippy::inline_always, clippy::too_many_arguments)]
// Matrices and their sizes are called as in the literature.
#![allow(clippy::many_single_char_names)]

mod integers;
mod isa;
mod linalg;
mod nn;
mod parallel;
mod random;
mod topk;

pub use integers::{IntegerCounts, IntegerDictionary, IntegerIds, rank, sort, widened};
pub use integers::{bits, pack_differences, pack_flags, pack_run, pack_runs};
pub use isa::Isa;
pub use linalg::{Bf16, Pair, gemm_bf16, pair_columns, pair_rows};
pub use linalg::{ImplicitFeedback, Weights, invert, solve_rows};
pub use linalg::{Strided, gemm, transpose};
pub use linalg::{
    add_bias, add_scaled, column_sums, normalize_rows, normalize_rows_backward, relu, relu_backward, scale,
};
pub use nn::{Bag, Mask, Pooling, Positives, Table, Touched, softmax_gradient};
pub use nn::{Decay, Numbers, Rule, Schedule, Step, update};
pub use parallel::in_parallel;
pub use random::{by_chance, chance, mixed};
pub use topk::{Excluded, Found, Hit, ItemIndex, Proposer, Search, TopKError, dot};
