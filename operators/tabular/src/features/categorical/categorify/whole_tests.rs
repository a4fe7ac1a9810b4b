//! `Categorify` with all its options, run through the harness.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt64Array,
};
use arrow::datatypes::{Int32Type, Int64Type};
use serde_json::json;

use crate::features::categorical::categorify::Categorify;
use crate::features::categorical::categorify::encoded_columns::{categorify, ids, ints};
use crate::harness::{Data, Ran, codes, try_run};
use towline_api::Tag;

fn strings(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

#[test]
fn columns_that_share_a_vocabulary_share_ids_and_stay_in_one_domain() {
    let narrow: ArrayRef = Arc::new(Int32Array::from(vec![Some(7), None, Some(8), Some(7)]));
    let data = Data::of([("a", narrow), ("b", ints(&[8, 8, 9, 8])), ("c", ints(&[7, 7, 7, 9]))]);
    let ran = categorify(json!({"joint": {"person": ["a", "b"]}}), data);
    assert_eq!(ids(&ran, "a"), [4, 1, 3, 4]);
    assert_eq!(ids(&ran, "b"), [3, 3, 5, 3]);
    assert_eq!(ids(&ran, "c"), [3, 3, 3, 4], "c has a vocabulary of its own");
    let domain = |name: &str| ran.schema.get(name).unwrap().domain.clone().unwrap();
    assert_eq!(domain("a"), domain("b"));
    assert_eq!((domain("a").name.as_str(), domain("a").size), ("person", Some(6)));
    assert_ne!(domain("a").vocabulary, domain("c").vocabulary);
}

#[test]
fn values_that_have_nothing_in_common_cannot_share() {
    let data = Data::of([("a", ints(&[1])), ("b", strings(&[Some("1")]))]);
    assert_eq!(
        codes::<Categorify>(json!({"joint": {"x": ["a", "b"]}}), &[("input", data.clone())]),
        ["wrong-type"]
    );
    assert_eq!(
        codes::<Categorify>(json!({"joint": {"x": ["a"]}}), &[("input", data.clone())]),
        ["bad-config"]
    );
    assert_eq!(
        codes::<Categorify>(json!({"combo": {"x": ["a", "z"]}}), &[("input", data)]),
        ["unknown-column"]
    );
}

#[test]
fn a_combination_is_one_column_of_tuples() {
    let data = Data::of([
        ("shop", ints(&[1, 1, 2, 1, 2])),
        ("brand", strings(&[Some("x"), Some("y"), None, Some("y"), None])),
        ("other", ints(&[5, 5, 5, 5, 5])),
    ])
    .tagged("shop", &[Tag::Item, Tag::Id])
    .tagged("brand", &[Tag::Item])
    .and(
        "valid",
        [
            (
                "shop",
                Arc::new(Int64Array::from(vec![Some(1), Some(9), None])) as ArrayRef,
            ),
            ("brand", strings(&[Some("x"), Some("x"), None])),
            ("other", ints(&[5, 6, 7])),
        ],
    );
    let ran = categorify(json!({"combo": {"shop_brand": ["shop", "brand"]}}), data);
    assert_eq!(ran.schema.names().collect::<Vec<_>>(), ["other", "shop_brand"]);
    assert_eq!(
        ids(&ran, "shop_brand"),
        [5, 3, 4, 3, 4],
        "equal counts in order of the tuples"
    );
    assert_eq!(ran.rows("valid"), "3 5; 2 2; 2 1");
    assert_eq!(ran.tags("shop_brand"), [Tag::Item, Tag::Categorical]);
    let decoded = ran.vocabulary("shop_brand").load().unwrap().decode(&[5, 4]).unwrap();
    assert_eq!(
        decoded.as_struct().column(0).as_primitive::<Int64Type>().values(),
        &[1, 2]
    );
    assert!(decoded.as_struct().column(1).is_null(1));
}

#[test]
fn settings_per_column() {
    let data = Data::of([("a", ints(&[1, 1, 2])), ("b", ints(&[1, 1, 2]))]);
    let config = json!({"min_count": {"a": 2}, "oov_buckets": {"b": 3}});
    let ran = categorify(config, data.clone());
    assert_eq!((ids(&ran, "a"), ids(&ran, "b")), (vec![3, 3, 2], vec![5, 5, 6]));
    assert_eq!(
        codes::<Categorify>(json!({"min_count": {"z": 2}}), &[("input", data.clone())]),
        ["unknown-column"]
    );
    assert_eq!(
        codes::<Categorify>(json!({"min_count": 0}), &[("input", data)]),
        ["out-of-range"]
    );
}

#[test]
fn counts_on_disk_give_the_same_bytes() {
    let numbers: Vec<i64> = (0..20_000_i64).map(|i| (i * i) % 7_919 * 1_000_003).collect();
    let text: Vec<String> = numbers.iter().map(|n| format!("t{}", n % 977)).collect();
    let batches: Vec<RecordBatch> = numbers
        .chunks(1000)
        .zip(text.chunks(1000))
        .map(|(numbers, text)| {
            let text: ArrayRef = Arc::new(StringArray::from(text.to_vec()));
            RecordBatch::try_from_iter([("n", ints(numbers)), ("t", text)]).unwrap()
        })
        .collect();
    for config in [
        json!({}),
        json!({"min_count": 3}),
        json!({"max_size": 100, "oov_buckets": 5}),
        json!({"combo": {"x": ["n", "t"]}}),
    ] {
        let mut limited = config.clone();
        limited["memory_limit"] = json!("20kB");
        let free = categorify(config, Data::batches("train", batches.clone()));
        let bound = categorify(limited, Data::batches("train", batches.clone()));
        assert!(
            free.schema
                .columns
                .iter()
                .all(|column| column.domain.as_ref().unwrap().vocabulary.is_some())
        );
        assert_eq!(free.schema, bound.schema, "vocabularies have equal digests");
        assert_eq!(free.splits, bound.splits);
    }
}

#[test]
fn all_null_and_empty_columns_work() {
    let nothing: ArrayRef = Arc::new(StringArray::from(vec![None::<&str>; 3]));
    let ran = categorify(json!({}), Data::of([("x", nothing)]));
    assert_eq!(ids(&ran, "x"), [1, 1, 1]);
    let ran = categorify(
        json!({}),
        Data::of([("x", strings(&[]))]).and("valid", [("x", strings(&[Some("a"), None]))]),
    );
    assert_eq!(ran.rows("valid"), "2; 1");
    assert_eq!(ran.schema.get("x").unwrap().domain.clone().unwrap().size, Some(3));
}

#[test]
fn types_that_differ_between_fit_and_apply_are_told_with_both_names() {
    let gaps: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), None]));
    for (other, words) in [
        (gaps, ["Int64", "Float64"]),
        (strings(&[Some("1"), None]), ["Int64", "Utf8"]),
    ] {
        let data = Data::of([("x", ints(&[1, 2]))]).and("valid", [("x", other)]);
        let error = try_run::<Categorify>(json!({}), &[("input", data)]).err().unwrap();
        assert!(
            error.contains("`x`") && words.iter().all(|word| error.contains(word)),
            "{error}"
        );
    }
}

#[test]
fn dates_times_and_unsigned_values_come_back() {
    let columns: [(&str, ArrayRef); 3] = [
        ("day", Arc::new(Date32Array::from(vec![20_000, 19_000, 20_000]))),
        (
            "at",
            Arc::new(TimestampMicrosecondArray::from(vec![5, -5, 5]).with_timezone("UTC")),
        ),
        ("big", Arc::new(UInt64Array::from(vec![u64::MAX, 1, u64::MAX]))),
    ];
    let ran = categorify(json!({}), Data::of(columns.clone()));
    for (name, values) in columns {
        assert_eq!(ids(&ran, name), [3, 4, 3]);
        let decoded = ran.vocabulary(name).load().unwrap().decode(&ids(&ran, name)).unwrap();
        assert_eq!(&decoded, &values, "{name}");
    }
}

#[test]
fn equal_counts_come_in_value_order_however_the_rows_are_cut() {
    let values: Vec<i64> = (0..20).map(|i| (i * 7) % 20).collect();
    let expected: Vec<i64> = values.iter().map(|value| value + 3).collect();
    for size in [1, 3, 20] {
        let cut = |part: &[i64]| {
            RecordBatch::try_from_iter([("a", ints(part)), ("b", ints(part)), ("c", ints(part))]).unwrap()
        };
        let ran = categorify(
            json!({}),
            Data::batches("train", values.chunks(size).map(cut).collect()),
        );
        for name in ["a", "b", "c"] {
            assert_eq!(ids(&ran, name), expected);
        }
    }
}

#[test]
fn the_same_column_in_two_nodes_keeps_two_vocabularies() {
    let data = Data::of([("x", ints(&[1, 1, 2]))]);
    let (one, two) = (
        categorify(json!({}), data.clone()),
        categorify(json!({"min_count": 2}), data),
    );
    let digest = |ran: &Ran| ran.schema.get("x").unwrap().domain.clone().unwrap().vocabulary.unwrap();
    assert_ne!(digest(&one), digest(&two));
    assert_eq!((ids(&one, "x"), ids(&two, "x")), (vec![3, 3, 4], vec![3, 3, 2]));
}

#[test]
fn a_null_inside_a_list_is_one() {
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>([Some(vec![Some(4), None]), None]);
    let ran = categorify(json!({}), Data::of([("x", Arc::new(lists) as ArrayRef)]));
    let expected = ListArray::from_iter_primitive::<Int64Type, _, _>([Some(vec![Some(3), Some(1)]), None]);
    assert_eq!(ran.column("x").as_list::<i32>(), &expected);
}
