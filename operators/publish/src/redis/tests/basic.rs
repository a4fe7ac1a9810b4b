//! What is written, and what is refused, in the embedded store and in a server.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Int64Array, ListArray, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Int64Type};
use redb::{Database, ReadableDatabase, ReadableTable};
use serde_json::json;
use tempfile::tempdir;

use crate::embedded_store::KEYS_TABLE;
use crate::redis::redis_sink::RedisSink;
use crate::redis::tests::servers::{Redis, ask, free_port};
use crate::redis::tests::{dataset, expected, sink, users};
use crate::testing::{inputs, receipt, test_context, write_table};
use towline_api::{Code, Column, Descriptor, Domain, OperatorError, Schema, Sink, Tag, Vocabulary};

/// Everything in an embedded store, in order of the keys.
fn value_type(path: &Path) -> Vec<(String, String)> {
    let database = Database::open(path).unwrap();
    let table = database.begin_read().unwrap().open_table(KEYS_TABLE).unwrap();
    let entries = table.iter().unwrap().map(Result::unwrap);
    entries
        .map(|(k, v)| (k.value().to_owned(), String::from_utf8(v.value().to_vec()).unwrap()))
        .collect()
}

#[test]
fn an_embedded_batch_replaces_the_one_before() {
    let folder = tempdir().unwrap();
    let (context, _keep) = test_context();
    let path = folder.path().join("new/store.redb");
    let sink = sink(&json!({ "path": path, "chunk": 7 }));
    for count in [20, 12] {
        let output = sink.run(&inputs(users(folder.path(), count)), &context).unwrap();
        let receipt = receipt(&output);
        assert_eq!(receipt.records, count as u64);
        assert_eq!(receipt.details["null_users"], 1);
        assert_eq!(receipt.files[&path], std::fs::metadata(&path).unwrap().len());
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(value_type(&path), expected(count));
    }
}

#[test]
fn two_rows_of_one_user_are_refused_before_anything_is_written() {
    let folder = tempdir().unwrap();
    let (context, _keep) = test_context();
    let path = folder.path().join("store.redb");
    let mut data = users(folder.path(), 3);
    data.splits.push(("valid".into(), data.splits[0].1.clone()));
    let error = sink(&json!({ "path": path })).run(&inputs(data), &context).unwrap_err();
    assert!(error.to_string().contains("`USER:0`"), "{error}");
    assert!(!path.exists());
}

#[test]
fn writes_each_of_3000_users_once() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let (context, _keep) = test_context();
    let sink = sink(&json!({ "url": server.url(""), "chunk": 100 }));
    let output = sink.run(&inputs(users(folder.path(), 3000)), &context).unwrap();
    assert_eq!(receipt(&output).records, 3000);
    assert_eq!(server.strings(0, "USER:"), expected(3000));
}

#[test]
fn a_refused_write_fails_the_run_in_the_words_of_the_server() {
    let server = Redis::start(&["--maxmemory", "1mb", "--maxmemory-policy", "noeviction"]);
    let folder = tempdir().unwrap();
    let (context, _keep) = test_context();
    let run = sink(&json!({ "url": server.url("") })).run(&inputs(users(folder.path(), 5000)), &context);
    let error = run.unwrap_err().to_string();
    assert!(
        error.starts_with(&server.url("")) && error.contains("maxmemory"),
        "{error}"
    );
}

#[test]
fn encoded_ids_are_written_as_they_came_and_unknown_users_not_at_all() {
    let folder = tempdir().unwrap();
    let (context, _keep) = test_context();
    let vocabulary = folder.path().join("vocabulary.parquet");
    write_table(
        &vocabulary,
        vec![
            ("id", Arc::new(Int64Array::from(vec![1, 2, 3, 4]))),
            (
                "value",
                Arc::new(StringArray::from(vec![None, None, Some("x"), Some("y")])),
            ),
            ("count", Arc::new(UInt64Array::from(vec![0, 0, 2, 1]))),
        ],
    );
    let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
        Some(vec![Some(4), Some(2)]),
        Some(vec![Some(3)]),
        Some(vec![Some(3), Some(4)]),
    ]);
    // The second user is out of vocabulary.
    let mut data = dataset(
        folder.path(),
        Arc::new(Int64Array::from(vec![3, 2, 4])),
        Arc::new(lists),
    );
    for column in &mut data.schema.columns {
        column.domain = Some(Domain {
            name: "id".into(),
            size: Some(5),
            vocabulary: Some("v".into()),
            ..Domain::default()
        });
    }
    data.vocabularies.insert("v".into(), Vocabulary::at(&vocabulary));
    let path = folder.path().join("store.redb");
    let output = sink(&json!({ "path": path })).run(&inputs(data), &context).unwrap();
    let receipt = receipt(&output);
    assert_eq!((receipt.records, &receipt.details["null_users"]), (2, &json!(1)));
    assert_eq!(receipt.details["null_recommendations"], 1);
    assert_eq!(output.report.warnings.len(), 2);
    let expected = [
        (
            "USER:x".to_owned(),
            r#"{"user_id": "x", "recommendations": ["y"]}"#.to_owned(),
        ),
        (
            "USER:y".to_owned(),
            r#"{"user_id": "y", "recommendations": ["x", "y"]}"#.to_owned(),
        ),
    ];
    assert_eq!(value_type(&path), expected);
}

#[test]
fn passwords_come_from_secrets_and_show_up_nowhere() {
    // Cargo sets this variable for every test.
    let password = env!("CARGO_PKG_NAME");
    let server = Redis::start(&["--requirepass", password]);
    let folder = tempdir().unwrap();
    let (context, _keep) = test_context();
    let run = |url: &str| sink(&json!({ "url": url })).run(&inputs(users(folder.path(), 5)), &context);

    let output = run(&server.url(":${secret.CARGO_PKG_NAME}@")).unwrap();
    let value_type: String = ask(&server.url(&format!(":{password}@")), &["GET", "USER:40"]);
    assert_eq!(value_type, expected(5)[4].1);
    assert_eq!(receipt(&output).target, server.url("***@"));
    assert!(!format!("{output:?}").contains(password));

    let error = run(&server.url(":hunter2@")).unwrap_err();
    assert!(matches!(error, OperatorError::Server(_)));
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("refuses the user name or the password") && !text.contains("hunter2"),
        "{text}"
    );

    let error = run(&server.url("")).unwrap_err();
    assert!(error.to_string().contains("requires a password"), "{error}");
}

#[test]
fn a_server_that_is_down_is_said_to_be() {
    let folder = tempdir().unwrap();
    let (context, _keep) = test_context();
    let url = format!("redis://:hunter2@127.0.0.1:{}", free_port());
    let error = sink(&json!({ "url": url }))
        .run(&inputs(users(folder.path(), 5)), &context)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is the server running") && !error.contains("hunter2"),
        "{error}"
    );
}

#[test]
fn addresses_that_lead_elsewhere_are_told_from_servers_that_are_down() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let socket = folder.path().join("none.sock");
    for (url, mode, part) in [
        (
            format!("redis://127.0.0.1:{}/99", server.port),
            "overwrite",
            "no database of this number",
        ),
        (format!("redis://127.0.0.1:{}/15", server.port), "swap", "`staging`"),
        (
            format!("redis+sentinel://127.0.0.1:{}/main", server.port),
            "overwrite",
            "is not a sentinel",
        ),
        (
            format!("redis+cluster://127.0.0.1:{}", server.port),
            "overwrite",
            "not a cluster node",
        ),
        (
            format!("unix://{}", socket.display()),
            "overwrite",
            "path of the socket",
        ),
    ] {
        let (context, _keep) = test_context();
        let config = json!({ "url": url, "publish": mode, "retry_timeout": 0 });
        let error = sink(&config)
            .run(&inputs(users(folder.path(), 5)), &context)
            .unwrap_err()
            .to_string();
        assert!(error.starts_with(&url) && error.contains(part), "{error}");
    }
    assert_eq!(server.ask::<u64>(&["DBSIZE"]), 0);
}

#[test]
fn an_interrupted_run_does_not_wait_for_a_server_that_hangs() {
    // Accepts connections (the kernel does) and never answers.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let folder = tempdir().unwrap();
    let (context, _keep) = test_context();
    let cancel = context.cancel.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        cancel.cancel();
    });
    let started = std::time::Instant::now();
    let url = format!("redis://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let error = sink(&json!({ "url": url }))
        .run(&inputs(users(folder.path(), 5)), &context)
        .unwrap_err();
    thread.join().unwrap();
    assert!(matches!(error, OperatorError::Cancelled), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_cache_key_has_no_password() {
    let config = json!({ "url": "redis://me:hunter2@host" });
    let built = Descriptor::of::<RedisSink>().build(&config).unwrap();
    assert_eq!(
        built.cache_config,
        json!({
            "url": "redis://***@host", "path": "output/recommendations.redb", "key": "USER:{user_id}", "encoding": "auto",
            "document": "ids", "publish": "overwrite", "stale": "remove", "namespace": "RECS", "gates": {}
        })
    );
    assert!(!format!("{:?}", built.operator).contains("hunter2"));

    let problems = Descriptor::of::<RedisSink>()
        .build(&json!({ "url": "http://me:hunter2@host" }))
        .err()
        .unwrap();
    assert_eq!(problems[0].code, Code::BadConfig);
    assert!(!format!("{problems:?}").contains("hunter2"));
}

#[test]
fn slips_are_found_without_a_run() {
    let list = DataType::new_list(DataType::Int64, true);
    let user = Column::new("user_id", DataType::Int64, true)
        .with_tag(Tag::User)
        .with_tag(Tag::Id);
    let good = Schema {
        columns: vec![user.clone(), Column::new("recommendations", list, true)],
    };
    let codes = |key: &str, schema: &Schema| {
        let problems = sink(&json!({ "key": key })).input_problems(schema);
        problems
            .into_iter()
            .map(|problem| (problem.code.as_str(), problem.help.unwrap_or_default()))
            .collect::<Vec<_>>()
    };
    assert!(codes("USER:{user_id}", &good).is_empty());
    assert_eq!(
        codes("USER:{usr_id}", &good),
        [("unknown-column", "did you mean `user_id`?".to_owned())]
    );
    assert_eq!(codes("USER", &good)[0].0, "bad-config");
    assert_eq!(codes("{recommendations}", &good)[0].0, "bad-config");
    assert_eq!(
        codes("{user_id}", &Schema { columns: vec![user] })[0].0,
        "unknown-column"
    );

    let untagged = Schema {
        columns: vec![
            Column::new("user_id", DataType::Float64, true),
            Column::new("recommendations", DataType::Int64, true),
        ],
    };
    assert_eq!(codes("{user_id}", &untagged).len(), 3);
}
