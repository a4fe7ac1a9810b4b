use arrow::array::{Array, Float64Array, StringArray, UInt64Array};
use serde_json::json;

use super::*;
use crate::harness::{Data, codes, run, try_run};

fn ints(values: &[Option<i64>]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn data() -> Data {
    let keys: ArrayRef = Arc::new(StringArray::from(vec![
        Some("a"),
        Some("a"),
        Some("b"),
        Some("c"),
        None,
        Some("a"),
    ]));
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![
        Some(1.0),
        Some(3.0),
        None,
        Some(f64::NAN),
        Some(9.0),
        Some(2.0),
    ]));
    let whole = ints(&[Some(1), Some(1), Some(5), None, Some(7), Some(4)]);
    Data::of([("k", keys), ("f", floats), ("i", whole)]).tagged("k", &[Tag::Item, Tag::Id])
}

#[test]
fn nulls_are_as_in_sql() {
    let config = json!({"by": ["k"], "columns": ["f"], "stats": ["count", "sum", "mean", "std", "min", "max"]});
    let ran = run::<JoinGroupStats>(config, &[("input", data())]);
    let rows = ran.rows("train");
    let rows: Vec<&str> = rows.split(';').map(str::trim).collect();
    assert_eq!(rows[0], "3 6.0 2.0 1.0 1.0 3.0");
    assert_eq!(rows[2], "0", "the mean of a group without values is null");
    assert_eq!(rows[3], "0", "NaN is no value");
    assert_eq!(rows[4], "0", "a null key is in no group");
    assert_eq!(ran.schema.columns[0].name, "k_f_count");
    assert_eq!(ran.tags("k_f_mean"), [Tag::Item, Tag::Continuous]);
}

#[test]
fn whole_numbers_stay_whole_and_one_value_has_no_variance() {
    let config = json!({"by": ["k"], "columns": ["i"], "stats": ["sum", "var", "min", "max", "nunique"]});
    let ran = run::<JoinGroupStats>(config, &[("input", data())]);
    assert!(ran.rows("train").starts_with("6 3.0 1 4 2;"), "{}", ran.rows("train"));
    assert!(ran.column("k_i_var").is_null(2));
    assert_eq!(ran.column("k_i_sum").as_primitive::<Int64Type>().value(2), 5);
}

#[test]
fn what_was_not_seen_is_null_and_keys_are_tuples() {
    let data = Data::of([
        ("a", ints(&[Some(1), Some(1)])),
        ("b", ints(&[Some(1), Some(2)])),
        ("v", ints(&[Some(5), Some(6)])),
    ])
    .and(
        "valid",
        [
            ("a", ints(&[Some(1), Some(9)])),
            ("b", ints(&[Some(2), Some(9)])),
            ("v", ints(&[None, None])),
        ],
    );
    let config = json!({"by": ["a", "b"], "columns": ["v"], "stats": ["max", "count"]});
    let ran = run::<JoinGroupStats>(config, &[("input", data.clone())]);
    assert_eq!(ran.rows("valid"), "6 1;  0");
    let bad = json!({"by": ["z"], "columns": ["v"], "stats": ["max"]});
    assert_eq!(codes::<JoinGroupStats>(bad, &[("input", data)]), ["unknown-column"]);
}

#[test]
fn unsigned_values_beyond_64_bits_with_a_sign_stay_exact() {
    let keys = ints(&[Some(1), Some(1), Some(2)]);
    let values = |values: Vec<u64>| Arc::new(UInt64Array::from(values)) as ArrayRef;
    let config = json!({"by": ["k"], "columns": ["u"], "stats": ["sum", "min", "max"]});
    let data = Data::of([("k", Arc::clone(&keys)), ("u", values(vec![2, u64::MAX - 4, 7]))]);
    let ran = run::<JoinGroupStats>(config.clone(), &[("input", data)]);
    let expected = "18446744073709551613 2 18446744073709551611";
    assert_eq!(ran.rows("train"), format!("{expected}; {expected}; 7 7 7"));
    let data = Data::of([("k", keys), ("u", values(vec![u64::MAX, 1, 7]))]);
    let error = try_run::<JoinGroupStats>(config, &[("input", data)]).err().unwrap();
    assert!(error.contains("overflows 64 bits"), "{error}");
}

#[test]
fn infinite_values_have_infinite_sums() {
    let keys = ints(&[Some(1), Some(1)]);
    let floats: ArrayRef = Arc::new(Float64Array::from(vec![f64::INFINITY, 1.0]));
    let config = json!({"by": ["k"], "columns": ["f"], "stats": ["sum", "mean", "max", "min"]});
    let ran = run::<JoinGroupStats>(config, &[("input", Data::of([("k", keys), ("f", floats)]))]);
    assert_eq!(ran.rows("train"), "inf inf inf 1.0; inf inf inf 1.0");
}

#[test]
fn a_split_without_rows_has_no_groups() {
    let data =
        Data::of([("k", ints(&[])), ("i", ints(&[]))]).and("valid", [("k", ints(&[Some(1)])), ("i", ints(&[Some(2)]))]);
    let config = json!({"by": ["k"], "columns": ["i"], "stats": ["count", "sum", "mean", "max", "nunique"]});
    let ran = run::<JoinGroupStats>(config, &[("input", data)]);
    assert_eq!(ran.rows("valid"), "0    0");
}
