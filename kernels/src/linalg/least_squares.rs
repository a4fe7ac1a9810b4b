//! One half of alternating least squares for implicit feedback (Hu, Koren and Volinsky 2008).

use crate::Isa;
use crate::in_parallel;
use crate::isa::by_isa;

/// Rows that one thread solves in a go.
const PART: usize = 64;

/// What each row likes: row `r` likes `columns[offsets[r]..offsets[r + 1]]`.
#[derive(Debug, Clone, Copy)]
pub struct ImplicitFeedback<'a> {
    /// Where each row begins, and the end of the last one.
    pub offsets: &'a [usize],
    /// What is liked.
    pub columns: &'a [u32],
}

/// The strength of the two terms beside the fit.
#[derive(Debug, Clone, Copy)]
pub struct Weights {
    /// How much more what is liked counts than what is not: 1 + this to 1.
    pub alpha: f64,
    /// L2 regularisation.
    pub regularization: f64,
}

/// The factors of the rows, row-major [rows, width], that fit best to those of the columns, `fixed` [columns, width].
///
/// # Panics
/// If the slices do not fit together.
pub fn solve_rows(
    isa: Isa,
    threads: usize,
    likes: ImplicitFeedback<'_>,
    fixed: &[f32],
    width: usize,
    weights: Weights,
    out: &mut [f32],
) {
    let mut gram = vec![0.0_f64; width * width];
    for row in fixed.chunks_exact(width) {
        add_outer(isa, &mut gram, row, 1.0);
    }
    for place in 0..width {
        gram[place * width + place] += weights.regularization;
    }
    let gram = &gram;
    in_parallel(
        threads,
        out.chunks_mut(PART * width).enumerate().collect(),
        |(index, part): (usize, &mut [f32])| {
            for (offset, target) in part.chunks_exact_mut(width).enumerate() {
                let row = index * PART + offset;
                let liked = &likes.columns[likes.offsets[row]..likes.offsets[row + 1]];
                let mut matrix = gram.clone();
                let mut right = vec![0.0_f64; width];
                for column in liked {
                    let factors = &fixed[*column as usize * width..][..width];
                    add_outer(isa, &mut matrix, factors, weights.alpha);
                    right
                        .iter_mut()
                        .zip(factors)
                        .for_each(|(x, y)| *x += (1.0 + weights.alpha) * f64::from(*y));
                }
                solve(isa, &mut matrix, &mut right);
                target.iter_mut().zip(&right).for_each(|(x, y)| *x = *y as f32);
            }
        },
    );
}

by_isa! {
    /// Adds `factor * row row^T` to the upper triangle.
    fn add_outer(matrix: &mut [f64], row: &[f32], factor: f64) = add_outer_body;
}

#[inline(always)]
fn add_outer_body(matrix: &mut [f64], row: &[f32], factor: f64) {
    let width = row.len();
    for (place, x) in row.iter().enumerate() {
        let x = f64::from(*x) * factor;
        for (target, y) in matrix[place * width + place..][..width - place]
            .iter_mut()
            .zip(&row[place..])
        {
            *target += x * f64::from(*y);
        }
    }
}

by_isa! {
    /// Solves the symmetric positive definite system whose upper triangle `matrix` holds, by Cholesky's method.
    fn solve(matrix: &mut [f64], right: &mut [f64]) = solve_body;
}

#[inline(always)]
fn solve_body(matrix: &mut [f64], right: &mut [f64]) {
    let width = right.len();
    for pivot in 0..width {
        let (head, tail) = matrix.split_at_mut((pivot + 1) * width);
        let line = &mut head[pivot * width + pivot..];
        let root = line[0].max(f64::MIN_POSITIVE).sqrt();
        for x in &mut *line {
            *x /= root;
        }
        right[pivot] /= root;
        let solved = right[pivot];
        for row in pivot + 1..width {
            let factor = line[row - pivot];
            let target = &mut tail[(row - pivot - 1) * width + row..][..width - row];
            target
                .iter_mut()
                .zip(&line[row - pivot..])
                .for_each(|(x, y)| *x -= factor * y);
            right[row] -= factor * solved;
        }
    }
    for row in (0..width).rev() {
        let line = &matrix[row * width..][..width];
        let known: f64 = (row + 1..width).map(|place| line[place] * right[place]).sum();
        right[row] = (right[row] - known) / line[row];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_zero_at_the_solution() {
        let (width, columns) = (5, 30);
        let fixed: Vec<f32> = (0..columns * width)
            .map(|place| ((place * 31) % 17) as f32 / 17.0 - 0.4)
            .collect();
        let (offsets, liked) = ([0, 3, 3, 10], [1_u32, 4, 7, 0, 2, 3, 9, 20, 28, 29]);
        let weights = Weights {
            alpha: 3.0,
            regularization: 0.5,
        };
        for isa in Isa::available() {
            let mut found = vec![0.0; 3 * width];
            solve_rows(
                isa,
                2,
                ImplicitFeedback {
                    offsets: &offsets,
                    columns: &liked,
                },
                &fixed,
                width,
                weights,
                &mut found,
            );
            for (row, found) in found.chunks(width).enumerate() {
                for place in 0..width {
                    let mut slope = weights.regularization * f64::from(found[place]);
                    for column in 0..columns {
                        let factors = &fixed[column * width..][..width];
                        let score: f64 = factors.iter().zip(found).map(|(x, y)| f64::from(x * y)).sum();
                        let likes = liked[offsets[row]..offsets[row + 1]].contains(&(column as u32));
                        let (wanted, weight) = if likes { (1.0, 1.0 + weights.alpha) } else { (0.0, 1.0) };
                        slope += weight * (score - wanted) * f64::from(factors[place]);
                    }
                    assert!(slope.abs() < 1e-4, "{isa:?} {row} {place}: {slope}");
                }
            }
        }
    }
}
