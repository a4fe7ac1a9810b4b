//! `Dedup`: removes duplicate rows.

use datafusion::dataframe::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rows::per_split::{ROW, numbered, query_splits, query_type, unknown};
use towline_api::{
    DatasetPort, Describe, Form, Inputs, LazyDataset, NodeType, Operator, Port, Problem, Purity, Result, Schema, Table,
    TableContext, TypeContext,
};
use towline_tables::sql_planning::{quoted, quoted_list};

/// Removes duplicates: keeps one of the rows with equal values in `by`. Row order is kept. Null equals null.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Dedup {
    /// Columns to compare, for example `[user_id, item_id]`; all columns by default.
    #[serde(default)]
    pub by: Vec<String>,
    /// Column that orders the duplicates, for example `timestamp`; ties, and rows without it, are in row order.
    #[serde(default)]
    pub order_by: Option<String>,
    /// Which duplicate to keep: `first` or `last`.
    #[serde(default)]
    pub keep: Keep,
}

/// Which duplicate to keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// The first.
    #[default]
    First,
    /// The last.
    Last,
}

impl Dedup {
    fn query(&self, schema: &Schema) -> String {
        let all = quoted_list(schema.names());
        let by = if self.by.is_empty() {
            all.clone()
        } else {
            quoted_list(self.by.iter().map(String::as_str))
        };
        let direction = if self.keep == Keep::First { "ASC" } else { "DESC" };
        let order: Vec<String> = self
            .order_by
            .iter()
            .map(|name| quoted(name))
            .chain([ROW.to_owned()])
            .collect();
        let order = order
            .iter()
            .map(|name| format!("{name} {direction} NULLS LAST"))
            .collect::<Vec<_>>()
            .join(", ");
        format!(
            "SELECT {all} FROM (SELECT *, row_number() OVER (PARTITION BY {by} ORDER BY {order}) AS \"__rank\" FROM {}) \
             WHERE \"__rank\" = 1 ORDER BY {ROW}",
            numbered()
        )
    }
}

const INPUT: DatasetPort = DatasetPort::required("input", "The rows to choose from.");

impl Describe for Dedup {
    const NAME: &'static str = "Dedup";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str =
        "op: Dedup\ninput: clicks\nwith: { by: [user_id, item_id], order_by: timestamp, keep: last }\n";

    fn assumed_type(inputs: &Inputs<NodeType>) -> Option<NodeType> {
        INPUT.get(inputs).cloned()
    }
}

impl Operator for Dedup {
    fn output_type(&self, inputs: &Inputs<NodeType>, context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let schema = &INPUT.input_type(inputs)?.schema;
        let mut problems = unknown(&self.by, schema, "by");
        problems.extend(unknown(&self.order_by, schema, "order_by"));
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(NodeType::Dataset(query_type(INPUT, inputs, context, "by", |schema| {
            self.query(schema)
        })?))
    }

    fn form(&self) -> Form<'_> {
        Form::Table(self)
    }
}

impl Table for Dedup {
    fn apply(&self, inputs: &Inputs<LazyDataset>, context: &TableContext) -> Result<Vec<(String, DataFrame)>> {
        query_splits(INPUT, inputs, context, |schema| self.query(schema))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, codes, run};

    #[test]
    fn first_and_last_by_order_and_by_place() {
        let ints = |values: &[Option<i64>]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        let data = Data::of([
            ("k", ints(&[Some(1), Some(2), Some(1), None, None])),
            ("t", ints(&[Some(5), Some(1), Some(3), Some(7), Some(7)])),
            ("v", ints(&[Some(0), Some(1), Some(2), Some(3), Some(4)])),
        ]);
        let rows = |config| run::<Dedup>(config, &[("input", data.clone())]).rows("train");
        assert_eq!(rows(json!({"by": ["k"]})), "1 5 0; 2 1 1;  7 3");
        assert_eq!(rows(json!({"by": ["k"], "keep": "last"})), "2 1 1; 1 3 2;  7 4");
        assert_eq!(rows(json!({"by": ["k"], "order_by": "t"})), "2 1 1; 1 3 2;  7 3");
        assert_eq!(
            rows(json!({"by": ["k"], "order_by": "t", "keep": "last"})),
            "1 5 0; 2 1 1;  7 4"
        );
        assert_eq!(
            rows(json!({})).matches(';').count(),
            4,
            "no two rows are equal as a whole"
        );
        assert_eq!(
            codes::<Dedup>(json!({"by": ["z"]}), &[("input", data.clone())]),
            ["unknown-column"]
        );
    }
}
