use proptest::prelude::*;

use super::*;
use crate::transpose;

fn values(count: usize, salt: u32) -> Vec<f32> {
    (0..count)
        .map(|place| {
            let x = (place as u32).wrapping_add(salt).wrapping_mul(2_654_435_761);
            (x >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn near(x: f32) -> f64 {
    f64::from(f32::from_bits(rounded(x) & 0xffff_0000))
}

/// All ways that can be tested here.
fn ways() -> Vec<Bf16> {
    let found = Bf16::available();
    #[cfg(target_arch = "x86_64")]
    if found.contains(&Bf16(Bf16Level::Avx512)) {
        return found.into_iter().chain([Bf16(Bf16Level::EmulatedAmx)]).collect();
    }
    found
}

/// Multiplies [m, k] by [k, n] in every way; rows of all three matrices are `slack` longer than they are used, and none
/// has an element more than it needs. What is not added to is not read: it is no number before.
fn agrees((m, k, n): (usize, usize, usize), accumulate: bool, slack: usize, salt: u32) -> Result<(), TestCaseError> {
    let (left, right) = (values(m * k, salt), values(k * n, salt ^ 1));
    let pairs = k.div_ceil(2);
    let needed = |rows: usize, width: usize| (rows - 1) * (width + slack) + width;
    let mut before = values(needed(m, n), salt ^ 2);
    let (mut a, mut b) = (vec![Pair::default(); m * pairs], vec![Pair::default(); pairs * n]);
    for isa in Isa::available() {
        pair_columns(isa, &left, k, k, &mut a);
        pair_rows(isa, &right, k, n, n, &mut b);
    }
    let spread = |tight: &[Pair], rows: usize, width: usize| {
        let mut wide = vec![Pair::new(f32::NAN, f32::NAN); needed(rows, width)];
        for (row, tight) in tight.chunks_exact(width).enumerate() {
            wide[row * (width + slack)..][..width].copy_from_slice(tight);
        }
        wide
    };
    let mut turned = vec![Pair::default(); m * pairs];
    transpose(&a, m, pairs, &mut turned, m);
    let (a, turned, b) = (spread(&a, m, pairs), spread(&turned, pairs, m), spread(&b, pairs, n));
    if !accumulate {
        let used = before.chunks_mut(n + slack).map(|line| &mut line[..n]);
        used.for_each(|line| line.fill(f32::NAN));
    }
    let lefts = [Strided::rows(&a, pairs + slack), Strided::columns(&turned, m + slack)];
    for (way, rows) in ways().into_iter().flat_map(|way| lefts.map(|rows| (way, rows))) {
        let mut c = before.clone();
        let right_matrix = (&b[..], n + slack);
        gemm_bf16(way, (m, pairs, n), rows, right_matrix, (&mut c, n + slack), accumulate);
        for (place, (found, before)) in c.iter().zip(&before).enumerate() {
            let (row, column) = (place / (n + slack), place % (n + slack));
            if column >= n {
                prop_assert_eq!(found, before, "{:?} wrote past a row", way);
                continue;
            }
            let sum: f64 = (0..k)
                .map(|p| near(left[row * k + p]) * near(right[p * n + column]))
                .sum();
            let exact = sum + if accumulate { f64::from(*before) } else { 0.0 };
            prop_assert!(
                (f64::from(*found) - exact).abs() < 1e-4,
                "{:?}: {} {}",
                way,
                found,
                exact
            );
        }
    }
    Ok(())
}

/// Every side just below, at and above what the tiles multiply at once, and a depth of one strip and of two.
#[test]
fn every_way_agrees_at_the_edges_of_tiles() -> Result<(), TestCaseError> {
    for m in [1, 31, 32, 33, 63, 64] {
        for k in [1, 30, 31, 32, 33, 64, 255, 256, 257, 288, 290] {
            for n in [1, 31, 32, 33, 64, 65] {
                for slack in [0, 3] {
                    agrees((m, k, n), (m + n) % 2 == 0, slack, 7)?;
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_way_agrees_with_double_precision_on_rounded_numbers(
        m in 1_usize..80, k in 1_usize..300, n in 1_usize..140, accumulate in any::<bool>(), slack in 0_usize..9,
        salt in any::<u32>(),
    ) {
        agrees((m, k, n), accumulate, slack, salt)?;
    }

    #[test]
    fn rounding_goes_to_the_nearest_and_keeps_what_is_no_number(bits in any::<u32>()) {
        let x = f32::from_bits(bits);
        let (down, up) = (bits & 0xffff_0000, (bits & 0xffff_0000).wrapping_add(0x1_0000));
        let found = rounded(x) & 0xffff_0000;
        if x.is_nan() {
            prop_assert!(f32::from_bits(found).is_nan());
        } else {
            prop_assert!(found == down || found == up);
            let half = bits & 0xffff;
            let expected = match half.cmp(&0x8000) {
                std::cmp::Ordering::Less => down,
                std::cmp::Ordering::Greater => up,
                std::cmp::Ordering::Equal => if down & 0x1_0000 == 0 { down } else { up },
            };
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn pairs_are_the_same_on_every_instruction_set(rows in 1_usize..9, width in 1_usize..70, slack in 0_usize..3) {
        let source = values(rows * (width + slack), 4);
        let (mut first, mut second) = (Vec::new(), Vec::new());
        for isa in Isa::available() {
            let mut columns = vec![Pair::default(); rows * width.div_ceil(2)];
            pair_columns(isa, &source, width, width + slack, &mut columns);
            let mut lines = vec![Pair::default(); rows.div_ceil(2) * width];
            pair_rows(isa, &source, rows, width, width + slack, &mut lines);
            for row in 0..rows {
                for column in 0..width {
                    let expected = near(source[row * (width + slack) + column]) as f32;
                    let of_columns = columns[row * width.div_ceil(2) + column / 2].numbers();
                    let of_rows = lines[row / 2 * width + column].numbers();
                    prop_assert_eq!([of_columns.0, of_columns.1][column % 2], expected);
                    prop_assert_eq!([of_rows.0, of_rows.1][row % 2], expected);
                }
            }
            if width % 2 == 1 {
                prop_assert_eq!(columns.last().map(|pair| pair.numbers().1), Some(0.0));
            }
            prop_assert_eq!(first.is_empty() || first == columns, true);
            prop_assert_eq!(second.is_empty() || second == lines, true);
            (first, second) = (columns, lines);
        }
    }
}

#[test]
fn the_best_way_has_a_name() {
    assert!(!Bf16::best().name().is_empty());
    assert_eq!(Bf16::available().last(), Some(&Bf16::best()));
}
