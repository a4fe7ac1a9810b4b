//! The pipeline of a test: the nodes that its expectations need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use arrow::array::{ArrayRef, new_empty_array};
use towline_api::{DatasetType, Describe, Form, NodeType, Purity, Registry, Schema, TypeContext, suggest};

use crate::config::yaml::{Code, Diagnostic, SourceMap, Spanned, Value};
use crate::config::{Connections, InvalidParts, Node, Pipeline, Reference, Settings};
use crate::pipeline_tests::case::{Expected, ExpectedOutput, Given, TestCase};
use crate::pipeline_tests::given::{GivenRows, GivenSplit};
use crate::typing::{NodeId, TypedGraph, TypedNode, TypedPipeline, propagate};

/// The typed pipeline that a test runs.
pub struct TestPipeline {
    pub(super) graph: TypedGraph,
    /// For each thing that is expected the node that shows it.
    pub(super) shown_by: Vec<NodeId>,
    /// The files to write before the run: their schemas and columns.
    pub(super) files: Vec<(PathBuf, Schema, Vec<ArrayRef>)>,
}

/// What tests of a pipeline are prepared with.
pub struct TestSetup<'a> {
    /// The pipeline.
    pub pipeline: &'a Pipeline,
    /// Its nodes.
    pub nodes: Vec<&'a TypedNode>,
    /// The texts that it stands in.
    pub sources: &'a SourceMap,
    /// The operators.
    pub registry: &'a Registry,
    /// The operator that passes on what a reference takes.
    pub select: &'a str,
    /// For planning SQL.
    pub context: &'a TypeContext,
}

impl<'a> TestSetup<'a> {
    /// For the tests of a pipeline; nothing if one of its nodes has no type.
    pub fn of(
        typed: &'a TypedPipeline,
        sources: &'a SourceMap,
        registry: &'a Registry,
        select: &'a str,
        context: &'a TypeContext,
    ) -> Option<Self> {
        Some(TestSetup {
            pipeline: &typed.pipeline,
            nodes: typed.nodes.iter().map(Option::as_ref).collect::<Option<_>>()?,
            sources,
            registry,
            select,
            context,
        })
    }
}

/// The pipeline of a test, which reads the given rows from files in `folder`; or all errors of the test. Nothing is
/// written yet.
pub fn prepare(setup: &TestSetup<'_>, case: &TestCase, folder: &Path) -> Result<TestPipeline, Vec<Diagnostic>> {
    let mut preparation = Preparation {
        setup,
        case,
        folder,
        files: Vec::new(),
        diagnostics: Vec::new(),
    };
    let sources = preparation.sources();
    let needed = preparation.needed();
    if !case.incomplete {
        preparation.check_needed(&needed);
    }
    let (nodes, shown_by) = preparation.assemble(&needed, sources);
    let pipeline = Pipeline::of_nodes(setup.pipeline, nodes);
    let registry = setup.registry.clone().with::<GivenRows>();
    let typed = propagate(pipeline, setup.sources, &registry, setup.context);
    let mut diagnostics = preparation.diagnostics;
    diagnostics.extend(typed.diagnostics.iter().filter(|found| found.is_error()).cloned());
    for (expected, &shown_by) in case.expected.iter().zip(&shown_by) {
        if let Some(node) = &typed.nodes[shown_by] {
            diagnostics.extend(check_rows(expected, &node.output));
        }
    }
    let graph = TypedGraph::new(&typed);
    match graph.filter(|_| diagnostics.is_empty() && !case.incomplete) {
        Some(graph) => Ok(TestPipeline {
            graph,
            shown_by: shown_by.into_iter().map(NodeId::at).collect(),
            files: preparation.files,
        }),
        None => Err(diagnostics),
    }
}

struct Preparation<'a> {
    setup: &'a TestSetup<'a>,
    case: &'a TestCase,
    folder: &'a Path,
    files: Vec<(PathBuf, Schema, Vec<ArrayRef>)>,
    diagnostics: Vec<Diagnostic>,
}

impl Preparation<'_> {
    /// The sources that stand in for nodes, by the index of the node.
    fn sources(&mut self) -> BTreeMap<usize, GivenRows> {
        let mut by_node: BTreeMap<usize, Vec<&Given>> = BTreeMap::new();
        for given in &self.case.given {
            by_node.entry(given.node).or_default().push(given);
        }
        let mut sources = BTreeMap::new();
        for (node, given) in by_node {
            if let Some(source) = self.source(node, &given) {
                sources.insert(node, source);
            }
        }
        sources
    }

    fn source(&mut self, node: usize, given: &[&Given]) -> Option<GivenRows> {
        let name = &self.setup.pipeline.nodes[node].name;
        let NodeType::Dataset(dataset) = &self.setup.nodes[node].output else {
            let message = format!(
                "only a dataset can be given; the output of `{name}` is a {}",
                self.setup.nodes[node].output.kind()
            );
            let diagnostic = Diagnostic::error(Code::BadInput, message).at(given[0].span);
            self.diagnostics.push(diagnostic.help("give rows of its inputs"));
            return None;
        };
        let mut schema = dataset.schema.clone();
        let mut filled: BTreeMap<&str, Vec<ArrayRef>> = BTreeMap::new();
        for given in given {
            let split = self.split_of(given, dataset)?;
            match given.rows.fill(&dataset.schema) {
                Ok((own, columns)) => {
                    for (column, own) in schema.columns.iter_mut().zip(own.columns) {
                        column.nullable |= own.nullable;
                    }
                    if filled.insert(split, columns).is_some() {
                        let message = format!("the split `{split}` of `{name}` is given twice");
                        self.diagnostics
                            .push(Diagnostic::error(Code::Conflict, message).at(given.span));
                    }
                }
                Err(diagnostics) => self.diagnostics.extend(diagnostics),
            }
        }
        let mut splits = Vec::new();
        for split in &dataset.splits {
            let path = self.folder.join(format!("given-{node}-{}.parquet", splits.len()));
            let columns = filled.remove(split.as_str()).unwrap_or_else(|| {
                let columns = schema.columns.iter();
                columns.map(|column| new_empty_array(&column.data_type)).collect()
            });
            self.files.push((path.clone(), schema.clone(), columns));
            let name = split.clone();
            splits.push(GivenSplit { name, path });
        }
        Some(GivenRows { schema, splits })
    }

    fn split_of<'d>(&mut self, given: &Given, dataset: &'d DatasetType) -> Option<&'d str> {
        let Some(split) = &given.split else {
            return dataset.splits.first().map(String::as_str);
        };
        let found = dataset.splits.iter().find(|name| **name == split.value);
        if found.is_none() {
            let known: Vec<&str> = dataset.splits.iter().map(String::as_str).collect();
            let message = format!("there is no split `{}`", split.value);
            let help = suggest::sentence(&split.value, &known, "splits");
            self.diagnostics
                .push(Diagnostic::error(Code::UnknownSplit, message).at(split.span).help(help));
        }
        found.map(String::as_str)
    }

    fn is_given(&self, node: usize) -> bool {
        self.case.given.iter().any(|given| given.node == node)
    }

    /// The nodes that have to run, those that are given among them.
    fn needed(&self) -> BTreeSet<usize> {
        let mut needed = BTreeSet::new();
        let mut waiting: Vec<usize> = self
            .case
            .expected
            .iter()
            .map(|expected| expected.reference.node)
            .collect();
        while let Some(node) = waiting.pop() {
            if needed.insert(node) && !self.is_given(node) {
                let references = self.setup.pipeline.nodes[node].inputs.references();
                waiting.extend(references.into_iter().map(|reference| reference.node));
            }
        }
        needed
    }

    fn check_needed(&mut self, needed: &BTreeSet<usize>) {
        let test = &self.case.name;
        for &node in needed {
            if self.is_given(node) {
                continue;
            }
            let name = &self.setup.pipeline.nodes[node].name;
            let typed = &self.setup.nodes[node];
            let reads_outside = match typed.built.operator.form() {
                // A source without files makes its rows itself.
                Form::Source(source) => source.files().map_or(true, |files| !files.is_empty()),
                _ => false,
            };
            let (message, help) = if typed.descriptor.purity == Purity::Effect {
                let message = format!("the test `{}` needs `{name}`, which has external effects", test.value);
                (message, "add an expectation on the node that it reads".to_owned())
            } else if reads_outside {
                let message = format!("the test `{}` needs `{name}`, which reads external data", test.value);
                (message, format!("add rows for it: `given: {{ {name}: [ ... ] }}`"))
            } else {
                continue;
            };
            let diagnostic = Diagnostic::error(Code::BadInput, message).at(test.span);
            self.diagnostics.push(diagnostic.help(help));
        }
        for given in self.case.given.iter().filter(|given| !needed.contains(&given.node)) {
            let name = &self.setup.pipeline.nodes[given.node].name;
            let message = format!("the given rows of `{name}` are not used by the test `{}`", test.value);
            let diagnostic = Diagnostic::error(Code::BadInput, message).at(given.span);
            self.diagnostics
                .push(diagnostic.help("remove them, or add an expectation on a node that depends on it"));
        }
    }

    /// The nodes of the pipeline that the test runs, and which of them shows what is expected.
    fn assemble(&self, needed: &BTreeSet<usize>, mut sources: BTreeMap<usize, GivenRows>) -> (Vec<Node>, Vec<usize>) {
        let places: BTreeMap<usize, usize> = needed.iter().enumerate().map(|(place, &node)| (node, place)).collect();
        let moved = |reference: &Reference| Reference {
            node: places[&reference.node],
            ..reference.clone()
        };
        let mut nodes: Vec<Node> = needed
            .iter()
            .map(|&index| {
                let node = &self.setup.pipeline.nodes[index];
                match sources.remove(&index) {
                    Some(source) => stand_in(node, &source),
                    None => Node {
                        inputs: node.inputs.map(moved),
                        after: Vec::new(),
                        settings: Settings {
                            expect: Vec::new(),
                            ..node.settings.clone()
                        },
                        ..node.clone()
                    },
                }
            })
            .collect();
        let shown_by = self
            .case
            .expected
            .iter()
            .map(|expected| self.show(expected, moved(&expected.reference), &mut nodes))
            .collect();
        (nodes, shown_by)
    }

    /// Makes a node that shows what is expected: of a dataset one that nothing reads, so that its rows are kept.
    fn show(&self, expected: &Expected, reference: Reference, nodes: &mut Vec<Node>) -> usize {
        let facts = match &expected.output {
            ExpectedOutput::Expectations(facts) => facts.clone(),
            ExpectedOutput::Rows { .. } => Vec::new(),
        };
        let is_dataset = matches!(self.setup.nodes[expected.reference.node].output, NodeType::Dataset(_));
        if !is_dataset && matches!(expected.output, ExpectedOutput::Expectations(_)) {
            nodes[reference.node].settings.expect.extend(facts);
            return reference.node;
        }
        let span = reference.span;
        nodes.push(Node {
            name: format!("{} as expected", expected.text),
            span,
            op: Spanned::new(self.setup.select.to_owned(), span),
            config: Value::empty_mapping(span),
            inputs: Connections::One(reference),
            after: Vec::new(),
            settings: Settings {
                expect: facts,
                ..Settings::default()
            },
            invalid: InvalidParts::default(),
            generated: false,
            chain_text: None,
        });
        nodes.len() - 1
    }
}

fn stand_in(node: &Node, source: &GivenRows) -> Node {
    // A schema, names and paths are always JSON.
    let config = serde_json::to_value(source).unwrap_or_default();
    Node {
        op: Spanned::new(GivenRows::NAME.to_owned(), node.op.span),
        config: Value::from_json(&config, node.op.span),
        inputs: Connections::None,
        after: Vec::new(),
        settings: Settings::default(),
        ..node.clone()
    }
}

/// The errors of expected rows against the type of the output.
fn check_rows(expected: &Expected, output: &NodeType) -> Vec<Diagnostic> {
    let (ExpectedOutput::Rows { rows, .. }, NodeType::Dataset(dataset)) = (&expected.output, output) else {
        return Vec::new();
    };
    if let [_, _, ..] = dataset.splits.as_slice() {
        let message = format!("`{}` has several splits: {}", expected.text, dataset.splits.join(", "));
        let help = format!("select one: `{}.{}`", expected.text, dataset.splits[0]);
        let diagnostic = Diagnostic::error(Code::UnknownSplit, message).at(expected.reference.span);
        return vec![diagnostic.help(help)];
    }
    match rows.columns(&dataset.schema) {
        Err(diagnostics) => diagnostics,
        Ok(columns) => {
            let mismatches = columns.into_iter().filter_map(|column| rows.values(column).err());
            mismatches.map(|mismatch| *mismatch).collect()
        }
    }
}
