//! A pipeline that is written out in another form is the same pipeline, and every place is that of the text it speaks of.

use std::fmt::Write as _;

use proptest::prelude::*;

use crate::config::tests::*;
use crate::config::yaml::{Value, ValueKind, load};

/// The value on one line, in braces and brackets, every text in quotes.
fn flow(value: &Value, out: &mut String) {
    match &value.kind {
        ValueKind::Sequence(items) => {
            out.push('[');
            for item in items {
                flow(item, out);
                out.push_str(", ");
            }
            out.push(']');
        }
        ValueKind::Mapping(mapping) => {
            out.push('{');
            for (key, value) in &mapping.entries {
                let _ = write!(out, "{:?}: ", key.value);
                flow(value, out);
                out.push_str(", ");
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_json().to_string()),
    }
}

/// The value in indented lines, with a comment behind each and texts as they are where they can be.
fn block(value: &Value, indent: usize, out: &mut String) {
    match &value.kind {
        ValueKind::Mapping(mapping) if !mapping.entries.is_empty() => {
            for (key, value) in &mapping.entries {
                let _ = write!(out, "\n{}{}:", " ".repeat(indent), key.value);
                block(value, indent + 3, out);
            }
        }
        ValueKind::String(text) if text.chars().all(|c| c.is_ascii_alphanumeric() || " >.".contains(c)) => {
            let _ = write!(
                out,
                " >-\n{}{text}\n{}# a comment",
                " ".repeat(indent + 1),
                " ".repeat(indent)
            );
        }
        _ => {
            out.push(' ');
            flow(value, out);
            out.push_str("  # a comment");
        }
    }
}

fn written(text: &str, form: impl Fn(&Value, &mut String)) -> String {
    let root = load(&mut SourceMap::default(), "p.yaml", text.as_bytes()).expect("valid YAML");
    let mut out = String::new();
    form(&root, &mut out);
    out
}

fn graph(text: &str) -> (Vec<String>, Vec<serde_json::Value>, Vec<usize>) {
    let (pipeline, _) = sound(text);
    let configs = pipeline.nodes.iter().map(|node| node.config.to_json()).collect();
    (outline(&pipeline), configs, pipeline.order)
}

/// A pipeline of nodes that read those before them.
fn pipelines() -> impl Strategy<Value = String> {
    let node = (0..6_usize, 0..100_usize, 0..100_usize, -50..50_i64, "[a-z]{1,8}");
    prop::collection::vec(node, 1..12).prop_map(|parts| {
        let mut body = String::from("  n0: {op: A}\n");
        for (at, (kind, left, right, number, word)) in parts.into_iter().enumerate() {
            let (left, right) = (left % (at + 1), right % (at + 1));
            let line = match kind {
                0 => format!("n{left}[{word}, tag:user] >> B(k={number}) >> C"),
                1 => format!("n{left} + n{right}[{word}]"),
                2 => format!("{{op: D, input: n{left}, with: {{w: [{number}, '{word}'], x: {{y: '${{vars.v}}'}}}}}}"),
                3 => format!("{{op: E, inputs: {{a: n{left}, b: 'n{right} >> F'}}, after: [n{right}]}}"),
                4 => format!("{{op: G, inputs: [n{left}, n{right}.train], cache: never}}"),
                _ => format!("{{op: H, input: n{left}, columns: [{word}]}}"),
            };
            let _ = writeln!(body, "  n{}: {line}", at + 1);
        }
        nodes(
            "v: 1",
            &format!("{body}  last: {{op: Z, with: {{v: '${{vars.v}}'}}}}\n"),
        )
    })
}

proptest! {
    #[test]
    fn a_pipeline_in_another_form_has_the_same_graph(text in pipelines()) {
        let expected = graph(&text);
        prop_assert_eq!(graph(&written(&text, flow)), expected.clone());
        prop_assert_eq!(graph(&written(&text, |value, out| block(value, 0, out))), expected);
    }

    #[test]
    fn every_place_is_that_of_the_text_it_speaks_of(text in pipelines(), in_blocks in any::<bool>()) {
        let text = if in_blocks { written(&text, |value, out| block(value, 0, out)) } else { text };
        let (pipeline, sources) = sound(&text);
        for node in &pipeline.nodes {
            if !node.op.value.starts_with("Concat") && !node.op.value.starts_with("Select") {
                prop_assert_eq!(sources.slice(node.op.span), Some(node.op.value.as_str()));
            }
            if !node.generated {
                prop_assert_eq!(sources.slice(node.span), Some(node.name.as_str()));
            }
            for reference in node.inputs.references() {
                let place = sources.slice(reference.span).unwrap_or_default();
                let target = &pipeline.nodes[reference.node];
                let named = if target.generated { &target.op.value } else { &target.name };
                prop_assert!(place.contains(named.as_str()) || target.op.value == "Concat", "{place}: {named}");
                for column in reference.columns.iter().flatten() {
                    let (Selection::Column(name) | Selection::Tag(name)) = column;
                    let place = sources.slice(name.span).map(|place| place.trim_matches('"'));
                    prop_assert_eq!(place, Some(name.value.as_str()));
                }
                if let Some(split) = &reference.split {
                    prop_assert_eq!(sources.slice(split.span), Some(split.value.as_str()));
                }
            }
        }
    }
}
