//! Invalid pipelines, and the spans of their errors.

use std::path::Path;

use crate::config::tests::*;

#[test]
fn the_top_level_is_checked() {
    assert_eq!(found("a: 1\n"), ["missing-key @ ", "missing-key @ ", "unknown-key @ a"]);
    assert_eq!(
        found("version: 2\nnmae: x\ndescription: 3\nname: ''\nnodes: {}\nvars: []\n"),
        [
            "unsupported-version @ 2",
            "unknown-key @ nmae",
            "wrong-type @ 3",
            "out-of-range @ ''",
            "out-of-range @ {}",
            "wrong-type @ []"
        ]
    );
    assert_eq!(
        found("version: '1'\nnodes: [a]\n"),
        ["wrong-type @ '1'", "wrong-type @ [a]"]
    );
    assert_eq!(found("- a\n"), ["wrong-type @ - a"]);
    assert_eq!(sound("version: 1\nnodes: {a: {op: A}}").0.name, "p");
}

#[test]
fn nodes_are_checked() {
    let text = "version: 1
nodes:
  a:
    with: {x: 1}
    op: A
  b:
    wiht: 1
    input: [a]
  c: {op: 1, input: a, inputs: [a], with: 3}
  d: {op: D, inputs: a, columns: x, after: [a, 3], cache: nevr}
  e: {op: E, input: 'a[x]', columns: [y]}
  f: {op: F, columns: [y]}
  g:
  h h: {op: H}
  i: {op: I, inputs: {x: 1}, cache: 1}
";
    assert_eq!(
        found(text),
        [
            "key-order @ op",
            "missing-key @ b",
            "unknown-key @ wiht",
            "wrong-type @ [a]",
            "wrong-type @ 1",
            "conflict @ inputs",
            "wrong-type @ 3",
            "wrong-type @ a",
            "conflict @ columns",
            "wrong-type @ x",
            "wrong-type @ 3",
            "out-of-range @ nevr",
            "conflict @ columns",
            "conflict @ columns",
            "wrong-type @ g",
            "bad-name @ h h",
            "wrong-type @ 1",
            "wrong-type @ 1",
        ]
    );
}

#[test]
fn an_unknown_node_is_marked_and_a_broken_one_is_not_unknown() {
    let text = nodes(
        "",
        "  clicks: {op: A}\n  broken: clicks >\n  b: clicsk[x] >> B + broken\n  c: {op: C, input: broken, after: [clicks, nope]}\n",
    );
    let loaded = with_overrides(&text, &[]);
    assert_eq!(
        listed(&loaded),
        ["bad-chain @ >", "unknown-node @ clicsk", "unknown-node @ nope"]
    );
    assert_eq!(
        render(&loaded.sources, &loaded.diagnostics[1..2], Style::default()),
        "\
error[unknown-node] dir/p.yaml:6:6: there is no node `clicsk`
   ╭─[dir/p.yaml:6:6]
 5 │   broken: clicks >
 6 │   b: clicsk[x] >> B + broken
   ·      ───┬──
   ·         ╰── unknown node
 7 │   c: {op: C, input: broken, after: [clicks, nope]}
   ╰────
  help: did you mean `clicks`?

"
    );
}

#[test]
fn cycles_are_reported_with_their_path() {
    let text = nodes(
        "",
        "  z: c >> X >> Y\n  b: {op: B, input: z}\n  c: {op: C, inputs: [z], after: [b]}\n  d: {op: D, after: [d]}\n  e: d >> E\n",
    );
    let loaded = with_overrides(&text, &[]);
    assert_eq!(listed(&loaded), ["cycle @ z", "cycle @ d"]);
    assert!(
        loaded.diagnostics[0].message.ends_with("z -> c -> z"),
        "{}",
        loaded.diagnostics[0].message
    );
    assert!(loaded.diagnostics[1].message.ends_with("d -> d"));
}

#[test]
fn a_file_that_cannot_be_read_is_explained() {
    let options = LoadOptions {
        env: &env,
        overrides: &[],
        operators: ChainOperators {
            concat: "Concat",
            select: "Select",
            best: "BestModel",
        },
    };
    let directory = tempfile::tempdir().unwrap();
    let missing = load_file(&directory.path().join("no.yaml"), &options);
    assert!(
        missing.diagnostics[0]
            .message
            .ends_with("no.yaml: there is no such file")
    );
    assert!(
        load_file(directory.path(), &options).diagnostics[0]
            .message
            .ends_with("it is a directory")
    );
    assert!(load_file(Path::new(""), &options).pipeline.is_none());
    let path = directory.path().join("ok.yaml");
    std::fs::write(&path, "version: 1\nnodes: {a: {op: A}}\n").unwrap();
    assert_eq!(load_file(&path, &options).pipeline.unwrap().name, "ok");
}
