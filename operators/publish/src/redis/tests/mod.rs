//! `RedisSink` against real servers, started here.

mod basic;
mod faults;
mod gates;
mod left_over;
mod mistakes;
mod modes;
mod proxy;
mod readers;
mod receipt_check;
mod rollback;
mod secure;
mod servers;
mod vectors;

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatchReader};
use arrow::datatypes::{Float32Type, Int64Type};

use crate::redis::redis_sink::RedisSink;
use crate::testing::{inputs, receipt, test_context, write_table};
use towline_api::{DatasetFiles, OperatorError, Output, Receipt, Schema, Sink, Tag, parse};

fn sink(config: &serde_json::Value) -> RedisSink {
    parse(config).unwrap()
}

/// Users 0, 10, 20, ... with the recommendations (u, u + 1); one row more has no user.
fn users(folder: &Path, count: i64) -> DatasetFiles {
    users_of(folder, count, |user| vec![user, user + 1])
}

/// The same with other recommendations.
fn users_of(folder: &Path, count: i64, list: impl Fn(i64) -> Vec<i64>) -> DatasetFiles {
    let ids = (0..count).map(|u| Some(u * 10)).chain([None]).collect::<Int64Array>();
    let list = |u: i64| Some(list(u * 10).into_iter().map(Some).collect::<Vec<_>>());
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>((0..=count).map(list));
    dataset(folder, Arc::new(ids), Arc::new(lists))
}

fn dataset(folder: &Path, ids: ArrayRef, lists: ArrayRef) -> DatasetFiles {
    table(folder, vec![("user_id", ids), ("recommendations", lists)])
}

/// A dataset whose first column is the user's id.
fn table(folder: &Path, columns: Vec<(&str, ArrayRef)>) -> DatasetFiles {
    let table = write_table(&folder.join("rows.parquet"), columns);
    let mut schema = Schema::from_arrow(&table.batches(None).unwrap().schema());
    schema.columns[0].tags.extend([Tag::User, Tag::Id]);
    DatasetFiles {
        schema,
        splits: vec![("train".into(), table)],
        vocabularies: [].into(),
    }
}

/// Users 0 and 10 with scores; the last score is `last`.
fn scored(folder: &Path, last: f32) -> DatasetFiles {
    let lists = vec![Some(vec![Some(1), Some(2)]), Some(vec![Some(3)])];
    let scores = vec![Some(vec![Some(0.5), Some(0.25)]), Some(vec![Some(last)])];
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("user_id", Arc::new(Int64Array::from(vec![0, 10]))),
        (
            "recommendations",
            Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)),
        ),
        (
            "scores",
            Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(scores)),
        ),
    ];
    table(folder, columns)
}

/// Publishes, and returns the receipt.
fn publish(config: &serde_json::Value, data: DatasetFiles) -> Result<Receipt, OperatorError> {
    let (context, _keep) = test_context();
    let output: Output = sink(config).run(&inputs(data), &context)?;
    Ok(receipt(&output).clone())
}

fn expected(count: i64) -> Vec<(String, String)> {
    let mut entries: Vec<(String, String)> = (0..count)
        .map(|u| u * 10)
        .map(|u| {
            (
                format!("USER:{u}"),
                format!(r#"{{"user_id": {u}, "recommendations": [{u}, {}]}}"#, u + 1),
            )
        })
        .collect();
    entries.sort();
    entries
}
