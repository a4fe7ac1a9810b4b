//! What `towline validate` finds, and the forms in which it says so.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::command_line::formats::violations;
use crate::fixture::workspace::{Workspace, stderr, stdout};

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(folder)
}

/// The names of the pipelines of a folder, of which there are at least `least`: a loop over none would pass.
fn pipelines(folder: &Path, least: usize) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder is there");
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.expect("it can be read").file_name().into_string().ok())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    names.sort();
    assert!(names.len() >= least, "{}: {names:?}", folder.display());
    names
}

fn towline(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_towline"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("REDIS_URL")
        .env("NO_COLOR", "1")
        .output()
        .expect("the binary runs")
}

#[test]
fn every_mistake_is_reported_in_full() {
    let folder = fixtures("invalid");
    for name in pipelines(&folder, 39) {
        let mut arguments = vec!["validate", &name];
        if name.starts_with("offline") {
            arguments.push("--offline");
        }
        let output = towline(&folder, &arguments);
        let report = stderr(&output);
        // A warning alone lets the pipeline pass.
        let code = i32::from(report.contains("error[")) * 2;
        assert_eq!(output.status.code(), Some(code), "{name}: {report}");
        assert!(
            report.contains("error[") || report.contains("warning["),
            "{name}: {report}"
        );
        insta::assert_snapshot!(name.trim_end_matches(".yaml"), report);
    }
}

#[test]
fn valid_pipelines_pass_without_a_word() {
    for (folder, offline, least) in [(fixtures("valid"), true, 1), (fixtures("../../pipelines"), false, 2)] {
        for name in pipelines(&folder, least) {
            // The sources of this one are data that is not part of the project.
            if name == "movielens.yaml" {
                continue;
            }
            let arguments: &[&str] = if offline {
                &["validate", "--offline", &name]
            } else {
                &["validate", &name]
            };
            let output = towline(&folder, arguments);
            assert_eq!(stderr(&output), "", "{name}");
            assert!(stdout(&output).contains(": valid, "), "{name}");
        }
    }
}

#[test]
fn warnings_fail_if_they_are_denied() {
    let workspace = Workspace::new();
    workspace.write(
        "p.yaml",
        "version: 1\nvars: { unused: 1 }\nnodes:\n  rows: { op: SyntheticAliCcp, with: { rows: 10 } }\n",
    );
    let fine = workspace.towline(&["validate", "p.yaml"]);
    assert_eq!(fine.status.code(), Some(0));
    assert!(
        stderr(&fine).contains("warning[unused-variable] p.yaml:2:9"),
        "{}",
        stderr(&fine)
    );
    let denied = workspace.towline(&["validate", "p.yaml", "--deny-warnings"]);
    assert_eq!(denied.status.code(), Some(2));
    let denied = workspace.towline(&["validate", "p.yaml", "--deny-warnings", "--format", "github"]);
    assert!(
        stdout(&denied).starts_with("::error file=p.yaml"),
        "{}",
        stdout(&denied)
    );
}

#[test]
fn types_are_printed_for_every_node() {
    let workspace = Workspace::new();
    workspace.write(
        "p.yaml",
        "version: 1\nnodes:\n  rows: { op: SyntheticAliCcp, with: { rows: 10 } }\n  user: rows[user_id] >> Categorify >> TagAsUserID\n",
    );
    let text = stdout(&workspace.towline(&["validate", "p.yaml", "--types"]));
    let user = text
        .split("\nuser (TagAsUserID): dataset\n")
        .nth(1)
        .expect("the node is there");
    assert!(user.contains("user_id") && user.contains("user, id"), "{text}");
}

#[test]
fn a_secret_in_plain_text_is_reported_but_not_shown() {
    let folder = fixtures("invalid");
    for format in ["text", "json", "github", "sarif", "junit"] {
        let output = towline(&folder, &["validate", "plain_secret.yaml", "--format", format]);
        let report = format!("{}{}", stdout(&output), stderr(&output));
        assert!(report.contains("plain-secret"), "{report}");
        assert!(!report.contains("hunter2") && !report.contains("abcdef"), "{report}");
    }
}

#[test]
fn every_page_of_explain_fails_as_it_says_and_passes_when_fixed() {
    let workspace = Workspace::new();
    for code in towline::config::yaml::Code::ALL {
        let page = stdout(&workspace.towline(&["explain", code.as_str()]));
        let examples: Vec<&str> = page
            .split("```yaml\n")
            .skip(1)
            .map(|part| part.split("```").next().unwrap_or_default())
            .collect();
        let [fails, passes] = examples[..] else {
            panic!("{code}: {page}")
        };
        let check = |text: &str| {
            workspace.write("p.yaml", text);
            workspace.towline(&["validate", "p.yaml"])
        };
        let report = stderr(&check(fails));
        assert!(report.contains(&format!("[{code}]")), "{code}: {report}");
        let fixed = check(passes);
        assert_eq!(fixed.status.code(), Some(0), "{code}: {}", stderr(&fixed));
        assert!(
            !stderr(&fixed).contains(&format!("[{code}]")),
            "{code}: {}",
            stderr(&fixed)
        );
    }
}

#[test]
fn the_list_of_codes_and_the_schema_are_fresh() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (arguments, file) in [
        (["explain"], "docs/codes/README.md"),
        (["schema"], "docs/pipeline.schema.json"),
    ] {
        let output = towline(root, &arguments);
        let written = std::fs::read_to_string(root.join(file)).unwrap_or_default();
        assert!(
            stdout(&output) == written,
            "{file} is not fresh: `towline {} > {file}`",
            arguments[0]
        );
    }
    let pages = std::fs::read_dir(root.join("docs/codes"))
        .expect("they are there")
        .count();
    assert_eq!(
        pages,
        towline::config::yaml::Code::ALL.len() + 1,
        "a page for each code, and the list"
    );
}

/// What a JSON Schema has against a value.
#[test]
fn valid_pipelines_follow_the_schema_and_slips_do_not() {
    let text = stdout(&Workspace::new().towline(&["schema"]));
    let schema: Value = serde_json::from_str(&text).expect("it is JSON");
    let read = |path: PathBuf| {
        let mut sources = towline::config::yaml::SourceMap::default();
        let bytes = std::fs::read(&path).expect("it is there");
        let value = towline::config::yaml::load(&mut sources, "p.yaml", &bytes);
        value
            .unwrap_or_else(|errors| panic!("{}: {errors:?}", path.display()))
            .to_json()
    };
    for folder in ["valid", "valid/parts", "../../pipelines"].map(fixtures) {
        for name in pipelines(&folder, 1) {
            assert_eq!(
                violations(&schema, &read(folder.join(&name))),
                Vec::<String>::new(),
                "{name}"
            );
        }
    }
    for name in ["unknown_key", "wrong_type", "out_of_range"] {
        let value = read(fixtures("invalid").join(format!("{name}.yaml")));
        assert_ne!(violations(&schema, &value), Vec::<String>::new(), "{name}");
    }
}

#[test]
fn defaults_are_checked_where_they_stand_and_give_way() {
    let workspace = Workspace::new();
    let nodes = "  rows: { op: SyntheticAliCcp, with: { rows: 10 } }\n  a: rows[user_id] >> Categorify\n  b: { op: Categorify, input: \"rows[item_id]\", with: { min_count: 1 } }\n";
    workspace.write(
        "p.yaml",
        &format!("version: 1\ndefaults:\n  Categorify: {{ min_count: 0, mincount: 3 }}\n  Nothing: {{ x: 1 }}\nnodes:\n{nodes}"),
    );
    let report = stderr(&workspace.towline(&["validate", "p.yaml"]));
    let lines: Vec<&str> = report.lines().filter(|line| line.starts_with("error[")).collect();
    assert_eq!(
        lines,
        [
            "error[out-of-range] p.yaml:3:28: in the node `a`, Categorify: 0 is out of range: it must be at least 1",
            "error[unknown-key] p.yaml:3:31: in the node `a`, Categorify: there is no parameter `mincount`",
            "error[unknown-operator] p.yaml:4:3: there is no operator `Nothing`",
        ]
    );
}

#[test]
fn what_is_included_keeps_its_places() {
    let workspace = Workspace::new();
    workspace.write(
        "p.yaml",
        "version: 1\ninclude: part.yaml\nnodes:\n  rows: { op: SyntheticAliCcp, with: { rows: 10 } }\n",
    );
    workspace.write(
        "part.yaml",
        "version: 1\nname: x\nnodes:\n  rows: { op: Other }\n  a: rows[usr_id] >> Categorify\n",
    );
    let report = stderr(&workspace.towline(&["validate", "p.yaml"]));
    for line in [
        "error[duplicate-key] p.yaml:4:3: `rows` is defined in two of these files",
        "  see part.yaml:4:3: first here",
        "error[unknown-key] part.yaml:2:1: `name` is not a key of an included file",
        "error[unknown-operator] part.yaml:4:15: there is no operator `Other`",
    ] {
        assert!(report.contains(line), "{line}\n{report}");
    }
}

#[test]
fn places_lie_in_the_file_and_on_the_words_they_speak_of() {
    let folder = fixtures("invalid");
    let mut on_words = 0;
    for name in pipelines(&folder, 39) {
        let output = towline(&folder, &["validate", &name, "--format", "json"]);
        let json: Value = serde_json::from_str(&stdout(&output)).expect("it is JSON");
        for found in json["files"][0]["diagnostics"].as_array().expect("a list") {
            let at = &found["at"];
            let Some(file) = at["file"].as_str() else { continue };
            let text = std::fs::read_to_string(folder.join(file)).expect("the file is there");
            let offset = |end: &str| at[end]["offset"].as_u64().expect("an offset") as usize;
            let marked = text.get(offset("start")..offset("end"));
            let marked = marked.unwrap_or_else(|| panic!("{name}: {found}"));
            let code = found["code"].as_str().expect("a code");
            // What the model needs and the data lacks is report at the port, where it stands nowhere.
            let nowhere = name == "model_and_data_disagree.yaml";
            let spoken_of = ["unknown-", "unused-", "duplicate-key"]
                .iter()
                .any(|kind| code.starts_with(kind));
            if spoken_of && !nowhere {
                let message = found["message"].as_str().expect("a message");
                let spoken = message.split('`').skip(1).step_by(2).any(|word| marked.contains(word));
                assert!(spoken, "{name}: `{marked}` is not what `{message}` speaks of");
                on_words += 1;
            }
        }
    }
    assert!(on_words > 10, "{on_words}");
}
