//! Products of pairs with AMX: 32 rows by 32 columns in four tiles; what is left over at the edges is done with AVX-512.
//!
//! What surrounds the instructions is tested on every processor with AVX-512 BF16 through [`Multiply::Emulated`], which
//! does in plain code what the tiles do.
#![expect(unsafe_code, reason = "tiles are instructions of their own")]

use std::arch::asm;
use std::ops::Range;

use super::Pair;
use crate::linalg::amx::{self, ROW, Tiles};
use crate::linalg::gemm::{Strided, Strip};
use crate::linalg::gemm_x86::avx512_bf16;

/// Rows and columns that are multiplied at once.
const SIDE: usize = 32;
/// Pairs of a row of a tile.
const DEPTH: usize = ROW / size_of::<Pair>();

/// Whether there are tiles for bf16.
pub(super) fn available() -> bool {
    amx::available(amx::BF16)
}

/// Products of 32 rows by 32 columns.
#[derive(Debug)]
pub(super) enum Multiply {
    /// By the tiles of this thread.
    Tiles(Tiles),
    /// In plain code.
    #[cfg(test)]
    Emulated,
}

/// Where a product of 32 by 32 lies.
struct TileOperands {
    a: *const Pair,
    /// From a row to the next, in elements.
    a_stride: usize,
    b: *const Pair,
    b_stride: usize,
    c: *mut f32,
    c_stride: usize,
}

impl Multiply {
    /// The tiles of this thread.
    ///
    /// # Safety
    /// [`available`] said so.
    pub(super) unsafe fn tiles() -> Self {
        // SAFETY: the caller vouches for it.
        Multiply::Tiles(unsafe { Tiles::new() })
    }

    /// `c += a b` for 32 rows of `a`, `steps` times 16 pairs, and 32 columns of `b`.
    ///
    /// # Safety
    /// All of them lie in their matrices, and those of `c` are nobody else's.
    unsafe fn run(&self, place: &TileOperands, steps: usize) {
        match self {
            // SAFETY: the caller vouches for the bounds.
            Multiply::Tiles(_) => unsafe {
                let (line, depth, width) = (place.a_stride * 4, place.b_stride * 4, place.c_stride * 4);
                asm!(
                    "tileloadd tmm0, [{c} + {width}]",
                    "tileloadd tmm1, [{c} + {width} + 64]",
                    "tileloadd tmm2, [{c_high} + {width}]",
                    "tileloadd tmm3, [{c_high} + {width} + 64]",
                    "2:",
                    "tileloadd tmm4, [{a} + {line}]",
                    "tileloadd tmm5, [{a_high} + {line}]",
                    "tileloadd tmm6, [{b} + {depth}]",
                    "tileloadd tmm7, [{b} + {depth} + 64]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {a}, 64",
                    "add {a_high}, 64",
                    "add {b}, {b_step}",
                    "dec {steps}",
                    "jnz 2b",
                    "tilestored [{c} + {width}], tmm0",
                    "tilestored [{c} + {width} + 64], tmm1",
                    "tilestored [{c_high} + {width}], tmm2",
                    "tilestored [{c_high} + {width} + 64], tmm3",
                    a = inout(reg) place.a => _,
                    a_high = inout(reg) place.a.wrapping_add(16 * place.a_stride) => _,
                    line = in(reg) line,
                    b = inout(reg) place.b => _,
                    b_step = in(reg) depth * DEPTH,
                    depth = in(reg) depth,
                    c = in(reg) place.c,
                    c_high = in(reg) place.c.wrapping_add(16 * place.c_stride),
                    width = in(reg) width,
                    steps = inout(reg) steps => _,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            },
            #[cfg(test)]
            // SAFETY: as above.
            Multiply::Emulated => unsafe {
                for row in 0..SIDE {
                    for column in 0..SIDE {
                        let target = place.c.add(row * place.c_stride + column);
                        for depth in 0..steps * DEPTH {
                            let (a, second) = (*place.a.add(row * place.a_stride + depth)).numbers();
                            let (b, other) = (*place.b.add(depth * place.b_stride + column)).numbers();
                            *target += a * b + second * other;
                        }
                    }
                }
            },
        }
    }
}

/// A part of a product, and its place in `c`; `None` where nothing is left over. An empty part may begin past the end of
/// its matrix, as a strip's last row is cut short by what lies before the strip.
fn part<'a>(
    strip: &Strip<'a, Pair>,
    rows: Range<usize>,
    columns: Range<usize>,
    depth: Range<usize>,
) -> Option<(Strip<'a, Pair>, usize)> {
    if rows.is_empty() || columns.is_empty() || depth.is_empty() {
        return None;
    }
    let a = &strip.a.data[rows.start * strip.a.row_stride + depth.start * strip.a.column_stride..];
    let part = Strip {
        m: rows.len(),
        n: columns.len(),
        k: depth.len(),
        a: Strided { data: a, ..strip.a },
        b: &strip.b[depth.start * strip.b_stride + columns.start..],
        accumulate: strip.accumulate || depth.start > 0,
        ..*strip
    };
    Some((part, rows.start * strip.c_stride + columns.start))
}

/// The product.
///
/// # Safety
/// The processor has AVX-512 BF16.
pub(super) unsafe fn multiply(multiply: &Multiply, strip: &Strip<'_, Pair>, c: &mut [f32]) {
    let whole = |count: usize, unit: usize| count - count % unit;
    let (rows, columns, depth) = (whole(strip.m, SIDE), whole(strip.n, SIDE), whole(strip.k, DEPTH));
    if rows * columns * depth == 0 || strip.a.column_stride != 1 {
        // SAFETY: the caller vouches for the processor.
        return unsafe { avx512_bf16(strip, c) };
    }
    for column in (0..columns).step_by(SIDE) {
        for row in (0..rows).step_by(SIDE) {
            if !strip.accumulate {
                let lines = c[row * strip.c_stride + column..].chunks_mut(strip.c_stride);
                lines.take(SIDE).for_each(|line| line[..SIDE].fill(0.0));
            }
            let place = TileOperands {
                a: strip.a.data[row * strip.a.row_stride..].as_ptr(),
                a_stride: strip.a.row_stride,
                b: strip.b[column..].as_ptr(),
                b_stride: strip.b_stride,
                c: c[row * strip.c_stride + column..].as_mut_ptr(),
                c_stride: strip.c_stride,
            };
            // SAFETY: `in_strips` has checked the matrices, and 32 rows, 32 columns and `depth` pairs from here on are
            // inside of them.
            unsafe { multiply.run(&place, depth / DEPTH) };
        }
    }
    let edges = [
        part(strip, 0..rows, 0..columns, depth..strip.k),
        part(strip, rows..strip.m, 0..strip.n, 0..strip.k),
        part(strip, 0..rows, columns..strip.n, 0..strip.k),
    ];
    for (edge, place) in edges.into_iter().flatten() {
        // SAFETY: a part of a product lies inside of it; the caller vouches for the processor.
        unsafe { avx512_bf16(&edge, &mut c[place..]) };
    }
}
