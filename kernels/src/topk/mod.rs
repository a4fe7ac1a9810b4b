//! Exact top-k by dot product.
//!
//! # What decides
//!
//! One dot product in `f32` with a fixed order of additions ([`dot`]), and the tie rule: score descending, then place of
//! the item ascending (items are given in order of their ids). Every instruction set computes that dot product to the same
//! bits, since it neither fuses nor reorders. The fast kernels ([`Proposer`]) only *propose*: they say which items could be
//! among the best, and each of those is scored by [`dot`]. So the result is equal, bit by bit, to that of scoring
//! everything, on every processor and with any number of threads.
//!
//! # How items are proposed
//!
//! Items are sorted by length, longest first, in blocks of [`BLOCK`]; users are taken in tiles of [`LANES`]. For each user
//! `T` is a score that the k-th best item is known to reach: the worst of the `k` best so far or, before there are `k`, what
//! the largest of every [`STRIP`] items among the first ones guarantee. An item is proposed unless its score is certainly
//! below `T`. Where no item of a block can reach `T`, no later one can, and the user is finished.
//!
//! # The bound
//!
//! Let `r = Σ u_i v_i` be the true product of a user `u` and an item `v` of a block, `N` the greatest length in the block,
//! `c` the value of [`dot`], `d` the width, `γ(n) = n ε / (1 - n ε)` with `ε = 2^-24`, and `τ = d 2^-149`. Nothing
//! overflows: users with `|u| N ≥ 10^38` are scored without proposals.
//!
//! 1. *The canonical product.* A term passes through one product, at most `⌈d / 16⌉` additions of its lane and 4 of the
//!    tree. Each of those multiplies it by a factor `1 + δ`, `|δ| ≤ ε` (Higham 2002, Accuracy and Stability of Numerical
//!    Algorithms, lemma 3.1), except that a product that is subnormal errs by at most `2^-150` instead; sums that are
//!    subnormal are exact. With `n = ⌈d / 16⌉ + 5` and Cauchy's inequality,
//!    `|c - r| ≤ γ(n) Σ |u_i v_i| + τ ≤ γ(n) |u| N + τ`.
//! 2. *Proposals in `f32`.* A sum of `d` terms one after the other, with or without fused multiplication, errs in the same
//!    way with `n = d + 1`: the value `p` has `|p - r| ≤ γ(d + 1) |u| N + τ`. So `c ≤ p + E` with
//!    `E = (γ(d + 1) + γ(⌈d / 16⌉ + 5)) |u| N + 2 τ`.
//! 3. *Proposals in `i8`.* The user is taken as `û = s q` and the item as `v̂ = t w`, with whole numbers `q_i`, `w_i` in
//!    -127..=127, one scale `s` per user and one `t` per block. `I = Σ q_i w_i` is exact in 32 bits, as `d` is at most
//!    [`MOST_DIMENSIONS`]. From `u·v = û·v̂ + û·(v - v̂) + (u - û)·v` and Cauchy's inequality,
//!    `|r - s t I| ≤ |û| D + |u - û| N`, where `D` is the greatest `|v - v̂|` in the block. So `c ≤ s t I + E` with
//!    `E = |û| D + |u - û| N + γ(⌈d / 16⌉ + 5) |u| N + τ`, and also `c ≥ s t I - E`. Scales have 24 bits, so that `s q_i`
//!    is exact in `f64`; the lengths of the differences are measured, not estimated.
//!
//! An item is left out only if `c < T` for certain: if `p + E < T`, or `s t I + E < T`. Lengths and `E` are computed in
//! `f64` and multiplied by `1 + 2^-30`, far more than what their own roundings (at most `(d + 9) 2^-53`) can take away.
//! The limit `T - E` errs by at most `2^-52 (|T| + E)`; `2^-48 (|T| + E)` is taken off. In `f32` the limit is then rounded
//! down. In `i8` it is divided by `s t`: within the range of `I`, below `2^31`, the quotient errs by less than one, and one
//! is taken off its floor.
//!
//! A lane of a tile that holds no user has a limit that nothing reaches; how many items were proposed for each user is part
//! of the result, so that a limit which lets everything through does not go unnoticed.

mod best;
mod bound;
mod error;
mod exclude;
mod index;
mod items;
mod propose;
#[cfg(target_arch = "x86_64")]
mod propose_amx;
#[cfg(target_arch = "x86_64")]
mod propose_avx2;
#[cfg(target_arch = "x86_64")]
mod propose_avx512;
#[cfg(target_arch = "x86_64")]
mod propose_vnni;
mod proposer;
mod score;
mod tile;

#[cfg(test)]
mod tests;

pub use error::TopKError;
pub use exclude::Excluded;
pub use index::{Found, ItemIndex, Search};
pub use proposer::Proposer;
pub use score::{Hit, dot};

/// Items of a block. A multiple of [`STRIP`] and of the 32 that AMX takes at once.
const BLOCK: usize = 192;
/// Users that are scored together: two registers of AVX-512.
const LANES: usize = 32;
/// Items that are scored together.
const STRIP: usize = 12;
/// The greatest width for which sums of products of bytes fit into 32 bits with room to spare.
const MOST_DIMENSIONS: usize = 16_384;
