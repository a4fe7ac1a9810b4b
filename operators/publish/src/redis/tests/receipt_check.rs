//! Whether an unchanged rerun may say that what it published is still there.

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::redis::tests::servers::Redis;
use crate::redis::tests::{publish, scored, sink, users};
use towline_api::Sink;

#[test]
fn what_another_run_has_published_since_is_not_taken_for_ones_own() {
    let folder = tempdir().unwrap();
    for mode in ["overwrite", "swap", "pointer"] {
        let server = Redis::start(&[]);
        let config = |document: &str| json!({ "url": server.url(""), "publish": mode, "document": document });
        let (ids, scores) = (config("ids"), config("ids_and_scores"));
        let first = publish(&ids, scored(folder.path(), 0.5)).unwrap();
        assert!(sink(&ids).still_published(&first), "{mode}");
        let second = publish(&scores, scored(folder.path(), 0.5)).unwrap();
        assert!(
            !sink(&ids).still_published(&first),
            "{mode}: a later generation is there"
        );
        assert!(sink(&scores).still_published(&second), "{mode}");

        // Somebody has emptied the server, and somebody else has published something else from another folder.
        let _: () = server.ask(&["FLUSHALL"]);
        assert!(!sink(&scores).still_published(&second), "{mode}: nothing is there");
        publish(&ids, users(folder.path(), 3)).unwrap();
        assert!(
            !sink(&scores).still_published(&second),
            "{mode}: a lower generation is another"
        );
        assert!(
            !sink(&ids).still_published(&first),
            "{mode}: the same number is another generation"
        );
    }
}

#[test]
fn a_server_that_cannot_be_asked_is_believed_to_hold_what_it_held() {
    let folder = tempdir().unwrap();
    let mut server = Redis::start(&[]);
    let config = json!({ "url": server.url("") });
    let receipt = publish(&config, users(folder.path(), 3)).unwrap();
    server.kill();
    assert!(sink(&config).still_published(&receipt));
}

#[test]
fn who_has_rolled_back_does_not_want_it_again() {
    let folder = tempdir().unwrap();
    for mode in ["swap", "pointer"] {
        let server = Redis::start(&[]);
        let config = json!({ "url": server.url(""), "publish": mode, "keep": 1 });
        publish(&config, users(folder.path(), 3)).unwrap();
        let second = publish(&config, users(folder.path(), 4)).unwrap();
        sink(&config).roll_back().unwrap().unwrap();
        assert!(sink(&config).still_published(&second), "{mode}");
    }
}

#[test]
fn keys_with_a_time_are_given_it_anew_before_it_is_over() {
    let folder = tempdir().unwrap();
    let server = Redis::start(&[]);
    let config = json!({ "url": server.url(""), "ttl": 1000 });
    let receipt = publish(&config, users(folder.path(), 3)).unwrap();
    assert!(sink(&config).still_published(&receipt));
    let text: String = server.ask(&["GET", "RECS:META"]);
    let mut meta: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&meta["ttl"], &meta["publish"]), (&json!(1000), &json!("overwrite")));
    meta["time"] = json!(meta["time"].as_u64().unwrap() - 600);
    let _: () = server.ask(&["SET", "RECS:META", &meta.to_string()]);
    assert!(!sink(&config).still_published(&receipt));
}
