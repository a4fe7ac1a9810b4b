//! Every proposer against scoring everything, bit by bit.

use proptest::prelude::*;

use super::*;

/// Values that are the same everywhere, in -1..1.
fn noise(count: usize, seed: u64) -> Vec<f32> {
    (0..count as u64)
        .map(|place| crate::chance(seed, 1, place) as f32 / (1_u64 << 52) as f32 - 1.0)
        .collect()
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Random,
    Clustered,
    Equal,
    Duplicated,
    Subnormal,
    Huge,
    Overflowing,
    Zeros,
    WholeNumbers,
    ManyScales,
    Unit,
}

const KINDS: [Kind; 11] = [
    Kind::Random,
    Kind::Clustered,
    Kind::Equal,
    Kind::Duplicated,
    Kind::Subnormal,
    Kind::Huge,
    Kind::Overflowing,
    Kind::Zeros,
    Kind::WholeNumbers,
    Kind::ManyScales,
    Kind::Unit,
];

fn vectors(kind: Kind, count: usize, dim: usize, seed: u64) -> Vec<f32> {
    let values = noise(count * dim, seed);
    let rows = |change: &dyn Fn(usize, &mut [f32])| {
        let mut values = values.clone();
        values
            .chunks_exact_mut(dim)
            .enumerate()
            .for_each(|(row, values)| change(row, values));
        values
    };
    match kind {
        Kind::Random => values,
        // Ten directions that users and items share, items of different popularity.
        Kind::Clustered => rows(&|row, values| {
            let middle = noise(dim, (row % 10) as u64);
            let length = 0.1 + (crate::chance(seed, 2, row as u64) % 100) as f32 / 30.0;
            values
                .iter_mut()
                .zip(middle)
                .for_each(|(x, m)| *x = (m + 0.2 * *x) * length);
        }),
        Kind::Equal => rows(&|_, values| values.fill(0.37)),
        Kind::Duplicated => rows(&|row, values| values.copy_from_slice(&noise(dim, seed ^ (row % 7) as u64))),
        Kind::Subnormal => values.iter().map(|x| x * 1e-20 * 3e-23).collect(),
        Kind::Huge => values.iter().map(|x| x * 1e18).collect(),
        Kind::Overflowing => values.iter().map(|x| x.abs() * 3e38).collect(),
        Kind::Zeros => rows(&|row, values| {
            if row.is_multiple_of(3) {
                values.fill(if row.is_multiple_of(2) { 0.0 } else { -0.0 });
            }
        }),
        Kind::WholeNumbers => values.iter().map(|x| (x * 2.5).round()).collect(),
        Kind::ManyScales => rows(&|row, values| {
            let scale = 10_f32.powi((row % 60) as i32 - 40);
            for x in values {
                *x *= scale;
            }
        }),
        Kind::Unit => rows(&|_, values| {
            let length = dot(values, values).sqrt().max(1e-6);
            for x in values {
                *x /= length;
            }
        }),
    }
}

/// Nothing if a score is not a number.
fn brute_force(query: &[f32], items: &[f32], k: usize, excluded: Excluded<'_>) -> Option<Vec<(u32, u32)>> {
    let rows = items.chunks_exact(query.len()).enumerate();
    let mut all: Vec<(f32, u32)> = rows
        .map(|(row, item)| (dot(query, item), row as u32))
        .filter(|(_, row)| !excluded.has(*row))
        .collect();
    if all.iter().any(|(score, _)| score.is_nan()) {
        return None;
    }
    all.sort_by(|a, b| b.0.partial_cmp(&a.0).unwrap().then(a.1.cmp(&b.1)));
    all.truncate(k);
    Some(all.into_iter().map(|(score, row)| (row, score.to_bits())).collect())
}

fn bits(list: &[Hit]) -> Vec<(u32, u32)> {
    list.iter().map(|hit| (hit.row, hit.score.to_bits())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn lists_are_those_of_brute_force(
        items_kind in 0_usize..KINDS.len(),
        users_kind in 0_usize..KINDS.len(),
        same in any::<bool>(),
        dim in prop_oneof![Just(1_usize), Just(16), Just(64), 1_usize..150],
        users in 0_usize..75,
        items in prop_oneof![0_usize..50, 150_usize..420, 3000_usize..6000],
        k in prop_oneof![Just(1_usize), 1_usize..30, 100_usize..=200],
        threads in 1_usize..4,
        seed in any::<u64>(),
        excluded in proptest::collection::btree_set(0_u32..400, 0..60),
    ) {
        let users_kind = if same { items_kind } else { users_kind };
        let users = if items > 1000 { users % 36 } else { users };
        let embeddings = vectors(KINDS[items_kind], items, dim, seed);
        let queries = vectors(KINDS[users_kind], users, dim, seed ^ 1);
        let rows: Vec<u32> = excluded.iter().copied().collect();
        let mut words = vec![0_u64; 7];
        for row in &excluded {
            words[*row as usize / 64] |= 1 << (row % 64);
        }
        let exclude = |query: usize| match query % 3 {
            0 => Excluded::Nothing,
            1 => Excluded::Rows(&rows),
            _ => Excluded::Bits(&words),
        };
        let expected: Vec<_> = queries
            .chunks_exact(dim)
            .enumerate()
            .map(|(user, query)| brute_force(query, &embeddings, k, exclude(user)))
            .collect();
        let broken = expected.iter().position(Option::is_none);
        for proposer in Proposer::testable() {
            let index = ItemIndex::new(proposer, embeddings.clone(), dim, threads).unwrap();
            let search = Search { threads, exclude: &exclude, ..Search::best(k) };
            let found = match (index.search(&queries, &search), broken) {
                (Err(TopKError::Score { query, .. }), Some(broken)) => {
                    prop_assert_eq!(query, broken);
                    continue;
                }
                (found, _) => found.unwrap(),
            };
            prop_assert_eq!(found.lists.len(), users);
            for (user, (list, expected)) in found.lists.iter().zip(&expected).enumerate() {
                prop_assert_eq!(
                    Some(bits(list)),
                    expected.clone(),
                    "{} {:?} {:?} user {}", proposer.name(), KINDS[users_kind], KINDS[items_kind], user
                );
            }
        }
    }
}

#[test]
fn few_items_are_proposed_and_none_for_the_empty_lanes() {
    let (dim, k) = (64, 20);
    let items = vectors(Kind::Random, 20_000, dim, 1);
    for users in [1, 33] {
        let queries = vectors(Kind::Random, users, dim, 2);
        for proposer in Proposer::testable() {
            let index = ItemIndex::new(proposer, items.clone(), dim, 1).unwrap();
            let found = index.search(&queries, &Search::best(k)).unwrap();
            assert_eq!(found.proposed.len(), users);
            let most = found.proposed.iter().max().unwrap();
            assert!((20..600).contains(most), "{} {:?}", proposer.name(), found.proposed);
        }
    }
}

#[test]
fn no_result_depends_on_threads_or_on_who_asks_beside() {
    let dim = 24;
    let items = vectors(Kind::Clustered, 5000, dim, 1);
    let queries = vectors(Kind::Clustered, 700, dim, 2);
    for proposer in Proposer::testable() {
        let index = ItemIndex::new(proposer, items.clone(), dim, 3).unwrap();
        let one = index.search(&queries, &Search::best(10)).unwrap();
        let many = Search {
            threads: 4,
            ..Search::best(10)
        };
        assert_eq!(index.search(&queries, &many).unwrap(), one, "{}", proposer.name());
        let alone = index.search(&queries[dim * 50..dim * 51], &Search::best(10)).unwrap();
        assert_eq!(alone.lists[0], one.lists[50]);
    }
}

#[test]
fn what_is_not_finite_is_an_error_that_names_its_row() {
    for bad in [f32::NAN, f32::INFINITY] {
        for proposer in Proposer::testable() {
            let mut items = noise(300 * 8, 1);
            items[8 * 250 + 3] = bad;
            assert_eq!(ItemIndex::new(proposer, items, 8, 2).unwrap_err(), TopKError::Item(250));
            let index = ItemIndex::new(proposer, noise(300 * 8, 1), 8, 1).unwrap();
            let mut queries = noise(40 * 8, 2);
            queries[8 * 37] = bad;
            let error = index.search(&queries, &Search::best(3)).unwrap_err();
            assert_eq!(error, TopKError::Query(37));
        }
    }
}

#[test]
fn scores_that_cancel_beyond_the_range_are_an_error() {
    let items = [noise(8 * 30, 1), vec![3e38, -3e38, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]].concat();
    let queries = [[0.0; 8], [3e38; 8]].concat();
    for proposer in Proposer::testable() {
        let index = ItemIndex::new(proposer, items.clone(), 8, 1).unwrap();
        let error = index.search(&queries, &Search::best(3)).unwrap_err();
        assert_eq!(error, TopKError::Score { query: 1, item: 30 });
    }
}

#[test]
fn shapes_are_checked_and_a_search_can_be_stopped() {
    let proposer = Proposer::best(8);
    assert!(ItemIndex::new(proposer, vec![0.0; 9], 8, 1).is_err());
    assert!(ItemIndex::new(proposer, vec![0.0; 9], 0, 1).is_err());
    let index = ItemIndex::new(proposer, noise(80, 1), 8, 1).unwrap();
    assert!(index.search(&[0.0; 9], &Search::best(1)).is_err());
    let stopped = Search {
        stop: &|| true,
        ..Search::best(1)
    };
    assert_eq!(index.search(&[0.0; 8], &stopped).unwrap_err(), TopKError::Stopped);
}

#[test]
fn names_are_those_of_the_list() {
    for proposer in Proposer::available() {
        assert!(Proposer::NAMES.contains(&proposer.name()));
    }
}
