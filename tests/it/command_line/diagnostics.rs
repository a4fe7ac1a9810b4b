//! What is wrong with a pipeline is told at its place, all of it at once.

use crate::fixture::workspace::{Workspace, stderr};

/// The header lines of what `validate` says about a pipeline with these nodes.
fn complaints(nodes: &str) -> Vec<String> {
    let workspace = Workspace::new();
    workspace.write("p.yaml", &format!("version: 1\nnodes:\n{nodes}"));
    let output = workspace.towline(&["validate", "p.yaml"]);
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    stderr(&output)
        .lines()
        .filter(|line| line.starts_with("error[") || line.starts_with("warning["))
        .map(str::to_owned)
        .collect()
}

const SOURCE: &str = "  rows: { op: SyntheticAliCcp, with: { rows: 1000 } }\n";

#[test]
fn slips_in_different_nodes_are_all_found_in_one_pass() {
    let found = complaints(&format!(
        "{SOURCE}  a: {{ op: Filtr, input: rows }}\n  b: {{ op: Filter, input: rows, with: {{ wher: x }} }}\n  c: rows[usr_id] >> Categorify\n"
    ));
    assert_eq!(
        found,
        [
            "error[unknown-operator] p.yaml:4:12: there is no operator `Filtr`",
            "error[unknown-key] p.yaml:5:41: in the node `b`, Filter: there is no parameter `wher`",
            "error[unknown-column] p.yaml:6:11: there is no column `usr_id`",
        ]
    );
}

#[test]
fn keys_that_are_unknown_or_there_twice_do_not_stop_the_rest() {
    let found = complaints(&format!(
        "{SOURCE}  a: {{ op: Filter, inptu: rows, with: {{ where: click = 1, where: x }} }}\n  b: rows[usr_id] >> Categorify(min_count=x) + gone\n  c: {{ op: Nope }}\nnames: x\n"
    ));
    assert_eq!(
        found,
        [
            "error[unknown-key] p.yaml:4:20: `inptu` is not a key of a node",
            "error[duplicate-key] p.yaml:4:59: the key `where` is used twice in one mapping",
            "error[unknown-column] p.yaml:5:11: there is no column `usr_id`",
            "error[wrong-type] p.yaml:5:43: in the node `b.1:Categorify`, Categorify: expected a whole number or a mapping, found the text `x`",
            "error[unknown-node] p.yaml:5:48: there is no node `gone`",
            "error[unknown-operator] p.yaml:6:12: there is no operator `Nope`",
            "error[unknown-key] p.yaml:7:1: `names` is not a key of a pipeline",
        ]
    );
}

#[test]
fn an_error_neither_hides_nor_multiplies_those_behind_it() {
    let found = complaints(&format!(
        "{SOURCE}  few: {{ op: Filter, input: rows, with: {{ wher: click = 1 }} }}\n  a: few[usr_id] >> Categorify\n  b: few[user_id] >> Categorify >> TagAsUserID\n  c: nowhere >> Filter(where='clik') >> Categorify(min_count=x)\n  d: c[anything] + b >> AddTags(tags=[nonsense])\n"
    ));
    assert_eq!(
        found,
        [
            "error[unknown-key] p.yaml:4:43: in the node `few`, Filter: there is no parameter `wher`",
            "error[unknown-column] p.yaml:5:10: there is no column `usr_id`",
            "error[unknown-node] p.yaml:7:6: there is no node `nowhere`",
            "error[wrong-type] p.yaml:7:62: in the node `c`, Categorify: expected a whole number or a mapping, found the text `x`",
            "error[bad-config] p.yaml:8:39: in the node `d.1:AddTags`, AddTags: `nonsense` is not a choice here",
        ]
    );
}

#[test]
fn a_cycle_is_reported_with_its_path() {
    let found = complaints("  a: b >> Categorify\n  b: c >> Categorify\n  c: a >> Categorify\n");
    assert_eq!(found, ["error[cycle] p.yaml:3:3: nodes form a cycle: a -> c -> b -> a"]);
}

#[test]
fn names_that_do_not_exist_get_a_hint() {
    let workspace = Workspace::new();
    workspace.write(
        "p.yaml",
        &format!("version: 1\nnodes:\n{SOURCE}  a: row[user_id] >> Categorify\n"),
    );
    let text = stderr(&workspace.towline(&["validate", "p.yaml"]));
    assert!(
        text.contains("error[unknown-node] p.yaml:4:6: there is no node `row`"),
        "{text}"
    );
    assert!(text.contains("help: did you mean `rows`?"), "{text}");
}

#[test]
fn columns_of_other_rows_cannot_be_joined_by_position() {
    let found = complaints(&format!(
        "{SOURCE}  few: {{ op: Filter, input: rows, with: {{ where: click = 1 }} }}\n  all: rows[user_id] + few[item_id]\n"
    ));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("error[unrelated-rows] p.yaml:5:24"), "{found:?}");
}

#[test]
fn a_wrong_column_in_sql_and_a_tag_that_contradicts_are_static_errors() {
    let found = complaints(&format!(
        "{SOURCE}  few: {{ op: Filter, input: rows, with: {{ where: clicks = 1 }} }}\n  tagged: rows[user_id] >> AddTags(tags=[continuous, id])\n"
    ));
    assert!(
        found
            .iter()
            .any(|line| line.starts_with("error[unknown-column]") && line.contains("clicks")),
        "{found:?}"
    );
    assert!(
        found.iter().any(|line| line.starts_with("error[tag-conflict]")),
        "{found:?}"
    );
}

#[test]
fn a_setting_that_does_not_exist_is_an_error() {
    let workspace = Workspace::new();
    workspace.write("p.yaml", &format!("version: 1\nvars: {{ rows: 1 }}\nnodes:\n{SOURCE}"));
    let output = workspace.towline(&["validate", "p.yaml", "--set", "vars.row=2"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("can't set `vars.row`: there is no `row`"),
        "{}",
        stderr(&output)
    );
    assert!(stderr(&output).contains("did you mean `rows`?"), "{}", stderr(&output));
}

#[test]
fn an_absent_file_and_text_that_is_no_pipeline_are_reported() {
    let workspace = Workspace::new();
    let output = workspace.towline(&["validate", "absent.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("cannot read the pipeline absent.yaml"),
        "{}",
        stderr(&output)
    );
    workspace.write("p.yaml", "just text\n");
    let output = workspace.towline(&["validate", "p.yaml"]);
    assert!(
        stderr(&output).contains("a pipeline must be a mapping, not a string"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn every_operator_has_documented_parameters_and_an_example_that_parses() {
    for operator in towline_operators::builtin().iter() {
        assert!(!operator.doc().is_empty(), "{} has no documentation", operator.name);
        let schema = operator.schema();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let documented = property.get("description").is_some();
            assert!(
                documented,
                "{}: the parameter {name} has no documentation",
                operator.name
            );
        }
        let mut sources = towline::config::yaml::SourceMap::default();
        let example = towline::config::yaml::load(&mut sources, "example", operator.example.as_bytes());
        let example = example
            .unwrap_or_else(|errors| panic!("{}: {errors:?}", operator.name))
            .to_json();
        assert_eq!(example["op"], operator.name);
        let config = example.get("with").cloned().unwrap_or_else(|| serde_json::json!({}));
        let problems = operator.build(&config).err().unwrap_or_default();
        assert!(problems.is_empty(), "{}: {problems:?}", operator.name);
    }
}

#[test]
fn a_slip_in_a_node_that_keeps_its_columns_hides_nothing_behind_it() {
    for node in [
        "op: Dedup, input: rows, with: { by: [usr_id] }",
        "op: DropNulls, input: rows, with: { columns: [usr_id] }",
        "op: Sample, input: rows, with: { fraction: 2 }",
        "op: KCore, input: rows, with: { min_count: { usr_id: 2 } }",
        "op: Clip, input: rows, with: { mni: 0 }",
    ] {
        let found = complaints(&format!("{SOURCE}  a: {{ {node} }}\n  b: a[item] >> Categorify\n"));
        assert_eq!(found.len(), 2, "{node}: {found:#?}");
        assert!(
            found[1].contains("p.yaml:5:8: there is no column `item`"),
            "{node}: {found:#?}"
        );
    }
}
