//! A test as its file has it, with every name resolved.

use crate::config::yaml::{Span, Spanned};
use crate::config::{Expectation, Reference};
use crate::pipeline_tests::compare::Order;
use crate::pipeline_tests::rows::Rows;

/// A test of a pipeline.
#[derive(Debug, Clone)]
pub struct TestCase {
    /// Its name: the key in the file.
    pub name: Spanned<String>,
    /// What stands in for the output of nodes.
    pub given: Vec<Given>,
    /// What must come out.
    pub expected: Vec<Expected>,
    /// Whether a part of it could not be read and has been told: what seems to be missing is no news.
    pub incomplete: bool,
}

/// Rows that stand in for a split of a node's output.
#[derive(Debug, Clone)]
pub struct Given {
    /// The index of the node in the pipeline.
    pub node: usize,
    /// The split; the first one if absent.
    pub split: Option<Spanned<String>>,
    /// The rows.
    pub rows: Rows,
    /// Where the node is named.
    pub span: Span,
}

/// What must come out of a node, or of a part of its output.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The node, and what of its output.
    pub reference: Reference,
    /// The reference as it is written.
    pub text: String,
    /// What must come out.
    pub output: ExpectedOutput,
}

/// What must come out.
#[derive(Debug, Clone)]
pub enum ExpectedOutput {
    /// These rows, by the columns that they name.
    Rows {
        /// The rows.
        rows: Rows,
        /// Whether their order counts.
        order: Order,
    },
    /// Whatever these expectations hold of.
    Expectations(Vec<Expectation>),
}
