//! Matrix products with AVX2, AVX-512 and AVX-512 BF16: a tile of `c` stays in registers while its depth is summed.
#![expect(
    unsafe_code,
    reason = "tiles are read and written through pointers whose bounds `gemm` has checked"
)]

use std::arch::x86_64::{
    __m256, __m512, __m512bh, __m512i, __mmask16, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_maskload_ps,
    _mm256_maskstore_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps, _mm512_add_ps, _mm512_dpbf16_ps,
    _mm512_fmadd_ps, _mm512_mask_storeu_ps, _mm512_maskz_loadu_epi32, _mm512_maskz_loadu_ps, _mm512_set1_epi32,
    _mm512_set1_ps, _mm512_setzero_ps,
};
use std::arch::x86_64::{__m256i, _mm256_loadu_si256};

use crate::linalg::bf16::Pair;
use crate::linalg::gemm::Strip;

/// Calls the kernel for a tile of `$rows` rows: the height of a tile is a constant, so that it stays in registers.
macro_rules! by_height {
    ($rows:expr, $kernel:ident, $arguments:tt) => {
        match $rows {
            1 => $kernel::<1> $arguments,
            2 => $kernel::<2> $arguments,
            3 => $kernel::<3> $arguments,
            4 => $kernel::<4> $arguments,
            5 => $kernel::<5> $arguments,
            _ => $kernel::<6> $arguments,
        }
    };
}

/// Rows of a tile.
const HEIGHT: usize = 6;

/// Columns of a tile with AVX-512.
const WIDTH: usize = 64;

/// The tiles of a product, each with its rows.
fn tiles<T>(strip: &Strip<'_, T>, c: &mut [f32], width: usize, mut work: impl FnMut(usize, &Tile<T>)) {
    for column in (0..strip.n).step_by(width) {
        for row in (0..strip.m).step_by(HEIGHT) {
            let tile = Tile {
                k: strip.k,
                a: strip.a.data[row * strip.a.row_stride..].as_ptr(),
                row_stride: strip.a.row_stride,
                column_stride: strip.a.column_stride,
                b: strip.b[column..].as_ptr(),
                b_stride: strip.b_stride,
                c: c[row * strip.c_stride + column..].as_mut_ptr(),
                c_stride: strip.c_stride,
                width: width.min(strip.n - column),
                accumulate: strip.accumulate,
            };
            work(strip.m - row, &tile);
        }
    }
}

/// The product with AVX-512.
pub(crate) fn avx512(strip: &Strip<'_>, c: &mut [f32]) {
    // SAFETY: `in_strips` checked that the strides keep every element of [m, k], [k, n] and [m, n] inside its slice,
    // and the tile is rows `row..row + height` and columns `column..column + width` of those. Its level says that the
    // processor has AVX-512.
    tiles(strip, c, WIDTH, |rows, tile| unsafe {
        by_height!(rows, tile512, (tile));
    });
}

/// The product of pairs of bf16 with AVX-512 BF16.
///
/// # Safety
/// The processor has AVX-512 BF16.
pub(crate) unsafe fn avx512_bf16(strip: &Strip<'_, Pair>, c: &mut [f32]) {
    // SAFETY: as for AVX-512; the caller vouches for the processor.
    tiles(strip, c, WIDTH, |rows, tile| unsafe {
        by_height!(rows, tile512_bf16, (tile));
    });
}

/// The product with AVX2.
pub(crate) fn avx2(strip: &Strip<'_>, c: &mut [f32]) {
    // SAFETY: as for AVX-512; the level says that the processor has AVX2 and FMA.
    tiles(strip, c, 16, |rows, tile| unsafe {
        by_height!(rows, tile256, (tile));
    });
}

/// A tile of the product: `M` rows of `c`, `width` columns.
struct Tile<T = f32> {
    k: usize,
    a: *const T,
    row_stride: usize,
    column_stride: usize,
    b: *const T,
    b_stride: usize,
    c: *mut f32,
    c_stride: usize,
    width: usize,
    accumulate: bool,
}

/// A kernel with AVX-512, `$add` being the sum of a register and the products of two others of elements `$element`.
macro_rules! tile512 {
    ($name:ident, $features:literal, $element:ty, $load:expr, $broadcast:expr, $add:expr) => {
        /// # Safety
        /// The processor has the features of this function, and the tile lies inside its matrices; `width` is 1 to 64.
        #[target_feature(enable = $features)]
        unsafe fn $name<const M: usize>(tile: &Tile<$element>) {
            let mask = |part: usize| -> __mmask16 {
                let lanes = tile.width.saturating_sub(part * 16).min(16);
                ((1_u32 << lanes) - 1) as __mmask16
            };
            let masks = [mask(0), mask(1), mask(2), mask(3)];
            let mut sums: [[__m512; 4]; M] = [[_mm512_setzero_ps(); 4]; M];
            // SAFETY: the caller vouches for the bounds; masked lanes are neither read nor written.
            unsafe {
                for depth in 0..tile.k {
                    let row = tile.b.wrapping_add(depth * tile.b_stride);
                    let b = [
                        ($load)(masks[0], row),
                        ($load)(masks[1], row.wrapping_add(16)),
                        ($load)(masks[2], row.wrapping_add(32)),
                        ($load)(masks[3], row.wrapping_add(48)),
                    ];
                    let a = tile.a.add(depth * tile.column_stride);
                    for (line, sums) in sums.iter_mut().enumerate() {
                        let x = ($broadcast)(*a.add(line * tile.row_stride));
                        for (sum, b) in sums.iter_mut().zip(b) {
                            *sum = ($add)(*sum, x, b);
                        }
                    }
                }
                for (line, sums) in sums.into_iter().enumerate() {
                    let c = tile.c.add(line * tile.c_stride);
                    for (part, sum) in sums.into_iter().enumerate() {
                        let target = c.wrapping_add(part * 16);
                        let sum = if tile.accumulate {
                            _mm512_add_ps(_mm512_maskz_loadu_ps(masks[part], target), sum)
                        } else {
                            sum
                        };
                        _mm512_mask_storeu_ps(target, masks[part], sum);
                    }
                }
            }
        }
    };
}

tile512!(
    tile512,
    "avx512f",
    f32,
    |mask, row| _mm512_maskz_loadu_ps(mask, row),
    |x| _mm512_set1_ps(x),
    |sum, x, b| _mm512_fmadd_ps(x, b, sum)
);
tile512!(
    tile512_bf16,
    "avx512f,avx512bf16",
    Pair,
    |mask, row: *const Pair| bf16(_mm512_maskz_loadu_epi32(mask, row.cast())),
    |x: Pair| bf16(_mm512_set1_epi32(x.0.cast_signed())),
    |sum, x, b| _mm512_dpbf16_ps(sum, x, b)
);

/// The same bits as a register of bf16.
fn bf16(bits: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes without invalid values.
    unsafe { std::mem::transmute(bits) }
}

/// # Safety
/// The processor has AVX2 and FMA, and the tile lies inside its matrices; `width` is 1 to 16.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile256<const M: usize>(tile: &Tile) {
    /// Eight lanes that are on, then eight that are off.
    const LANES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
    let mask = |part: usize| -> __m256i {
        let lanes = tile.width.saturating_sub(part * 8).min(8);
        // SAFETY: `8 - lanes..16 - lanes` lies in the 16 elements.
        unsafe { _mm256_loadu_si256(LANES.as_ptr().add(8 - lanes).cast()) }
    };
    let (full, masks) = (tile.width == 16, [mask(0), mask(1)]);
    let mut sums: [[__m256; 2]; M] = [[_mm256_setzero_ps(); 2]; M];
    // SAFETY: the caller vouches for the bounds; masked lanes are neither read nor written.
    unsafe {
        for depth in 0..tile.k {
            let row = tile.b.wrapping_add(depth * tile.b_stride);
            let b = if full {
                [_mm256_loadu_ps(row), _mm256_loadu_ps(row.add(8))]
            } else {
                [
                    _mm256_maskload_ps(row, masks[0]),
                    _mm256_maskload_ps(row.wrapping_add(8), masks[1]),
                ]
            };
            let a = tile.a.add(depth * tile.column_stride);
            for (line, sums) in sums.iter_mut().enumerate() {
                let x = _mm256_set1_ps(*a.add(line * tile.row_stride));
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = _mm256_fmadd_ps(x, b, *sum);
                }
            }
        }
        for (line, sums) in sums.into_iter().enumerate() {
            let c = tile.c.add(line * tile.c_stride);
            for (part, sum) in sums.into_iter().enumerate() {
                let target = c.wrapping_add(part * 8);
                if full {
                    let sum = if tile.accumulate {
                        _mm256_add_ps(_mm256_loadu_ps(target), sum)
                    } else {
                        sum
                    };
                    _mm256_storeu_ps(target, sum);
                } else {
                    let sum = if tile.accumulate {
                        _mm256_add_ps(_mm256_maskload_ps(target, masks[part]), sum)
                    } else {
                        sum
                    };
                    _mm256_maskstore_ps(target, masks[part], sum);
                }
            }
        }
    }
}
