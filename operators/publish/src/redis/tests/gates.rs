//! What stops a batch: nothing in it, users that vanish, numbers that are none.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, Int64Array, ListArray};
use arrow::datatypes::{Float32Type, Int64Type};
use serde_json::json;
use tempfile::tempdir;

use crate::redis::tests::servers::Redis;
use crate::redis::tests::{dataset, publish, sink, table, users};
use crate::testing::{inputs, receipt, test_context};
use towline_api::Sink;

#[test]
fn nothing_does_not_take_the_place_of_something() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let store = folder.path().join("store.redb");
    for config in [
        json!({ "url": server.url(""), "namespace": "A" }),
        json!({ "url": format!("redis://127.0.0.1:{}/3", server.port), "publish": "swap" }),
        json!({ "url": server.url(""), "publish": "pointer", "namespace": "B" }),
        json!({ "path": store }),
    ] {
        // With nothing before it, nothing may be published.
        publish(&config, users(folder.path(), 0)).unwrap();
        publish(&config, users(folder.path(), 3)).unwrap();
        let error = publish(&config, users(folder.path(), 0)).unwrap_err().to_string();
        assert!(
            error.contains("3 keys are published") && error.contains("`allow_empty: true`"),
            "{config}: {error}"
        );
        let mut meant = config.clone();
        meant["allow_empty"] = json!(true);
        assert_eq!(publish(&meant, users(folder.path(), 0)).unwrap().records, 0, "{config}");
    }
    assert_eq!(server.ask::<Vec<String>>(&["KEYS", "USER:*"]).len(), 0);
}

#[test]
fn users_that_vanish_count_as_a_change() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    for (mode, database) in [("overwrite", 0), ("swap", 2), ("pointer", 4)] {
        let url = format!("redis://127.0.0.1:{}/{database}", server.port);
        let config = |users: f64| json!({ "url": url, "publish": mode, "gates": { "max_change": { "users": users } } });
        publish(&config(0.0), users(folder.path(), 20)).unwrap();
        let error = publish(&config(0.2), users(folder.path(), 15)).unwrap_err().to_string();
        assert!(
            error.contains("5 users are removed, a share of 0.2500"),
            "{mode}: {error}"
        );
        let receipt = publish(&config(0.25), users(folder.path(), 15)).unwrap();
        assert_eq!(
            (&receipt.details["lists_compared"], &receipt.details["lists_gone"]),
            (&json!(15), &json!(5))
        );
        // New users change nothing for those who are there.
        publish(&config(0.0), users(folder.path(), 30)).unwrap();
    }
    // Those who stay on the server are not gone.
    let keep = json!({ "url": format!("redis://127.0.0.1:{}/0", server.port), "stale": "keep",
        "gates": { "max_change": { "users": 0.0 } } });
    publish(&keep, users(folder.path(), 10)).unwrap();
}

#[test]
fn recommendations_without_a_value_are_counted_once() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let lists = vec![Some(vec![Some(1), None]), Some(vec![None, Some(2)])];
    let lists = || Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists.clone()));
    let data = || dataset(folder.path(), Arc::new(Int64Array::from(vec![1, 2])), lists());
    let config = json!({ "url": server.url(""), "publish": "swap", "gates": { "max_change": { "users": 1.0 } } });
    for _ in 0..2 {
        let receipt = publish(&config, data()).unwrap();
        assert_eq!(receipt.details["null_recommendations"], 2);
    }
}

#[test]
fn fields_that_are_no_numbers_stop_the_batch() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let config = json!({ "url": server.url(""), "encoding": "hash" });
    let lists = |last: f32| {
        let lists = vec![Some(vec![Some(0.5)]), Some(vec![None, Some(last)])];
        Arc::new(ListArray::from_iter_primitive::<Float32Type, _, _>(lists)) as ArrayRef
    };
    for (name, column) in [
        (
            "share",
            Arc::new(Float64Array::from(vec![Some(0.5), Some(f64::NAN)])) as ArrayRef,
        ),
        ("share", Arc::new(Float32Array::from(vec![0.5, f32::NEG_INFINITY]))),
        ("vector", lists(f32::INFINITY)),
    ] {
        let ids = Arc::new(Int64Array::from(vec![1, 2]));
        let error = publish(&config, table(folder.path(), vec![("user_id", ids), (name, column)]));
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains(&format!("`{name}` of the key `USER:2` is not a number")),
            "{error}"
        );
        assert_eq!(server.ask::<u64>(&["DBSIZE"]), 0);
    }
    // A row that is not written may hold anything, and so may one without a value.
    let ids = Arc::new(Int64Array::from(vec![Some(1), None]));
    let share = Arc::new(Float64Array::from(vec![None, Some(f64::NAN)]));
    publish(&config, table(folder.path(), vec![("user_id", ids), ("share", share)])).unwrap();
    let ids = Arc::new(Int64Array::from(vec![1, 2]));
    publish(
        &config,
        table(folder.path(), vec![("user_id", ids), ("vector", lists(0.25))]),
    )
    .unwrap();
}

#[test]
fn what_is_not_written_does_not_use_up_the_rate() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let fast = json!({ "url": server.url(""), "chunk": 10 });
    publish(&fast, users(folder.path(), 2000)).unwrap();
    // At one key a second, two thousand would take half an hour; none of them has changed.
    let slow = json!({ "url": server.url(""), "chunk": 10, "rate_limit": 1 });
    let (context, _keep) = test_context();
    let data = users(folder.path(), 2000);
    let cancel = context.cancel.clone();
    let output = std::thread::scope(|scope| {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            if wait.recv_timeout(std::time::Duration::from_mins(2)).is_err() {
                cancel.cancel();
            }
        });
        let output = sink(&slow).run(&inputs(data), &context);
        let _ = done.send(());
        output
    });
    let output = output.expect("it does not wait");
    let details = &receipt(&output).details;
    assert_eq!((&details["written"], &details["unchanged"]), (&json!(0), &json!(2000)));
    assert_eq!(details["written_bytes"], 0);
    let bytes: usize = crate::redis::tests::expected(2000)
        .iter()
        .map(|(_, document)| document.len())
        .sum();
    assert_eq!(details["unchanged_bytes"], json!(bytes));
}
