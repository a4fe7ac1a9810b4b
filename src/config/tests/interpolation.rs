//! Variables, the environment and overrides.

use crate::config::tests::*;
use crate::config::yaml::{Code, Diagnostic};

#[test]
fn interpolation_keeps_types_where_it_stands_alone() {
    let (pipeline, _) = sound(&nodes(
        "n: 3, list: [1, '${vars.n}'], deep: {a: {b: [x, y]}}, f: 1.0, node: {op: B, input: a}, chain: a >> C",
        r#"
  a:
    op: A
    with:
      n: ${vars.n}
      list: ${vars.list}
      item: ${vars.deep.a.b.1}
      text: "n=${vars.n} f=${vars.f} $${vars.n} $5"
      env: ${env.ROWS}
      env_text: "${env.ROWS}!"
      default: ${env.NOPE:-7}
      empty: ${env.EMPTY:-8}
      secret: "x ${secret.KEY} ${vars.n}"
  b: ${vars.node}
  c: ${vars.chain}
  d: {op: D, input: '${vars.chain}'}
"#,
    ));
    assert_eq!(
        config(&pipeline, "a"),
        serde_json::json!({
            "n": 3, "list": [1, 3], "item": "y", "text": "n=3 f=1.0 ${vars.n} $5", "env": 500, "env_text": "500!",
            "default": 7, "empty": 8, "secret": "x ${secret.KEY} 3"
        })
    );
    assert_eq!(
        outline(&pipeline)[1..],
        ["b = B(a)", "c = C(a)", "d.1:C = C(a)", "d = D(d.1:C)"]
    );
    let read: Vec<_> = pipeline
        .env_read
        .iter()
        .map(|(name, set)| (name.as_str(), *set))
        .collect();
    assert_eq!(read, [("EMPTY", false), ("NOPE", false), ("ROWS", true)]);
}

#[test]
fn interpolations_without_a_meaning_are_marked() {
    let text = nodes(
        "rows: 1, nothing: null, map: {ab: 1}",
        "
  a:
    op: A
    with:
      a: é ${vars.rowz} x
      b: ${rows}
      c: ${vars.map.abc}
      d: x ${vars.map}
      e: x ${vars.nothing}
      f: ${env.NOPE}
      g: x ${vars.rows
      h: ${foo.bar}
      i: ${env.}
",
    );
    assert_eq!(
        found(&text),
        [
            "undefined-variable @ ${vars.rowz}",
            "undefined-variable @ ${rows}",
            "undefined-variable @ ${vars.map.abc}",
            "wrong-type @ ${vars.map}",
            "wrong-type @ ${vars.nothing}",
            "unset-env @ ${env.NOPE}",
            "undefined-variable @ ${vars.rows",
            "undefined-variable @ ${foo.bar}",
            "undefined-variable @ ${env.}",
        ]
    );
    let report = shown(&with_overrides(&text, &[]));
    for hint in [
        "did you mean `rows`?",
        "did you mean `${vars.rows}`?",
        "did you mean `ab`?",
        "close it with `}`",
    ] {
        assert!(report.contains(hint), "{report}");
    }
    assert!(
        report.contains("error[undefined-variable] dir/p.yaml:8:12: "),
        "{report}"
    );
}

#[test]
fn variables_resolve_downwards_and_never_in_cycles() {
    let text = "version: 1\nvars:\n  a: ${vars.b}\n  b: ${vars.c}\n  c: x ${vars.a}\n  d: ${vars.e}\n  e: 1\n  f: ${vars.f}\n  'g h': 1\n  i: {x: '${env.NOPE}'}\nnodes:\n  n: {op: N, with: {a: '${vars.a}', d: '${vars.d}', f: '${vars.f}', i: '${vars.i.x}'}}\n";
    assert_eq!(
        found(text),
        [
            "cycle @ a",
            "undefined-variable @ ${vars.e}",
            "cycle @ f",
            "bad-name @ 'g h'",
            "unset-env @ ${env.NOPE}",
        ]
    );
    assert!(shown(&with_overrides(text, &[])).contains("cycle: vars.a -> vars.b -> vars.c -> vars.a"));
}

#[test]
fn an_unused_variable_is_a_warning() {
    let loaded = with_overrides(&nodes("a: 1, b: '${vars.a}'", "  n: {op: N}\n"), &[]);
    assert!(loaded.pipeline.is_some());
    assert_eq!(listed(&loaded), ["unused-variable @ b"]);
}

#[test]
fn variables_cannot_explode() {
    let mut vars = String::from("v0: [x, x, x, x, x, x, x, x, x, x]");
    let mut texts = String::from("t0: xxxxxxxxxx");
    let mut deep = String::from("d0: [x]");
    for level in 1..300 {
        let before = level - 1;
        let ten = vec![format!("'${{vars.v{before}}}'"); 10].join(", ");
        vars.push_str(&format!(", v{level}: [{ten}]"));
        texts.push_str(&format!(", t{level}: '{}'", format!("${{vars.t{before}}}").repeat(10)));
        deep.push_str(&format!(", d{level}: ['${{vars.d{before}}}']"));
    }
    for (vars, code) in [(vars, Code::AliasBomb), (texts, Code::AliasBomb), (deep, Code::TooDeep)] {
        let loaded = with_overrides(&nodes(&vars, "  n: {op: N}\n"), &[]);
        let errors: Vec<&Diagnostic> = loaded.diagnostics.iter().filter(|found| found.is_error()).collect();
        assert_eq!((errors.len(), errors[0].code), (1, code));
    }
}

#[test]
fn overrides_replace_what_exists() {
    let text = nodes(
        "rows: 1, deep: {a: [1, 2]}",
        "  n: {op: N, with: {r: '${vars.rows}', d: '${vars.deep}', k: {x: 1}}}\n",
    );
    let loaded = with_overrides(
        &text,
        &["vars.rows=1_000", "vars.deep.a.1=x y", "nodes.n.with.k.x=[1, {a: b}]"],
    );
    let pipeline = loaded.pipeline.as_ref().unwrap();
    assert_eq!(
        config(pipeline, "n"),
        serde_json::json!({"r": 1000, "d": {"a": [1, "x y"]}, "k": {"x": [1, {"a": "b"}]}})
    );
    let refused = [
        ("vars.rowz=1", Code::UndefinedVariable, "did you mean `rows`?"),
        ("vars.deep.b=1", Code::UndefinedVariable, "`a`"),
        ("vars.deep.a.2=1", Code::UndefinedVariable, "2 items"),
        ("nodes.m.with.k=1", Code::UnknownNode, "`n`"),
        ("nodes.n.with.q=1", Code::UnknownKey, "`r`, `d`, `k`"),
        ("nodes.n.op=1", Code::UnknownKey, "vars.<name>"),
        ("version=2", Code::UnknownKey, "vars.<name>"),
    ];
    for (entry, code, help) in refused {
        let loaded = with_overrides(&text, &[entry]);
        assert_eq!(loaded.diagnostics.len(), 1, "{entry}");
        assert!(loaded.diagnostics[0].is_error(), "{entry}");
        assert_eq!(loaded.diagnostics[0].code, code, "{entry}");
        assert!(loaded.diagnostics[0].help.as_ref().unwrap().contains(help), "{entry}");
    }
    let loaded = with_overrides(&text, &["vars.rows=${vars.nope}"]);
    let span = loaded.diagnostics[0].span.unwrap();
    assert_eq!(loaded.sources.location(span), "--set vars.rows:1:1");
    assert!("nothing".parse::<Override>().is_err());
}
