//! A test case with its names resolved.

use crate::config::yaml::{Span, Spanned};
use crate::config::{Expectation, Reference};
use crate::pipeline_tests::compare::Order;
use crate::pipeline_tests::rows::Rows;

/// A test of a pipeline.
#[derive(Debug, Clone)]
pub struct TestCase {
    /// Its name: the key in the file.
    pub name: Spanned<String>,
    /// The rows that replace the output of nodes.
    pub given: Vec<Given>,
    /// The expected output.
    pub expected: Vec<Expected>,
    /// Whether a part of it has reported errors, so that missing parts are not reported.
    pub incomplete: bool,
}

/// Rows that replace a split of a node's output.
#[derive(Debug, Clone)]
pub struct Given {
    /// The index of the node in the pipeline.
    pub node: usize,
    /// The split; the first one if absent.
    pub split: Option<Spanned<String>>,
    /// The rows.
    pub rows: Rows,
    /// The span of the reference.
    pub span: Span,
}

/// The expected output of a node, or of a part of it.
#[derive(Debug, Clone)]
pub struct Expected {
    /// The node, and what of its output.
    pub reference: Reference,
    /// The reference as it is written.
    pub text: String,
    /// The expected output.
    pub output: ExpectedOutput,
}

/// The expected output.
#[derive(Debug, Clone)]
pub enum ExpectedOutput {
    /// Rows, compared in the columns that they name.
    Rows {
        /// The rows.
        rows: Rows,
        /// Whether their order is compared.
        order: Order,
    },
    /// Expectations that must hold.
    Expectations(Vec<Expectation>),
}
