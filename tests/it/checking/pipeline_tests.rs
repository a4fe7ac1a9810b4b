//! `towline test`: rows in, rows or facts out.

use crate::fixture::workspace::{Workspace, stderr, stdout};

const PIPELINE: &str = "version: 1
nodes:
  ratings: { op: CsvSource, with: { path: ratings.csv } }
  liked: { op: Filter, input: ratings, with: { where: stars >= 4 }, expect: [rows > 1000] }
  user: liked[user] >> Categorify
  counts: { op: Sql, input: liked, with: { query: \"SELECT \\\"user\\\", count(*) AS n, avg(stars) AS mean FROM liked GROUP BY \\\"user\\\"\" } }
  out: { op: ParquetExport, input: liked, with: { path: out } }
";

/// A workspace with the pipeline above, its data, and these tests.
fn workspace(tests: &str) -> Workspace {
    let workspace = Workspace::new();
    workspace.write("ratings.csv", "user,film,stars\n1,a,5\n");
    workspace.write("p.yaml", &format!("{PIPELINE}tests:\n{tests}"));
    workspace
}

#[test]
fn the_tests_of_the_shipped_pipelines_pass() {
    let workspace = Workspace::new();
    for (name, text) in [
        ("movielens.yaml", include_str!("../../../pipelines/movielens.yaml")),
        (
            "offline_batch_recsys.yaml",
            include_str!("../../../pipelines/offline_batch_recsys.yaml"),
        ),
    ] {
        workspace.write(name, text);
    }
    let output = workspace.towline(&["test", "--offline", "movielens.yaml", "offline_batch_recsys.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(
        stdout(&output).ends_with("\n4 passed, 0 failed\n"),
        "{}",
        stdout(&output)
    );
    assert!(!workspace.path().join("output").exists() && !workspace.path().join(".towline").exists());
}

const PASSING: &str = "  good ratings stay:
    given: { ratings: [ { user: 1, film: a, stars: 5 }, { user: 2, film: b, stars: 3 } ] }
    expect:
      liked: [ { user: 1, film: a } ]
      'liked[film]': [ { film: a } ]
      user: [ user is not null, min(user) == 3 ]
  nothing comes of nothing:
    given: { ratings: [] }
    expect: { liked: [], counts: rows == 0 }
  means:
    given: { liked: { file: liked.json } }
    expect:
      counts: { order: any, rows: [ { user: 2, n: 1, mean: 4 }, { user: 1, n: 3, mean: 4.3333333 } ] }
";

#[test]
fn rows_in_and_rows_or_facts_out() {
    let workspace = workspace(PASSING);
    let rows =
        r#"[{"user": 1, "stars": 4}, {"user": 1, "stars": 4}, {"user": 2, "stars": 4}, {"user": 1, "stars": 5}]"#;
    workspace.write("liked.json", rows);
    let output = workspace.towline(&["test", "p.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    insta::assert_snapshot!(stdout(&output));
    assert!(!workspace.path().join("out").exists() && !workspace.path().join(".towline").exists());
    let one = workspace.towline(&["test", "p.yaml", "--only", "nothing"]);
    assert!(stdout(&one).ends_with("1 passed, 0 failed\n"), "{}", stdout(&one));
}

const FAILING: &str = "  rows differ:
    given: { ratings: [ { user: 1, film: a, stars: 5 }, { user: 2, film: b, stars: 4 }, { user: 3, stars: 4 } ] }
    expect:
      liked:
        - { user: 1, film: a, stars: 5 }
        - { user: 2, film: c, stars: 4 }
        - { user: 3, film: null, stars: 4 }
      liked[user]: { order: any, rows: [ { user: 3 }, { user: 4 }, { user: 1 } ] }
  facts do not hold:
    given: { ratings: [ { user: 1, stars: 5 }, { user: 1, stars: 4 } ] }
    expect:
      liked: [ rows == 2, user is unique, mean(stars) - 1 > rows * 2 ]
  this one is fine:
    given: { ratings: [ { user: 1, stars: 5 } ] }
    expect: { liked: [ { stars: 5 } ] }
";

#[test]
fn a_failing_test_shows_the_difference() {
    let workspace = workspace(FAILING);
    let output = workspace.towline(&["test", "p.yaml"]);
    assert_eq!(output.status.code(), Some(3), "{}{}", stdout(&output), stderr(&output));
    insta::assert_snapshot!(stdout(&output));
}

#[test]
fn a_node_that_fails_in_a_test_is_reported() {
    let workspace = Workspace::new();
    workspace.write(
        "p.yaml",
        "version: 1
nodes:
  rows: { op: SyntheticAliCcp, with: { rows: 10 } }
  bad: { op: Sql, input: rows, with: { query: \"SELECT 1 / (user_id - user_id) AS x FROM rows\" } }
  after: { op: Filter, input: bad, with: { where: x > 1 } }
tests:
  it divides:
    expect: { after: rows > 0, rows: rows == 10 }
",
    );
    let output = workspace.towline(&["test", "p.yaml"]);
    assert_eq!(output.status.code(), Some(3), "{}{}", stdout(&output), stderr(&output));
    insta::assert_snapshot!(stdout(&output));
}

const WRONG: &str = "  unknown names:
    given: { rating: [], ratings.tran: [], 'ratings[user]': [] }
    expect: { likd: [], liked: [ { usr: 1 } ], user: [ usr is unique ] }
  wrong values:
    given: { ratings: [ { user: one, stars: 5 }, 7 ], user: [ { user: 3 } ] }
    expect: { user: [ { user: 1.5 } ], liked: { order: some, rows: [] }, counts: { row: [] } }
  nothing is expected: { given: { ratings: [] } }
  what is not needed: { given: { ratings: [], liked: [] }, expect: { user: rows == 0 } }
  data from outside: { expect: { liked: rows == 0 } }
  a sink: { given: { ratings: [] }, expect: { out: records == 0 } }
  no mapping: 5
  a key: { givn: {}, expect: { liked: rows > 0 && } }
  a file: { given: { ratings: { file: none.json } }, expect: { liked: [] } }
  a chain: { given: { ratings: [] }, expect: { 'liked >> Categorify': [] } }
  twice: { given: { ratings: [], ratings.train: [] }, expect: { liked: [] } }
";

#[test]
fn mistakes_in_tests_are_reported_without_a_run() {
    let workspace = workspace(WRONG);
    for command in ["validate", "test"] {
        let output = workspace.towline(&[command, "p.yaml"]);
        assert_eq!(output.status.code(), Some(2), "{}", stdout(&output));
    }
    let output = workspace.towline(&["validate", "p.yaml"]);
    insta::assert_snapshot!(stderr(&output));
    // A run does not wait for its tests to be mended.
    let plan = workspace.towline(&["plan", "p.yaml"]);
    assert_eq!(plan.status.code(), Some(0), "{}", stderr(&plan));
}

#[test]
fn a_split_must_be_named_where_there_are_several() {
    let workspace = Workspace::new();
    workspace.write(
        "p.yaml",
        "version: 1
nodes:
  rows: { op: SyntheticAliCcp, with: { rows: 10, splits: { train: 0.5, valid: 0.5 } } }
tests:
  two splits:
    given: { rows.valid: [ { user_id: 7 } ] }
    expect: { rows: [ { user_id: 7 } ], rows.valid: [ { user_id: 7 } ], 'rows[user_id].train': [] }
",
    );
    let output = workspace.towline(&["validate", "p.yaml"]);
    insta::assert_snapshot!(stderr(&output));
}
