//! Matrix products of numbers in bf16: a float's sign, exponent and first seven digits of the mantissa. Sums are single
//! precision.
//!
//! Numbers lie in pairs along the inner dimension of a product, which is what the instructions for them ask: two
//! neighbours of a row of the left matrix, two neighbours of a column of the right one. Where the inner dimension is odd
//! a zero fills the last pair.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(test)]
mod tests;

use crate::Isa;
#[cfg(target_arch = "x86_64")]
use crate::isa::Level;
use crate::isa::by_isa;
use crate::linalg::gemm::{Strided, Strip, in_strips, plain};

/// Two numbers in bf16, the first in the lower half.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Pair(pub(crate) u32);

impl Pair {
    #[inline(always)]
    fn new(first: f32, second: f32) -> Self {
        Pair(rounded(first) >> 16 | (rounded(second) & 0xffff_0000))
    }

    /// Both numbers, exactly.
    #[inline(always)]
    fn numbers(self) -> (f32, f32) {
        (f32::from_bits(self.0 << 16), f32::from_bits(self.0 & 0xffff_0000))
    }
}

/// The bits of `x` rounded to the nearest bf16, ties to even, in the upper half; NaN stays NaN.
#[inline(always)]
fn rounded(x: f32) -> u32 {
    let bits = x.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    if x.is_nan() { bits | 0x0040_0000 } else { nearest }
}

/// How pairs are multiplied. Values exist only for what this processor has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bf16(Bf16Level);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bf16Level {
    /// As single precision, which every processor has.
    Widened(Isa),
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Amx,
    #[cfg(all(target_arch = "x86_64", test))]
    EmulatedAmx,
}

impl Bf16 {
    /// The best that this processor has.
    pub fn best() -> Self {
        Bf16::available()
            .pop()
            .unwrap_or(Bf16(Bf16Level::Widened(Isa::PORTABLE)))
    }

    /// All that this processor has, the best last.
    pub fn available() -> Vec<Self> {
        let found = Isa::available().into_iter().map(|isa| Bf16(Bf16Level::Widened(isa)));
        #[cfg_attr(
            not(target_arch = "x86_64"),
            expect(unused_mut, reason = "other processors have no more")
        )]
        let mut found: Vec<Self> = found.collect();
        #[cfg(target_arch = "x86_64")]
        if Isa::best().0 == Level::Avx512 && is_x86_feature_detected!("avx512bf16") {
            found.push(Bf16(Bf16Level::Avx512));
            if amx::available() {
                found.push(Bf16(Bf16Level::Amx));
            }
        }
        found
    }

    /// Its name, for a person.
    pub fn name(self) -> &'static str {
        match self.0 {
            Bf16Level::Widened(isa) => isa.name(),
            #[cfg(target_arch = "x86_64")]
            Bf16Level::Avx512 => "AVX-512 BF16",
            #[cfg(target_arch = "x86_64")]
            Bf16Level::Amx => "AMX",
            #[cfg(all(target_arch = "x86_64", test))]
            Bf16Level::EmulatedAmx => "AMX in plain code",
        }
    }
}

by_isa! {
    fn widened(strip: &Strip<'_, Pair>, c: &mut [f32]) = multiply;
}

#[inline(always)]
fn multiply(strip: &Strip<'_, Pair>, c: &mut [f32]) {
    plain(strip, c, |a, b, sum| {
        let ((a, second), (b, other)) = (a.numbers(), b.numbers());
        sum + a * b + second * other
    });
}

/// `c = a b` or, with `accumulate`, `c += a b`, as [`crate::gemm`] but with `a` [m, pairs] and `b` [pairs, n].
///
/// With AMX the last bits of an element depend on whether it lies in a whole square of 32 rows and columns: rows are to be
/// cut by a fixed number, never by that of threads.
///
/// # Panics
/// If a slice is too short for its matrix.
pub fn gemm_bf16(
    way: Bf16,
    (m, pairs, n): (usize, usize, usize),
    a: Strided<'_, Pair>,
    b: (&[Pair], usize),
    c: (&mut [f32], usize),
    accumulate: bool,
) {
    in_strips((m, pairs, n), a, b, c, accumulate, |strip, c| match way.0 {
        Bf16Level::Widened(isa) => widened(isa, strip, c),
        // SAFETY: this way exists only where the processor was found to have AVX-512 BF16.
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "the dispatch to what was detected")]
        Bf16Level::Avx512 => unsafe { crate::linalg::gemm_x86::avx512_bf16(strip, c) },
        // SAFETY: as above, and for AMX.
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "the dispatch to what was detected")]
        Bf16Level::Amx => unsafe { amx::multiply(&amx::Multiply::tiles(), strip, c) },
        // SAFETY: tests ask for it only beside AVX-512 BF16.
        #[cfg(all(target_arch = "x86_64", test))]
        #[expect(unsafe_code, reason = "the dispatch to what was detected")]
        Bf16Level::EmulatedAmx => unsafe { amx::multiply(&amx::Multiply::Emulated, strip, c) },
    });
}

by_isa! {
    /// Pairs the neighbours in each row of `source`, whose rows are `width` long and `stride` apart: a left matrix, row-major
    /// [rows, width / 2 rounded up]. `target` says how many rows there are.
    ///
    /// # Panics
    /// If `source` has fewer rows than `target`.
    pub fn pair_columns(source: &[f32], width: usize, stride: usize, target: &mut [Pair]) = columns;
}

#[inline(always)]
fn columns(source: &[f32], width: usize, stride: usize, target: &mut [Pair]) {
    for (row, target) in target.chunks_exact_mut(width.div_ceil(2).max(1)).enumerate() {
        let (pairs, rest) = source[row * stride..][..width].as_chunks::<2>();
        for (target, [first, second]) in target.iter_mut().zip(pairs) {
            *target = Pair::new(*first, *second);
        }
        if let ([x], Some(last)) = (rest, target.last_mut()) {
            *last = Pair::new(*x, 0.0);
        }
    }
}

by_isa! {
    /// Pairs each row of `source` with the next, whose rows are `width` long and `stride` apart: a right matrix, row-major
    /// [rows / 2 rounded up, width].
    ///
    /// # Panics
    /// If `source` has fewer than `rows` rows, or `target` too few.
    pub fn pair_rows(source: &[f32], rows: usize, width: usize, stride: usize, target: &mut [Pair]) = rows_in_pairs;
}

#[inline(always)]
fn rows_in_pairs(source: &[f32], rows: usize, width: usize, stride: usize, target: &mut [Pair]) {
    for (pair, target) in target.chunks_exact_mut(width.max(1)).take(rows.div_ceil(2)).enumerate() {
        let first = &source[2 * pair * stride..][..width];
        if 2 * pair + 1 < rows {
            let second = &source[(2 * pair + 1) * stride..][..width];
            for ((target, first), second) in target.iter_mut().zip(first).zip(second) {
                *target = Pair::new(*first, *second);
            }
        } else {
            for (target, first) in target.iter_mut().zip(first) {
                *target = Pair::new(*first, 0.0);
            }
        }
    }
}
