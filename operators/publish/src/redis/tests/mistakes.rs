//! What is found without a run.

use serde_json::{Value, json};

use crate::redis::redis_sink::RedisSink;
use crate::redis::tests::sink;
use crate::redis::vector_sink::VectorSink;
use towline_api::{Descriptor, PathSegment, Sink, Site};

fn found(descriptor: &Descriptor, config: &Value) -> Vec<(String, String)> {
    let problems = descriptor.build(config).err().unwrap_or_default();
    let place = |site: &Site| match site {
        Site::Config(path) => match &path[0] {
            PathSegment::Key(key) => key.clone(),
            PathSegment::Index(_) => String::new(),
        },
        _ => String::new(),
    };
    problems
        .into_iter()
        .map(|problem| (place(&problem.site), problem.message))
        .collect()
}

#[test]
fn what_does_not_go_together_is_found_at_its_place() {
    let server = "redis://host";
    for (config, place, part) in [
        (
            json!({ "url": "redis+cluster://a", "publish": "swap" }),
            "publish",
            "nothing to swap",
        ),
        (json!({ "url": "redis+cluster://a/2" }), "url", "no databases"),
        (json!({ "url": "redis+sentinel://a" }), "url", "redis+sentinel://host"),
        (json!({ "url": server, "ca": "ca.pem" }), "url", "need TLS"),
        (
            json!({ "url": server, "sentinel_password": "x" }),
            "sentinel_password",
            "names no sentinels",
        ),
        (
            json!({ "url": "redis+sentinel://a/main", "sentinel_user": "x" }),
            "sentinel_user",
            "needs a password",
        ),
        (
            json!({ "url": "rediss://h", "client_key": "k" }),
            "client_key",
            "needed together",
        ),
        (json!({ "url": server, "keep": 1 }), "keep", "keeps no earlier"),
        (
            json!({ "url": server, "publish": "swap", "keep": 2 }),
            "keep",
            "room for one",
        ),
        (
            json!({ "url": server, "staging": 2 }),
            "staging",
            "only `publish: swap`",
        ),
        (
            json!({ "url": "redis://h/2", "publish": "swap", "staging": 2 }),
            "staging",
            "another than that",
        ),
        (
            json!({ "url": server, "publish": "swap", "stale": "keep" }),
            "stale",
            "is for `overwrite`",
        ),
        (
            json!({ "url": server, "publish": "pointer", "key": "{{x}}{user_id}" }),
            "key",
            "must not contain braces",
        ),
        (
            json!({ "url": server, "encoding": "hash", "document": "items" }),
            "document",
            "not a document",
        ),
        (
            json!({ "url": server, "encoding": "hash", "gates": { "max_change": { "users": 0.5 } } }),
            "gates",
            "does not have",
        ),
        (json!({ "url": server, "namespace": "a:b" }), "namespace", "letters"),
        (
            json!({ "url": server, "namespace": "Recs", "publish": "pointer" }),
            "namespace",
            "no small letters",
        ),
        (
            json!({ "url": server, "key": "RECS:{user_id}" }),
            "key",
            "begin with `RECS:`",
        ),
        (json!({ "publish": "swap" }), "publish", "needs a server"),
        (json!({ "encoding": "json" }), "encoding", "holds strings"),
        (json!({ "ttl": 5 }), "ttl", "needs a server"),
        (
            json!({ "gates": { "max_change": { "users": 0.5 } } }),
            "gates",
            "what a server holds",
        ),
        (json!({ "resp": "a.resp" }), "resp", "no server to ask"),
        (
            json!({ "resp": "a.resp", "url": server, "encoding": "string" }),
            "resp",
            "leave",
        ),
    ] {
        let problems = found(&Descriptor::of::<RedisSink>(), &config);
        let there = problems
            .iter()
            .any(|(at, message)| at == place && (message.contains(part) || part == "leave"));
        assert!(there, "{config}: {problems:?}");
    }
    for config in [
        json!({ "url": "redis+cluster://a,b:7000", "publish": "pointer", "keep": 3 }),
        json!({ "url": "redis+sentinel://:${secret.X}@a,b/main/1", "publish": "swap", "keep": 1 }),
        json!({ "url": "rediss://h", "ca": "ca.pem", "client_certificate": "c", "client_key": "k" }),
        json!({ "url": "unix:///run/redis.sock", "encoding": "hash" }),
        json!({ "url": "${secret.URL}", "publish": "swap", "staging": 3 }),
        json!({ "resp": "a.resp", "encoding": "json", "ttl": 60 }),
    ] {
        assert_eq!(found(&Descriptor::of::<RedisSink>(), &config), [], "{config}");
    }
}

#[test]
fn slips_of_vector_sinks() {
    for (config, place) in [
        (json!({ "url": "embedded" }), "url"),
        (json!({ "url": "redis+cluster://a" }), "url"),
        (json!({ "url": "redis://a", "key": "{item_id}" }), "key"),
        (json!({ "url": "redis://a", "key": "ITEMS:{item_id}" }), "key"),
        (json!({ "url": "redis://a", "index": "" }), "index"),
        (
            json!({ "url": "redis://a", "sentinel_password": "x" }),
            "sentinel_password",
        ),
    ] {
        let problems = found(&Descriptor::of::<VectorSink>(), &config);
        assert!(problems.iter().any(|(at, _)| at == place), "{config}: {problems:?}");
    }
}

#[test]
fn two_sinks_in_one_place_are_told_apart_from_two_in_two() {
    let meet = |a: Value, b: Value| {
        let (a, b) = (sink(&a).targets(), sink(&b).targets());
        a.iter().any(|target| b.contains(target))
    };
    let at = |url: &str, key: &str, namespace: &str| json!({ "url": url, "key": key, "namespace": namespace });
    // One namespace, however the server is written.
    for url in [
        "redis://127.0.0.1:6379/0",
        "redis://[::1]",
        "redis://me:${secret.X}@localhost/0",
    ] {
        assert!(
            meet(at("redis://localhost", "A:{u}", "RECS"), at(url, "B:{u}", "RECS")),
            "{url}"
        );
        assert!(
            meet(at("redis://localhost", "A:{u}", "X"), at(url, "A:{u}", "Y")),
            "{url}"
        );
        assert!(
            !meet(at("redis://localhost", "A:{u}", "X"), at(url, "B:{u}", "Y")),
            "{url}"
        );
    }
    assert!(!meet(
        at("redis://localhost/1", "A:{u}", "RECS"),
        at("redis://localhost/2", "A:{u}", "RECS")
    ));
    assert!(!meet(
        at("redis://a", "A:{u}", "RECS"),
        at("redis://b", "A:{u}", "RECS")
    ));
    // The second database of `swap` is taken as well.
    let swap = json!({ "url": "redis://h/0", "publish": "swap", "key": "A:{u}" });
    assert!(meet(
        swap.clone(),
        json!({ "url": "redis://h/1", "publish": "swap", "key": "B:{u}", "namespace": "X" })
    ));
    assert!(meet(swap.clone(), at("redis://h/1", "B:{u}", "RECS")));
    let other = json!({ "url": "redis://h/0", "publish": "swap", "staging": 4, "key": "B:{u}", "namespace": "X" });
    assert!(meet(swap.clone(), other));
    let apart = json!({ "url": "redis://h/2", "publish": "swap", "key": "A:{u}" });
    assert!(!meet(swap, apart));
}

#[test]
fn passwords_of_sentinels_are_not_written_down() {
    let written = |password: &str| {
        let url = "redis+sentinel://a/main";
        let sink = sink(&json!({ "url": url, "sentinel_password": password }));
        assert!(!format!("{sink:?}").contains("hunter"));
        serde_json::to_value(&sink).unwrap()["sentinel_password"].clone()
    };
    assert_eq!(written("hunter2"), "***");
    assert_eq!(written("${secret.X}"), "${secret.X}");
}
