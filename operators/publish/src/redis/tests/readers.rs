//! What readers see, in a cluster and while generations follow each other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::redis::tests::servers::{Cluster, Redis};
use crate::redis::tests::{expected, publish, users, users_of};

#[test]
fn a_cluster_holds_all_keys_in_every_way_it_can() {
    let cluster = Cluster::start();
    let folder = tempdir().unwrap();
    let config = json!({ "url": cluster.url(), "chunk": 50 });
    publish(&config, users(folder.path(), 300)).unwrap();
    publish(&config, users(folder.path(), 200)).unwrap();
    let mut wanted: Vec<String> = expected(200).into_iter().map(|(key, _)| key).collect();
    wanted.sort();
    assert_eq!(cluster.keys("USER:*"), wanted);
    for node in &cluster.nodes {
        assert!(node.ask::<Vec<String>>(&["KEYS", "USER:*"]).len() > 30);
    }

    let config = json!({ "url": cluster.url(), "publish": "pointer", "namespace": "P", "gates": { "max_change": { "users": 0.0 } } });
    for _ in 0..3 {
        publish(&config, users(folder.path(), 120)).unwrap();
    }
    assert_eq!(
        [1, 2, 3].map(|g| cluster.keys(&format!("P:{g}:*")).len()),
        [0, 120, 120]
    );
    // The function answers on the node that holds the key.
    let answers = cluster.nodes.iter().filter_map(|node| {
        let mut connection = redis::Client::open(node.url("")).unwrap().get_connection().unwrap();
        redis::cmd("FCALL_RO")
            .arg("p_get")
            .arg(1)
            .arg("USER:70")
            .query::<String>(&mut connection)
            .ok()
    });
    assert_eq!(
        answers.collect::<Vec<_>>(),
        [r#"{"user_id": 70, "recommendations": [70, 71]}"#]
    );
}

#[test]
fn readers_of_a_cluster_are_sent_to_the_node_that_holds_the_key() {
    let cluster = Cluster::start();
    let folder = tempdir().unwrap();
    let config = json!({ "url": cluster.url(), "publish": "pointer" });
    publish(&config, users(folder.path(), 60)).unwrap();
    let commands = |key: &str| {
        [
            vec![
                "FCALL_RO".to_owned(),
                "recs_get".to_owned(),
                "1".to_owned(),
                key.to_owned(),
            ],
            vec![
                "FCALL_RO".to_owned(),
                "recs_get".to_owned(),
                "1".to_owned(),
                key.to_owned(),
                "1".to_owned(),
            ],
            vec!["GET".to_owned(), format!("RECS:1:{{{key}}}")],
        ]
    };
    for (key, document) in expected(60) {
        let slot: u64 = cluster.nodes[0].ask(&["CLUSTER", "KEYSLOT", &key]);
        let owner = cluster.nodes[(slot / 5462) as usize].port;
        for (node, command) in cluster
            .nodes
            .iter()
            .flat_map(|node| commands(&key).map(|command| (node, command)))
        {
            let mut connection = redis::Client::open(node.url("")).unwrap().get_connection().unwrap();
            let answer = redis::cmd(&command[0])
                .arg(&command[1..])
                .query::<String>(&mut connection);
            if node.port == owner {
                assert_eq!(answer.unwrap(), document, "{command:?}");
            } else {
                let error = answer.unwrap_err();
                assert_eq!(error.code(), Some("MOVED"), "{command:?}: {error}");
                let (to, moved) = (format!("127.0.0.1:{owner}"), error.redirect_node());
                assert_eq!(moved, Some((to.as_str(), slot as u16)), "{command:?}");
            }
        }
    }
    // A client for clusters that is told of one node finds every key, by the function and by its name.
    for node in &cluster.nodes {
        for (key, document) in expected(60).into_iter().step_by(7) {
            for command in commands(&key) {
                let output = std::process::Command::new("redis-cli")
                    .args(["-c", "-p", &node.port.to_string()])
                    .args(&command)
                    .output()
                    .expect("redis-cli must be there to run this test");
                assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), document, "{command:?}");
            }
        }
    }
}

/// Four readers, each of whom reads a whole batch at a time and finds it to be of one generation, through 20 of them.
fn readers_see_whole_batches(mode: &str, keep: u64, take: fn(&mut redis::Connection) -> Vec<Option<String>>) {
    const USERS: i64 = 300;
    let server = Redis::start(&[]);
    let folder = tempdir().unwrap();
    let config = json!({ "url": server.url(""), "publish": mode, "keep": keep, "chunk": 64 });
    let batch = |generation: i64| users_of(folder.path(), USERS, move |_| vec![generation]);
    publish(&config, batch(1)).unwrap();
    let stop = AtomicBool::new(false);
    let reads = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut connection = redis::Client::open(server.url("")).unwrap().get_connection().unwrap();
                let mut last = 0;
                while !stop.load(Ordering::Relaxed) {
                    let generation = |document: &Option<String>| {
                        let document = document.as_ref().expect("every user has a list at all times");
                        serde_json::from_str::<Value>(document).unwrap()["recommendations"][0]
                            .as_i64()
                            .unwrap()
                    };
                    let seen: Vec<i64> = take(&mut connection).iter().map(generation).collect();
                    assert!(seen.iter().all(|generation| *generation == seen[0]), "{seen:?}");
                    assert!(
                        seen[0] >= last,
                        "generations only move forward: {last}, then {}",
                        seen[0]
                    );
                    last = seen[0];
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for generation in 2..=20 {
            publish(&config, batch(generation)).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(reads.into_inner() > 40);
}

#[test]
fn readers_see_one_generation_under_swap() {
    readers_see_whole_batches("swap", 0, |connection| {
        let keys: Vec<String> = (0..300).map(|user| format!("USER:{}", user * 10)).collect();
        redis::cmd("MGET").arg(keys).query(connection).unwrap()
    });
}

#[test]
fn readers_see_one_generation_under_pointer() {
    // Readers of a loaded machine may be slow; what they read stays for some generations.
    readers_see_whole_batches("pointer", 4, |connection| {
        let generation: u64 = redis::cmd("GET").arg("RECS:CURRENT").query(connection).unwrap();
        let mut pipeline = redis::pipe();
        for user in 0..300 {
            pipeline
                .cmd("GET")
                .arg(format!("RECS:{generation}:{{USER:{}}}", user * 10));
        }
        pipeline.query(connection).unwrap()
    });
}
