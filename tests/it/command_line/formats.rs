//! What `validate` and `test` find, in every form.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fixture::workspace::{Workspace, stderr, stdout};

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// What in `value` is against a JSON Schema.
pub(crate) fn violations(schema: &Value, value: &Value) -> Vec<String> {
    let config = jsonschema_valid::Config::from_schema(schema, Some(jsonschema_valid::schemas::Draft::Draft7))
        .expect("the schema is one");
    let errors: Vec<String> = match config.validate(value) {
        Ok(()) => Vec::new(),
        Err(errors) => errors.map(|error| error.to_string()).collect(),
    };
    errors
}

fn sarif_schema() -> Value {
    let text = std::fs::read_to_string(beside("fixtures/sarif-2.1.0.schema.json")).expect("it is there");
    serde_json::from_str(&text).expect("it is JSON")
}

/// What is against the schema of JUnit files that Jenkins publishes. Needs `xmllint` (Debian: `apt-get install libxml2-utils`).
fn junit_violations(text: &str) -> String {
    let mut child = Command::new("xmllint")
        .args(["--noout", "--nonet", "--schema"])
        .arg(beside("fixtures/junit-10.xsd"))
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("xmllint is installed");
    let mut input = child.stdin.take().expect("it is a pipe");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    if output.status.success() {
        String::new()
    } else {
        stderr(&output)
    }
}

/// Two files: one with an error and a warning, one that is fine.
fn two_files(format: &[&str]) -> String {
    let workspace = Workspace::new();
    workspace.write(
        "a b.yaml",
        "version: 1\nvars: { unused: 1 }\nnodes:\n  rows: { op: SyntheticAliCcp, with: { rows: 1000 } }\n  é: rows[usr_id] >> Categorify\n",
    );
    workspace.write(
        "fine.yaml",
        "version: 1\nnodes:\n  rows: { op: SyntheticAliCcp, with: { rows: 10 } }\n  user: rows[user_id] >> Categorify >> TagAsUserID\n",
    );
    let output = workspace.towline(&[&["validate", "a b.yaml", "fine.yaml"], format].concat());
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    if format.is_empty() {
        format!("{}{}", stderr(&output), stdout(&output))
    } else {
        assert_eq!(stderr(&output), "");
        stdout(&output)
    }
}

#[test]
fn text_is_for_people() {
    insta::assert_snapshot!("format_text", two_files(&[]));
}

#[test]
fn json_has_every_finding_and_every_type() {
    let text = two_files(&["--format", "json"]);
    let json: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(json["files"][1]["nodes"][2]["output"]["columns"][0]["tags"][0], "user");
    insta::assert_snapshot!("format_json", text);
}

#[test]
fn github_gets_annotations() {
    insta::assert_snapshot!("format_github", two_files(&["--format", "github"]));
}

#[test]
fn sarif_follows_its_schema() {
    let text = two_files(&["--format", "sarif"]);
    let schema = sarif_schema();
    let mut sarif: Value = serde_json::from_str(&text).expect("it is JSON");
    assert_eq!(violations(&schema, &sarif), Vec::<String>::new());
    sarif["runs"][0]["results"][0]["level"] = "terrible".into();
    assert_ne!(violations(&schema, &sarif), Vec::<String>::new(), "the check checks");
    sarif["runs"][0]["tool"]["driver"]["rules"] = "see there".into();
    sarif["runs"][0]["tool"]["driver"]["version"] = "0".into();
    sarif["runs"][0]["results"][0]["level"] = "error".into();
    insta::assert_snapshot!("format_sarif", format!("{sarif:#}"));
}

#[test]
fn junit_follows_its_schema_and_counts_what_it_holds() {
    let text = two_files(&["--format", "junit"]);
    assert_eq!(text.matches("<testcase").count(), 4, "{text}");
    assert_eq!(text.matches("<failure").count(), 2, "{text}");
    assert!(text.contains("tests=\"4\" failures=\"2\""), "{text}");
    assert_eq!(junit_violations(&text), "");
    assert_ne!(
        junit_violations(&text.replace("<failure ", "<failed ").replace("</failure>", "</failed>")),
        "",
        "the check checks"
    );
    insta::assert_snapshot!("format_junit", text);
}

/// A pipeline with a test that fails and one that passes.
fn tested(format: &str) -> String {
    let workspace = Workspace::new();
    workspace.write(
        "p.yaml",
        "version: 1
nodes:
  ratings: { op: CsvSource, with: { path: ratings.csv } }
  liked: { op: Filter, input: ratings, with: { where: stars >= 4 } }
tests:
  good & bad:
    given: { ratings: [ { user: 1, stars: 5 }, { user: 2, stars: 4 } ] }
    expect:
      liked: [ { user: 1, stars: 5 }, { user: 3, stars: 4 } ]
      liked[user]: [ rows == 3 ]
  this one is fine:
    given: { ratings: [ { user: 1, stars: 5 } ] }
    expect: { liked: [ { stars: 5 } ] }
",
    );
    workspace.write("ratings.csv", "user,stars\n1,5\n");
    workspace.write("wrong.yaml", "version: 1\nnodes: { a: { op: Filtr } }\n");
    let both = workspace.towline(&["test", "p.yaml", "wrong.yaml", "--format", format]);
    assert_eq!(both.status.code(), Some(2), "{}", stderr(&both));
    let output = workspace.towline(&["test", "p.yaml", "--format", format]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert_eq!(stderr(&output), "");
    assert!(stdout(&both).contains("Filtr"), "{}", stdout(&both));
    stdout(&output)
}

#[test]
fn tests_in_json_tell_what_became_of_each() {
    let text = tested("json");
    let json: Value = serde_json::from_str(&text).expect("it is JSON");
    let tests = &json["files"][0]["tests"];
    assert_eq!(
        (&tests[0]["passed"], &tests[1]["passed"]),
        (&false.into(), &true.into())
    );
    assert_eq!(json["files"][0]["passes"], false);
    insta::assert_snapshot!("test_json", format!("{tests:#}"));
}

#[test]
fn failed_tests_are_annotated_on_github() {
    insta::assert_snapshot!("test_github", tested("github"));
}

#[test]
fn failed_tests_in_sarif_follow_its_schema() {
    let sarif: Value = serde_json::from_str(&tested("sarif")).expect("it is JSON");
    assert_eq!(violations(&sarif_schema(), &sarif), Vec::<String>::new());
    insta::assert_snapshot!("test_sarif", format!("{:#}", sarif["runs"][0]["results"]));
}

#[test]
fn tests_in_junit_follow_its_schema() {
    let text = tested("junit");
    assert_eq!(junit_violations(&text), "");
    assert!(text.contains("tests=\"2\" failures=\"1\""), "{text}");
    insta::assert_snapshot!("test_junit", text);
}
