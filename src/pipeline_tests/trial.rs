//! Running a test, and what came of it.

use std::sync::Arc;

use arrow::array::Array;
use arrow::datatypes::DataType;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use towline_api::{Column, NodeType, OperatorError, Schema, TableFile};

use crate::config::yaml::Span;
use crate::pipeline_tests::case::{Body, Expected, TestCase};
use crate::pipeline_tests::compare::{Cell, Order, Row, difference};
use crate::pipeline_tests::given::write;
use crate::pipeline_tests::rows::Rows;
use crate::pipeline_tests::subject::Subject;
use crate::run::{Failure, NodeRecord, NodeStatus, Role, RunOptions, RunRecord, run};
use crate::store::{Content, Store};

/// How many rows of an output are compared with expected ones; a test has few.
const COMPARED: usize = 10_000;

/// A test that was run.
#[derive(Debug, Clone)]
pub struct Trial {
    /// What was not as expected; the test passed if nothing is here.
    pub failures: Vec<TestFailure>,
}

/// A test by its name, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tested {
    /// Its name.
    pub name: String,
    /// Where its name stands.
    pub span: Span,
    /// What was not as expected.
    pub failures: Vec<TestFailure>,
}

impl Tested {
    /// Whether all was as expected.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// Something that was not as expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestFailure {
    /// Where it was expected.
    pub span: Span,
    /// What was not as expected, in one line.
    pub message: String,
    /// The difference, or the values of the parts of an expectation: lines of text, or nothing.
    pub details: String,
}

impl Subject {
    /// Runs the test in a store of its own.
    pub async fn run(self, case: &TestCase, store: Store, mut options: RunOptions) -> Result<Trial, Failure> {
        for (path, schema, columns) in &self.files {
            write(path, schema, columns.clone())?;
        }
        options.stop_at_unmet = false;
        let graph = Arc::new(self.graph);
        let record = run(Arc::clone(&graph), store.clone(), options).await.record;
        let mut failures: Vec<TestFailure> = record.nodes.iter().filter_map(|node| broken(node, case)).collect();
        for (expected, &shown_by) in case.expected.iter().zip(&self.shown_by) {
            let node = &record.nodes[shown_by.index()];
            if matches!(node.status, NodeStatus::Failed | NodeStatus::Skipped) {
                continue;
            }
            match &expected.body {
                Body::Facts(_) => failures.extend(unmet(expected, node)),
                Body::Rows { rows, order } => {
                    let look = Look {
                        store: &store,
                        record: &record,
                        node,
                        output: &graph[shown_by].output,
                    };
                    failures.extend(look.compare(expected, rows, *order)?);
                }
            }
        }
        Ok(Trial { failures })
    }
}

/// A node that failed; those that were skipped because of it are no news.
fn broken(node: &NodeRecord, case: &TestCase) -> Option<TestFailure> {
    (node.status == NodeStatus::Failed).then(|| TestFailure {
        span: case.name.span,
        message: format!("the node `{}` failed: {}", node.name, node.reason),
        details: String::new(),
    })
}

/// The expectations that do not hold. Of those that a node's own name stands for several times, each tells its own.
fn unmet(expected: &Expected, node: &NodeRecord) -> Vec<TestFailure> {
    let Body::Facts(facts) = &expected.body else {
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

/// Where the rows of a node are found.
struct Look<'a> {
    store: &'a Store,
    record: &'a RunRecord,
    node: &'a NodeRecord,
    output: &'a NodeType,
}

impl Look<'_> {
    fn compare(&self, expected: &Expected, rows: &Rows, order: Order) -> Result<Option<TestFailure>, Failure> {
        let NodeType::Dataset(dataset) = self.output else {
            return Ok(None);
        };
        let columns = self.columns(rows, &dataset.schema);
        let heads: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let found = self.found(&columns)?;
        let mut wanted: Vec<Row> = vec![Vec::new(); rows.rows.len()];
        for column in &columns {
            let Ok(array) = rows.values(column) else {
                // Its type was checked before the run.
                continue;
            };
            push(&mut wanted, 0, array.as_ref())?;
        }
        Ok(difference(&heads, &wanted, &found, order).map(|details| TestFailure {
            span: rows.span,
            message: format!("the rows of `{}` are not those expected", expected.text),
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
                if start >= COMPARED {
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
