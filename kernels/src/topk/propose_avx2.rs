//! Proposals in `f32` with AVX2: six items by 16 users in registers, compared there.
#![expect(
    unsafe_code,
    reason = "rows are read through pointers whose bounds the callers have checked"
)]

use std::arch::x86_64::{
    __m256, _CMP_GE_OQ, _mm256_cmp_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_movemask_ps,
    _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
};

use super::propose::Proposed;
use super::{LANES, STRIP};

/// Items that are scored together.
const HIGH: usize = 6;

/// The sums of `$items` rows from `$rows` on, for 16 lanes.
macro_rules! sums {
    ($items:expr, $rows:expr, $dim:expr, $users:expr) => {{
        let mut sums: [[__m256; 2]; $items] = [[_mm256_setzero_ps(); 2]; $items];
        for place in 0..$dim {
            let users = $users.add(place * LANES);
            let users = [_mm256_loadu_ps(users), _mm256_loadu_ps(users.add(8))];
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = _mm256_set1_ps(*$rows.add(row * $dim + place));
                sums[0] = _mm256_fmadd_ps(x, users[0], sums[0]);
                sums[1] = _mm256_fmadd_ps(x, users[1], sums[1]);
            }
        }
        sums
    }};
}

/// Proposes the rows whose value is not below the limit of a lane.
///
/// # Safety
/// The processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn propose(rows: &[f32], dim: usize, users: &[f32], limits: &[f32; LANES], proposed: &mut Proposed) {
    assert!(users.len() >= dim * LANES);
    let count = rows.len() / dim;
    let (rows, users) = (rows.as_ptr(), users.as_ptr());
    let mut item = 0;
    // SAFETY: `limits` has 32 elements, `users` those of `dim` rows of 32, and `rows` those of `count` rows.
    unsafe {
        macro_rules! step {
            ($items:expr) => {
                while count - item >= $items {
                    let mut lanes = [0_u32; $items];
                    for half in 0..2 {
                        let limits = limits.as_ptr().add(half * 16);
                        let limits = [_mm256_loadu_ps(limits), _mm256_loadu_ps(limits.add(8))];
                        let sums = sums!($items, rows.add(item * dim), dim, users.add(half * 16));
                        for (lanes, sums) in lanes.iter_mut().zip(sums) {
                            for part in 0..2 {
                                let reached = _mm256_cmp_ps::<_CMP_GE_OQ>(sums[part], limits[part]);
                                *lanes |= (_mm256_movemask_ps(reached) as u32) << (half * 16 + part * 8);
                            }
                        }
                    }
                    for (row, lanes) in lanes.into_iter().enumerate() {
                        proposed.push(item + row, lanes);
                    }
                    item += $items;
                }
            };
        }
        step!(HIGH);
        step!(1);
    }
}

/// The largest value of every strip of rows.
///
/// # Safety
/// The processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn maxima(rows: &[f32], dim: usize, users: &[f32], out: &mut Vec<[f32; LANES]>) {
    assert!(users.len() >= dim * LANES);
    for strip in rows.chunks_exact(dim * STRIP) {
        let mut most = [f32::NEG_INFINITY; LANES];
        for rows in strip.chunks_exact(dim * HIGH) {
            for half in 0..2 {
                // SAFETY: as in `propose`; `most` has 32 elements.
                unsafe {
                    let target = most.as_mut_ptr().add(half * 16);
                    let mut largest = [_mm256_loadu_ps(target), _mm256_loadu_ps(target.add(8))];
                    for sums in sums!(HIGH, rows.as_ptr(), dim, users.as_ptr().add(half * 16)) {
                        largest = [_mm256_max_ps(largest[0], sums[0]), _mm256_max_ps(largest[1], sums[1])];
                    }
                    _mm256_storeu_ps(target, largest[0]);
                    _mm256_storeu_ps(target.add(8), largest[1]);
                }
            }
        }
        out.push(most);
    }
}
