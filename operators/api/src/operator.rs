//! What an operator is.

use std::fmt::Debug;
use std::path::PathBuf;

use arrow::array::RecordBatch;
use datafusion::dataframe::DataFrame;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{
    Artifact, Context, DEFAULT_SPLIT, FitContext, Kind, LazyDataset, NamedExpr, NodeType, Output, Problem, Receipt,
    Result, Schema, State, TableContext, TypeContext,
};

/// Whether running an operator again can be told from running it once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purity {
    /// The output depends on the inputs and the configuration alone.
    Pure,
    /// The same, and the configuration has a seed.
    Seeded,
    /// It changes something outside the store.
    Effect,
}

/// The declaration of an input of an operator; made by a [typed port](crate::TypedPort).
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct Port {
    /// The name under `inputs:`.
    pub name: &'static str,
    /// What may be connected.
    pub kind: Kind,
    /// Whether the operator can do without.
    pub required: bool,
    /// Whether any number of things may be connected (a list, or names of the user's own).
    pub many: bool,
    /// Whether the operator reads the names of what is connected; they are then parts of its fingerprint.
    pub named: bool,
    /// Whether the operator reads the metrics of what is connected; they are then parts of its fingerprint.
    pub measured: bool,
    /// Whether the operator can do without those that failed: it gets [`Artifact::Failed`] in their place, as long as
    /// something that did not fail is connected to the port. Only for ports of tasks.
    pub tolerant: bool,
    /// What it is for; shown in the documentation.
    pub doc: &'static str,
}

/// What is connected to an operator: (port, value), in the order of the file. On a port for many, `label` is the name
/// that the user gave (`inputs: { ratings: a, movies: b }`), or the name of the node.
#[derive(Debug, Clone)]
pub struct Inputs<T>(pub Vec<Input<T>>);

/// One connected value.
#[derive(Debug, Clone)]
pub struct Input<T> {
    /// The port.
    pub port: &'static str,
    /// The user's name for it.
    pub label: String,
    /// What is connected.
    pub value: T,
}

/// What decides an operator's output beside its inputs and its configuration; all of it goes into the cache key.
#[derive(Debug, Clone, Default)]
pub struct Outside {
    /// Files, in a fixed order; their content counts, not where they lie.
    pub files: Vec<PathBuf>,
    /// Environment variables; their values count.
    pub variables: Vec<String>,
}

/// How an operator does its work.
#[derive(Clone, Copy)]
pub enum Form<'a> {
    /// Reads from outside.
    Source(&'a dyn Source),
    /// Changes columns, keeps rows.
    Columns(&'a dyn Columns),
    /// Makes new rows out of old ones, lazily.
    Table(&'a dyn Table),
    /// Learns from the rows of one split, then changes columns and keeps rows.
    Stateful(&'a dyn Stateful),
    /// Anything else whose output goes into the store.
    Task(&'a dyn Task),
    /// Publishes outside the store.
    Sink(&'a dyn Sink),
}

/// An operator with its configuration, as the engine holds it.
pub trait Operator: Debug + Send + Sync {
    /// The type of the output, with no data read; or everything that is wrong. Columns, Arrow types, tags and domains
    /// (as far as they are known without data) must be those that the run will produce.
    fn output_type(&self, inputs: &Inputs<NodeType>, context: &TypeContext) -> Result<NodeType, Vec<Problem>>;

    /// The names of the metrics that it leaves behind, given the type of its output: expectations on others are errors
    /// before a run. By default those that the type itself names.
    fn metrics(&self, output: &NodeType) -> Vec<String> {
        match output {
            NodeType::Metrics(names) => names.clone(),
            NodeType::Model(model) => model.metrics.clone(),
            NodeType::Dataset(_) | NodeType::Receipt => Vec::new(),
        }
    }

    /// How it does its work.
    fn form(&self) -> Form<'_>;

    /// What decides its output beside its inputs and its configuration. For sources, [`Source::files`] says it.
    fn outside(&self) -> Result<Outside> {
        Ok(Outside::default())
    }
}

/// What the registry needs to know of an operator's type. The configuration struct is the operator: its doc comment is
/// the operator's documentation, and the doc comments of its fields are those of its parameters. A parameter that cannot
/// change the output is marked with [`cache_ignored`](crate::cache_ignored).
pub trait Describe: Operator + Serialize + DeserializeOwned + JsonSchema + Sized + 'static {
    /// The name in pipelines.
    const NAME: &'static str;
    /// Counts up with every change that can change the output; part of every cache key.
    const CODE_VERSION: u32;
    /// Whether it is pure.
    const PURITY: Purity;
    /// Its inputs; empty for sources.
    const PORTS: &'static [Port];
    /// A node as one writes it: the YAML below a node's name. It is parsed in a test.
    const EXAMPLE: &'static str;

    /// What those who read the output may take it to be while something is wrong with the node, so that a slip in it does
    /// not hide theirs. Only what holds for every configuration; nothing, if that is nothing.
    fn assumed_type(_inputs: &Inputs<NodeType>) -> Option<NodeType> {
        None
    }

    /// What the types of the fields cannot say: ranges, parameters that exclude each other.
    fn check(&self) -> Vec<Problem> {
        Vec::new()
    }
}

/// Reads from outside. The output is lazy; where it is stored is the planner's choice.
pub trait Source: Send + Sync {
    /// The files whose content decides the output, in a fixed order, each with what it is to the operator: the name of
    /// its split. That and the content are parts of the fingerprint, where the files lie is not.
    fn files(&self) -> Result<Vec<(String, PathBuf)>>;

    /// The splits.
    fn read(&self, context: &TableContext) -> Result<Vec<(String, DataFrame)>>;

    /// Whether reading straight from the files is as good as reading a stored copy.
    fn in_place(&self) -> bool {
        false
    }
}

/// Changes columns, keeps rows: an expression in, an expression out, so that neighbours fuse.
pub trait Columns: Send + Sync {
    /// The columns of the output in terms of those of the inputs, which all are columns of the same rows.
    fn project(&self, inputs: &[&[NamedExpr]]) -> Result<Vec<NamedExpr>>;
}

/// Makes new rows out of old ones, lazily.
pub trait Table: Send + Sync {
    /// The splits of the output.
    fn apply(&self, inputs: &Inputs<LazyDataset>, context: &TableContext) -> Result<Vec<(String, DataFrame)>>;
}

/// Learns from the rows of one split, then changes columns and keeps rows. The rows are those on the first port; what is
/// connected to other ports only takes part in the fit.
pub trait Stateful: Send + Sync {
    /// The split to learn from.
    fn fit_on(&self) -> &str {
        DEFAULT_SPLIT
    }

    /// The columns to learn from; the engine reads those of all siblings in one scan.
    fn fit_columns(&self, input: &Schema) -> Vec<String>;

    /// A fresh learner for rows with these columns.
    fn fitter(&self, input: &Schema, context: &FitContext<'_>) -> Result<Box<dyn Fitter>>;

    /// The columns of the output in terms of those of the input, for the rows of the split `split`.
    fn project(&self, state: &State, input: &Schema, split: &str, columns: &[NamedExpr]) -> Result<Vec<NamedExpr>>;

    /// The output type's schema with what the fit has found: sizes of domains, their vocabularies.
    fn refine(&self, state: &State, output: &Schema) -> Result<Schema>;
}

/// Sees every row of a split once.
pub trait Fitter: Send {
    /// Takes rows; the columns are those that [`Stateful::fit_columns`] named, in that order.
    fn update(&mut self, batch: &RecordBatch) -> Result<()>;

    /// Writes what was learnt: tables into the folder (`<name>.parquet`), facts into the result.
    fn finish(self: Box<Self>, folder: &std::path::Path) -> Result<FitOutput>;
}

/// What a fit wrote.
#[derive(Debug, Default)]
pub struct FitOutput {
    /// Tables, by name.
    pub tables: std::collections::BTreeMap<String, PathBuf>,
    /// Small facts.
    pub facts: std::collections::BTreeMap<String, serde_json::Value>,
}

/// Anything that is neither a plan nor a fit: training, encoding, measuring. Runs on a thread of its own.
pub trait Task: Send + Sync {
    /// Does the work.
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output>;
}

/// Publishes outside the store: files, keys of a server. Runs on a thread of its own; its output is a receipt, and its
/// [`Describe::PURITY`] is [`Purity::Effect`].
pub trait Sink: Send + Sync {
    /// Publishes. What was published before must stay in place if this fails.
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output>;

    /// The places that a run writes, in words that are equal for equal places ([`target`](crate::target)). Two nodes of a
    /// pipeline must not write the same.
    fn targets(&self) -> Vec<String>;

    /// Whether what an earlier run published is still there, as far as can be told cheaply.
    fn still_published(&self, receipt: &Receipt) -> bool {
        receipt.has_its_files()
    }

    /// Puts what was published before the last run back in place, and says so in a sentence. `None` if the sink keeps
    /// nothing.
    fn roll_back(&self) -> Option<Result<String>> {
        None
    }
}
