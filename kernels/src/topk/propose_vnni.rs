//! Proposals in `i8` with AVX-512 VNNI: twelve items by 32 users in registers, compared there.
#![expect(
    unsafe_code,
    reason = "rows are read through pointers whose bounds the callers have checked"
)]

use std::arch::x86_64::{
    __m512i, _mm512_cmpgt_epi32_mask, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_max_epi32, _mm512_set1_epi32,
    _mm512_setzero_si512, _mm512_storeu_si512,
};

use super::propose::Proposed;
use super::{LANES, STRIP};

/// The rows of a block as bytes with their offset: `count` rows that begin `stride`, a multiple of four, apart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ByteRows<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) count: usize,
    pub(crate) stride: usize,
}

/// The sums of `$items` rows from `$rows` on, for both halves of the lanes.
macro_rules! sums {
    ($items:expr, $rows:expr, $stride:expr, $users:expr) => {{
        let mut sums: [[__m512i; 2]; $items] = [[_mm512_setzero_si512(); 2]; $items];
        for group in 0..$stride / 4 {
            let users = $users.add(group * LANES * 4);
            let users = [
                _mm512_loadu_si512(users.cast()),
                _mm512_loadu_si512(users.add(64).cast()),
            ];
            for (row, sums) in sums.iter_mut().enumerate() {
                let four = $rows.add(row * $stride + group * 4).cast::<i32>().read_unaligned();
                let x = _mm512_set1_epi32(four);
                sums[0] = _mm512_dpbusd_epi32(sums[0], x, users[0]);
                sums[1] = _mm512_dpbusd_epi32(sums[1], x, users[1]);
            }
        }
        sums
    }};
}

fn check(rows: ByteRows<'_>, users: &[i8]) {
    assert!(rows.stride.is_multiple_of(4) && rows.bytes.len() >= rows.count * rows.stride);
    assert!(users.len() >= rows.stride * LANES);
}

/// Proposes the rows from `from` on whose sum is above the limit of a lane.
///
/// # Safety
/// The processor has AVX-512 with VNNI.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(crate) unsafe fn propose(
    rows: ByteRows<'_>,
    from: usize,
    users: &[i8],
    limits: &[i32; LANES],
    proposed: &mut Proposed,
) {
    check(rows, users);
    let ByteRows { bytes, count, stride } = rows;
    let (rows, users) = (bytes.as_ptr(), users.as_ptr());
    // SAFETY: `limits` has 32 elements; `check` has found `count` rows of `stride` bytes and a user's four bytes in each of
    // 32 lanes for every four of them.
    unsafe {
        let limits = [
            _mm512_loadu_si512(limits.as_ptr().cast()),
            _mm512_loadu_si512(limits.as_ptr().add(16).cast()),
        ];
        let mut item = from;
        macro_rules! step {
            ($items:expr) => {
                while count - item >= $items {
                    let sums = sums!($items, rows.add(item * stride), stride, users);
                    for (row, sums) in sums.into_iter().enumerate() {
                        let low = _mm512_cmpgt_epi32_mask(sums[0], limits[0]);
                        let high = _mm512_cmpgt_epi32_mask(sums[1], limits[1]);
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

/// The largest sum of every strip of rows.
///
/// # Safety
/// The processor has AVX-512 with VNNI.
#[target_feature(enable = "avx512f,avx512vnni")]
pub(crate) unsafe fn maxima(rows: ByteRows<'_>, users: &[i8], out: &mut Vec<[i32; LANES]>) {
    check(rows, users);
    for strip in 0..rows.count / STRIP {
        let (stride, users) = (rows.stride, users.as_ptr());
        let mut most = [0; LANES];
        // SAFETY: as in `propose`; `most` has 32 elements.
        unsafe {
            let rows = rows.bytes.as_ptr().add(strip * STRIP * stride);
            let [first, rest @ ..] = sums!(STRIP, rows, stride, users);
            let largest = rest.into_iter().fold(first, |most, sums| {
                [_mm512_max_epi32(most[0], sums[0]), _mm512_max_epi32(most[1], sums[1])]
            });
            _mm512_storeu_si512(most.as_mut_ptr().cast(), largest[0]);
            _mm512_storeu_si512(most.as_mut_ptr().add(16).cast(), largest[1]);
        }
        out.push(most);
    }
}
