#![allow(
    clippy::format_push_string,
    clippy::format_collect,
    reason = "in a test, brevity counts for more than an allocation"
)]

mod checks;
mod format;
mod fuzz;
mod interpolation;
mod sweep;

use crate::config::yaml::{SourceMap, Span, Style, render};
use crate::config::*;

fn env(name: &str) -> Option<String> {
    match name {
        "ROWS" => Some("500".to_owned()),
        "URL" => Some("redis://host".to_owned()),
        "EMPTY" => Some(String::new()),
        _ => None,
    }
}

fn with_overrides(text: &str, overrides: &[&str]) -> Loaded {
    let overrides: Vec<Override> = overrides.iter().map(|text| text.parse().unwrap()).collect();
    load_bytes(text.as_bytes(), &overrides)
}

fn load_bytes(text: &[u8], overrides: &[Override]) -> Loaded {
    let options = LoadOptions {
        env: &env,
        overrides,
        operators: ChainOperators {
            concat: "Concat",
            select: "Select",
            best: "BestModel",
        },
    };
    load_text("dir/p.yaml", text, &options)
}

fn shown(loaded: &Loaded) -> String {
    render(&loaded.sources, &loaded.diagnostics, Style::default())
}

#[track_caller]
fn sound(text: &str) -> (Pipeline, SourceMap) {
    let loaded = with_overrides(text, &[]);
    let report = shown(&loaded);
    assert_eq!(report, "");
    (loaded.pipeline.expect("a pipeline without errors"), loaded.sources)
}

/// A pipeline of these nodes and variables.
fn nodes(vars: &str, nodes: &str) -> String {
    format!("version: 1\nvars: {{{vars}}}\nnodes:\n{nodes}")
}

/// `code @ marked text` of each diagnostic, in the order of the text.
fn found(text: &str) -> Vec<String> {
    listed(&with_overrides(text, &[]))
}

fn listed(loaded: &Loaded) -> Vec<String> {
    let marked = |span: Option<Span>| span.and_then(|span| loaded.sources.slice(span)).unwrap_or("-");
    let lines = loaded.diagnostics.iter();
    lines
        .map(|found| format!("{} @ {}", found.code, marked(found.span)))
        .collect()
}

fn config(pipeline: &Pipeline, node: &str) -> serde_json::Value {
    pipeline.nodes[pipeline.find(node).unwrap()].config.to_json()
}

/// Each node as `name = op(inputs)`.
fn outline(pipeline: &Pipeline) -> Vec<String> {
    let lines = pipeline.nodes.iter().map(|node| {
        let inputs = node.inputs.references().into_iter().map(|reference| {
            let mut text = pipeline.nodes[reference.node].name.clone();
            for column in reference.columns.iter().flatten() {
                match column {
                    Selection::Column(name) => text.push_str(&format!("[{}]", name.value)),
                    Selection::Tag(name) => text.push_str(&format!("[tag:{}]", name.value)),
                }
            }
            if let Some(split) = &reference.split {
                text.push_str(&format!(".{}", split.value));
            }
            text
        });
        format!(
            "{} = {}({})",
            node.name,
            node.op.value,
            inputs.collect::<Vec<_>>().join(", ")
        )
    });
    lines.collect()
}

const WHOLE: &str = r#"version: 1
name: offline-batch-recsys
description: from clicks to recommendations
vars:
  rows: 1_000_000
  redis_url: ${env.REDIS_URL:-embedded}
nodes:
  interactions:
    op: SyntheticAliCcp
    with: { rows: "${vars.rows}", seed: 42, splits: { train: 0.7, valid: 0.3 } }
  clicks:
    op: Filter
    input: interactions
    with: { where: "click = 1" }
  user_id:       clicks[user_id] >> Categorify >> TagAsUserID
  item_features: clicks[item_category, item_shop] >> Categorify(min_count=2) >> TagAsItemFeatures
  features:      user_id + item_features
  model:
    op: TwoTowerTrain
    input: features
    with: { layers: [128, 64], optimizer: adam }
  quality:
    op: Evaluate
    inputs: { model: model, data: features }
  publish:
    op: RedisSink
    input: model
    after: [quality]
    cache: never
    with: { url: "${vars.redis_url}", key: "USER:{user_id}", password: "${secret.REDIS}" }
"#;

#[test]
fn a_whole_pipeline_is_read() {
    let (pipeline, sources) = sound(WHOLE);
    assert_eq!(pipeline.name, "offline-batch-recsys");
    assert_eq!(pipeline.description.as_deref(), Some("from clicks to recommendations"));
    assert_eq!(
        outline(&pipeline),
        [
            "interactions = SyntheticAliCcp()",
            "clicks = Filter(interactions)",
            "user_id.1:Categorify = Categorify(clicks[user_id])",
            "user_id = TagAsUserID(user_id.1:Categorify)",
            "item_features.1:Categorify = Categorify(clicks[item_category][item_shop])",
            "item_features = TagAsItemFeatures(item_features.1:Categorify)",
            "features = Concat(user_id, item_features)",
            "model = TwoTowerTrain(features)",
            "quality = Evaluate(model, features)",
            "publish = RedisSink(model)",
        ]
    );
    assert_eq!(pipeline.order, (0..10).collect::<Vec<_>>());
    assert_eq!(config(&pipeline, "interactions")["rows"], 1_000_000);
    assert_eq!(
        config(&pipeline, "item_features.1:Categorify"),
        serde_json::json!({"min_count": 2})
    );
    assert_eq!(config(&pipeline, "publish")["url"], "embedded");
    assert_eq!(config(&pipeline, "publish")["password"], "${secret.REDIS}");
    assert_eq!(
        pipeline.env_read.into_iter().collect::<Vec<_>>(),
        [("REDIS_URL".to_owned(), false)]
    );
    let publish = &pipeline.nodes[9];
    assert_eq!((publish.settings.cache, publish.after[0].0), (CacheMode::Never, 8));
    assert_eq!(sources.location(publish.after[0].1), "dir/p.yaml:28:13");
    let (inner, last) = (&pipeline.nodes[2], &pipeline.nodes[3]);
    assert_eq!((inner.generated, last.generated), (true, false));
    assert_eq!(sources.slice(inner.span), Some("Categorify"));
    assert_eq!(sources.slice(last.span), Some("user_id"));
    assert_eq!(
        last.chain_text.as_deref(),
        Some("clicks[user_id] >> Categorify >> TagAsUserID")
    );
    assert_eq!(pipeline.graph.node_count(), 10);
}

#[test]
fn chains_become_nodes() {
    let (pipeline, _) = sound(&nodes(
        "cols: [x, y], n: 3, from: a",
        "
  a: {op: A}
  one: a[tag:user, x].train
  two: (a[x] + a[y]) >> N(k='${vars.n}', l=n-${vars.n}) >> T
  three: ${vars.from}[${vars.cols}] >> N
  four: {op: F, input: a + two}
  five: {op: F, input: a >> N, columns: [z]}
  six: {op: F, inputs: [a.train, a >> N]}
  seven: {op: F, inputs: {left: a, right: a >> N >> T}}
",
    ));
    assert_eq!(
        outline(&pipeline)[1..],
        [
            "one = Select(a[tag:user][x].train)",
            "two.1:Concat = Concat(a[x], a[y])",
            "two.2:N = N(two.1:Concat)",
            "two = T(two.2:N)",
            "three = N(a[x][y])",
            "four.1:Concat = Concat(a, two)",
            "four = F(four.1:Concat)",
            "five.1:N = N(a)",
            "five = F(five.1:N[z])",
            "six.1:N = N(a)",
            "six = F(a.train, six.1:N)",
            "seven.1:N = N(a)",
            "seven.2:T = T(seven.1:N)",
            "seven = F(a, seven.2:T)",
        ]
    );
    assert_eq!(config(&pipeline, "two.2:N"), serde_json::json!({"k": 3, "l": "n-3"}));
}

#[test]
fn the_order_follows_the_file_where_it_can() {
    let (pipeline, _) = sound(&nodes(
        "",
        "  c: {op: C, input: a}\n  b: {op: B}\n  a: {op: A}\n  d: b + c\n",
    ));
    let order: Vec<&str> = pipeline
        .order
        .iter()
        .map(|&at| pipeline.nodes[at].name.as_str())
        .collect();
    assert_eq!(order, ["b", "a", "c", "d"]);
}

#[test]
fn very_long_pipelines_are_read_without_recursion() {
    let mut text = String::from("version: 1\nnodes:\n  n0: {op: A}\n");
    for at in 1..20_000 {
        text.push_str(&format!("  n{at}: n{} >> B\n", at - 1));
    }
    text.push_str("  long: n0");
    text.push_str(&" >> B".repeat(20_000));
    text.push_str(&" + n1".repeat(20_000));
    assert_eq!(sound(&text).0.nodes.len(), 40_001);
}
