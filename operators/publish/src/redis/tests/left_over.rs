//! What is there before a publication: of other settings, of other ways to publish, of somebody else.

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::redis::tests::faults::cancelled;
use crate::redis::tests::servers::Redis;
use crate::redis::tests::{expected, publish, users, users_of};
use crate::testing::test_context;

#[test]
fn swap_knows_its_own_keys_from_those_that_look_like_them() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    for ttl in [None, Some(1000)] {
        let _: () = server.ask(&["FLUSHALL"]);
        let mut config = json!({ "url": server.url(""), "publish": "swap", "keep": 1 });
        if let Some(ttl) = ttl {
            config["ttl"] = json!(ttl);
        }
        publish(&config, users(folder.path(), 3)).unwrap();
        publish(&config, users(folder.path(), 4)).unwrap();
        for database in [0, 1] {
            let _: () = server.ask_in(database, &["SET", "USER:settings", "of somebody else"]);
            let error = publish(&config, users(folder.path(), 3)).unwrap_err().to_string();
            let told = format!("database {database} holds a key that this sink has not written: `USER:settings`");
            assert!(error.contains(&told), "{error}");
            assert_eq!(
                server.ask_in::<u64>(database, &["DEL", "USER:settings"]),
                1,
                "it is still there"
            );
        }
        // A key that somebody has removed is no reason to stop.
        let _: u64 = server.ask(&["DEL", "USER:0"]);
        publish(&config, users(folder.path(), 5)).unwrap();
        assert_eq!(server.strings(0, "USER:"), expected(5));
    }
}

#[test]
fn keys_of_others_do_not_hide_where_own_keys_have_gone() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let config = json!({ "url": server.url(""), "publish": "swap", "keep": 1, "ttl": 1000 });
    publish(&config, users(folder.path(), 3)).unwrap();
    publish(&config, users(folder.path(), 4)).unwrap();
    for database in [0, 1] {
        // As if its time were over; in its place there is one that looks like it, and goes by itself as well.
        let _: u64 = server.ask_in(database, &["DEL", "USER:10"]);
        let _: () = server.ask_in(database, &["SET", "USER:guest", "of somebody else", "EX", "900"]);
        let error = publish(&config, users(folder.path(), 3)).unwrap_err().to_string();
        let told = format!("database {database} holds a key that this sink has not written: `USER:guest`");
        assert!(error.contains(&told), "{error}");
        assert_eq!(
            server.ask_in::<u64>(database, &["DEL", "USER:guest"]),
            1,
            "it is still there"
        );
    }
    publish(&config, users(folder.path(), 5)).unwrap();
    assert_eq!(server.strings(0, "USER:"), expected(5));
}

#[test]
fn a_time_that_is_not_wanted_any_more_is_taken_from_the_keys() {
    let folder = tempdir().unwrap();
    for encoding in ["string", "json", "hash"] {
        let server = Redis::with_json(&[]);
        let config = json!({ "url": server.url(""), "encoding": encoding });
        let mut timed = config.clone();
        timed["ttl"] = json!(1000);
        publish(&timed, users(folder.path(), 4)).unwrap();
        assert!(server.ask::<i64>(&["TTL", "USER:0"]) > 0);
        let change = |user| if user == 10 { vec![7] } else { vec![user, user + 1] };
        let _: u64 = server.ask(&["DEL", "USER:20"]);
        let receipt = publish(&config, users_of(folder.path(), 4, change)).unwrap();
        assert_eq!(receipt.details["written"], 2, "{encoding}");
        for user in [0, 10, 20, 30] {
            let left: i64 = server.ask(&["TTL", &format!("USER:{user}")]);
            assert_eq!(left, -1, "{encoding}: USER:{user}");
        }
    }
}

#[test]
fn another_way_to_publish_does_not_leave_keys_behind() {
    let folder = tempdir().unwrap();
    for (before, now, remedy) in [
        ("swap", "overwrite", "`FLUSHDB`"),
        ("swap", "pointer", "`FLUSHDB`"),
        ("pointer", "overwrite", "that begin with `RECS:`"),
        ("pointer", "swap", "that begin with `RECS:`"),
        ("overwrite", "pointer", "`USER:{user_id}`"),
    ] {
        let server = Redis::start(&["--enable-debug-command", "local"]);
        let config = |mode: &str| json!({ "url": server.url(""), "publish": mode });
        publish(&config(before), users(folder.path(), 3)).unwrap();
        let digest: String = server.ask(&["DEBUG", "DIGEST"]);
        let error = publish(&config(now), users(folder.path(), 2)).unwrap_err().to_string();
        let told = format!("was published with `publish: {before}` before");
        assert!(
            error.contains(&told) && error.contains(remedy),
            "{before}, {now}: {error}"
        );
        assert_eq!(server.ask::<String>(&["DEBUG", "DIGEST"]), digest, "{before}, {now}");

        // With the remedy, or under another name, it goes.
        let mut other = config(now);
        other["namespace"] = json!("MORE");
        if now != "swap" {
            publish(&other, users(folder.path(), 2)).unwrap();
        }
        let _: () = server.ask(&["FLUSHDB"]);
        publish(&config(now), users(folder.path(), 2)).unwrap();
    }
}

#[test]
fn a_first_generation_that_was_never_finished_is_not_left_behind_by_another_way() {
    let folder = tempdir().unwrap();
    for (before, now, remedy) in [
        ("pointer", "overwrite", "that begin with `RECS:`"),
        ("pointer", "swap", "that begin with `RECS:`"),
        ("overwrite", "pointer", "`USER:{user_id}`"),
        ("overwrite", "swap", "database 0 holds a key"),
    ] {
        let server = Redis::start(&["--enable-debug-command", "local"]);
        let slow = json!({ "url": server.url(""), "publish": before, "chunk": 10, "rate_limit": 2000 });
        let (context, _keep) = test_context();
        cancelled(&slow, &server, 0, 500, &context, 2000);
        let digest: String = server.ask(&["DEBUG", "DIGEST"]);
        let other = json!({ "url": server.url(""), "publish": now });
        let error = publish(&other, users(folder.path(), 3)).unwrap_err().to_string();
        assert!(error.contains(remedy), "{before}, {now}: {error}");
        assert_eq!(server.ask::<String>(&["DEBUG", "DIGEST"]), digest, "{before}, {now}");

        // The same way tidies up.
        let same = json!({ "url": server.url(""), "publish": before });
        publish(&same, users(folder.path(), 3)).unwrap();
        let keys: Vec<String> = server.ask(&["KEYS", "*USER:*"]);
        assert_eq!(keys.len(), 3, "{before}");
    }
}

#[test]
fn what_swap_has_in_a_second_database_is_not_left_behind_by_another_way() {
    let folder = tempdir().unwrap();
    for (now, staging) in [("overwrite", None), ("pointer", None), ("swap", Some(3))] {
        let server = Redis::start(&["--enable-debug-command", "local"]);
        let mut other = json!({ "url": server.url(""), "publish": now });
        if let Some(staging) = staging {
            other["staging"] = json!(staging);
        }
        let refused = |what: &str| {
            let digest: String = server.ask(&["DEBUG", "DIGEST"]);
            let error = publish(&other, users(folder.path(), 3)).unwrap_err().to_string();
            assert!(error.contains("`FLUSHDB` in database 1"), "{now}, {what}: {error}");
            assert_eq!(server.ask::<String>(&["DEBUG", "DIGEST"]), digest, "{now}, {what}");
        };
        // A first generation that was never finished.
        let slow = json!({ "url": server.url(""), "publish": "swap", "keep": 1, "chunk": 10, "rate_limit": 2000 });
        let (context, _keep) = test_context();
        cancelled(&slow, &server, 1, 500, &context, 2000);
        refused("unfinished");
        let _: () = server.ask_in(1, &["FLUSHDB"]);
        publish(&other, users(folder.path(), 3)).unwrap();
        // The database is not the sink's any more.
        let _: () = server.ask_in(1, &["SET", "RECS:STAGING", "of somebody else"]);
        publish(&other, users(folder.path(), 3)).unwrap();

        // A generation that is kept.
        let _: () = server.ask(&["FLUSHALL"]);
        let kept = json!({ "url": server.url(""), "publish": "swap", "keep": 1 });
        publish(&kept, users(folder.path(), 3)).unwrap();
        publish(&kept, users(folder.path(), 4)).unwrap();
        refused("kept");
    }
}

#[test]
fn from_overwrite_to_swap_nothing_is_left() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    publish(&json!({ "url": server.url("") }), users(folder.path(), 3)).unwrap();
    let swap = json!({ "url": server.url(""), "publish": "swap" });
    publish(&swap, users(folder.path(), 2)).unwrap();
    assert_eq!(server.strings(0, "USER:"), expected(2));
    assert_eq!(server.ask_in::<u64>(1, &["DBSIZE"]), 0);
    let keep: Value = json!({ "url": server.url(""), "stale": "keep" });
    publish(&keep, users(folder.path(), 1)).unwrap();
    assert_eq!(server.strings(0, "USER:"), expected(2));
}
