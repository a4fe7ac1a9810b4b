//! Execution of a test.

use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use towline_api::{Column, NodeType, OperatorError, Schema, TableFile};

use crate::config::yaml::Span;
use crate::pipeline_tests::case::{Expected, ExpectedOutput, TestCase};
use crate::pipeline_tests::compare::{Cell, Order, Row, difference};
use crate::pipeline_tests::given::write;
use crate::pipeline_tests::rows::Rows;
use crate::pipeline_tests::test_pipeline::TestPipeline;
use crate::run::{Failure, NodeRecord, NodeStatus, Role, RunOptions, RunRecord, run};
use crate::store::{Content, Store};

/// Maximum number of compared rows of an output.
const MAX_COMPARED_ROWS: usize = 10_000;

/// The outcome of a test.
#[derive(Debug, Clone)]
pub struct TestOutcome {
    /// The failures; empty if the test passed.
    pub failures: Vec<TestFailure>,
}

/// The outcome of a test with its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestReport {
    /// Its name.
    pub name: String,
    /// The span of its name.
    pub span: Span,
    /// The failures.
    pub failures: Vec<TestFailure>,
}

impl TestReport {
    /// Whether the test passed.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// A failure of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestFailure {
    /// The span of the expectation.
    pub span: Span,
    /// The message, in one line.
    pub message: String,
    /// The difference, or the values of the parts of an expectation: lines of text, or nothing.
    pub details: String,
}

impl TestPipeline {
    /// Runs the test in a store of its own.
    pub async fn run(self, case: &TestCase, store: Store, mut options: RunOptions) -> Result<TestOutcome, Failure> {
        for (path, schema, columns) in &self.files {
            write(path, schema, columns.clone())?;
        }
        options.stop_at_unmet = false;
        let graph = Arc::new(self.graph);
        let record = run(Arc::clone(&graph), store.clone(), options).await.record;
        let mut failures: Vec<TestFailure> = record
            .nodes
            .iter()
            .filter_map(|node| node_failure(node, case))
            .collect();
        for (expected, &shown_by) in case.expected.iter().zip(&self.shown_by) {
            let node = &record.nodes[shown_by.index()];
            if matches!(node.status, NodeStatus::Failed | NodeStatus::Skipped) {
                continue;
            }
            match &expected.output {
                ExpectedOutput::Expectations(_) => failures.extend(failed_expectations(expected, node)),
                ExpectedOutput::Rows { rows, order } => {
                    let reader = OutputReader {
                        store: &store,
                        record: &record,
                        node,
                        output: &graph[shown_by].output,
                    };
                    failures.extend(reader.compare(expected, rows, *order)?);
                }
            }
        }
        Ok(TestOutcome { failures })
    }
}

/// The failure of a node; nodes that were skipped because of it are not reported.
fn node_failure(node: &NodeRecord, case: &TestCase) -> Option<TestFailure> {
    (node.status == NodeStatus::Failed).then(|| TestFailure {
        span: case.name.span,
        message: format!("the node `{}` failed: {}", node.name, node.reason),
        details: String::new(),
    })
}

/// The expectations that do not hold.
fn failed_expectations(expected: &Expected, node: &NodeRecord) -> Vec<TestFailure> {
    let ExpectedOutput::Expectations(facts) = &expected.output else {
        return Vec::new();
    };
    facts
        .iter()
        .filter_map(|fact| {
            let mut records = node.expectations.iter();
            let record = records.find(|record| record.location == fact.location && record.expression == fact.text)?;
            if record.outcome.met {
                return None;
            }
            let parts = record.outcome.parts.iter();
            Some(TestFailure {
                span: fact.span,
                message: format!("`{}`: `{}` does not hold", expected.text, fact.text),
                details: parts.map(|part| format!("{} = {}\n", part.text, part.value)).collect(),
            })
        })
        .collect()
}

/// Reads the output of a node from the store.
struct OutputReader<'a> {
    store: &'a Store,
    record: &'a RunRecord,
    node: &'a NodeRecord,
    output: &'a NodeType,
}

impl OutputReader<'_> {
    fn compare(&self, expected: &Expected, rows: &Rows, order: Order) -> Result<Option<TestFailure>, Failure> {
        let NodeType::Dataset(dataset) = self.output else {
            return Ok(None);
        };
        let columns = self.columns(rows, &dataset.schema);
        let headers: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let found = self.found(&columns)?;
        let mut wanted: Vec<Row> = vec![Vec::new(); rows.rows.len()];
        for column in &columns {
            let Ok(array) = rows.values(column) else {
                // Its type was checked before the run.
                continue;
            };
            push(&mut wanted, 0, array.as_ref())?;
        }
        Ok(difference(&headers, &wanted, &found, order).map(|details| TestFailure {
            span: rows.span,
            message: format!("the rows of `{}` differ from the expected ones", expected.text),
            details,
        }))
    }

    /// The columns that are compared: those that the rows name, or all where no rows are expected.
    fn columns<'s>(&self, rows: &Rows, schema: &'s Schema) -> Vec<&'s Column> {
        match rows.columns(schema) {
            Ok(columns) if !columns.is_empty() => columns,
            _ => schema.columns.iter().collect(),
        }
    }

    fn found(&self, columns: &[&Column]) -> Result<Vec<Row>, Failure> {
        let work = Role::Rows.of_node(&self.node.name);
        let entry = self.store.last_of_node(&self.record.pipeline, &work);
        let Some(Content::Dataset { splits, .. }) = entry.as_ref().map(|entry| &entry.content) else {
            let message = format!("the rows of `{}` are not in the store", self.node.name);
            return Err(OperatorError::invalid(message).into());
        };
        let mut found: Vec<Row> = Vec::new();
        for split in splits {
            let file = TableFile {
                path: self.store.blob_path(&split.blob),
                rows: split.rows,
            };
            for batch in file.batches(None)? {
                let batch = batch.map_err(OperatorError::from)?;
                let start = found.len();
                if start >= MAX_COMPARED_ROWS {
                    break;
                }
                found.resize(start + batch.num_rows(), Vec::new());
                for column in columns {
                    if let Some(array) = batch.column_by_name(&column.name) {
                        push(&mut found, start, array.as_ref())?;
                    }
                }
            }
        }
        Ok(found)
    }
}

/// Appends the values of a column to rows, from row `start` on.
fn push(rows: &mut [Row], start: usize, array: &dyn Array) -> Result<(), OperatorError> {
    let options = FormatOptions::default().with_null("null");
    let formatter = ArrayFormatter::try_new(array, &options)?;
    let fractions = if array.data_type().is_floating() {
        let numbers = arrow::compute::cast(array, &DataType::Float64)?;
        Some(arrow::array::AsArray::as_primitive::<arrow::datatypes::Float64Type>(&numbers).clone())
    } else {
        None
    };
    for (at, row) in rows[start..].iter_mut().enumerate() {
        let fraction = fractions.as_ref().filter(|numbers| numbers.is_valid(at));
        row.push(Cell {
            text: formatter.value(at).to_string(),
            fraction: fraction.map(|numbers| numbers.value(at)),
        });
    }
    Ok(())
}
