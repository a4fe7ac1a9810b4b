//! Types through the whole graph: columns, Arrow types, tags and domains, with no data read.

use towline_operators::contract::{
    Built, DatasetType, Descriptor, Form, Input, Inputs, NodeType, Problem, Registry, Site, Tag, TypeContext, suggest,
};

use super::bind::{Binding, bind, check_kind};
use crate::document::Diagnostic;
use crate::pipeline::{Node, Pipeline, Reference, Selection};

/// Which rows a dataset has: datasets with equal `Rows` are columns of the same rows and can be joined by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// The node that made the rows.
    pub node: usize,
    /// The split that was selected, if one was.
    pub split: Option<String>,
}

/// A node with its operator and the type of its output.
#[derive(Clone)]
pub struct TypedNode {
    /// What the registry knows of its operator.
    pub descriptor: Descriptor,
    /// The operator.
    pub built: Built,
    /// What is connected.
    pub bindings: Vec<Binding>,
    /// The type of the output.
    pub output: NodeType,
    /// Which rows the output has.
    pub rows: Rows,
}

/// A pipeline whose nodes have types; a node without one is in error, or behind one that is.
pub struct TypedPipeline {
    /// The pipeline.
    pub pipeline: Pipeline,
    /// Its nodes, by the same indices.
    pub nodes: Vec<Option<TypedNode>>,
    /// What was found.
    pub diagnostics: Vec<Diagnostic>,
}

/// Gives every node its type. An error in one node neither hides those of others nor shows again in what depends on it.
pub fn propagate(pipeline: Pipeline, registry: &Registry, context: &TypeContext) -> TypedPipeline {
    let mut nodes: Vec<Option<TypedNode>> = vec![None; pipeline.nodes.len()];
    let mut diagnostics = Vec::new();
    for &index in &pipeline.order {
        match node_type(&pipeline, index, &nodes, registry, context) {
            Ok(typed) => nodes[index] = typed,
            Err(mut errors) => diagnostics.append(&mut errors),
        }
    }
    TypedPipeline {
        pipeline,
        nodes,
        diagnostics,
    }
}

fn node_type(
    pipeline: &Pipeline,
    index: usize,
    nodes: &[Option<TypedNode>],
    registry: &Registry,
    context: &TypeContext,
) -> Result<Option<TypedNode>, Vec<Diagnostic>> {
    let node = &pipeline.nodes[index];
    let Some(descriptor) = registry.get(&node.op.value) else {
        let message = format!("there is no operator `{}`", node.op.value);
        let help = suggest::sentence(&node.op.value, &registry.names(), "operators");
        return Err(vec![
            Diagnostic::error("unknown-operator", node.op.span, message).help(help),
        ]);
    };
    let translate = |problems: Vec<Problem>| problems.into_iter().map(|problem| place(node, &[], problem)).collect();
    let built = descriptor.build(&node.config.to_json());
    let bindings = bind(node, descriptor);
    let (built, bindings) = match (built, bindings) {
        (Ok(built), Ok(bindings)) => (built, bindings),
        (built, bindings) => {
            let mut errors: Vec<Diagnostic> = built.err().map(translate).unwrap_or_default();
            errors.extend(bindings.err().unwrap_or_default());
            return Err(errors);
        }
    };
    let references = node.inputs.references();
    let mut inputs = Vec::new();
    let mut rows = Vec::new();
    let mut errors = Vec::new();
    for binding in &bindings {
        let reference = references[binding.reference];
        let Some(upstream) = &nodes[reference.node] else {
            return Ok(None);
        };
        match selected(&upstream.output, reference) {
            Ok(value) => {
                errors.extend(check_kind(node, descriptor, binding, &value));
                let split = reference.split.as_ref().map(|split| split.value.clone());
                rows.push(Rows {
                    node: upstream.rows.node,
                    split: split.or_else(|| upstream.rows.split.clone()),
                });
                let label = binding
                    .label
                    .clone()
                    .unwrap_or_else(|| pipeline.nodes[reference.node].name.clone());
                inputs.push(Input {
                    port: binding.port,
                    label,
                    value,
                });
            }
            Err(mut found) => errors.append(&mut found),
        }
    }
    let rows = match built.operator.form() {
        Form::Stateful(_) => rows.into_iter().next().unwrap_or(Rows {
            node: index,
            split: None,
        }),
        Form::Columns(_) => {
            if let Some(other) = rows.iter().position(|other| other != &rows[0]) {
                let message = format!(
                    "in the node `{}`, these columns belong to other rows than the first",
                    node.name
                );
                let help = "`+` joins columns of tables that descend from the same rows; to join others use Sql";
                errors.push(Diagnostic::error("unrelated-rows", bindings[other].span, message).help(help));
            }
            rows.into_iter().next().unwrap_or(Rows {
                node: index,
                split: None,
            })
        }
        _ => Rows {
            node: index,
            split: None,
        },
    };
    if !errors.is_empty() {
        return Err(errors);
    }
    match built.operator.output_type(&Inputs(inputs), context) {
        Ok(output) => Ok(Some(TypedNode {
            descriptor: descriptor.clone(),
            built,
            bindings,
            output,
            rows,
        })),
        Err(problems) => Err(problems
            .into_iter()
            .map(|problem| place(node, &bindings, problem))
            .collect()),
    }
}

/// A problem in the operator's words, at its place in the file.
fn place(node: &Node, bindings: &[Binding], problem: Problem) -> Diagnostic {
    let span = match &problem.site {
        Site::Node => node.op.span,
        Site::Config(path) => node.config.locate(path, false),
        Site::ConfigKey(path) => node.config.locate(path, true),
        Site::Port(port) => bindings
            .iter()
            .find(|binding| binding.port == port)
            .map_or(node.op.span, |binding| binding.span),
    };
    let message = format!("in the node `{}`, {}: {}", node.name, node.op.value, problem.message);
    let diagnostic = Diagnostic::error(problem.code, span, message);
    match problem.help {
        Some(help) => diagnostic.help(help),
        None => diagnostic,
    }
}

/// The type of what a reference takes of a node's output.
fn selected(output: &NodeType, reference: &Reference) -> Result<NodeType, Vec<Diagnostic>> {
    let NodeType::Dataset(dataset) = output else {
        if reference.columns.is_some() || reference.split.is_some() {
            let message = format!("only a dataset has columns and splits; this is a {}", output.kind());
            return Err(vec![Diagnostic::error("bad-input", reference.span, message)]);
        }
        return Ok(output.clone());
    };
    let mut out = dataset.clone();
    let mut errors = Vec::new();
    if let Some(split) = &reference.split {
        if dataset.splits.contains(&split.value) {
            out.splits = vec![split.value.clone()];
        } else {
            let known: Vec<&str> = dataset.splits.iter().map(String::as_str).collect();
            let message = format!("there is no split `{}`", split.value);
            let help = suggest::sentence(&split.value, &known, "splits");
            errors.push(Diagnostic::error("unknown-split", split.span, message).help(help));
        }
    }
    if let Some(columns) = &reference.columns {
        out.schema.columns.clear();
        for selection in columns {
            select(dataset, selection, &mut out, &mut errors);
        }
    }
    if errors.is_empty() {
        Ok(NodeType::Dataset(out))
    } else {
        Err(errors)
    }
}

fn select(dataset: &DatasetType, selection: &Selection, out: &mut DatasetType, errors: &mut Vec<Diagnostic>) {
    let before = out.schema.columns.len();
    match selection {
        Selection::Column(name) => match dataset.schema.get(&name.value) {
            Some(column) if out.schema.get(&name.value).is_none() => out.schema.columns.push(column.clone()),
            Some(_) => {
                let message = format!("the column `{}` is selected twice", name.value);
                errors.push(Diagnostic::error("duplicate-column", name.span, message));
            }
            None => {
                let problem = Problem::unknown_column(&name.value, &dataset.schema);
                let diagnostic = Diagnostic::error("unknown-column", name.span, problem.message);
                errors.push(diagnostic.help(problem.help.unwrap_or_default()));
            }
        },
        Selection::Tag(name) => match name.value.parse::<Tag>() {
            Ok(tag) => {
                let found = dataset
                    .schema
                    .tagged(std::slice::from_ref(&tag))
                    .cloned()
                    .collect::<Vec<_>>();
                let new = found
                    .into_iter()
                    .filter(|column| out.schema.get(&column.name).is_none())
                    .collect::<Vec<_>>();
                out.schema.columns.extend(new);
                if out.schema.columns.len() == before {
                    let message = format!("no column is tagged `{}`", name.value);
                    errors.push(Diagnostic::error("unknown-column", name.span, message));
                }
            }
            Err(error) => {
                let known: Vec<&str> = Tag::ALL.iter().map(|tag| tag.as_str()).collect();
                let help = suggest::sentence(&name.value, &known, "tags");
                errors.push(Diagnostic::error("unknown-column", name.span, error.to_string()).help(help));
            }
        },
    }
}

/// The names that a reference selects from a schema that [`propagate`] has checked.
pub(crate) fn selected_names(
    schema: &towline_operators::contract::Schema,
    reference: &Reference,
) -> Option<Vec<String>> {
    let columns = reference.columns.as_ref()?;
    let mut out: Vec<String> = Vec::new();
    for selection in columns {
        match selection {
            Selection::Column(name) => out.push(name.value.clone()),
            Selection::Tag(name) => {
                if let Ok(tag) = name.value.parse::<Tag>() {
                    let new: Vec<String> = schema
                        .tagged(&[tag])
                        .map(|c| c.name.clone())
                        .filter(|name| !out.contains(name))
                        .collect();
                    out.extend(new);
                }
            }
        }
    }
    Some(out)
}
