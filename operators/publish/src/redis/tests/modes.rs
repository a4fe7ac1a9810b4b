//! The ways to publish, the encodings, the gates.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, StringArray};
use serde_json::{Value, json};
use tempfile::tempdir;

use crate::redis::tests::servers::Redis;
use crate::redis::tests::{expected, publish, scored, sink, table, users, users_of};
use towline_api::Sink;

fn meta(server: &Redis, database: i64) -> Value {
    let text: String = server.ask_in(database, &["GET", "RECS:META"]);
    serde_json::from_str(&text).unwrap()
}

#[test]
fn only_what_changes_is_written_and_who_is_gone_is_removed() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let config = json!({ "url": server.url(""), "chunk": 16 });
    let _: () = server.ask(&["SET", "USER:settings", "of somebody else"]);
    let first = publish(&config, users(folder.path(), 100)).unwrap();
    assert_eq!(
        (first.details["written"].clone(), first.details["generation"].clone()),
        (json!(100), json!(1))
    );

    let change = |user| if user == 30 { vec![7] } else { vec![user, user + 1] };
    let second = publish(&config, users_of(folder.path(), 90, change)).unwrap();
    let numbers = ["written", "unchanged", "removed", "generation"].map(|name| second.details[name].as_u64().unwrap());
    assert_eq!(numbers, [1, 89, 10, 2]);
    let mut wanted = expected(90);
    wanted.push(("USER:settings".to_owned(), "of somebody else".to_owned()));
    wanted.sort();
    let changed = wanted.iter_mut().find(|(key, _)| key == "USER:30").unwrap();
    changed.1 = r#"{"user_id": 30, "recommendations": [7]}"#.to_owned();
    assert_eq!(server.strings(0, "USER:"), wanted);
    assert_eq!(
        (meta(&server, 0)["rows"].clone(), meta(&server, 0)["key"].clone()),
        (json!(90), json!("USER:{user_id}"))
    );
    assert_ne!(first.details["checksum"], second.details["checksum"]);

    // A key that was lost, or that somebody has removed, is written again although its document has not changed.
    let _: u64 = server.ask(&["DEL", "USER:50"]);
    let third = publish(&config, users_of(folder.path(), 90, change)).unwrap();
    assert_eq!(
        (third.details["written"].clone(), third.details["checksum"].clone()),
        (json!(1), second.details["checksum"].clone())
    );
    assert_eq!(server.strings(0, "USER:"), wanted);
    let left: Vec<String> = server.ask(&["KEYS", "RECS:KEYS:*"]);
    assert_eq!(
        left.len(),
        90_usize.div_ceil(16),
        "only the records of the last generation stay"
    );
}

#[test]
fn stale_keys_stay_if_they_should_and_keys_go_by_themselves() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let config = json!({ "url": server.url(""), "stale": "keep", "ttl": 1000 });
    publish(&config, users(folder.path(), 5)).unwrap();
    let _: u64 = server.ask(&["EXPIRE", "USER:0", "10"]);
    let receipt = publish(&config, users(folder.path(), 3)).unwrap();
    assert_eq!(receipt.details["unchanged"], 3);
    assert_eq!(server.strings(0, "USER:"), expected(5));
    let ttl: u64 = server.ask(&["TTL", "USER:0"]);
    assert!(ttl > 900, "what is not written gets its time anew: {ttl}");
}

#[test]
fn keys_of_another_type_are_replaced() {
    let server = Redis::with_json(&[]);
    let folder = tempdir().unwrap();
    for (encoding, read) in [
        ("string", "GET"),
        ("json", "JSON.GET"),
        ("auto", "JSON.GET"),
        ("hash", "HGETALL"),
    ] {
        let _: () = server.ask(&["FLUSHALL"]);
        let _: u64 = server.ask(&["LPUSH", "USER:0", "x"]);
        let _: u64 = server.ask(&["HSET", "USER:10", "left", "over"]);
        let _: () = server.ask(&["SET", "USER:20", "x"]);
        let _: () = server.ask(&["JSON.SET", "USER:30", "$", "{}"]);
        let receipt = publish(
            &json!({ "url": server.url(""), "encoding": encoding }),
            users(folder.path(), 4),
        );
        assert_eq!(receipt.unwrap().records, 4, "{encoding}");
        for user in [0, 10, 20, 30] {
            let key = format!("USER:{user}");
            if encoding == "hash" {
                let fields: HashMap<String, String> = server.ask(&[read, &key]);
                let recommendations = format!("[{user}, {}]", user + 1);
                let wanted = [("user_id", user.to_string()), ("recommendations", recommendations)];
                assert_eq!(fields, wanted.map(|(name, value)| (name.to_owned(), value)).into());
            } else {
                let document: String = server.ask(&[read, &key]);
                let document: Value = serde_json::from_str(&document).unwrap();
                assert_eq!(
                    document,
                    json!({ "user_id": user, "recommendations": [user, user + 1] }),
                    "{encoding}"
                );
            }
        }
    }
}

#[test]
fn who_may_not_write_several_keys_at_once_writes_one_by_one() {
    let server = Redis::with_json(&[]);
    let folder = tempdir().unwrap();
    // Cargo sets this variable for every test.
    let password = format!(">{}", env!("CARGO_PKG_NAME"));
    let rights = ["on", &password, "~*", "&*", "+@all", "-mset", "-json.mset"];
    let _: () = server.ask(&[["ACL", "SETUSER", "job"].as_slice(), &rights].concat());
    for (encoding, read) in [("string", "GET"), ("json", "JSON.GET")] {
        let _: () = server.ask(&["FLUSHALL"]);
        let url = server.url("job:${secret.CARGO_PKG_NAME}@");
        let receipt = publish(&json!({ "url": url, "encoding": encoding }), users(folder.path(), 50)).unwrap();
        assert_eq!(receipt.details["written"], 50, "{encoding}");
        for user in [0, 490] {
            let document: String = server.ask(&[read, &format!("USER:{user}")]);
            assert!(document.contains(&(user + 1).to_string()), "{encoding}: {document}");
        }
    }
}

#[test]
fn json_where_there_is_none_is_an_error_and_auto_takes_strings() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let error = publish(
        &json!({ "url": server.url(""), "encoding": "json" }),
        users(folder.path(), 2),
    )
    .unwrap_err();
    assert!(error.to_string().contains("no RedisJSON"), "{error}");
    let receipt = publish(&json!({ "url": server.url("") }), users(folder.path(), 2)).unwrap();
    assert_eq!(receipt.details["encoding"], "string");
    assert_eq!(server.strings(0, "USER:"), expected(2));
}

#[test]
fn documents_with_scores_and_scores_that_are_no_numbers() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let write = |document: &str, last| {
        let config = json!({ "url": server.url(""), "document": document });
        publish(&config, scored(folder.path(), last))
    };
    write("ids_and_scores", 0.125).unwrap();
    let found: String = server.ask(&["GET", "USER:0"]);
    assert_eq!(
        found,
        r#"{"user_id": 0, "recommendations": [1, 2], "scores": [0.5, 0.25]}"#
    );
    write("items", 0.125).unwrap();
    let found: String = server.ask(&["GET", "USER:10"]);
    assert_eq!(
        found,
        r#"{"user_id": 10, "recommendations": [{"id": 3, "score": 0.125}]}"#
    );
    let error = write("ids", f32::NAN).unwrap_err().to_string();
    assert!(error.contains("`USER:10` is missing or not a number"), "{error}");
    let after: String = server.ask(&["GET", "USER:10"]);
    assert_eq!(after, found, "nothing was written");
}

#[test]
fn tables_of_features_are_hashes() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("user_id", Arc::new(Int64Array::from(vec![1, 2]))),
        ("city", Arc::new(StringArray::from(vec![Some("Rome"), None]))),
        ("share", Arc::new(Float64Array::from(vec![0.5, 2.0]))),
    ];
    let config = json!({ "url": server.url(""), "encoding": "hash", "key": "user:{user_id}" });
    publish(&config, table(folder.path(), columns)).unwrap();
    let fields: HashMap<String, String> = server.ask(&["HGETALL", "user:2"]);
    assert_eq!(
        fields,
        [("user_id", "2"), ("share", "2.0")]
            .map(|(a, b)| (a.to_owned(), b.to_owned()))
            .into()
    );
    let city: String = server.ask(&["HGET", "user:1", "city"]);
    assert_eq!(city, "Rome");
}

#[test]
fn a_closed_gate_leaves_what_readers_see() {
    let server = Redis::start(&["--enable-debug-command", "local"]);
    let folder = tempdir().unwrap();
    for (mode, database) in [("overwrite", 0), ("swap", 2), ("pointer", 4)] {
        let url = format!("redis://127.0.0.1:{}/{database}", server.port);
        let config = |gates: Value| json!({ "url": url, "publish": mode, "gates": gates });
        let change = |user| {
            if user < 50 {
                vec![user, 999]
            } else {
                vec![user, user + 1]
            }
        };
        publish(
            &config(json!({ "min_keys": 20, "max_change": { "users": 0.0 } })),
            users(folder.path(), 20),
        )
        .unwrap();
        let before: String = server.ask_in(database, &["DEBUG", "DIGEST"]);
        for (gates, part) in [
            (json!({ "min_keys": 21 }), "fewer than the 21"),
            (json!({ "min_coverage": 0.99 }), "20 of 21 rows"),
            (
                json!({ "max_change": { "users": 0.2, "by": 0.4 } }),
                "5 of 20 users change by more than 0.4",
            ),
        ] {
            let error = publish(&config(gates), users_of(folder.path(), 20, change))
                .unwrap_err()
                .to_string();
            assert!(error.contains(part), "{mode}: {error}");
        }
        let after: String = server.ask_in(database, &["DEBUG", "DIGEST"]);
        assert_eq!(before, after, "{mode}");
        let open = config(json!({ "min_coverage": 0.95, "max_change": { "users": 0.25, "by": 0.4 } }));
        let receipt = publish(&open, users_of(folder.path(), 20, change)).unwrap();
        assert_eq!(
            (
                receipt.details["lists_compared"].clone(),
                receipt.details["lists_changed"].clone()
            ),
            (json!(20), json!(5))
        );
    }
}

#[test]
fn swap_keeps_one_generation_and_goes_back_to_it() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let config = json!({ "url": server.url(""), "publish": "swap", "keep": 1 });
    assert!(
        sink(&config).roll_back().unwrap().is_err(),
        "there is nothing to go back to"
    );
    publish(&config, users(folder.path(), 10)).unwrap();
    publish(&config, users(folder.path(), 4)).unwrap();
    assert_eq!(server.strings(0, "USER:"), expected(4));
    assert_eq!(server.strings(1, "USER:"), expected(10));
    let said = sink(&config).roll_back().unwrap().unwrap();
    assert!(said.contains("rolled back from generation 2 to generation 1"), "{said}");
    assert_eq!(server.strings(0, "USER:"), expected(10));
    assert!(
        sink(&config).roll_back().unwrap().is_err(),
        "the later generation is none to go back to"
    );
    let receipt = publish(&config, users(folder.path(), 6)).unwrap();
    assert_eq!(receipt.details["generation"], 3);
    assert_eq!(server.strings(0, "USER:"), expected(6));

    let free = json!({ "url": server.url(""), "publish": "swap" });
    publish(&free, users(folder.path(), 7)).unwrap();
    assert_eq!(server.ask_in::<u64>(1, &["DBSIZE"]), 0);
    assert_eq!(meta(&server, 0)["generation"], 4);
}

#[test]
fn swap_refuses_databases_that_are_not_its_own() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let config = json!({ "url": server.url(""), "publish": "swap", "staging": 7 });
    for database in [0, 7] {
        let _: () = server.ask_in(database, &["SET", "session:1", "x"]);
        let error = publish(&config, users(folder.path(), 3)).unwrap_err().to_string();
        assert!(
            error.contains(&format!("database {database} holds a key")) && error.contains("`session:1`"),
            "{error}"
        );
        assert_eq!(server.ask_in::<u64>(database, &["DBSIZE"]), 1);
        let _: u64 = server.ask_in(database, &["DEL", "session:1"]);
    }
    publish(&config, users(folder.path(), 3)).unwrap();
    // Not even beside its own keys.
    let _: () = server.ask(&["SET", "session:1", "x"]);
    assert!(publish(&config, users(folder.path(), 4)).is_err());
    assert_eq!(server.strings(0, "USER:"), expected(3));
}

#[test]
fn swap_refuses_what_does_not_fit_twice() {
    let server = Redis::start(&["--maxmemory", "6mb"]);
    let folder = tempdir().unwrap();
    let config = json!({ "url": server.url(""), "publish": "swap" });
    publish(&config, users(folder.path(), 2000)).unwrap();
    let error = publish(&config, users(folder.path(), 30_000)).unwrap_err().to_string();
    assert!(
        error.contains("two generations do not fit") && error.contains("maxmemory"),
        "{error}"
    );
    assert_eq!(server.strings(0, "USER:"), expected(2000));
}

#[test]
fn pointer_moves_forward_keeps_generations_and_installs_its_function() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let config = json!({ "url": server.url(""), "publish": "pointer", "chunk": 4 });
    let _: () = server.ask(&["SET", "session:1", "shared"]);
    for (count, generation) in [(9, 1), (8, 2), (7, 3)] {
        let receipt = publish(&config, users(folder.path(), count)).unwrap();
        assert_eq!(receipt.details["generation"], generation);
        let read: String = server.ask(&["FCALL_RO", "recs_get", "1", "USER:60"]);
        assert_eq!(
            read,
            expected(9).into_iter().find(|(key, _)| key == "USER:60").unwrap().1
        );
    }
    assert_eq!(server.ask::<String>(&["GET", "RECS:CURRENT"]), "3");
    let of = |generation: u64| {
        server
            .ask::<Vec<String>>(&["KEYS", &format!("RECS:{generation}:*")])
            .len()
    };
    assert_eq!([of(1), of(2), of(3)], [0, 8, 7]);
    // Who has begun with a generation goes on with it.
    let read: String = server.ask(&["FCALL_RO", "recs_get", "1", "USER:70", "2"]);
    assert!(read.contains("70"));
    assert_eq!(
        server.ask::<Option<String>>(&["FCALL_RO", "recs_get", "1", "USER:70"]),
        None
    );

    sink(&config).roll_back().unwrap().unwrap();
    assert!(
        server
            .ask::<Option<String>>(&["FCALL_RO", "recs_get", "1", "USER:70"])
            .is_some()
    );
    assert!(sink(&config).roll_back().unwrap().is_err());
    publish(&config, users(folder.path(), 6)).unwrap();
    assert_eq!(server.ask::<String>(&["GET", "RECS:CURRENT"]), "4");
    // Numbers never go back, whoever has moved it.
    let _: () = server.ask(&["SET", "RECS:CURRENT", "9"]);
    let receipt = publish(&config, users(folder.path(), 5)).unwrap();
    assert_eq!(receipt.details["generation"], 10);
    assert_eq!(server.ask::<String>(&["GET", "session:1"]), "shared");
}

#[test]
fn a_file_of_commands_is_what_redis_cli_takes() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let path = folder.path().join("batch.resp");
    let receipt = publish(
        &json!({ "resp": path, "encoding": "string" }),
        users(folder.path(), 200),
    )
    .unwrap();
    assert_eq!(receipt.records, 200);
    let output = std::process::Command::new("redis-cli")
        .args(["-p", &server.port.to_string(), "--pipe"])
        .stdin(std::fs::File::open(&path).unwrap())
        .output()
        .expect("redis-cli must be there to run this test");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("errors: 0, replies: 200"), "{said}");
    assert_eq!(server.strings(0, "USER:"), expected(200));
}

#[test]
fn keys_of_two_sinks_do_not_meet() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    publish(&json!({ "url": server.url("") }), users(folder.path(), 2)).unwrap();
    let error = publish(
        &json!({ "url": server.url(""), "key": "OTHER:{user_id}" }),
        users(folder.path(), 2),
    )
    .unwrap_err();
    assert!(error.to_string().contains("choose another `namespace`"), "{error}");
    let other = json!({ "url": server.url(""), "key": "OTHER:{user_id}", "namespace": "MORE" });
    publish(&other, users(folder.path(), 2)).unwrap();
    assert_eq!(server.ask::<Vec<String>>(&["KEYS", "OTHER:*"]).len(), 2);
}
