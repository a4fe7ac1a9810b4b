//! The tree to nodes and chains, and those to a graph.

mod chain;
mod expand;
mod graph;
mod interpolate;
mod nodes;
mod overrides;

use std::collections::BTreeMap;
use std::path::Path;

use petgraph::graph::DiGraph;

use crate::document::{self, Diagnostic, FileId, SourceMap, Span, Value, ValueKind};
pub use overrides::Override;

/// A value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

/// A pipeline whose names all resolve and whose nodes form no cycle.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its name: `name:`, or the stem of the file.
    pub name: String,
    /// What it says it does.
    pub description: Option<String>,
    /// The nodes, in the order of the file; those of a chain in the order of the chain.
    pub nodes: Vec<Node>,
    /// What feeds what; weights are indices into `nodes`.
    pub graph: DiGraph<usize, ()>,
    /// The nodes in an order in which everything comes after what it needs; ties in the order of the file.
    pub order: Vec<usize>,
}

/// A step.
#[derive(Debug, Clone)]
pub struct Node {
    /// Unique in the pipeline. Inner steps of a chain are named `user_id.1:Categorify`.
    pub name: String,
    /// Where it is named.
    pub span: Span,
    /// The operator's name.
    pub op: Spanned<String>,
    /// The operator's configuration: a mapping.
    pub config: Value,
    /// What is connected.
    pub inputs: Connections,
    /// Nodes that must have succeeded before.
    pub after: Vec<usize>,
    /// When stored work is reused.
    pub cache: CacheMode,
    /// Whether a chain made it.
    pub generated: bool,
}

/// When stored work is reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CacheMode {
    /// When nothing has changed that could change the output.
    #[default]
    Auto,
    /// Never: the node runs each time.
    Never,
}

/// What is connected to a node.
#[derive(Debug, Clone)]
pub enum Connections {
    /// Nothing: a source.
    None,
    /// One thing, on the operator's first port.
    One(Reference),
    /// Several, in order.
    List(Vec<Reference>),
    /// By port, or by names of the user's own.
    Named(Vec<(Spanned<String>, Reference)>),
}

impl Connections {
    /// The references, in order.
    pub fn references(&self) -> Vec<&Reference> {
        match self {
            Connections::None => Vec::new(),
            Connections::One(reference) => vec![reference],
            Connections::List(references) => references.iter().collect(),
            Connections::Named(named) => named.iter().map(|(_, reference)| reference).collect(),
        }
    }
}

/// A use of a node's output: all of it, or some of its columns, or one split.
#[derive(Debug, Clone)]
pub struct Reference {
    /// Index of the node.
    pub node: usize,
    /// The columns, if not all.
    pub columns: Option<Vec<Selection>>,
    /// The split, if not all.
    pub split: Option<Spanned<String>>,
    /// Where it stands.
    pub span: Span,
}

/// One entry of `name[...]`.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// A column by name.
    Column(Spanned<String>),
    /// Every column with a tag.
    Tag(Spanned<String>),
}

/// What the loader needs from outside.
pub struct LoadOptions<'a> {
    /// The operator that `a + b` stands for.
    pub concat: &'a str,
    /// The operator that a chain without a step stands for.
    pub select: &'a str,
    /// Values given on the command line.
    pub overrides: &'a [Override],
    /// Environment variables.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

/// A pipeline, if there was no error, and everything that was found.
pub struct Loaded {
    /// The texts that diagnostics point into.
    pub sources: SourceMap,
    /// The pipeline.
    pub pipeline: Option<Pipeline>,
    /// Errors and warnings.
    pub diagnostics: Vec<Diagnostic>,
}

/// Loads a pipeline from a file.
pub fn load_file(path: &Path, options: &LoadOptions<'_>) -> Loaded {
    match std::fs::read(path) {
        Ok(bytes) => load_text(&path.display().to_string(), &bytes, options),
        Err(error) => {
            let message = format!("cannot read the pipeline {}: {error}", path.display());
            let diagnostics = vec![Diagnostic::error("bad-yaml", None, message)];
            Loaded {
                sources: SourceMap::default(),
                pipeline: None,
                diagnostics,
            }
        }
    }
}

/// Loads a pipeline from text; `name` is the file's name in diagnostics.
pub fn load_text(name: &str, bytes: &[u8], options: &LoadOptions<'_>) -> Loaded {
    let mut sources = SourceMap::default();
    let (file, result) = document::load(&mut sources, name, bytes);
    let mut diagnostics = Vec::new();
    let pipeline = match result {
        Ok(root) => read(&sources, file, root, options, &mut diagnostics),
        Err(errors) => {
            diagnostics = errors;
            None
        }
    };
    let pipeline = pipeline.filter(|_| !diagnostics.iter().any(Diagnostic::is_error));
    Loaded {
        sources,
        pipeline,
        diagnostics,
    }
}

const TOP_KEYS: [&str; 5] = ["version", "name", "description", "vars", "nodes"];

fn read(
    sources: &SourceMap,
    file: FileId,
    mut root: Value,
    options: &LoadOptions<'_>,
    diagnostics: &mut Vec<Diagnostic>,
) -> Option<Pipeline> {
    overrides::apply(&mut root, options.overrides, diagnostics);
    let Some(top) = root.as_mapping() else {
        let message = format!(
            "a pipeline is a mapping with version, name and nodes; this is {}",
            root.describe()
        );
        diagnostics.push(Diagnostic::error("wrong-type", root.span, message));
        return None;
    };
    nodes::refuse_unknown_keys(top, &TOP_KEYS, "of a pipeline", diagnostics);
    check_version(top.entry("version"), root.span, diagnostics);
    let mut interpolator = interpolate::Interpolator::new(options.env);
    interpolator.define(top.get("vars"));
    let tree = top
        .entry("nodes")
        .map(|(key, value)| (key.span, interpolator.resolve(value)));
    diagnostics.append(&mut interpolator.finish());
    let Some((span, tree)) = tree else {
        let start = Span {
            end: root.span.start,
            ..root.span
        };
        diagnostics.push(Diagnostic::error("missing-key", start, "the pipeline has no `nodes`"));
        return None;
    };
    let raw = match &tree.kind {
        ValueKind::Mapping(mapping) if !mapping.0.is_empty() => {
            nodes::read_nodes(sources, mapping, options, diagnostics)
        }
        _ => {
            let message = format!("`nodes` is a mapping from names to nodes; this is {}", tree.describe());
            diagnostics.push(
                Diagnostic::error("wrong-type", span, message)
                    .help("for example `clicks: { op: ParquetSource, with: { path: clicks.parquet } }`"),
            );
            return None;
        }
    };
    let text = |key: &str| top.get(key).and_then(Value::as_str).map(str::to_owned);
    let stem = || {
        Path::new(sources.name(file))
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned())
    };
    let name = text("name").or_else(stem).unwrap_or_else(|| "pipeline".to_owned());
    graph::build(name, text("description"), raw, diagnostics)
}

fn check_version(entry: Option<&(document::Key, Value)>, root: Span, diagnostics: &mut Vec<Diagnostic>) {
    match entry {
        Some((
            _,
            Value {
                kind: ValueKind::Int(1),
                ..
            },
        )) => {}
        Some((_, value)) => {
            let message = "this version of Towline reads pipelines of version 1";
            diagnostics.push(Diagnostic::error("unsupported-version", value.span, message).help("write `version: 1`"));
        }
        None => {
            let start = Span {
                end: root.start,
                ..root
            };
            let message = "the pipeline does not say its version";
            diagnostics.push(Diagnostic::error("missing-key", start, message).help("begin the file with `version: 1`"));
        }
    }
}

/// Node names by index, for messages.
pub(crate) type Names = BTreeMap<String, usize>;
