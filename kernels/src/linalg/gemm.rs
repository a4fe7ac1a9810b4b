//! Matrix products in single precision.

use crate::Isa;
use crate::isa::Level;

/// A matrix view of a slice: element (row, column) is `data[row * row_stride + column * column_stride]`.
///
/// The shape is an argument of the product, which checks it against the slice.
#[derive(Debug, Clone, Copy)]
pub struct Strided<'a, T = f32> {
    pub(crate) data: &'a [T],
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl<'a, T> Strided<'a, T> {
    /// A row-major matrix with rows `stride` elements apart.
    pub fn rows(data: &'a [T], stride: usize) -> Self {
        Strided {
            data,
            row_stride: stride,
            column_stride: 1,
        }
    }

    /// The transpose of a row-major matrix with rows `stride` elements apart.
    pub fn columns(data: &'a [T], stride: usize) -> Self {
        Strided {
            data,
            row_stride: 1,
            column_stride: stride,
        }
    }

    /// Whether the slice holds a matrix of this shape. An index that overflows is outside every slice: without the check
    /// it would wrap around and pass, and the kernels read through pointers.
    fn holds(&self, rows: usize, columns: usize) -> bool {
        if rows == 0 || columns == 0 {
            return true;
        }
        let row = (rows - 1).checked_mul(self.row_stride);
        let column = (columns - 1).checked_mul(self.column_stride);
        row.zip(column)
            .and_then(|(row, column)| row.checked_add(column))
            .is_some_and(|last| last < self.data.len())
    }
}

/// Depth of a strip: a strip of `b` stays in the first-level cache.
const DEPTH: usize = 128;

/// `c = a b` or, with `accumulate`, `c += a b`, for `a` [m, k], `b` [k, n] with rows `b_stride` apart and `c` [m, n] with
/// rows `c_stride` apart.
///
/// An element of `c` is summed over k in ascending order, in strips of a fixed depth: its bits depend neither on m and n
/// nor on how a caller cuts the rows of `a` for its threads.
///
/// # Panics
/// If a slice is too short for its matrix.
pub fn gemm(
    isa: Isa,
    (m, k, n): (usize, usize, usize),
    a: Strided<'_>,
    b: &[f32],
    b_stride: usize,
    c: &mut [f32],
    c_stride: usize,
    accumulate: bool,
) {
    in_strips(
        (m, k, n),
        a,
        (b, b_stride),
        (c, c_stride),
        accumulate,
        |strip, c| match isa.0 {
            Level::Portable => portable(strip, c),
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => crate::linalg::gemm_x86::avx2(strip, c),
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => crate::linalg::gemm_x86::avx512(strip, c),
        },
    );
}

/// Checks the bounds of a product and divides it into strips of limited depth.
pub(crate) fn in_strips<T: Copy>(
    (m, k, n): (usize, usize, usize),
    a: Strided<'_, T>,
    (b, b_stride): (&[T], usize),
    (c, c_stride): (&mut [f32], usize),
    accumulate: bool,
    multiply: impl Fn(&Strip<'_, T>, &mut [f32]),
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(a.holds(m, k), "`a` is too short");
    assert!(Strided::rows(b, b_stride).holds(k, n), "`b` is too short");
    assert!(Strided::rows(c, c_stride).holds(m, n), "`c` is too short");
    if k == 0 {
        if !accumulate {
            c.chunks_mut(c_stride).take(m).for_each(|row| row[..n].fill(0.0));
        }
        return;
    }
    for start in (0..k).step_by(DEPTH) {
        let strip = Strip {
            m,
            n,
            k: DEPTH.min(k - start),
            a: Strided {
                data: &a.data[start * a.column_stride..],
                ..a
            },
            b: &b[start * b_stride..],
            b_stride,
            c_stride,
            accumulate: accumulate || start > 0,
        };
        multiply(&strip, c);
    }
}

/// A product of limited depth with checked bounds.
pub(crate) struct Strip<'a, T = f32> {
    pub(crate) m: usize,
    pub(crate) n: usize,
    pub(crate) k: usize,
    pub(crate) a: Strided<'a, T>,
    pub(crate) b: &'a [T],
    pub(crate) b_stride: usize,
    pub(crate) c_stride: usize,
    pub(crate) accumulate: bool,
}

fn portable(strip: &Strip<'_>, c: &mut [f32]) {
    plain(strip, c, |a, b, sum| sum + a * b);
}

/// The portable kernel; `add` adds the product of two elements to a sum.
#[inline(always)]
pub(crate) fn plain<T: Copy>(strip: &Strip<'_, T>, c: &mut [f32], add: impl Fn(T, T, f32) -> f32) {
    const WIDTH: usize = 64;
    for row in 0..strip.m {
        for first in (0..strip.n).step_by(WIDTH) {
            let width = WIDTH.min(strip.n - first);
            let mut sums = [0.0_f32; WIDTH];
            for depth in 0..strip.k {
                let x = strip.a.data[row * strip.a.row_stride + depth * strip.a.column_stride];
                let b = &strip.b[depth * strip.b_stride + first..][..width];
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = add(x, *b, *sum);
                }
            }
            let target = &mut c[row * strip.c_stride + first..][..width];
            for (target, sum) in target.iter_mut().zip(sums) {
                *target = if strip.accumulate { *target + sum } else { sum };
            }
        }
    }
}

/// Writes the transpose of `source` [rows, columns] into `target` [columns, `stride`], `stride >= rows`.
///
/// # Panics
/// If a slice is too short for its matrix.
pub fn transpose<T: Copy>(source: &[T], rows: usize, columns: usize, target: &mut [T], stride: usize) {
    const TILE: usize = 16;
    for row in (0..rows).step_by(TILE) {
        let height = TILE.min(rows - row);
        for column in (0..columns).step_by(TILE) {
            for inner in column..(column + TILE).min(columns) {
                let target = &mut target[inner * stride + row..][..height];
                for (offset, x) in target.iter_mut().enumerate() {
                    *x = source[(row + offset) * columns + inner];
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values(count: usize, salt: u32) -> Vec<f32> {
        let mut state = salt.wrapping_mul(2_654_435_761).wrapping_add(12345);
        (0..count)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// Whether a product of 2 by 3 and 3 by 4 matrices panics, for these lengths and strides of `a`, `b` and `c`.
    fn panics(isa: Isa, a: (usize, usize), b: (usize, usize), c: (usize, usize)) -> bool {
        let (left, right, mut out) = (vec![1.0; a.0], vec![1.0; b.0], vec![0.0; c.0]);
        std::panic::catch_unwind(move || {
            gemm(
                isa,
                (2, 3, 4),
                Strided::rows(&left, a.1),
                &right,
                b.1,
                &mut out,
                c.1,
                false,
            );
            assert!(out.iter().take(4).all(|x| (x - 3.0).abs() < 1e-6));
        })
        .is_err()
    }

    #[test]
    fn a_slice_needs_exactly_the_elements_of_its_matrix() {
        for isa in Isa::available() {
            let (a, b, c) = ((8, 5), (16, 6), (11, 7));
            assert!(!panics(isa, a, b, c), "{isa:?}");
            assert!(panics(isa, (7, 5), b, c), "{isa:?}: a");
            assert!(panics(isa, a, (15, 6), c), "{isa:?}: b");
            assert!(panics(isa, a, b, (10, 7)), "{isa:?}: c");
        }
    }

    #[test]
    fn a_stride_that_overflows_is_out_of_bounds() {
        // (3 - 1) * HALF and 1 * usize::MAX + 2 wrap around to small indexes.
        const HALF: usize = 1 << (usize::BITS - 1);
        for isa in Isa::available() {
            let (a, b, c) = ((6, 3), (12, 4), (8, 4));
            assert!(!panics(isa, a, b, c), "{isa:?}");
            assert!(panics(isa, (6, usize::MAX), b, c), "{isa:?}: a");
            assert!(panics(isa, a, (12, HALF), c), "{isa:?}: b");
            assert!(panics(isa, a, b, (8, usize::MAX)), "{isa:?}: c");
        }
        assert!(!Strided::columns(&[0.0; 6], HALF).holds(1, 3));
        assert!(Strided::rows(&[0.0; 0], usize::MAX).holds(0, 3));
    }

    proptest! {
        #[test]
        fn every_instruction_set_agrees_with_double_precision(
            m in 1_usize..40, k in 1_usize..300, n in 1_usize..150, transposed in any::<bool>(), accumulate in any::<bool>(),
            slack in 0_usize..9, salt in any::<u32>(),
        ) {
            let a_stride = if transposed { m } else { k } + slack;
            let a = values(if transposed { k } else { m } * a_stride, salt);
            let view = if transposed { Strided::columns(&a, a_stride) } else { Strided::rows(&a, a_stride) };
            let b = values(k * (n + slack), salt ^ 1);
            let before = values(m * (n + slack), salt ^ 2);
            for isa in Isa::available() {
                let mut c = before.clone();
                gemm(isa, (m, k, n), view, &b, n + slack, &mut c, n + slack, accumulate);
                for row in 0..m {
                    for column in 0..n + slack {
                        let place = row * (n + slack) + column;
                        if column >= n {
                            prop_assert_eq!(c[place], before[place], "{:?} wrote past a row", isa);
                            continue;
                        }
                        let exact: f64 = (0..k)
                            .map(|p| {
                                let x = view.data[row * view.row_stride + p * view.column_stride];
                                f64::from(x) * f64::from(b[p * (n + slack) + column])
                            })
                            .sum::<f64>() + if accumulate { f64::from(before[place]) } else { 0.0 };
                        prop_assert!((f64::from(c[place]) - exact).abs() < 1e-4, "{:?}: {} {}", isa, c[place], exact);
                    }
                }
            }
        }

        #[test]
        fn cutting_the_rows_changes_no_bit(m in 2_usize..40, k in 1_usize..300, n in 1_usize..80, cut in 1_usize..39) {
            let cut = cut.min(m - 1);
            let (a, b) = (values(m * k, 5), values(k * n, 6));
            for isa in Isa::available() {
                let (mut whole, mut parts) = (vec![0.0; m * n], vec![0.0; m * n]);
                gemm(isa, (m, k, n), Strided::rows(&a, k), &b, n, &mut whole, n, false);
                let (head, tail) = parts.split_at_mut(cut * n);
                gemm(isa, (cut, k, n), Strided::rows(&a, k), &b, n, head, n, false);
                gemm(isa, (m - cut, k, n), Strided::rows(&a[cut * k..], k), &b, n, tail, n, false);
                prop_assert_eq!(&whole, &parts);
            }
        }

        #[test]
        fn a_transpose_swaps_the_places(rows in 1_usize..50, columns in 1_usize..50, slack in 0_usize..5) {
            let source = values(rows * columns, 9);
            let mut target = vec![0.0; columns * (rows + slack)];
            transpose(&source, rows, columns, &mut target, rows + slack);
            for row in 0..rows {
                for column in 0..columns {
                    prop_assert_eq!(source[row * columns + column], target[column * (rows + slack) + row]);
                }
            }
        }
    }
}
