//! `DropNulls`: removes rows with missing values.

use datafusion::dataframe::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rows::per_split::{TABLE, query_splits, query_type, unknown};
use towline_api::{
    DatasetPort, Describe, Form, Inputs, LazyDataset, NodeType, Operator, Port, Problem, Purity, Result, Schema, Table,
    TableContext, TypeContext,
};
use towline_tables::sql_planning::quoted;

/// Removes rows with missing values (null or NaN).
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DropNulls {
    /// Columns that must not be missing, for example `[user_id, item_id]`; all columns by default.
    #[serde(default)]
    pub columns: Vec<String>,
}

impl DropNulls {
    fn looks_at(&self, name: &str) -> bool {
        self.columns.is_empty() || self.columns.iter().any(|column| column == name)
    }

    fn query(&self, schema: &Schema) -> String {
        let present = |column: &towline_api::Column| {
            let name = quoted(&column.name);
            if column.data_type.is_floating() {
                format!("({name} IS NOT NULL AND NOT isnan({name}))")
            } else {
                format!("{name} IS NOT NULL")
            }
        };
        let conditions: Vec<String> = schema
            .columns
            .iter()
            .filter(|c| self.looks_at(&c.name))
            .map(present)
            .collect();
        format!("SELECT * FROM {TABLE} WHERE {}", conditions.join(" AND "))
    }
}

const INPUT: DatasetPort = DatasetPort::required("input", "The rows to choose from.");

impl Describe for DropNulls {
    const NAME: &'static str = "DropNulls";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: DropNulls\ninput: clicks\nwith: { columns: [user_id, item_id] }\n";

    fn assumed_type(inputs: &Inputs<NodeType>) -> Option<NodeType> {
        INPUT.get(inputs).cloned()
    }
}

impl Operator for DropNulls {
    fn output_type(&self, inputs: &Inputs<NodeType>, context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let problems = unknown(&self.columns, &INPUT.input_type(inputs)?.schema, "columns");
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut output = query_type(INPUT, inputs, context, "columns", |schema| self.query(schema))?;
        for column in output
            .schema
            .columns
            .iter_mut()
            .filter(|column| self.looks_at(&column.name))
        {
            column.nullable = false;
        }
        Ok(NodeType::Dataset(output))
    }

    fn form(&self) -> Form<'_> {
        Form::Table(self)
    }
}

impl Table for DropNulls {
    fn apply(&self, inputs: &Inputs<LazyDataset>, context: &TableContext) -> Result<Vec<(String, DataFrame)>> {
        query_splits(INPUT, inputs, context, |schema| self.query(schema))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, Int64Array};
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, codes, run};

    #[test]
    fn null_and_nan_are_missing() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.0), Some(f64::NAN), None, Some(4.0)]));
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), Some(2), Some(3), None]));
        let data = Data::of([("f", floats), ("i", ints)]);
        let ran = run::<DropNulls>(json!({}), &[("input", data.clone())]);
        assert_eq!(ran.rows("train"), "1.0 1");
        assert!(ran.schema.columns.iter().all(|column| !column.nullable));
        let ran = run::<DropNulls>(json!({"columns": ["i"]}), &[("input", data.clone())]);
        assert_eq!(ran.rows("train"), "1.0 1; NaN 2;  3");
        assert_eq!(
            codes::<DropNulls>(json!({"columns": ["z"]}), &[("input", data)]),
            ["unknown-column"]
        );
    }
}
