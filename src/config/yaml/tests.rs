#![allow(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "in a test, brevity counts for more than an allocation"
)]

use proptest::prelude::*;

use towline_api::PathSegment;

use crate::config::yaml::*;

fn parse_text(text: &str) -> (SourceMap, Parsed) {
    let mut sources = SourceMap::default();
    let parsed = parse(&mut sources, "p.yaml", text.as_bytes());
    (sources, parsed)
}

fn value(text: &str) -> Value {
    let (sources, parsed) = parse_text(text);
    let shown = render(&sources, &parsed.diagnostics, Style::default());
    assert_eq!(shown, "", "{text}");
    parsed.value.unwrap()
}

/// Code, the marked text and the message of each diagnostic.
fn found(text: &str) -> Vec<(Code, String, String)> {
    let (sources, parsed) = parse_text(text);
    parsed
        .diagnostics
        .into_iter()
        .map(|diagnostic| {
            let marked = diagnostic.span.and_then(|span| sources.slice(span)).unwrap_or("-");
            (diagnostic.code, marked.to_owned(), diagnostic.message)
        })
        .collect()
}

#[track_caller]
fn refused(text: &str, code: Code, marked: &str, message: &str) {
    let found = found(text);
    assert_eq!(found.len(), 1, "{found:?}");
    let (found_code, found_marked, found_message) = &found[0];
    assert_eq!((*found_code, found_marked.as_str()), (code, marked), "{found_message}");
    assert!(found_message.contains(message), "{found_message}");
}

#[test]
fn plain_scalars_follow_the_core_schema() {
    use ValueKind::{Bool, Float, Int, Null, String, UInt};
    let cases = [
        ("", Null),
        ("~", Null),
        ("null", Null),
        ("true", Bool(true)),
        ("False", Bool(false)),
        ("yes", String("yes".into())),
        ("0", Int(0)),
        ("-12", Int(-12)),
        ("+12", Int(12)),
        ("010", Int(10)),
        ("0x1F", Int(31)),
        ("0o17", Int(15)),
        ("1_000_000", Int(1_000_000)),
        ("_1", String("_1".into())),
        ("1__0", String("1__0".into())),
        ("-9223372036854775808", Int(i64::MIN)),
        ("18446744073709551615", UInt(u64::MAX)),
        ("1.5", Float(1.5)),
        (".5", Float(0.5)),
        ("1.", Float(1.0)),
        ("1e3", Float(1000.0)),
        ("-1.5E-3", Float(-0.0015)),
        (".inf", Float(f64::INFINITY)),
        ("-.INF", Float(f64::NEG_INFINITY)),
        (".", String(".".into())),
        ("1e", String("1e".into())),
        ("nan", String("nan".into())),
        ("inf", String("inf".into())),
        ("1.2.3", String("1.2.3".into())),
        ("0x", String("0x".into())),
        ("2024-01-01", String("2024-01-01".into())),
    ];
    for (text, expected) in cases {
        assert_eq!(resolve_scalar(text), Ok(expected), "{text}");
    }
    assert!(matches!(resolve_scalar(".nan"), Ok(Float(value)) if value.is_nan()));
    assert_eq!(resolve_scalar("18446744073709551616"), Err(IntegerTooLarge));
    assert_eq!(resolve_scalar("-9223372036854775809"), Err(IntegerTooLarge));
}

#[test]
fn quotes_and_tags_decide_the_kind() {
    let text = "a: \"1\"\nb: '1'\nc: !!str 1\nd: !!int \"1\"\ne: !!float 1\nf: ! 1\ng: |\n  1\nh: !!null ''\n";
    assert_eq!(
        value(text).to_json(),
        serde_json::json!({"a": "1", "b": "1", "c": "1", "d": 1, "e": 1.0, "f": "1", "g": "1\n", "h": null})
    );
    refused("a: !!int x\n", Code::BadYaml, "x", "can't be read as `!!int`");
    refused("a: !thing x\n", Code::BadYaml, "x", "the tag `!thing`");
    refused("a: !!set {x: }\n", Code::BadYaml, "{", "the tag `!!set`");
}

#[test]
fn every_value_knows_its_place() {
    let text = "ключ:\n  - 'é'\n  - {b: 日本, c: [1, 2]}\n  # end\n\nlast: x\n";
    let (sources, parsed) = parse_text(text);
    let root = parsed.value.unwrap();
    let path = |path: &[&str]| -> Vec<PathSegment> {
        let segments = path.iter().map(|segment| match segment.parse() {
            Ok(index) => PathSegment::Index(index),
            Err(_) => PathSegment::Key((*segment).to_owned()),
        });
        segments.collect()
    };
    let at = |segments: &[&str]| sources.slice(root.locate(&path(segments))).unwrap();
    assert_eq!(at(&["ключ", "0"]), "'é'");
    assert_eq!(at(&["ключ", "1"]), "{b: 日本, c: [1, 2]}");
    assert_eq!(at(&["ключ", "1", "b"]), "日本");
    assert_eq!(at(&["ключ", "1", "c"]), "[1, 2]");
    assert_eq!(at(&["ключ", "1", "c", "1"]), "2");
    assert_eq!(
        at(&["ключ", "1", "c", "7"]),
        "[1, 2]",
        "the nearest ancestor that exists"
    );
    assert_eq!(at(&["last"]), "x");
    assert!(at(&["ключ"]).ends_with('}'), "a block ends with its last value");
    let key = |segments: &[&str]| sources.slice(root.locate_key(&path(segments))).unwrap();
    assert_eq!(key(&["ключ", "1", "c"]), "c");
    assert_eq!(key(&["ключ", "0"]), "'é'");
    let span = root.locate(&path(&["ключ", "1", "c"]));
    assert_eq!(sources.line_col(span.file, span.start), (3, 16));
    assert_eq!(sources.location(span), "p.yaml:3:16");
}

#[test]
fn aliases_and_merge_keys_are_applied() {
    let text = "base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\none: {<<: *b, y: 9}\ntwo:\n  <<: [*b, *m]\nthree: *b\n";
    let json = value(text).to_json();
    assert_eq!(json["one"], serde_json::json!({"x": 1, "y": 9}));
    assert_eq!(json["two"], serde_json::json!({"x": 1, "y": 2, "z": 4}));
    assert_eq!(json["three"], json["base"]);
    assert_eq!(value("a: {'<<': 1}\n").to_json()["a"], serde_json::json!({"<<": 1}));
    refused("a: {<<: 1}\n", Code::BadYaml, "<<", "needs a mapping");
    refused("a: *no\n", Code::BadYaml, "*no", "no anchor `&no`");
    refused("a: &x [*x]\n", Code::BadYaml, "*x", "inside the value");
}

#[test]
fn duplicate_keys_are_all_found_and_keep_the_tree() {
    let (sources, parsed) = parse_text("a: 1\na: 2\nb: {c: 1, c: 2, c: 3}\n");
    assert_eq!(
        parsed.value.unwrap().to_json(),
        serde_json::json!({"a": 1, "b": {"c": 1}})
    );
    assert_eq!(parsed.diagnostics.len(), 3);
    assert!(
        parsed
            .diagnostics
            .iter()
            .all(|diagnostic| diagnostic.code == Code::DuplicateKey)
    );
    assert_eq!(
        render(&sources, &parsed.diagnostics[..1], Style::default()),
        "\
error[duplicate-key] p.yaml:2:1: the key `a` is used twice in one mapping
   ╭─[p.yaml:2:1]
 1 │ a: 1
   · ┬
   · ╰── first here
 2 │ a: 2
   · ┬
   · ╰── again
 3 │ b: {c: 1, c: 2, c: 3}
   ╰────
  help: remove or rename one of them

"
    );
}

#[test]
fn what_is_no_document_is_refused() {
    refused("", Code::BadYaml, "", "the file is empty");
    refused("# nothing\n", Code::BadYaml, "", "the file is empty");
    refused("a: 1\n---\nb: 2\n", Code::BadYaml, "---", "a second document");
    refused("a: \0\n", Code::BadYaml, "\0", "NUL");
    refused("a:\n\tb: 1\n", Code::BadYaml, "\t", "a tab in the indentation");
    refused("a: 1\n\tb: 1\n", Code::BadYaml, "\t", "a tab in the indentation");
    refused("a: [1\n", Code::BadYaml, "", "not valid YAML");
    refused("[a]: 1\n", Code::BadYaml, "[a]", "must be text, not a list");
    refused(": 1\n", Code::BadYaml, "", "without a key");
    refused(
        "a: 99999999999999999999\n",
        Code::OutOfRange,
        "99999999999999999999",
        "64 bits",
    );
    let markers = found("a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> theirs\n");
    assert_eq!(markers.len(), 2);
    assert_eq!((markers[0].0, markers[0].1.as_str()), (Code::BadYaml, "<<<<<<< HEAD"));
    let mut sources = SourceMap::default();
    let diagnostics = load(&mut sources, "p.yaml", b"caf\xe9: 1\n").unwrap_err();
    assert_eq!(sources.location(diagnostics[0].span.unwrap()), "p.yaml:1:4");
    let diagnostics = load(&mut sources, "p.yaml", b"\xff\xfea\0").unwrap_err();
    assert!(diagnostics[0].help.as_ref().unwrap().contains("UTF-16"));
    let diagnostics = load(&mut sources, "p.yaml", &vec![b' '; (16 << 20) + 1]).unwrap_err();
    assert!(diagnostics[0].message.contains("at most"));
    assert_eq!(
        load(&mut sources, "p.yaml", b"\xef\xbb\xbfa: 1\n").unwrap().to_json()["a"],
        1
    );
}

#[test]
fn growth_and_depth_are_limited() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let before = level - 1;
        let items = vec![format!("*a{before}"); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let codes: Vec<Code> = found(&bomb).into_iter().map(|(code, ..)| code).collect();
    assert_eq!(codes, [Code::AliasBomb]);

    let long = format!(
        "a: &a \"{}\"\nb: [{}]\n",
        "x".repeat(1 << 20),
        vec!["*a"; 1000].join(", ")
    );
    assert_eq!(found(&long)[0].0, Code::AliasBomb);

    for deep in [
        "[".repeat(5000),
        "- ".repeat(5000),
        "{a: ".repeat(5000),
        "? ".repeat(5000),
    ] {
        assert_eq!(found(&deep).last().unwrap().0, Code::TooDeep);
    }
    let mut nested = String::from("a0: &a0 [x]\n");
    for level in 1..300 {
        nested.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert_eq!(found(&nested)[0].0, Code::TooDeep);
}

#[test]
fn many_comments_in_a_row_are_fine() {
    let text = format!("a:\n{}  b: 1\n", "# comment\n".repeat(500));
    assert_eq!(value(&text).to_json(), serde_json::json!({"a": {"b": 1}}));
}

#[test]
fn codes_have_distinct_names() {
    let names: std::collections::BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(names.len(), Code::ALL.len());
}

#[test]
fn rendering_has_colours_only_if_asked() {
    let (sources, parsed) = parse_text("a: *x\n");
    assert!(render(&sources, &parsed.diagnostics, Style { color: true }).contains('\u{1b}'));
    assert!(!render(&sources, &parsed.diagnostics, Style::default()).contains('\u{1b}'));
}

#[test]
fn warnings_are_counted_and_related_files_are_named() {
    let mut sources = SourceMap::default();
    let file = sources.add("p.yaml".into(), "a: é b\n".into());
    let other = sources.add("--set vars.x".into(), "7".into());
    let span = |file, start, end| Span { file, start, end };
    let warning = Diagnostic::warning(Code::UnusedVariable, "w").at(span(file, 0, 1));
    let error = Diagnostic::error(Code::BadSql, "e")
        .at(span(file, 6, 7))
        .related(span(other, 0, 1), "set here");
    let diagnostics = [error, warning];
    let text = render(&sources, &diagnostics, Style::default());
    assert!(text.starts_with("warning[unused-variable] p.yaml:1:1: w\n"), "{text}");
    assert!(text.contains("error[bad-sql] p.yaml:1:6: e\n"), "{text}");
    assert!(text.contains("╭─[p.yaml:1:6]"), "{text}");
    assert!(text.contains("see --set vars.x:1:1: set here"), "{text}");
    assert_eq!(summary(&diagnostics), "1 error, 1 warning");
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut sources = SourceMap::default();
        let parsed = parse(&mut sources, "p.yaml", &bytes);
        prop_assert!(parsed.value.is_some() || !parsed.diagnostics.is_empty());
        render(&sources, &parsed.diagnostics, Style::default());
    }

    #[test]
    fn yaml_like_text_keeps_spans_inside(text in "[a-cé日&*<>!|\\-?:,\\[\\]{}'\"#% \n\t$0-9\u{feff}\u{85}\r]{0,120}") {
        let (sources, parsed) = parse_text(&text);
        for diagnostic in &parsed.diagnostics {
            let span = diagnostic.span.unwrap();
            prop_assert!(sources.slice(span).is_some(), "{span:?}");
        }
        if let Some(value) = &parsed.value {
            check_spans(&sources, value)?;
        }
        render(&sources, &parsed.diagnostics, Style::default());
    }

    #[test]
    fn scalars_never_panic(text in "\\PC{0,20}") {
        let _ = resolve_scalar(&text);
    }
}

fn check_spans(sources: &SourceMap, value: &Value) -> Result<(), TestCaseError> {
    prop_assert!(sources.slice(value.span).is_some(), "{:?}", value.span);
    match &value.kind {
        ValueKind::Sequence(items) => items.iter().try_for_each(|item| check_spans(sources, item)),
        ValueKind::Mapping(mapping) => mapping.entries.iter().try_for_each(|(key, value)| {
            prop_assert!(sources.slice(key.span).is_some());
            check_spans(sources, value)
        }),
        _ => Ok(()),
    }
}
