//! Element by element work on the activations of a layer, row-major [rows, width].

use crate::isa::by_isa;

by_isa! {
    /// Adds a bias to every row.
    pub fn add_bias(rows: &mut [f32], bias: &[f32]) = add_bias_body;
}

#[inline(always)]
fn add_bias_body(rows: &mut [f32], bias: &[f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        row.iter_mut().zip(bias).for_each(|(x, bias)| *x += bias);
    }
}

by_isa! {
    /// Sets what is negative to zero.
    pub fn relu(rows: &mut [f32]) = relu_body;
}

#[inline(always)]
fn relu_body(rows: &mut [f32]) {
    // A NaN stays one, so that it is found.
    for x in rows {
        *x = if *x < 0.0 { 0.0 } else { *x };
    }
}

by_isa! {
    /// Stops the gradient where [`relu`] left zero.
    pub fn relu_backward(gradient: &mut [f32], output: &[f32]) = relu_backward_body;
}

#[inline(always)]
fn relu_backward_body(gradient: &mut [f32], output: &[f32]) {
    gradient
        .iter_mut()
        .zip(output)
        .for_each(|(g, y)| *g = if *y == 0.0 { 0.0 } else { *g });
}

by_isa! {
    /// Adds the sums of the columns to `sums`.
    pub fn column_sums(rows: &[f32], sums: &mut [f32]) = column_sums_body;
}

#[inline(always)]
fn column_sums_body(rows: &[f32], sums: &mut [f32]) {
    for row in rows.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += x);
    }
}

by_isa! {
    /// Multiplies all elements.
    pub fn scale(rows: &mut [f32], factor: f32) = scale_body;
}

#[inline(always)]
fn scale_body(rows: &mut [f32], factor: f32) {
    for x in rows {
        *x *= factor;
    }
}

by_isa! {
    /// `target += factor * source`
    pub fn add_scaled(target: &mut [f32], source: &[f32], factor: f32) = add_scaled_body;
}

#[inline(always)]
fn add_scaled_body(target: &mut [f32], source: &[f32], factor: f32) {
    target
        .iter_mut()
        .zip(source)
        .for_each(|(target, x)| *target += x * factor);
}

/// A shorter vector than this has no direction.
const SHORTEST: f32 = 1e-12;

/// Scales rows to length 1 and leaves their lengths in `lengths`.
pub fn normalize_rows(rows: &mut [f32], width: usize, lengths: &mut Vec<f32>) {
    lengths.clear();
    for row in rows.chunks_exact_mut(width) {
        let length = dot(row, row).sqrt().max(SHORTEST);
        lengths.push(length);
        for x in row {
            *x /= length;
        }
    }
}

/// Turns the gradient by normalised rows into that by the rows before [`normalize_rows`]: what points along the row
/// goes, the rest is divided by the length.
pub fn normalize_rows_backward(gradient: &mut [f32], normalized: &[f32], width: usize, lengths: &[f32]) {
    let rows = gradient.chunks_exact_mut(width).zip(normalized.chunks_exact(width));
    for ((gradient, row), length) in rows.zip(lengths) {
        let along = dot(gradient, row);
        for (g, x) in gradient.iter_mut().zip(row) {
            *g = (*g - along * x) / length;
        }
    }
}

/// In eight sums, which the compiler keeps in one register.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_normalised_row_has_length_one_and_its_gradient_is_that_of_differences() {
        let row = [0.3_f32, -1.2, 2.0, 0.1, 0.7, -0.2, 0.9, 1.1, -0.4];
        let upstream = [0.5_f32, 0.1, -0.3, 0.2, 0.9, -0.8, 0.4, 0.0, 0.6];
        let mut lengths = Vec::new();
        let mut normalized = row;
        normalize_rows(&mut normalized, 9, &mut lengths);
        assert!((dot(&normalized, &normalized) - 1.0).abs() < 1e-6);
        let mut gradient = upstream;
        normalize_rows_backward(&mut gradient, &normalized, 9, &lengths);
        let value = |row: [f32; 9]| {
            let length = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            row.iter()
                .zip(upstream)
                .map(|(x, g)| f64::from(*x) / length * f64::from(g))
                .sum::<f64>()
        };
        for place in 0..9 {
            let (mut up, mut down) = (row, row);
            up[place] += 1e-2;
            down[place] -= 1e-2;
            let slope = (value(up) - value(down)) / 2e-2;
            assert!(
                (slope - f64::from(gradient[place])).abs() < 1e-4,
                "{slope} {}",
                gradient[place]
            );
        }
    }

    #[test]
    fn relu_stops_values_and_gradients_below_zero() {
        let mut x = [-1.0, 0.0, 2.0];
        relu(crate::Isa::best(), &mut x);
        let mut gradient = [1.0, 1.0, 1.0];
        relu_backward(crate::Isa::best(), &mut gradient, &x);
        assert_eq!((x, gradient), ([0.0, 0.0, 2.0], [0.0, 0.0, 1.0]));
    }
}
