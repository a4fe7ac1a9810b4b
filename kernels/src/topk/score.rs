//! The one dot product that decides.

use crate::isa::by_isa;

/// An item and its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hit {
    /// The index of the item in the order in which the items were given.
    pub row: u32,
    /// The [`dot`] product of the two vectors.
    pub score: f32,
}

/// Sums that are kept side by side.
const WIDTH: usize = 16;

/// The dot product whose bits are the same everywhere: element `i` is added to sum `i mod 16` in ascending order, then the
/// sixteen sums are halved four times (`s[j] + s[j + 8]`, ...). A zero has no sign.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    dot_body(a, b)
}

by_isa! {
    /// [`dot`] of `a` with each row of `rows`, which are as wide.
    pub(crate) fn dot_rows(a: &[f32], rows: &[f32], scores: &mut [f32]) = dot_rows_body;
}

#[inline(always)]
fn dot_rows_body(a: &[f32], rows: &[f32], scores: &mut [f32]) {
    for (row, score) in rows.chunks_exact(a.len()).zip(scores) {
        *score = dot_body(a, row);
    }
}

#[inline(always)]
pub(crate) fn dot_body(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; WIDTH];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<WIDTH>(), b.as_chunks::<WIDTH>());
    for (x, y) in a.iter().zip(b) {
        for lane in 0..WIDTH {
            sums[lane] += x[lane] * y[lane];
        }
    }
    if !a_rest.is_empty() {
        let (mut x, mut y) = ([0.0; WIDTH], [0.0; WIDTH]);
        x[..a_rest.len()].copy_from_slice(a_rest);
        y[..b_rest.len()].copy_from_slice(b_rest);
        for lane in 0..WIDTH {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let mut eight = [0.0; 8];
    for lane in 0..8 {
        eight[lane] = sums[lane] + sums[lane + 8];
    }
    let mut four = [0.0; 4];
    for lane in 0..4 {
        four[lane] = eight[lane] + eight[lane + 4];
    }
    // Adding zero turns -0 into 0, so that the two tie.
    ((four[0] + four[2]) + (four[1] + four[3])) + 0.0
}
