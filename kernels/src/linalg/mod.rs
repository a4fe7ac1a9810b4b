//! Dense linear algebra: matrix products in fp32 and bf16, vector operations, least squares, inversion.

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
pub(crate) mod bf16;
pub(crate) mod gemm;
#[cfg(target_arch = "x86_64")]
pub(crate) mod gemm_x86;
mod invert;
mod least_squares;
mod vector;

pub use bf16::{Bf16, Pair, gemm_bf16, pair_columns, pair_rows};
pub use gemm::{Strided, gemm, transpose};
pub use invert::invert;
pub use least_squares::{ImplicitFeedback, Weights, solve_rows};
pub use vector::{
    add_bias, add_scaled, column_sums, normalize_rows, normalize_rows_backward, relu, relu_backward, scale,
};
