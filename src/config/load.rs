//! Loading of a pipeline file, with all errors found in one pass.

use std::collections::HashSet;
use std::path::Path;

use crate::config::chain_operators::ChainOperators;
use crate::config::file::read;
use crate::config::interpolation::interpolate::Interpolator;
use crate::config::interpolation::overrides::Override;
use crate::config::interpolation::{overrides, secrets, variables};
use crate::config::key_errors::{unknown_key, wrong_type};
use crate::config::model::Pipeline;
use crate::config::nodes::parser::NodeParser;
use crate::config::resolve::{ResolvedGraph, resolve};
use crate::config::version::check_version;
use crate::config::yaml::{Code, Diagnostic, FileId, Mapping, SourceMap, Span, Spanned, Value, ValueKind};
use crate::config::{defaults, include, yaml};

/// Maximum number of diagnostics: finding line and column of each takes time in a file of one long line.
const MAX_DIAGNOSTICS: usize = 500;
/// The keys of a pipeline, each with its documentation and its JSON type (`texts` is a list of strings).
pub(crate) const KEYS: [(&str, &str, &str); 9] = [
    ("version", "The version of the format: 1.", ""),
    (
        "name",
        "The name of the pipeline; without it, the name of the file.",
        "string",
    ),
    ("description", "The description of the pipeline.", "string"),
    (
        "include",
        "Files whose variables, defaults and nodes are put before those of this one; paths are relative to it.",
        "texts",
    ),
    (
        "vars",
        "Variables: `${vars.x}` is the value of `x`, `--set vars.x=1` replaces it.",
        "",
    ),
    (
        "defaults",
        "By operator, the default parameters of its nodes.",
        "object",
    ),
    (
        "store",
        "A shared store: `s3://BUCKET/PREFIX`, `gs://...`, `az://...` or `file:///FOLDER`. Artifacts \
         are read from it and written to it; credentials are taken from the environment.",
        "string",
    ),
    ("nodes", "The nodes by name: a mapping with `op`, or a chain.", "object"),
    (
        "tests",
        "Tests by name, which `towline test` runs: `given` has input rows, `expect` expected rows or expectations.",
        "object",
    ),
];

/// Options of loading.
#[derive(Clone, Copy)]
pub struct LoadOptions<'a> {
    /// The environment: the value of a variable, if it is set.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// Values set on the command line, applied in order.
    pub overrides: &'a [Override],
    /// The operators behind the signs of the chain notation.
    pub operators: ChainOperators<'a>,
}

impl std::fmt::Debug for LoadOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadOptions")
            .field("overrides", &self.overrides)
            .field("operators", &self.operators)
            .finish_non_exhaustive()
    }
}

/// The result of loading.
#[derive(Debug)]
pub struct Loaded {
    /// The texts that every span points into.
    pub sources: SourceMap,
    /// The pipeline, if enough of the file is sound to look for more mistakes in it: it may exist beside errors.
    pub pipeline: Option<Pipeline>,
    /// Errors and warnings, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
}

/// Loads a pipeline from a file.
pub fn load_file(path: &Path, options: &LoadOptions<'_>) -> Loaded {
    let name = path.display().to_string();
    let problem = match read(path) {
        Ok(bytes) => return load_text(&name, &bytes, options),
        Err(problem) => problem,
    };
    let mut sources = SourceMap::default();
    sources.add(name.clone(), String::new());
    let message = format!("cannot read the pipeline {name}: {problem}");
    Loaded {
        sources,
        pipeline: None,
        diagnostics: vec![Diagnostic::error(Code::BadYaml, message)],
    }
}

/// Loads a pipeline from its text; `name` is what diagnostics call it.
pub fn load_text(name: &str, text: &[u8], options: &LoadOptions<'_>) -> Loaded {
    let mut sources = SourceMap::default();
    let parsed = yaml::parse(&mut sources, name, text);
    let mut diagnostics = parsed.diagnostics;
    let mut pipeline = None;
    if let Some(root) = parsed.value {
        let (built, found) = build(&mut sources, parsed.file, root, options);
        diagnostics.extend(found);
        pipeline = built;
    }
    tidy(&mut diagnostics);
    tracing::debug!(
        file = name,
        nodes = pipeline.as_ref().map(|pipeline| pipeline.nodes.len()),
        diagnostics = diagnostics.len(),
        "loaded"
    );
    Loaded {
        sources,
        pipeline,
        diagnostics,
    }
}

/// Sorts by place, and drops repetitions: a value that several aliases stand for is read several times.
fn tidy(diagnostics: &mut Vec<Diagnostic>) {
    let mut seen = HashSet::new();
    diagnostics.retain(|diagnostic| seen.insert((diagnostic.code, diagnostic.span, diagnostic.message.clone())));
    diagnostics.sort_by_key(|diagnostic| (diagnostic.span, diagnostic.severity));
    diagnostics.truncate(MAX_DIAGNOSTICS);
}

fn build(
    sources: &mut SourceMap,
    file: FileId,
    root: Value,
    options: &LoadOptions<'_>,
) -> (Option<Pipeline>, Vec<Diagnostic>) {
    let mut diagnostics = Vec::new();
    let span = root.span;
    let ValueKind::Mapping(mut root) = root.kind else {
        diagnostics.push(wrong_type("a pipeline must be a mapping", &root));
        return (None, diagnostics);
    };
    let known = KEYS.map(|(key, ..)| key);
    for (key, _) in &root.entries {
        if !known.contains(&key.value.as_str()) {
            diagnostics.push(unknown_key(key, "a pipeline", &known));
        }
    }
    check_version(&root, span, &mut diagnostics);
    let path = sources.name(file).to_owned();
    root = include::merge(sources, &path, root, &mut diagnostics);
    check_nodes(&root, span, &mut diagnostics);
    let mut found = Vec::new();
    for (_, value) in &root.entries {
        secrets::find(sources, value, &mut found);
    }
    for span in found.iter().filter_map(|diagnostic| diagnostic.span) {
        sources.hide(span);
    }
    diagnostics.append(&mut found);
    overrides::apply(sources, &mut root, options.overrides, &mut diagnostics);
    let name = text(&root, "name", &mut diagnostics).unwrap_or_else(|| stem(sources.name(file)));
    let description = text(&root, "description", &mut diagnostics);

    let mut interpolator = Interpolator::new(sources, options.env);
    interpolator.diagnostics = diagnostics;
    let unused = root
        .get("vars")
        .map_or_else(Vec::new, |vars| variables::resolve(&mut interpolator, vars, &root));
    let tests = root.get("tests").and_then(|tests| interpolator.value(tests));
    let store = shared_store(&mut interpolator, root.get("store"));
    let defaults = defaults::read(&mut interpolator, root.get("defaults"));
    let mut parser = NodeParser {
        interpolator,
        operators: options.operators,
        defaults,
        unresolved: Vec::new(),
    };
    let entries = root.get("nodes").and_then(Value::as_mapping);
    if let Some(entries) = entries {
        parser.nodes(entries);
    }
    let NodeParser {
        interpolator,
        defaults,
        unresolved,
        ..
    } = parser;
    let mut diagnostics = interpolator.diagnostics;
    // A misspelt use would also leave the variable that was meant unused.
    if diagnostics.iter().all(|found| found.code != Code::UndefinedVariable) {
        diagnostics.extend(unused);
    }
    let empty = Mapping::default();
    let ResolvedGraph { nodes, graph, order } = resolve(unresolved, entries.unwrap_or(&empty), &mut diagnostics);
    let pipeline = Pipeline {
        name,
        description,
        tests,
        file,
        store,
        defaults: defaults.into_values().map(|(op, _)| op).collect(),
        nodes,
        graph,
        order,
        env_read: interpolator.env_read,
    };
    (Some(pipeline), diagnostics)
}

fn check_nodes(root: &Mapping, span: Span, diagnostics: &mut Vec<Diagnostic>) {
    match root.get("nodes") {
        None => {
            let diagnostic = Diagnostic::error(Code::MissingKey, "the pipeline has no `nodes`");
            diagnostics.push(diagnostic.at(span.head()).help("add `nodes:` with at least one node"));
        }
        Some(value) => match &value.kind {
            ValueKind::Mapping(nodes) if !nodes.entries.is_empty() => {}
            ValueKind::Mapping(_) | ValueKind::Null => {
                let diagnostic = Diagnostic::error(Code::OutOfRange, "`nodes` is empty").at(value.span);
                diagnostics.push(diagnostic.help("a pipeline has at least one node"));
            }
            _ => diagnostics.push(wrong_type("`nodes` must be a mapping", value)),
        },
    }
}

fn text(root: &Mapping, key: &str, diagnostics: &mut Vec<Diagnostic>) -> Option<String> {
    let value = root.get(key)?;
    match value.as_str() {
        Some(text) if !text.trim().is_empty() => Some(text.to_owned()),
        Some(_) => {
            diagnostics.push(Diagnostic::error(Code::OutOfRange, format!("`{key}` is empty")).at(value.span));
            None
        }
        None => {
            diagnostics.push(wrong_type(&format!("`{key}` must be a string"), value));
            None
        }
    }
}

/// The address of the shared store as it is written; whoever opens the store parses it. An empty one is none, so that the
/// environment can name it or not.
fn shared_store(interpolator: &mut Interpolator<'_>, value: Option<&Value>) -> Option<Spanned<String>> {
    let value = interpolator.value(value?)?;
    let text = match &value.kind {
        ValueKind::Null => return None,
        ValueKind::String(text) => text.trim(),
        _ => {
            interpolator
                .diagnostics
                .push(wrong_type("`store` must be the address of a shared store", &value));
            return None;
        }
    };
    (!text.is_empty()).then(|| Spanned::new(text.to_owned(), value.span))
}

fn stem(name: &str) -> String {
    Path::new(name)
        .file_stem()
        .map_or_else(|| name.to_owned(), |stem| stem.to_string_lossy().into_owned())
}
