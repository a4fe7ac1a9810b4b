//! Propagation of types through the graph: columns, Arrow types, tags and domains, with no data read.

use std::collections::HashSet;

use towline_api::{Built, Descriptor, Form, Input, Inputs, NodeType, Problem, Registry, TypeContext, suggest};

use crate::checks::Scope;
use crate::config::yaml::{Code, Diagnostic, SourceMap, Spanned};
use crate::config::{Node, Pipeline, Reference};
use crate::typing::bind::{Binding, bind, check_kind};
use crate::typing::expectations::condition;
use crate::typing::node_id::NodeId;
use crate::typing::selected_type::selected;
use crate::typing::typed_pipeline::{CheckedExpectation, RowOrigin, TypedNode, TypedPipeline};
use crate::typing::{deprecated_names, problems, shared_store, targets, unused};

/// Gives every node its type. An error in one node neither hides those of others nor shows again in what depends on it.
pub fn propagate(
    mut pipeline: Pipeline,
    sources: &SourceMap,
    registry: &Registry,
    context: &TypeContext,
) -> TypedPipeline {
    let deprecated = deprecated_names::replace(&mut pipeline, registry);
    let mut typing = Typing {
        pipeline: &pipeline,
        sources,
        registry,
        context,
        nodes: vec![None; pipeline.nodes.len()],
        assumed: vec![None; pipeline.nodes.len()],
        diagnostics: deprecated,
    };
    let ordered: HashSet<usize> = pipeline.order.iter().copied().collect();
    // Nodes on a cycle get no type, but their own errors are found.
    let circular = (0..pipeline.nodes.len()).filter(|index| !ordered.contains(index));
    for index in pipeline.order.iter().copied().chain(circular) {
        typing.node(index);
    }
    typing.defaults();
    let (nodes, mut diagnostics) = (typing.nodes, typing.diagnostics);
    diagnostics.extend(shared_store::check(&pipeline));
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
    /// The assumed outputs of nodes in error, for the nodes that read them.
    assumed: Vec<Option<(NodeType, RowOrigin)>>,
    diagnostics: Vec<Diagnostic>,
}

/// The typed inputs of a node, as far as they are known.
struct Connected {
    bindings: Vec<Binding>,
    inputs: Vec<Input<NodeType>>,
    rows: Vec<RowOrigin>,
    /// Whether all inputs are known and valid.
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
        if node.invalid.op {
            return;
        }
        let Some(descriptor) = self.registry.get(&node.op.value) else {
            self.diagnostics.push(unknown_operator(&node.op, self.registry));
            return;
        };
        let built = if node.invalid.config {
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
            let rows = RowOrigin {
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
        let mut complete = !node.invalid.inputs;
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
        let mut taken: Vec<Option<(NodeType, RowOrigin)>> = Vec::new();
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

    /// The type of a reference; `None` if the node has no type or the reference is invalid.
    fn taken(&mut self, reference: &Reference) -> Option<(NodeType, RowOrigin)> {
        let typed = self.nodes[reference.node].as_ref();
        let typed = typed.map(|typed| (&typed.output, &typed.rows));
        let assumed = self.assumed[reference.node].as_ref();
        let (output, rows) = typed.or_else(|| assumed.map(|(output, rows)| (output, rows)))?;
        let split = reference.split.as_ref().map(|split| split.value.clone());
        let rows = RowOrigin {
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
    fn rows(&mut self, index: usize, built: &Built, bindings: &[Binding], rows: Vec<RowOrigin>) -> Option<RowOrigin> {
        let own = RowOrigin {
            node: NodeId::at(index),
            split: None,
        };
        match built.operator.form() {
            // Inputs on other ports than the first are used by the fit alone.
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

    fn report(&mut self, node: &Node, bindings: &[Binding], found: Vec<Problem>) {
        for problem in found {
            let text = problem.message.clone();
            let diagnostic = problems::diagnostic(self.sources, node, bindings, problem);
            // An error in a default, or in a sweep, is reported once and not for every node that has it.
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
