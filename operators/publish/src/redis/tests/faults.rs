//! What goes wrong while a batch is written: connections, servers, memory, rights; and what is left for the next run.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use tempfile::tempdir;

use crate::redis::tests::proxy::{Fault, Proxy};
use crate::redis::tests::servers::Redis;
use crate::redis::tests::{expected, publish, sink, users, users_of};
use crate::testing::{inputs, receipt, test_context};
use towline_api::{Cancel, Context, OperatorError, Sink};

/// Waits until a server holds at least so many keys.
fn wait_for_keys(server: &Redis, database: i64, least: u64) {
    for _ in 0..2000 {
        if server.ask_in::<u64>(database, &["DBSIZE"]) >= least {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("the batch does not begin");
}

#[test]
fn connections_that_break_lose_nothing() {
    for mode in ["overwrite", "swap", "pointer"] {
        let server = Redis::start(&[]);
        let folder = tempdir().unwrap();
        let proxy = Proxy::start(
            server.port,
            Fault::Cut {
                after: 20_000,
                times: 6,
            },
        );
        let config = json!({ "url": proxy.url(), "publish": mode, "chunk": 100, "in_flight": 4, "connections": 2 });
        let receipt = publish(&config, users(folder.path(), 3000)).unwrap();
        assert_eq!(receipt.records, 3000);
        assert!(
            proxy.faults.load(Ordering::SeqCst) >= 3,
            "{mode}: the connection was cut"
        );
        if mode == "pointer" {
            assert_eq!(server.ask::<Vec<String>>(&["KEYS", "RECS:1:*"]).len(), 3000);
            assert_eq!(server.ask::<String>(&["GET", "RECS:CURRENT"]), "1");
        } else {
            assert_eq!(server.strings(0, "USER:"), expected(3000), "{mode}");
        }
    }
}

#[test]
fn answers_that_are_lost_do_no_harm() {
    // Among them may be the answer to the swap itself, which must not be done twice.
    for mode in ["overwrite", "swap", "pointer"] {
        let server = Redis::start(&[]);
        let folder = tempdir().unwrap();
        let proxy = Proxy::start(server.port, Fault::Swallow { times: 3 });
        let config = json!({ "url": proxy.url(), "publish": mode, "chunk": 100, "in_flight": 2 });
        publish(&config, users(folder.path(), 1000)).unwrap();
        assert_eq!(proxy.faults.load(Ordering::SeqCst), 3, "{mode}");
        if mode == "pointer" {
            assert_eq!(server.ask::<Vec<String>>(&["KEYS", "RECS:1:*"]).len(), 1000);
        } else {
            assert_eq!(server.strings(0, "USER:"), expected(1000), "{mode}");
        }
    }
}

#[test]
fn a_slow_network_is_waited_for() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let proxy = Proxy::start(server.port, Fault::Delay(Duration::from_millis(3)));
    publish(&json!({ "url": proxy.url(), "chunk": 20 }), users(folder.path(), 400)).unwrap();
    assert_eq!(server.strings(0, "USER:"), expected(400));
    assert!(proxy.faults.load(Ordering::SeqCst) > 5);
}

#[test]
fn a_server_that_comes_back_empty_gets_the_whole_batch() {
    let mut server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let config = json!({ "url": server.url(""), "chunk": 10, "in_flight": 1, "rate_limit": 1500 });
    let data = users(folder.path(), 1500);
    let publishing = std::thread::spawn(move || publish(&config, data));
    wait_for_keys(&server, 0, 200);
    server.kill();
    server.start_again();
    let receipt = publishing.join().unwrap().unwrap();
    assert_eq!(
        receipt.details["written"], 1500,
        "what was there before is written again"
    );
    assert_eq!(server.strings(0, "USER:"), expected(1500));
}

#[test]
fn a_server_that_does_not_come_back_is_an_error_and_the_next_run_finishes() {
    let mut server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let config =
        json!({ "url": server.url(""), "publish": "swap", "chunk": 10, "rate_limit": 2000, "retry_timeout": 1 });
    publish(&config, users(folder.path(), 300)).unwrap();
    let (slow, data) = (config.clone(), users(folder.path(), 2000));
    let publishing = std::thread::spawn(move || publish(&slow, data));
    wait_for_keys(&server, 1, 100);
    server.kill();
    let error = publishing.join().unwrap().unwrap_err().to_string();
    assert!(error.starts_with(&server.url("")), "{error}");
    assert!(error.contains("refused") || error.contains("broke"), "{error}");
    server.start_again();
    publish(&config, users(folder.path(), 400)).unwrap();
    assert_eq!(server.strings(0, "USER:"), expected(400));
}

#[test]
fn a_server_that_loads_its_data_is_waited_for() {
    // It takes a thousandth of a second for each key that it reads, and answers in between.
    let options = [
        "--key-load-delay",
        "1000",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    let mut server = Redis::start(&options);
    let folder = tempdir().unwrap();
    publish(&json!({ "url": server.url("") }), users(folder.path(), 5000)).unwrap();
    let _: () = server.ask(&["SAVE"]);
    server.kill();
    server.start_again();
    let error = publish(
        &json!({ "url": server.url(""), "retry_timeout": 0 }),
        users(folder.path(), 40),
    );
    let error = error.unwrap_err().to_string();
    assert!(error.contains("still loading"), "{error}");
    let receipt = publish(&json!({ "url": server.url("") }), users(folder.path(), 40)).unwrap();
    assert_eq!(receipt.details["removed"], 4960, "what was there before is known");
    assert_eq!(server.strings(0, "USER:"), expected(40));
}

#[test]
fn full_memory_leaves_the_live_generation_under_swap() {
    let server = Redis::start(&["--maxmemory-policy", "noeviction"]);
    let folder = tempdir().unwrap();
    let config = json!({ "url": server.url(""), "publish": "swap", "chunk": 100, "rate_limit": 20_000 });
    publish(&config, users(folder.path(), 100)).unwrap();
    let (slow, data) = (config.clone(), users(folder.path(), 20_000));
    let publishing = std::thread::spawn(move || publish(&slow, data));
    wait_for_keys(&server, 1, 2000);
    let _: () = server.ask(&["CONFIG", "SET", "maxmemory", "1mb"]);
    let error = publishing.join().unwrap().unwrap_err().to_string();
    assert!(error.contains("maxmemory"), "{error}");
    let _: () = server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(server.strings(0, "USER:"), expected(100));
    assert_eq!(
        server.ask_in::<u64>(1, &["DBSIZE"]),
        0,
        "what was loaded is gone, for it takes the memory of others"
    );
}

#[test]
fn a_batch_that_was_evicted_in_part_is_not_published() {
    let server = Redis::start(&["--maxmemory", "3mb", "--maxmemory-policy", "allkeys-random"]);
    let folder = tempdir().unwrap();
    let error = publish(&json!({ "url": server.url("") }), users(folder.path(), 30_000))
        .unwrap_err()
        .to_string();
    assert!(error.contains("evict"), "{error}");
    assert_eq!(server.ask::<Option<String>>(&["GET", "RECS:META"]), None);
}

#[test]
fn rights_that_are_taken_away_are_told() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    // Cargo sets this variable for every test.
    let password = env!("CARGO_PKG_NAME");
    let _: () = server.ask(&[
        "ACL",
        "SETUSER",
        "job",
        "on",
        &format!(">{password}"),
        "~*",
        "&*",
        "+@all",
    ]);
    let url = server.url("job:${secret.CARGO_PKG_NAME}@");
    let config = json!({ "url": url, "publish": "pointer", "chunk": 50, "rate_limit": 3000, "retry_timeout": 1 });
    publish(&config, users(folder.path(), 100)).unwrap();
    let (slow, data) = (config.clone(), users(folder.path(), 3000));
    let publishing = std::thread::spawn(move || publish(&slow, data));
    wait_for_keys(&server, 0, 500);
    let _: () = server.ask(&["ACL", "SETUSER", "job", "-set", "-mset"]);
    let error = publishing.join().unwrap().unwrap_err().to_string();
    assert!(
        error.contains("does not let this user") && !error.contains(password),
        "{error}"
    );
    assert_eq!(server.ask::<String>(&["GET", "RECS:CURRENT"]), "1");
    let _: () = server.ask(&["ACL", "SETUSER", "job", "+@all"]);
    publish(&config, users(folder.path(), 120)).unwrap();
    assert_eq!(server.ask::<String>(&["GET", "RECS:CURRENT"]), "3");
    assert_eq!(
        server.ask::<Vec<String>>(&["KEYS", "RECS:2:*"]).len(),
        0,
        "what was never finished goes"
    );
}

/// Publishes until somebody cancels, which is the moment that the server holds `least` keys.
pub(crate) fn cancelled(
    config: &serde_json::Value,
    server: &Redis,
    database: i64,
    least: u64,
    context: &Context,
    count: i64,
) {
    let folder = tempdir().unwrap();
    let data = users(folder.path(), count);
    let cancel = context.cancel.clone();
    let error = std::thread::scope(|scope| {
        let publishing = scope.spawn(|| sink(config).run(&inputs(data), context));
        wait_for_keys(server, database, least);
        cancel.cancel();
        publishing.join().unwrap().unwrap_err()
    });
    assert!(matches!(error, OperatorError::Cancelled), "{error}");
}

#[test]
fn a_resumed_run_goes_on_from_the_last_chunk_that_was_acknowledged() {
    for (mode, database) in [("overwrite", 0), ("swap", 1), ("pointer", 0)] {
        let server = Redis::start(&[]);
        let folder = tempdir().unwrap();
        let (mut context, _keep) = test_context();
        let config = json!({ "url": server.url(""), "publish": mode, "chunk": 10, "rate_limit": 2000 });
        cancelled(&config, &server, database, 900, &context, 2000);
        assert_eq!(server.ask::<Option<String>>(&["GET", "RECS:META"]), None, "{mode}");
        // No generation counts.
        let current: Option<String> = server.ask(&["GET", "RECS:CURRENT"]);
        assert_eq!(current.as_deref(), (mode == "pointer").then_some("0"), "{mode}");

        context.cancel = Cancel::default();
        let fast = json!({ "url": server.url(""), "publish": mode, "chunk": 10 });
        let output = sink(&fast).run(&inputs(users(folder.path(), 2000)), &context).unwrap();
        let details = &receipt(&output).details;
        let resumed = details["resumed"].as_u64().unwrap();
        assert!(resumed >= 200, "{mode}: {resumed}");
        assert_eq!(resumed + details["written"].as_u64().unwrap(), 2000, "{mode}");
        assert_eq!(details["generation"], 1, "{mode}: it is the same generation");
        // The checksum is that of the whole batch.
        let whole = publish(
            &json!({ "url": server.url(""), "namespace": "AGAIN" }),
            users(folder.path(), 2000),
        )
        .unwrap();
        assert_eq!(details["checksum"], whole.details["checksum"], "{mode}");
    }
}

#[test]
fn keys_of_others_that_come_while_a_batch_is_loaded_stay_where_they_are() {
    let folder = tempdir().unwrap();
    for ttl in [None, Some(1000)] {
        // Into the database that is loaded, and into the one that readers see.
        for database in [1, 0] {
            let server = Redis::start(&[]);
            let mut config = json!({ "url": server.url(""), "publish": "swap", "chunk": 10 });
            if let Some(ttl) = ttl {
                config["ttl"] = json!(ttl);
            }
            publish(&config, users(folder.path(), 20)).unwrap();
            config["rate_limit"] = json!(3000);
            let data = users(folder.path(), 3000);
            let error = std::thread::scope(|scope| {
                let publishing = scope.spawn(|| publish(&config, data));
                wait_for_keys(&server, 1, 100);
                let mut set = vec!["SET", "USER:settings", "of somebody else"];
                if ttl.is_some() {
                    // In the place of a key whose time may be over, and with a time as well.
                    let _: u64 = server.ask_in(database, &["DEL", "USER:10"]);
                    set.extend(["EX", "900"]);
                }
                let _: () = server.ask_in(database, &set);
                publishing.join().unwrap().unwrap_err().to_string()
            });
            let told = if ttl.is_some() {
                "a key that this sink has not written: `USER:settings`"
            } else {
                "another client writes there"
            };
            assert!(
                error.contains(told) && error.contains(&format!("database {database} holds")),
                "{ttl:?}, {database}: {error}"
            );
            let of_others: String = server.ask_in(database, &["GET", "USER:settings"]);
            assert_eq!(of_others, "of somebody else");
            let _: u64 = server.ask_in(database, &["DEL", "USER:settings"]);
            let mut left = expected(20);
            left.retain(|(key, _)| key != "USER:10" || ttl.is_none() || database == 1);
            assert_eq!(server.strings(0, "USER:"), left, "{ttl:?}, {database}");
            // Without them it goes on.
            let fast = json!({ "url": server.url(""), "publish": "swap" });
            publish(&fast, users(folder.path(), 30)).unwrap();
            assert_eq!(server.strings(0, "USER:"), expected(30));
        }
    }
}

#[test]
fn of_two_runs_at_once_the_later_one_counts() {
    for (mode, database) in [("overwrite", 0), ("swap", 1), ("pointer", 0)] {
        let server = Redis::start(&[]);
        let folder = tempdir().unwrap();
        let slow = json!({ "url": server.url(""), "publish": mode, "chunk": 10, "rate_limit": 1000 });
        let data = users_of(folder.path(), 1500, |_| vec![1]);
        let publishing = std::thread::spawn(move || publish(&slow, data));
        wait_for_keys(&server, database, 100);
        let other = tempdir().unwrap();
        let fast = json!({ "url": server.url(""), "publish": mode, "chunk": 10 });
        publish(&fast, users(other.path(), 1500)).unwrap();
        let error = publishing.join().unwrap().unwrap_err().to_string();
        assert!(error.contains("another run has started"), "{mode}: {error}");
        if mode == "pointer" {
            assert_eq!(server.ask::<String>(&["GET", "RECS:CURRENT"]), "2");
            let document: String = server.ask(&["GET", "RECS:2:{USER:14990}"]);
            assert!(document.contains("14990, 14991"), "{document}");
        } else {
            assert_eq!(server.strings(0, "USER:"), expected(1500), "{mode}");
        }
    }
}

#[test]
fn what_was_left_on_another_server_is_not_believed() {
    let mut server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let (mut context, _keep) = test_context();
    let config = json!({ "url": server.url(""), "chunk": 10, "rate_limit": 2000 });
    cancelled(&config, &server, 0, 900, &context, 1500);
    server.kill();
    server.start_again();
    context.cancel = Cancel::default();
    let output = sink(&config)
        .run(&inputs(users(folder.path(), 1500)), &context)
        .unwrap();
    assert_eq!(receipt(&output).details["resumed"], 0);
    assert_eq!(server.strings(0, "USER:"), expected(1500));
}

#[test]
fn keys_of_a_batch_that_was_never_finished_are_known_to_the_next() {
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let config = json!({ "url": server.url(""), "chunk": 10 });
    publish(&config, users(folder.path(), 50)).unwrap();
    let (context, _keep) = test_context();
    let slow = json!({ "url": server.url(""), "chunk": 10, "rate_limit": 2000 });
    cancelled(&slow, &server, 0, 900, &context, 2000);
    // Another batch, of another run: nothing is left of the one that was not finished.
    let receipt = publish(&config, users(folder.path(), 40)).unwrap();
    assert_eq!(receipt.details["written"], 40, "digests are not believed after that");
    assert_eq!(server.strings(0, "USER:"), expected(40));
}
