//! The inverse of a symmetric positive definite matrix.

use crate::{Isa, Strided, gemm, in_parallel};

/// Rows and columns that are eliminated together.
const BLOCK: usize = 64;
/// Rows that one thread works on.
const PART: usize = 48;

/// Replaces the symmetric positive definite matrix `a`, row-major [n, n], by its inverse; `false` if it is not positive
/// definite. Gauss and Jordan's method in blocks: without exchanging rows it is stable for such matrices.
///
/// # Panics
/// If `a` is not `n` times `n`.
pub fn invert(isa: Isa, threads: usize, a: &mut [f32], n: usize) -> bool {
    assert_eq!(a.len(), n * n, "the matrix must be square");
    for start in (0..n).step_by(BLOCK) {
        let size = BLOCK.min(n - start);
        let Some(pivot) = invert_block(a, n, start, size) else {
            return false;
        };
        let mut rows = vec![0.0; size * n];
        gemm(
            isa,
            (size, size, n),
            Strided::rows(&pivot, size),
            &a[start * n..],
            n,
            &mut rows,
            n,
            false,
        );
        for (row, pivot) in rows.chunks_exact_mut(n).zip(pivot.chunks_exact(size)) {
            row[start..start + size].copy_from_slice(pivot);
        }
        let pivot_rows = &rows;
        in_parallel(
            threads,
            a.chunks_mut(PART * n).enumerate().collect(),
            |(index, part): (usize, &mut [f32])| {
                let first = index * PART;
                let mut factors = vec![0.0; part.len() / n * size];
                for (offset, (row, factors)) in part.chunks_exact_mut(n).zip(factors.chunks_exact_mut(size)).enumerate()
                {
                    // The rows of the block itself are replaced below.
                    if !(start..start + size).contains(&(first + offset)) {
                        for (factor, x) in factors.iter_mut().zip(&mut row[start..start + size]) {
                            *factor = -std::mem::take(x);
                        }
                    }
                }
                let rows = part.len() / n;
                gemm(
                    isa,
                    (rows, size, n),
                    Strided::rows(&factors, size),
                    pivot_rows,
                    n,
                    part,
                    n,
                    true,
                );
            },
        );
        a[start * n..(start + size) * n].copy_from_slice(&rows);
    }
    true
}

/// The inverse of a diagonal block, row-major [size, size].
fn invert_block(a: &[f32], n: usize, start: usize, size: usize) -> Option<Vec<f32>> {
    let mut block: Vec<f64> = (0..size)
        .flat_map(|row| a[(start + row) * n + start..][..size].iter().map(|x| f64::from(*x)))
        .collect();
    for pivot in 0..size {
        let value = block[pivot * size + pivot];
        if value.is_nan() || value <= 0.0 {
            return None;
        }
        block[pivot * size + pivot] = 1.0;
        let line: Vec<f64> = block[pivot * size..][..size].iter().map(|x| x / value).collect();
        for row in (0..size).filter(|row| *row != pivot) {
            let row = &mut block[row * size..][..size];
            let factor = std::mem::take(&mut row[pivot]);
            row.iter_mut().zip(&line).for_each(|(x, y)| *x -= factor * y);
        }
        block[pivot * size..][..size].copy_from_slice(&line);
    }
    Some(block.into_iter().map(|x| x as f32).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_the_matrix_it_is_the_identity() {
        for n in [1, 5, 64, 65, 200] {
            let x: Vec<f32> = (0..n * 300)
                .map(|place| ((place * 7919) % 13) as f32 / 13.0 - 0.4)
                .collect();
            let mut a = vec![0.0; n * n];
            gemm(
                Isa::PORTABLE,
                (n, 300, n),
                Strided::columns(&x, n),
                &x,
                n,
                &mut a,
                n,
                false,
            );
            (0..n).for_each(|place| a[place * n + place] += 20.0);
            for isa in Isa::available() {
                let (mut inverse, mut again) = (a.clone(), a.clone());
                assert!(invert(isa, 3, &mut inverse, n) && invert(isa, 1, &mut again, n));
                assert_eq!(inverse, again);
                let mut product = vec![0.0; n * n];
                gemm(
                    isa,
                    (n, n, n),
                    Strided::rows(&inverse, n),
                    &a,
                    n,
                    &mut product,
                    n,
                    false,
                );
                for (place, x) in product.iter().enumerate() {
                    let expected = f32::from(u8::from(place / n == place % n));
                    assert!((x - expected).abs() < 1e-3, "{n} {isa:?} {place}: {x}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_positive_definite_is_refused() {
        assert!(!invert(Isa::best(), 1, &mut [1.0, 2.0, 2.0, 1.0], 2));
    }
}
