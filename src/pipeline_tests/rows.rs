//! The rows of a test, by column.

use std::collections::BTreeSet;

use arrow::array::{Array, ArrayRef};
use towline_api::{Column, Problem, Schema};

use crate::config::yaml::{Code, Diagnostic, Key, Span, Value};
use crate::pipeline_tests::values::{ValueMismatch, array};

/// Rows: each a mapping from columns to values. A column that a row leaves out is null in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    /// The rows, each with its keys.
    pub rows: Vec<Value>,
    /// The span of the list.
    pub span: Span,
}

impl Rows {
    /// The rows that a list has, or what is wrong with it.
    pub(super) fn read(value: &Value) -> Result<Rows, Vec<Diagnostic>> {
        let wrong = |what: &str, value: &Value| {
            let message = format!("{what}, not {}", value.kind_name());
            Diagnostic::error(Code::WrongType, message)
                .at(value.span)
                .help("a row is a mapping from columns to values: `- { user_id: 1, item_id: 10 }`")
        };
        let Some(items) = value.as_sequence() else {
            return Err(vec![wrong("rows must be a list", value)]);
        };
        let problems: Vec<Diagnostic> = items
            .iter()
            .filter(|item| item.as_mapping().is_none())
            .map(|item| wrong("a row must be a mapping", item))
            .collect();
        if problems.is_empty() {
            Ok(Rows {
                rows: items.to_vec(),
                span: value.span,
            })
        } else {
            Err(problems)
        }
    }

    /// The columns that any row names, in order of the schema; or those that the schema does not have.
    pub(super) fn columns<'s>(&self, schema: &'s Schema) -> Result<Vec<&'s Column>, Vec<Diagnostic>> {
        let mut named = BTreeSet::new();
        let mut problems = Vec::new();
        for (key, _) in self
            .rows
            .iter()
            .filter_map(Value::as_mapping)
            .flat_map(|row| &row.entries)
        {
            if named.insert(key.value.as_str()) && schema.get(&key.value).is_none() {
                problems.push(unknown_column(key, schema));
            }
        }
        if problems.is_empty() {
            let columns = schema.columns.iter();
            Ok(columns.filter(|column| named.contains(column.name.as_str())).collect())
        } else {
            Err(problems)
        }
    }

    /// The values of a column.
    pub(super) fn values(&self, column: &Column) -> Result<ArrayRef, ValueMismatch> {
        let values: Vec<Option<&Value>> = self
            .rows
            .iter()
            .map(|row| row.as_mapping().and_then(|row| row.get(&column.name)))
            .collect();
        array(&values, &column.data_type)
    }

    /// A schema that these rows have, with each of its columns: one that is null in any row may be null.
    pub(super) fn fill(&self, schema: &Schema) -> Result<(Schema, Vec<ArrayRef>), Vec<Diagnostic>> {
        self.columns(schema)?;
        let mut filled = schema.clone();
        let (mut arrays, mut problems) = (Vec::new(), Vec::new());
        for column in &mut filled.columns {
            match self.values(column) {
                Ok(array) => {
                    column.nullable |= array.null_count() > 0;
                    arrays.push(array);
                }
                Err(mismatch) => problems.push(*mismatch),
            }
        }
        if problems.is_empty() {
            Ok((filled, arrays))
        } else {
            Err(problems)
        }
    }
}

fn unknown_column(key: &Key, schema: &Schema) -> Diagnostic {
    let problem = Problem::unknown_column(&key.value, schema);
    let mut diagnostic = Diagnostic::error(Code::UnknownColumn, problem.message).at(key.span);
    diagnostic.help = problem.help;
    diagnostic
}
