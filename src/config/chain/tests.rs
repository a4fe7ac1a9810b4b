#![allow(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "in a test, brevity counts for more than an allocation"
)]

use proptest::prelude::*;

use crate::config::chain::*;
use crate::config::yaml::{Code, ValueKind};

fn read(text: &str) -> (SourceMap, Result<Expr, Box<Diagnostic>>) {
    let mut sources = SourceMap::default();
    let file = sources.add("p.yaml".to_owned(), text.to_owned());
    let span = Span {
        file,
        start: 0,
        end: text.len(),
    };
    let parsed = parse(&sources, text, span);
    (sources, parsed)
}

/// The expression, written out with all its parentheses.
fn shape(text: &str) -> String {
    show(&read(text).1.unwrap())
}

fn show(expr: &Expr) -> String {
    match expr {
        Expr::Reference(reference) => {
            let mut text = reference.name.value.clone();
            for column in reference.columns.iter().flatten() {
                match column {
                    Selector::Column(name) => text.push_str(&format!("[{}]", name.value)),
                    Selector::Tag(name) => text.push_str(&format!("[tag:{}]", name.value)),
                }
            }
            if let Some(split) = &reference.split {
                text.push_str(&format!(".{}", split.value));
            }
            text
        }
        Expr::Steps { source, steps } => {
            let mut text = format!("({}", show(source));
            for step in steps {
                let args = step
                    .args
                    .iter()
                    .map(|(key, value)| format!("{}={}", key.value, value.to_json()));
                text.push_str(&format!(
                    " >> {}({})",
                    step.op.value,
                    args.collect::<Vec<_>>().join(", ")
                ));
            }
            text + ")"
        }
        Expr::Join { terms, .. } => format!("({})", terms.iter().map(show).collect::<Vec<_>>().join(" + ")),
    }
}

#[track_caller]
fn refused(text: &str, marked: &str, message: &str) {
    let (sources, parsed) = read(text);
    let diagnostic = parsed.unwrap_err();
    assert_eq!(
        sources.slice(diagnostic.span.unwrap()),
        Some(marked),
        "{}",
        diagnostic.message
    );
    assert!(diagnostic.message.contains(message), "{}", diagnostic.message);
}

#[test]
fn chains_are_read_with_their_precedence() {
    let cases = [
        ("a", "a"),
        ("a[b]", "a[b]"),
        ("a[b, 'c d', \"e\\\"\", tag:user]", "a[b][c d][e\"][tag:user]"),
        ("a.train[b]", "a[b].train"),
        ("a[b].train", "a[b].train"),
        ("a>>B>>C", "(a >> B() >> C())"),
        ("a >> B + c", "((a >> B()) + c)"),
        ("(a + b) >> C", "((a + b) >> C())"),
        ("a + (b + c)", "(a + b + c)"),
        ("(a >> B) >> C()", "(a >> B() >> C())"),
        ("((a))", "a"),
        ("a[ключ]", "a[ключ]"),
        (
            "a >> B(c=1, d=-0.5, e=x.parquet, f='it''s', g=true, h=null, i=[1, [\"x\", y]], j=[])",
            "(a >> B(c=1, d=-0.5, e=\"x.parquet\", f=\"it's\", g=true, h=null, i=[1,[\"x\",\"y\"]], j=[]))",
        ),
        (
            "a >> B(c=${vars.x}, d='${env.Y:-z}')",
            "(a >> B(c=\"${vars.x}\", d=\"${env.Y:-z}\"))",
        ),
        ("${vars.a}.${vars.s}[${vars.c}]", "${vars.a}[${vars.c}].${vars.s}"),
    ];
    for (text, expected) in cases {
        assert_eq!(shape(text), expected, "{text}");
    }
}

#[test]
fn mistakes_are_marked_where_they_stand() {
    refused("", "", "expected the name of a node, found the end");
    refused("a >> ", "", "expected the name of an operator, found the end");
    refused("a > B", ">", "found `>`");
    refused("a | B", "|", "found `|`");
    refused("a b", "b", "expected `>>`, `+` or the end, found `b`");
    refused("a[", "", "expected the name of a column");
    refused("a[b", "", "expected `,` or `]`");
    refused("a[]", "]", "expected the name of a column");
    refused("a[tag:]", "]", "expected the name of a tag");
    refused("a.", "", "expected the name of a split");
    refused("a.b.c", ".", "found `.`");
    refused("(a + b", "", "or `)`");
    refused("a >> B(1)", ")", "expected `=`");
    refused("a >> B(c)", ")", "expected `=`");
    refused("a >> B(c=)", ")", "expected a value");
    refused("a >> B(c=1 d=2)", "d", "expected `,` or `)`");
    refused("a >> B(c=1, c=2)", "c", "given twice");
    refused("a >> B(c='x)", "'x)", "never closed");
    refused("a >> B(c=\"\\q\")", "\\", "unknown escape");
    refused("a >> B(c=99999999999999999999)", "99999999999999999999", "64 bits");
    refused("日 >> B", "日", "found `日`");
}

#[test]
fn nesting_is_limited() {
    for text in ["(".repeat(10_000), format!("a >> B(c={}", "[".repeat(10_000))] {
        assert_eq!(read(&text).1.unwrap_err().code, Code::TooDeep);
    }
}

#[test]
fn places_point_into_the_file() {
    let (sources, parsed) = read("é[日] >> Op(k='v')");
    assert!(parsed.is_err(), "names are ASCII");
    drop(sources);
    let (sources, parsed) = read("a[日, é] >> Op(ключ='v')");
    assert!(parsed.is_err(), "so are parameters");
    drop(sources);
    let (sources, parsed) = read("a[日, é] >> Op(k='vé', l=2)");
    let Ok(Expr::Steps { source, steps }) = parsed else {
        panic!("a chain")
    };
    let Expr::Reference(reference) = *source else {
        panic!("a reference")
    };
    assert_eq!(sources.slice(reference.span), Some("a[日, é]"));
    let (key, value) = &steps[0].args[1];
    assert_eq!(
        (sources.slice(key.span), sources.slice(value.span)),
        (Some("l"), Some("2"))
    );
    assert_eq!(value.kind, ValueKind::Int(2));
}

proptest! {
    #[test]
    fn no_text_panics(text in "([a-c日$]|>>|[ +()\\[\\]=,.'\":{}\\\\|>-]|tag:|\\$\\{vars\\.x\\}){0,40}") {
        let (sources, parsed) = read(&text);
        if let Err(diagnostic) = parsed {
            prop_assert!(sources.slice(diagnostic.span.unwrap()).is_some());
        }
    }

    #[test]
    fn what_is_written_out_is_read_back(text in chains()) {
        let once = shape(&text);
        prop_assert_eq!(shape(&text.replace(' ', "  ")), once);
    }
}

fn chains() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "[a-z]{1,4}",
        "[a-z]{1,3}\\[[a-z]{1,2}, tag:[a-z]{1,3}\\]",
        "[a-z]{1,3}\\.[a-z]{1,3}"
    ];
    leaf.prop_recursive(4, 30, 3, |inner| {
        prop_oneof![
            (inner.clone(), "[A-Z][a-z]{0,3}").prop_map(|(inner, op)| format!("({inner}) >> {op}(k=1)")),
            prop::collection::vec(inner, 2..4).prop_map(|terms| format!("({})", terms.join(" + "))),
        ]
    })
}
