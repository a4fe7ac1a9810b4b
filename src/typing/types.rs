//! Types through the whole graph: columns, Arrow types, tags and domains, with no data read.

use std::collections::HashSet;

use towline_api::{Built, Descriptor, Form, Input, Inputs, NodeType, Problem, Registry, Site, TypeContext, suggest};

use crate::checks::{Condition, Scope};
use crate::config::yaml::{Code, Diagnostic, SourceMap, Spanned};
use crate::config::{Node, Pipeline, Reference};
use crate::typing::bind::{Binding, bind, check_kind};
use crate::typing::expectations::condition;
use crate::typing::graph::NodeId;
use crate::typing::selected_type::selected;
use crate::typing::{targets, unused};

/// Which rows a dataset has: datasets with equal `Rows` are columns of the same rows and can be joined by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rows {
    /// The node that made the rows.
    pub node: NodeId,
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
    /// What is expected of the output.
    pub expectations: Vec<CheckedExpectation>,
}

/// An expectation whose every name stands for something that the node has.
#[derive(Debug, Clone)]
pub struct CheckedExpectation {
    /// What must hold.
    pub condition: Condition,
    /// Where it stands: `file:line:column`.
    pub location: String,
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
pub fn propagate(pipeline: Pipeline, sources: &SourceMap, registry: &Registry, context: &TypeContext) -> TypedPipeline {
    let mut typing = Typing {
        pipeline: &pipeline,
        sources,
        registry,
        context,
        nodes: vec![None; pipeline.nodes.len()],
        assumed: vec![None; pipeline.nodes.len()],
        diagnostics: Vec::new(),
    };
    let ordered: HashSet<usize> = pipeline.order.iter().copied().collect();
    // Nodes on a circle get no type, but a slip of their own is found.
    let circular = (0..pipeline.nodes.len()).filter(|index| !ordered.contains(index));
    for index in pipeline.order.iter().copied().chain(circular) {
        typing.node(index);
    }
    typing.defaults();
    let (nodes, mut diagnostics) = (typing.nodes, typing.diagnostics);
    diagnostics.extend(targets::find(&pipeline, &nodes));
    diagnostics.extend(unused::find(&pipeline, &nodes));
    TypedPipeline {
        pipeline,
        nodes,
        diagnostics,
    }
}

struct Typing<'a> {
    pipeline: &'a Pipeline,
    sources: &'a SourceMap,
    registry: &'a Registry,
    context: &'a TypeContext,
    nodes: Vec<Option<TypedNode>>,
    /// What the nodes behind one in error may take its output to be.
    assumed: Vec<Option<(NodeType, Rows)>>,
    diagnostics: Vec<Diagnostic>,
}

/// What a node is connected to, as far as it is known.
struct Connected {
    bindings: Vec<Binding>,
    inputs: Vec<Input<NodeType>>,
    rows: Vec<Rows>,
    /// Nothing is missing and nothing is wrong.
    complete: bool,
}

impl Typing<'_> {
    /// Defaults of operators that do not exist.
    fn defaults(&mut self) {
        for op in &self.pipeline.defaults {
            if self.registry.get(&op.value).is_none() {
                self.diagnostics.push(unknown_operator(op, self.registry));
            }
        }
    }

    fn node(&mut self, index: usize) {
        let pipeline = self.pipeline;
        let node = &pipeline.nodes[index];
        if node.holes.op {
            return;
        }
        let Some(descriptor) = self.registry.get(&node.op.value) else {
            self.diagnostics.push(unknown_operator(&node.op, self.registry));
            return;
        };
        let built = if node.holes.config {
            None
        } else {
            let built = descriptor.build(&node.config.to_json());
            built.map_err(|problems| self.report(node, &[], problems)).ok()
        };
        let Connected {
            bindings,
            inputs,
            rows,
            complete,
        } = self.connected(node, descriptor);
        let inputs = Inputs(inputs);
        let mut typed = None;
        if let Some(built) = built.filter(|_| complete)
            && let Some(rows) = self.rows(index, &built, &bindings, rows)
        {
            match built.operator.output_type(&inputs, self.context) {
                Ok(output) => {
                    let expectations = self.expectations(node, &built, &output);
                    typed = Some(TypedNode {
                        descriptor: descriptor.clone(),
                        built,
                        bindings,
                        output,
                        rows,
                        expectations,
                    });
                }
                Err(problems) => self.report(node, &bindings, problems),
            }
        }
        if typed.is_none() {
            let rows = Rows {
                node: NodeId::at(index),
                split: None,
            };
            self.assumed[index] = descriptor.assumed_type(&inputs).map(|output| (output, rows));
        }
        self.nodes[index] = typed;
    }

    fn expectations(&mut self, node: &Node, built: &Built, output: &NodeType) -> Vec<CheckedExpectation> {
        let metrics = built.operator.metrics(output);
        let scope = Scope {
            node: &node.name,
            metrics: &metrics,
            output,
        };
        let mut checked = Vec::new();
        for expectation in &node.settings.expect {
            let location = expectation.location.clone();
            match condition(expectation, &scope) {
                Ok(condition) => checked.push(CheckedExpectation { condition, location }),
                Err(diagnostics) => self.diagnostics.extend(diagnostics),
            }
        }
        checked
    }

    fn connected(&mut self, node: &Node, descriptor: &Descriptor) -> Connected {
        let mut complete = !node.holes.inputs;
        let bindings = if complete {
            let bound = bind(node, descriptor);
            complete = bound.is_ok();
            bound.unwrap_or_else(|problems| {
                self.diagnostics.extend(problems);
                Vec::new()
            })
        } else {
            Vec::new()
        };
        let mut taken: Vec<Option<(NodeType, Rows)>> = Vec::new();
        for reference in node.inputs.references() {
            let value = self.taken(reference);
            complete &= value.is_some();
            taken.push(value);
        }
        let (mut inputs, mut rows) = (Vec::new(), Vec::new());
        for binding in &bindings {
            let Some((value, of)) = taken[binding.reference].clone() else {
                continue;
            };
            if let Some(mismatch) = check_kind(node, descriptor, binding, &value) {
                self.diagnostics.push(mismatch);
                complete = false;
            }
            let reference = node.inputs.references()[binding.reference].node;
            let upstream = &self.pipeline.nodes[reference];
            let label = binding.label.clone().unwrap_or_else(|| upstream.name.clone());
            inputs.push(Input {
                port: binding.port,
                label,
                value,
            });
            rows.push(of);
        }
        Connected {
            bindings,
            inputs,
            rows,
            complete,
        }
    }

    /// What a reference takes of the node it names; nothing if that has no type, or has not what is asked for.
    fn taken(&mut self, reference: &Reference) -> Option<(NodeType, Rows)> {
        let typed = self.nodes[reference.node].as_ref();
        let typed = typed.map(|typed| (&typed.output, &typed.rows));
        let assumed = self.assumed[reference.node].as_ref();
        let (output, rows) = typed.or_else(|| assumed.map(|(output, rows)| (output, rows)))?;
        let split = reference.split.as_ref().map(|split| split.value.clone());
        let rows = Rows {
            node: rows.node,
            split: split.or_else(|| rows.split.clone()),
        };
        match selected(output, reference) {
            Ok(value) => Some((value, rows)),
            Err(found) => {
                self.diagnostics.extend(found);
                None
            }
        }
    }

    /// The rows of a node's output; nothing if its inputs do not have the same ones but should.
    fn rows(&mut self, index: usize, built: &Built, bindings: &[Binding], rows: Vec<Rows>) -> Option<Rows> {
        let own = Rows {
            node: NodeId::at(index),
            split: None,
        };
        match built.operator.form() {
            // What is connected beside the first port only takes part in the fit.
            Form::Stateful(_) => return Some(rows.into_iter().next().unwrap_or(own)),
            Form::Columns(_) => {}
            _ => return Some(own),
        }
        if let Some(other) = rows.iter().position(|other| other != &rows[0]) {
            let message = format!(
                "in the node `{}`, these columns belong to other rows than the first",
                self.pipeline.nodes[index].name
            );
            let help = "`+` joins columns of tables that descend from the same rows; to join others use Sql";
            let diagnostic = Diagnostic::error(Code::UnrelatedRows, message).at(bindings[other].span);
            self.diagnostics.push(
                diagnostic
                    .label("other rows")
                    .related(bindings[0].span, "the first")
                    .help(help),
            );
            return None;
        }
        Some(rows.into_iter().next().unwrap_or(own))
    }

    fn report(&mut self, node: &Node, bindings: &[Binding], problems: Vec<Problem>) {
        for problem in problems {
            let text = problem.message.clone();
            let diagnostic = place(self.sources, node, bindings, problem);
            // What is wrong with a default is wrong in every node that has it, and so with the trials of a sweep.
            let known = |other: &Diagnostic| {
                other.code == diagnostic.code && other.span == diagnostic.span && other.message.ends_with(&text)
            };
            let of_its_own = diagnostic.span == Some(node.op.span) && !node.generated;
            if !self.diagnostics.iter().any(known) || of_its_own {
                self.diagnostics.push(diagnostic);
            }
        }
    }
}

fn unknown_operator(op: &Spanned<String>, registry: &Registry) -> Diagnostic {
    let message = format!("there is no operator `{}`", op.value);
    let help = suggest::sentence(&op.value, &registry.names(), "operators");
    Diagnostic::error(Code::UnknownOperator, message)
        .at(op.span)
        .label("unknown operator")
        .help(help)
}

/// A problem in the operator's words, at its place in the file.
fn place(sources: &SourceMap, node: &Node, bindings: &[Binding], problem: Problem) -> Diagnostic {
    let span = match &problem.site {
        Site::Node => node.op.span,
        Site::Config(path) => node.config.locate(path),
        Site::ConfigKey(path) => node.config.locate_key(path),
        Site::ConfigText(path, range) => node.config.locate_text(sources, path, range.clone()),
        Site::Port(port) => bindings
            .iter()
            .find(|binding| binding.port == port)
            .map_or(node.op.span, |binding| binding.span),
    };
    let message = format!("in the node `{}`, {}: {}", node.name, node.op.value, problem.message);
    let mut diagnostic = Diagnostic::error(code(problem.code), message).at(span);
    diagnostic.help = problem.help;
    diagnostic
}

/// The code of a problem. An operator of a user's own program may use names that are not in the list.
pub(crate) fn code(name: &str) -> Code {
    Code::named(name).unwrap_or(Code::BadConfig)
}
