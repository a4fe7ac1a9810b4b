//! Proposals in `f32` with AVX-512: twelve items by 32 users in registers, compared there.
#![expect(
    unsafe_code,
    reason = "rows are read through pointers whose bounds the callers have checked"
)]

use std::arch::x86_64::{
    __m512, _CMP_GE_OQ, _mm512_cmp_ps_mask, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_max_ps, _mm512_set1_ps,
    _mm512_setzero_ps, _mm512_storeu_ps,
};

use super::propose::Proposed;
use super::{LANES, STRIP};

/// The sums of `$items` rows from `$rows` on, for both halves of the lanes.
macro_rules! sums {
    ($items:expr, $rows:expr, $dim:expr, $users:expr) => {{
        let mut sums: [[__m512; 2]; $items] = [[_mm512_setzero_ps(); 2]; $items];
        for place in 0..$dim {
            let users = $users.add(place * LANES);
            let users = [_mm512_loadu_ps(users), _mm512_loadu_ps(users.add(16))];
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = _mm512_set1_ps(*$rows.add(row * $dim + place));
                sums[0] = _mm512_fmadd_ps(x, users[0], sums[0]);
                sums[1] = _mm512_fmadd_ps(x, users[1], sums[1]);
            }
        }
        sums
    }};
}

/// Proposes the rows whose value is not below the limit of a lane.
///
/// # Safety
/// The processor has AVX-512.
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn propose(rows: &[f32], dim: usize, users: &[f32], limits: &[f32; LANES], proposed: &mut Proposed) {
    assert!(users.len() >= dim * LANES);
    let count = rows.len() / dim;
    let (rows, users) = (rows.as_ptr(), users.as_ptr());
    // SAFETY: `limits` has 32 elements, `users` those of `dim` rows of 32, and `rows` those of `count` rows.
    unsafe {
        let limits = [
            _mm512_loadu_ps(limits.as_ptr()),
            _mm512_loadu_ps(limits.as_ptr().add(16)),
        ];
        let mut item = 0;
        macro_rules! step {
            ($items:expr) => {
                while count - item >= $items {
                    let sums = sums!($items, rows.add(item * dim), dim, users);
                    for (row, sums) in sums.into_iter().enumerate() {
                        let low = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(sums[0], limits[0]);
                        let high = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(sums[1], limits[1]);
                        proposed.push(item + row, u32::from(high) << 16 | u32::from(low));
                    }
                    item += $items;
                }
            };
        }
        step!(STRIP);
        step!(4);
        step!(1);
    }
}

/// The largest value of every strip of rows.
///
/// # Safety
/// The processor has AVX-512.
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn maxima(rows: &[f32], dim: usize, users: &[f32], out: &mut Vec<[f32; LANES]>) {
    assert!(users.len() >= dim * LANES);
    for strip in rows.chunks_exact(dim * STRIP) {
        let (rows, users) = (strip.as_ptr(), users.as_ptr());
        let mut most = [0.0; LANES];
        // SAFETY: as in `propose`; `most` has 32 elements.
        unsafe {
            let [first, rest @ ..] = sums!(STRIP, rows, dim, users);
            let largest = rest.into_iter().fold(first, |most, sums| {
                [_mm512_max_ps(most[0], sums[0]), _mm512_max_ps(most[1], sums[1])]
            });
            _mm512_storeu_ps(most.as_mut_ptr(), largest[0]);
            _mm512_storeu_ps(most.as_mut_ptr().add(16), largest[1]);
        }
        out.push(most);
    }
}
