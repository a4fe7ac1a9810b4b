//! Going back to a generation, which must be whole.

use serde_json::json;
use tempfile::tempdir;

use crate::redis::tests::servers::Redis;
use crate::redis::tests::{expected, publish, sink, users};
use towline_api::Sink;

/// A server with a generation of five users that is kept, and one of four that counts, and what publishes to it.
fn two_generations(mode: &str, encoding: &str) -> (Redis, serde_json::Value) {
    let server = Redis::with_json(&[]);
    let folder = tempdir().unwrap();
    let config = json!({ "url": server.url(""), "publish": mode, "encoding": encoding, "keep": 1, "chunk": 2 });
    publish(&config, users(folder.path(), 5)).unwrap();
    publish(&config, users(folder.path(), 4)).unwrap();
    (server, config)
}

/// The name that a key of the kept generation is stored under, and its database.
fn kept(mode: &str, key: &str) -> (i64, String) {
    match mode {
        "swap" => (1, key.to_owned()),
        _ => (0, format!("RECS:1:{{{key}}}")),
    }
}

fn counts(server: &Redis, mode: &str) -> u64 {
    if mode == "pointer" {
        return server.ask::<String>(&["GET", "RECS:CURRENT"]).parse().unwrap();
    }
    let meta: String = server.ask(&["GET", "RECS:META"]);
    serde_json::from_str::<serde_json::Value>(&meta).unwrap()["generation"]
        .as_u64()
        .unwrap()
}

#[test]
fn a_generation_that_is_not_whole_is_none_to_go_back_to() {
    for mode in ["swap", "pointer"] {
        for encoding in ["string", "json", "hash"] {
            let (server, config) = two_generations(mode, encoding);
            let refused = |part: &str| {
                let error = sink(&config).roll_back().unwrap().unwrap_err().to_string();
                assert!(
                    error.contains("generation 1 is incomplete") && error.contains(part),
                    "{mode}, {encoding}: {error}"
                );
                assert_eq!(counts(&server, mode), 2, "{mode}, {encoding}");
            };
            let (database, key) = kept(mode, "USER:20");
            let (_, record) = kept(mode, "RECS:KEYS:1:0");
            let record = if mode == "swap" {
                record
            } else {
                "RECS:KEYS:1:0".to_owned()
            };
            let _: () = server.ask_in(database, &["RENAME", &key, "away"]);
            refused("4 of 5 keys, and `USER:20` is missing");
            let _: () = server.ask_in(database, &["RENAME", "away", &key]);
            let _: () = server.ask_in(database, &["RENAME", &record, "RECS:away"]);
            refused("3 of 5 keys");
            let _: () = server.ask_in(database, &["RENAME", "RECS:away", &record]);
            if encoding == "string" {
                let document: String = server.ask_in(database, &["GET", &key]);
                let _: () = server.ask_in(database, &["SET", &key, &document.replace("21", "22")]);
                refused("`USER:20` is missing or has another value");
                let _: () = server.ask_in(database, &["SET", &key, &document]);
            }
            let said = sink(&config).roll_back().unwrap().unwrap();
            assert!(said.contains("rolled back from generation 2 to generation 1"), "{said}");
            assert_eq!(counts(&server, mode), 1, "{mode}, {encoding}");
        }
    }
}

#[test]
fn keys_of_others_do_not_change_places() {
    let (server, config) = two_generations("swap", "string");
    for database in [0, 1] {
        let _: () = server.ask_in(database, &["SET", "USER:settings", "of somebody else"]);
        let error = sink(&config).roll_back().unwrap().unwrap_err().to_string();
        assert!(error.contains(&format!("database {database} holds a key")), "{error}");
        let _: u64 = server.ask_in(database, &["DEL", "USER:settings"]);
        assert_eq!(server.strings(0, "USER:"), expected(4));
    }
    sink(&config).roll_back().unwrap().unwrap();
    assert_eq!(server.strings(0, "USER:"), expected(5));
}
