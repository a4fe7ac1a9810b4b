//! Facts about rows: what is counted, and over which rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Float32Array, Int64Array, ListArray, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::Int64Type;
use datafusion::prelude::SessionContext;
use towline::checks::{Fact, Scope, check, measurement};
use towline::config::expression::{Scalar, parse};
use towline_api::{DatasetType, LazyDataset, LazyTable, NodeType, Schema};

fn batch(ids: Vec<Option<i64>>, prices: Vec<Option<f32>>) -> RecordBatch {
    let rows = ids.len();
    let brands: Vec<Option<&str>> = [Some("b"), None, Some("a"), Some("b")][..rows].to_vec();
    let clicks: Vec<Option<bool>> = [Some(true), Some(false), None, Some(true)][..rows].to_vec();
    let days: Vec<Option<i32>> = [Some(19_844), Some(19_845), None, Some(0)][..rows].to_vec();
    let lists = [Some(vec![Some(1)]), None, Some(vec![]), Some(vec![None])]
        .into_iter()
        .take(rows);
    let columns: [(&str, ArrayRef); 7] = [
        ("id", Arc::new(Int64Array::from(ids))),
        ("price", Arc::new(Float32Array::from(prices))),
        ("brand", Arc::new(StringArray::from(brands))),
        ("click", Arc::new(BooleanArray::from(clicks))),
        ("day", Arc::new(Date32Array::from(days.clone()))),
        (
            "at",
            Arc::new(
                days.iter()
                    .map(|day| day.map(|d| i64::from(d) * 86_400_000 + 1_500))
                    .collect::<TimestampMillisecondArray>()
                    .with_timezone("+02:00"),
            ),
        ),
        (
            "list",
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
        ),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).expect("a batch")
}

fn dataset(splits: Vec<(&str, RecordBatch)>) -> LazyDataset {
    let session = SessionContext::new();
    let schema = Schema::from_arrow(splits[0].1.schema().as_ref());
    let splits = splits
        .into_iter()
        .map(|(name, batch)| {
            let frame = session.read_batch(batch).expect("a frame");
            (name.to_owned(), LazyTable::from_frame(frame))
        })
        .collect();
    LazyDataset {
        schema,
        splits,
        vocabularies: BTreeMap::new(),
    }
}

/// The value of each expression's left side, which is one fact.
fn facts(dataset: &LazyDataset, texts: &[&str]) -> Vec<String> {
    let output = NodeType::Dataset(DatasetType {
        schema: dataset.schema.clone(),
        splits: dataset.split_names(),
    });
    let scope = Scope {
        node: "rows",
        metrics: &[],
        output: &output,
    };
    let wanted: Vec<Fact> = texts
        .iter()
        .map(|text| {
            let text = format!("{text} == {text}");
            let condition = check(&text, &parse(&text).expect("an expression"), &scope).expect("a condition");
            condition.facts().into_iter().next().expect("a fact")
        })
        .collect();
    let all: BTreeSet<Fact> = wanted.iter().cloned().collect();
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let query = measurement(dataset, &all).expect("it is planned");
    let found = runtime.block_on(query.run()).expect("it is measured");
    assert_eq!(found.len(), all.len());
    wanted
        .iter()
        .map(|fact| format!("{fact} = {}", found.get(fact).unwrap_or(&Scalar::Missing)))
        .collect()
}

#[test]
fn facts_are_of_all_splits_or_of_one() {
    let train = batch(
        vec![Some(1), Some(2), Some(2), None],
        vec![Some(0.5), Some(f32::NAN), None, Some(-1.0)],
    );
    let valid = batch(vec![Some(2), Some(3)], vec![Some(4.0), Some(2.5)]);
    let dataset = dataset(vec![("train", train), ("valid", valid)]);
    let found = facts(
        &dataset,
        &[
            "rows",
            "train.rows",
            "distinct(id)",
            "distinct(train.id)",
            "values(id)",
            "nulls(id)",
            "nulls(valid.id)",
            "nulls(price)",
            "null_share(train.price)",
            "values(price)",
            "distinct(price)",
            "min(price)",
            "max(price)",
            "mean(price)",
            "mean(valid.price)",
            "min(brand)",
            "max(valid.brand)",
            "distinct(brand)",
            "mean(click)",
            "min(day)",
            "max(valid.day)",
            "max(at)",
            "nulls(list)",
        ],
    );
    assert_eq!(
        found,
        [
            "rows = 6",
            "train.rows = 4",
            "distinct(id) = 3",
            "distinct(train.id) = 2",
            "values(id) = 5",
            "nulls(id) = 1",
            "nulls(valid.id) = 0",
            "nulls(price) = 2",
            "null_share(train.price) = 0.5",
            "values(price) = 4",
            "distinct(price) = 4",
            "min(price) = -1",
            "max(price) = 4",
            "mean(price) = 1.5",
            "mean(valid.price) = 3.25",
            "min(brand) = 'a'",
            "max(valid.brand) = 'b'",
            "distinct(brand) = 2",
            "mean(click) = 0.6",
            "min(day) = '1970-01-01'",
            "max(valid.day) = '2024-05-02'",
            "max(at) = '2024-05-02T00:00:01.500'",
            "nulls(list) = 2",
        ]
    );
}

#[test]
fn of_no_rows_nothing_is_null_and_nothing_is_least() {
    let dataset = dataset(vec![("train", batch(vec![], vec![]))]);
    let found = facts(
        &dataset,
        &[
            "rows",
            "null_share(id)",
            "distinct(id)",
            "min(id)",
            "mean(price)",
            "max(day)",
        ],
    );
    assert_eq!(
        found,
        [
            "rows = 0",
            "null_share(id) = 0",
            "distinct(id) = 0",
            "min(id) = undefined",
            "mean(price) = undefined",
            "max(day) = undefined",
        ]
    );
}
