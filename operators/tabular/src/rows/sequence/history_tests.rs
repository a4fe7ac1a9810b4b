use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::harness::{Data, codes, run};

/// Key, time and item.
type Row = (Option<i64>, Option<i64>, i64);

fn columns(rows: &[Row]) -> [(&'static str, ArrayRef); 3] {
    let users: Int64Array = rows.iter().map(|row| row.0).collect();
    let times: Int64Array = rows.iter().map(|row| row.1).collect();
    let items = Int64Array::from_iter_values(rows.iter().map(|row| row.2));
    [("u", Arc::new(users)), ("t", Arc::new(times)), ("i", Arc::new(items))]
}

fn batches(split: &str, rows: &[Row], size: usize) -> Data {
    let batch = |rows: &[Row]| {
        RecordBatch::try_from_iter_with_nullable(columns(rows).map(|(name, array)| (name, array, true))).unwrap()
    };
    Data::batches(split, rows.chunks(size).map(batch).collect())
}

fn lists(batch: &RecordBatch, name: &str) -> Vec<Vec<i64>> {
    let lists = batch.column_by_name(name).unwrap().as_list::<i32>();
    assert_eq!(lists.null_count(), 0, "there is a list for every row");
    let list = |list: Option<ArrayRef>| list.unwrap().as_primitive::<Int64Type>().values().to_vec();
    lists.iter().map(list).collect()
}

/// Sort key: rows without a time are last; at equal times a `fit_on` row comes before another split's.
fn place(time: Option<i64>) -> (bool, i64) {
    (time.is_none(), time.unwrap_or(0))
}

/// Reference implementation that compares all pairs of rows.
fn naive(known: &[Row], rows: &[Row], own: bool, last: usize) -> Vec<Vec<i64>> {
    let of = |(at, row): (usize, &Row)| {
        let mut before: Vec<(usize, &Row)> = known
            .iter()
            .enumerate()
            .filter(|(other, earlier)| {
                let sooner = match place(earlier.1).cmp(&place(row.1)) {
                    std::cmp::Ordering::Less => true,
                    std::cmp::Ordering::Equal => !own || *other < at,
                    std::cmp::Ordering::Greater => false,
                };
                row.0.is_some() && earlier.0 == row.0 && sooner
            })
            .collect();
        before.sort_by_key(|(at, row)| (place(row.1), *at));
        let first = before.len().saturating_sub(last);
        before[first..].iter().map(|(_, row)| row.2).collect()
    };
    rows.iter().enumerate().map(of).collect()
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let time = prop_oneof![4 => (0_i64..6).prop_map(Some), 1 => Just(None)];
    let key = prop_oneof![6 => (0_i64..3).prop_map(Some), 1 => Just(None)];
    prop::collection::vec((key, time, 0_i64..100), 1..30)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn a_row_sees_what_was_known_before_it(known in rows(), held_out in rows(), size in 1_usize..9) {
        let data = batches("train", &known, size).and("valid", columns(&held_out));
        let config = json!({"key": "u", "order_by": "t", "columns": ["i"], "last": [1, 3], "next": "next"});
        let ran = run::<History>(config, &[("input", data)]);
        let names: Vec<&str> = ran.splits.iter().map(|(name, _)| name.as_str()).collect();
        prop_assert_eq!(names, ["train", "valid", "next"]);
        for (split, rows) in [(0, &known), (1, &held_out)] {
            let batch = &ran.splits[split].1;
            let items = batch.column_by_name("i").unwrap().as_primitive::<Int64Type>().values().to_vec();
            prop_assert_eq!(items, rows.iter().map(|row| row.2).collect::<Vec<_>>(), "rows stay where they are");
            for last in [1, 3] {
                let expected = naive(&known, rows, split == 0, last);
                prop_assert_eq!(lists(batch, &format!("i_last_{last}")), expected, "{} {}", split, last);
            }
        }
        let next = &ran.splits[2].1;
        let all = [known, held_out].concat();
        let last = |key| (0..all.len()).filter(|at| all[*at].0 == Some(key)).max_by_key(|at| (place(all[*at].1), *at));
        let latest: Vec<Row> = (0..3).filter_map(last).map(|at| all[at]).collect();
        let items = next.column_by_name("i").unwrap().as_primitive::<Int64Type>().values().to_vec();
        prop_assert_eq!(items, latest.iter().map(|row| row.2).collect::<Vec<_>>());
        let now: Vec<Row> = latest.iter().map(|row| (row.0, None, 0)).collect();
        for last in [1, 3] {
            prop_assert_eq!(lists(next, &format!("i_last_{last}")), naive(&all, &now, false, last));
        }
    }
}

#[test]
fn other_columns_keep_their_tags_and_mistakes_are_told() {
    let kinds: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let ints: ArrayRef = Arc::new(Int64Array::from(vec![1, 1]));
    let data = Data::of([("u", ints.clone()), ("t", ints), ("kind", kinds)]).tagged("u", &[towline_api::Tag::User]);
    let config = json!({"key": "u", "order_by": "t", "columns": ["kind"], "last": [2]});
    let ran = run::<History>(config, &[("input", data.clone())]);
    assert_eq!(ran.rows("train"), "1 1 a []; 1 1 b [a]");
    assert_eq!(ran.tags("u"), [towline_api::Tag::User]);
    let found = |config| codes::<History>(config, &[("input", data.clone())]);
    let names = json!({"key": "v", "order_by": "w", "columns": ["x"], "last": [2]});
    assert_eq!(found(names), ["unknown-column"; 3]);
    let twice = json!({"key": "u", "order_by": "t", "columns": ["kind"], "last": [2, 2]});
    assert_eq!(found(twice), ["duplicate-column"]);
    let splits =
        json!({"key": "u", "order_by": "t", "columns": ["kind"], "last": [2], "fit_on": "tran", "next": "train"});
    assert_eq!(found(splits), ["unknown-split", "conflict"]);
    let empty = json!({"key": "u", "order_by": "t", "columns": [], "last": [0]});
    assert_eq!(found(empty), ["bad-config", "out-of-range"]);
}
