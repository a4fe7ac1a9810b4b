//! `VectorSink` against a server that searches.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, FixedSizeListArray, Float32Array, Int64Array, ListArray};
use arrow::datatypes::{DataType, Field, Float32Type};
use serde_json::json;
use tempfile::tempdir;

use crate::redis::tests::servers::Redis;
use crate::redis::tests::table;
use crate::redis::vector_sink::VectorSink;
use crate::testing::{inputs, receipt, test_context};
use towline_api::{DatasetFiles, Output, Sink, Tag, parse};

const WIDTH: usize = 8;

/// Vectors that are the same on every machine.
fn vectors(count: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| (0..WIDTH).map(|_| next()).collect()).collect()
}

fn items(folder: &Path, vectors: &[Vec<f32>]) -> DatasetFiles {
    let field = Arc::new(Field::new("item", DataType::Float32, false));
    let values = Float32Array::from(vectors.concat());
    let list = FixedSizeListArray::new(field, vectors[0].len() as i32, Arc::new(values), None);
    let ids = (0..vectors.len() as i64).map(|id| id + 1000).collect::<Int64Array>();
    let columns: Vec<(&str, ArrayRef)> = vec![("item_id", Arc::new(ids)), ("embedding", Arc::new(list))];
    let mut data = table(folder, columns);
    data.schema.columns[0].tags = [Tag::Item, Tag::Id].into();
    data
}

fn publish(server: &Redis, metric: &str, data: DatasetFiles) -> Output {
    let sink: VectorSink = parse(&json!({ "url": server.url(""), "metric": metric, "chunk": 100 })).unwrap();
    let (context, _keep) = test_context();
    sink.run(&inputs(data), &context).unwrap()
}

/// The items that the server finds nearest.
fn nearest(server: &Redis, query: &[f32], k: usize) -> Vec<String> {
    let bytes: Vec<u8> = query.iter().flat_map(|value| value.to_le_bytes()).collect();
    let mut connection = redis::Client::open(server.url("")).unwrap().get_connection().unwrap();
    let text = format!("*=>[KNN {k} @embedding $v EF_RUNTIME 500 AS score]");
    let mut command = redis::cmd("FT.SEARCH");
    command.arg("items").arg(text).arg("PARAMS").arg(2).arg("v").arg(bytes);
    command
        .arg("SORTBY")
        .arg("score")
        .arg("NOCONTENT")
        .arg("LIMIT")
        .arg(0)
        .arg(k)
        .arg("DIALECT")
        .arg(2);
    let answer: Vec<redis::Value> = command.query(&mut connection).unwrap();
    answer[1..]
        .iter()
        .map(|key| redis::from_redis_value_ref::<String>(key).unwrap())
        .collect()
}

#[test]
fn the_server_finds_the_items_that_exact_search_finds() {
    let server = Redis::with_search();
    let folder = tempdir().unwrap();
    let all = vectors(800, 1);
    let output = publish(&server, "ip", items(folder.path(), &all));
    assert_eq!(receipt(&output).records, 800);
    for query in vectors(20, 2) {
        let dot = |vector: &Vec<f32>| vector.iter().zip(&query).map(|(a, b)| a * b).sum::<f32>();
        let mut exact: Vec<usize> = (0..all.len()).collect();
        exact.sort_by(|a, b| dot(&all[*b]).total_cmp(&dot(&all[*a])));
        let exact: Vec<String> = exact[..10].iter().map(|item| format!("ITEM:{}", item + 1000)).collect();
        assert_eq!(nearest(&server, &query, 10), exact);
    }

    // Items that are gone are not found, and another metric is another index under the same name.
    let output = publish(&server, "l2", items(folder.path(), &all[..100]));
    assert_eq!(
        (
            receipt(&output).details["removed"].clone(),
            receipt(&output).details["written"].clone()
        ),
        (json!(700), json!(0))
    );
    assert_eq!(nearest(&server, &all[42], 1), ["ITEM:1042"]);
    assert_eq!(server.ask::<Vec<String>>(&["FT._LIST"]).len(), 1);
    let found = nearest(&server, &all[500], 100);
    assert!(
        found
            .iter()
            .all(|key| key["ITEM:".len()..].parse::<u64>().unwrap() < 1100),
        "{found:?}"
    );
    assert_eq!(found.len(), 100);
}

#[test]
fn a_server_that_cannot_search_is_an_error_before_anything_is_written() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let sink: VectorSink = parse(&json!({ "url": server.url("") })).unwrap();
    let (context, _keep) = test_context();
    let error = sink
        .run(&inputs(items(folder.path(), &vectors(3, 1))), &context)
        .unwrap_err()
        .to_string();
    assert!(error.contains("cannot search"), "{error}");
    assert_eq!(server.ask::<u64>(&["DBSIZE"]), 0);
}

/// Items 1000, 1001, ... with vectors of any lengths.
fn listed(folder: &Path, vectors: Vec<Option<Vec<Option<f32>>>>) -> DatasetFiles {
    let ids = (0..vectors.len() as i64).map(|id| id + 1000).collect::<Int64Array>();
    let lists = ListArray::from_iter_primitive::<Float32Type, _, _>(vectors);
    let columns: Vec<(&str, ArrayRef)> = vec![("item_id", Arc::new(ids)), ("embedding", Arc::new(lists))];
    let mut data = table(folder, columns);
    data.schema.columns[0].tags = [Tag::Item, Tag::Id].into();
    data
}

#[test]
fn vectors_come_as_lists_as_well_and_must_be_of_one_length() {
    let server = Redis::with_search();
    let folder = tempdir().unwrap();
    let sink: VectorSink = parse(&json!({ "url": server.url("") })).unwrap();
    let (context, _keep) = test_context();
    let whole = |values: [f32; 2]| Some(values.map(Some).to_vec());
    for (second, part) in [
        (Some(vec![Some(1.0)]), "has 1 values where those before have 2"),
        (Some(vec![Some(1.0), Some(f32::NAN)]), "missing or not a number"),
        (Some(vec![None, Some(1.0)]), "missing or not a number"),
        (Some(vec![]), "holds no vector"),
        (None, "holds no vector"),
    ] {
        let data = listed(folder.path(), vec![whole([1.0, 0.0]), second]);
        let error = sink.run(&inputs(data), &context).unwrap_err().to_string();
        assert!(error.contains("of the item `1001`") && error.contains(part), "{error}");
        assert_eq!(server.ask::<u64>(&["DBSIZE"]), 0, "nothing was written");
    }
    let data = || listed(folder.path(), vec![whole([1.0, 0.0]), whole([0.0, 1.0])]);
    sink.run(&inputs(data()), &context).unwrap();
    assert_eq!(nearest(&server, &[0.1, 0.9], 1), ["ITEM:1001"]);
}

#[test]
fn an_index_that_is_gone_is_noticed() {
    let server = Redis::with_search();
    let folder = tempdir().unwrap();
    let sink: VectorSink = parse(&json!({ "url": server.url(""), "chunk": 100 })).unwrap();
    let output = publish(&server, "ip", items(folder.path(), &vectors(10, 1)));
    let first = receipt(&output);
    assert!(sink.still_published(first));
    let index = first.details["index"].as_str().unwrap();
    let _: () = server.ask(&["FT.DROPINDEX", index]);
    assert!(!sink.still_published(first), "the index is gone");
    let again = publish(&server, "ip", items(folder.path(), &vectors(10, 1)));
    let again = receipt(&again);
    assert!(sink.still_published(again));
    let other = publish(&server, "ip", items(folder.path(), &vectors(10, 2)));
    assert!(!sink.still_published(again), "other vectors were published");
    let _: () = server.ask(&["FLUSHALL"]);
    assert!(!sink.still_published(receipt(&other)), "everything is gone");
}
