//! Publishing to a real server through a pipeline.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::fixture::redis_server::{RedisServer, free_port};
use crate::fixture::workspace::{Workspace, stderr, stdout};

const PASSWORD: &str = "open-sesame-7391";

/// Users 1 to 4, one of them without an id, and what each may like.
const PIPELINE: &str = "\
version: 1
nodes:
  rows: { op: CsvSource, with: { path: rows.csv } }
  user: rows[user] >> Categorify(min_count=2) >> TagAsUserID
  item: rows[item] >> Categorify >> TagAsItemID
  features: user + item
  model: { op: TwoTowerTrain, input: features, with: { layers: [8], batch_size: 16, epochs: 1 } }
  lists: { op: TopKEncode, inputs: { model: model, queries: features }, with: { k: 2 } }
  publish: { op: RedisSink, input: lists, with: { url: \"${env.URL}\", key: \"USER:{user}\" } }
";

/// User 4 occurs once and is out of vocabulary, and one row has no user at all.
const ROWS: &str = "user,item\n1,10\n1,11\n2,10\n2,12\n3,11\n3,12\n4,10\n,11\n";

fn workspace() -> Workspace {
    let workspace = Workspace::new();
    workspace.write("p.yaml", PIPELINE);
    workspace.write("rows.csv", ROWS);
    workspace
}

#[test]
fn every_known_user_is_one_key_and_the_password_is_nowhere() {
    let server = RedisServer::start(PASSWORD);
    let workspace = workspace();
    let url = format!("redis://:${{secret.PASSWORD}}@127.0.0.1:{}", server.port());
    let output = workspace.towline_with(&["run", "p.yaml"], &[("URL", &url), ("PASSWORD", PASSWORD)]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));

    let mut keys: Vec<String> = server.ask(PASSWORD, &["KEYS", "*"]);
    keys.sort();
    keys.retain(|key| !key.starts_with("RECS:"));
    assert_eq!(keys, ["USER:1", "USER:2", "USER:3"], "{}", stdout(&output));
    for key in &keys {
        let document: String = server.ask(PASSWORD, &["GET", key]);
        let document: BTreeMap<String, serde_json::Value> = serde_json::from_str(&document).expect("JSON");
        assert_eq!(document.keys().collect::<Vec<_>>(), ["recommendations", "user"]);
        assert_eq!(format!("USER:{}", document["user"]), *key);
        for item in document["recommendations"].as_array().expect("a list") {
            assert!([10, 11, 12].contains(&item.as_i64().expect("a whole number")), "{item}");
        }
    }
    let told = stdout(&output) + &stderr(&output);
    assert!(!told.contains(PASSWORD), "{told}");
    let kept = workspace.texts_below(".towline");
    assert!(!kept.is_empty());
    assert!(kept.iter().all(|text| !text.contains(PASSWORD)));
}

#[test]
fn a_server_that_is_down_or_refuses_the_password_is_told_and_what_was_made_stays() {
    let workspace = workspace();
    let url = format!("redis://127.0.0.1:{}", free_port());
    let output = workspace.towline_with(&["run", "p.yaml"], &[("URL", &url)]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(
        stdout(&output).contains("is the server running there"),
        "{}",
        stdout(&output)
    );

    let server = RedisServer::start(PASSWORD);
    for (user, expected) in [
        ("", "requires a password"),
        (":wrong@", "refuses the user name or the password"),
    ] {
        let url = format!("redis://{user}127.0.0.1:{}", server.port());
        let output = workspace.towline_with(&["run", "p.yaml"], &[("URL", &url)]);
        assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
        assert!(stdout(&output).contains(expected), "{}", stdout(&output));
        assert!(!stdout(&output).contains("wrong@"), "{}", stdout(&output));
        let ran: Vec<String> = stderr(&output).lines().map(str::to_owned).collect();
        assert!(
            ran.iter().all(|line| !line.contains("ran     model")),
            "the model is reused: {ran:?}"
        );
    }
    let size: u64 = server.ask(PASSWORD, &["DBSIZE"]);
    assert_eq!(size, 0);
}

#[test]
fn a_secret_that_is_not_set_is_told_by_its_name() {
    let workspace = workspace();
    let url = "redis://:${secret.NOT_SET_ANYWHERE}@127.0.0.1:1";
    let output = workspace.towline_with(&["run", "p.yaml"], &[("URL", url)]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    assert!(stdout(&output).contains("NOT_SET_ANYWHERE"), "{}", stdout(&output));
}

/// Features of users, published by swap at `rate` keys a second.
const SWAPPED: &str = "\
version: 1
vars: { rate: 50, rows: 20000 }
nodes:
  rows: { op: SyntheticAliCcp, with: { rows: \"${vars.rows}\" } }
  user: rows[user_id] >> TagAsUserID
  table: user + rows[user_age]
  users: { op: UniqueRows, input: table, with: { by: user } }
  publish:
    op: RedisSink
    input: users
    with:
      url: \"${env.URL}\"
      encoding: hash
      key: \"user:{user_id}\"
      publish: swap
      keep: 1
      chunk: 10
      rate_limit: \"${vars.rate}\"
";

fn generation(server: &RedisServer) -> Option<u64> {
    let meta: Option<String> = server.ask(PASSWORD, &["GET", "RECS:META"]);
    let meta: serde_json::Value = serde_json::from_str(&meta?).expect("JSON");
    meta["generation"].as_u64()
}

#[test]
fn what_a_killed_run_has_published_is_taken_up_and_can_be_rolled_back() {
    let server = RedisServer::start(PASSWORD);
    let workspace = Workspace::new();
    workspace.write("p.yaml", SWAPPED);
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{}/0", server.port());
    let run = |arguments: &[&str]| {
        let output = workspace.towline_with(arguments, &[("URL", &url)]);
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
        stdout(&output) + &stderr(&output)
    };
    let mut child = Command::new(env!("CARGO_BIN_EXE_towline"))
        .args(["run", "p.yaml"])
        .current_dir(workspace.path())
        .env("URL", &url)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the binary runs");
    let staged = || -> u64 {
        let text: String = server.ask(PASSWORD, &["INFO", "keyspace"]);
        let line = text.lines().find_map(|line| line.strip_prefix("db1:keys="));
        line.and_then(|line| line.split(',').next()?.parse().ok()).unwrap_or(0)
    };
    while staged() < 60 {
        assert!(
            child.try_wait().expect("a status").is_none(),
            "it ended before it could be killed"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert_eq!(generation(&server), None);

    let told = run(&["run", "p.yaml", "--resume", "--set", "vars.rate=1000000"]);
    assert!(told.contains("acknowledged before"), "{told}");
    assert_eq!(generation(&server), Some(1));
    let all: u64 = server.ask(PASSWORD, &["DBSIZE"]);
    assert!(all > 250, "{all}");

    run(&["run", "p.yaml", "--set", "vars.rate=1000000", "--set", "vars.rows=5000"]);
    assert_eq!(generation(&server), Some(2));
    let told = run(&["rollback", "p.yaml"]);
    assert!(
        told.contains("publish: redis://***@") && told.contains("to generation 1"),
        "{told}"
    );
    assert_eq!(generation(&server), Some(1));
    assert_eq!(server.ask::<u64>(PASSWORD, &["DBSIZE"]), all);
    let output = workspace.towline_with(&["rollback", "p.yaml", "users"], &[("URL", &url)]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));

    // A server that has lost everything gets it again, although nothing has changed.
    let unchanged = run(&["run", "p.yaml", "--set", "vars.rate=1000000", "--set", "vars.rows=5000"]);
    assert!(!unchanged.contains("ran     publish"), "{unchanged}");
    let _: String = server.ask(PASSWORD, &["FLUSHALL"]);
    run(&["run", "p.yaml", "--set", "vars.rate=1000000", "--set", "vars.rows=5000"]);
    assert_eq!(generation(&server), Some(1));
}

/// Embeddings of a model's items, with an index over them.
const SEARCHED: &str = "\
version: 1
nodes:
  rows: { op: CsvSource, with: { path: rows.csv } }
  user: rows[user] >> Categorify >> TagAsUserID
  item: rows[item] >> Categorify >> TagAsItemID
  features: user + item
  model: { op: TwoTowerTrain, input: features, with: { layers: [8], batch_size: 16, epochs: 1 } }
  items: { op: Encode, inputs: { model: model }, with: { side: item } }
  index: { op: VectorSink, input: items, with: { url: \"${env.URL}\", key: \"ITEM:{item}\" } }
";

#[test]
fn embeddings_of_a_pipeline_are_found_by_the_server() {
    let server = RedisServer::with_search(PASSWORD);
    let workspace = Workspace::new();
    workspace.write("p.yaml", SEARCHED);
    workspace.write("rows.csv", ROWS);
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{}/0", server.port());
    let run = || {
        let output = workspace.towline_with(&["run", "p.yaml"], &[("URL", &url)]);
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
        stdout(&output) + &stderr(&output)
    };
    let found = || {
        let vector: Vec<u8> = server.ask(PASSWORD, &["HGET", "ITEM:11", "embedding"]);
        assert_eq!(vector.len(), 8 * 4);
        let answer: Vec<redis::Value> = server.ask_bytes(
            PASSWORD,
            &[
                b"FT.SEARCH",
                b"items",
                b"*=>[KNN 3 @embedding $v]",
                b"PARAMS",
                b"2",
                b"v",
                &vector,
                b"NOCONTENT",
                b"DIALECT",
                b"2",
            ],
        );
        let keys = answer[1..]
            .iter()
            .map(|key| redis::from_redis_value_ref::<String>(key).expect("a key"));
        let mut keys: Vec<String> = keys.collect();
        keys.sort();
        keys
    };
    run();
    assert_eq!(found(), ["ITEM:10", "ITEM:11", "ITEM:12"]);
    let unchanged = run();
    assert!(!unchanged.contains("ran     index"), "{unchanged}");
    // A server that has lost everything gets it again, although nothing has changed.
    let _: String = server.ask(PASSWORD, &["FLUSHALL"]);
    run();
    assert_eq!(found(), ["ITEM:10", "ITEM:11", "ITEM:12"]);
}

#[test]
fn settings_that_go_back_and_forth_are_published_each_time() {
    let server = RedisServer::start(PASSWORD);
    let workspace = workspace();
    let sink = "key: \"USER:{user}\"";
    let url = format!("redis://:{PASSWORD}@127.0.0.1:{}", server.port());
    for (place, document) in ["ids", "ids_and_scores", "ids"].into_iter().enumerate() {
        workspace.write(
            "p.yaml",
            &PIPELINE.replace(sink, &format!("{sink}, document: {document}")),
        );
        let output = workspace.towline_with(&["run", "p.yaml"], &[("URL", &url)]);
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
        assert_eq!(generation(&server), Some(place as u64 + 1));
        let stored: String = server.ask(PASSWORD, &["GET", "USER:1"]);
        assert_eq!(
            stored.contains("scores"),
            document == "ids_and_scores",
            "{document}: {stored}"
        );
    }
}
