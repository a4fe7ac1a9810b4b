//! `ListExplode`: one row per list element.

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::compute::{cast, nullif};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::UnnestOptions;
use datafusion::dataframe::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rows::per_split::unknown;
use towline_api::{
    Code, DatasetPort, Describe, Form, Inputs, LazyDataset, LazyTable, NodeType, Operator, Port, Problem, Purity,
    Result, Table, TableContext, Tag, TypeContext,
};
use towline_tables::array_function::same_type;

/// Explodes a list column: one row per element, in order, with the other columns repeated. Rows with an empty or null
/// list are dropped unless `keep_empty` is set.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListExplode {
    /// List column, for example `genres`.
    pub column: String,
    /// Whether to keep rows with an empty or null list, with a null element.
    #[serde(default)]
    pub keep_empty: bool,
}

const INPUT: DatasetPort = DatasetPort::required("input", "Rows with lists.");

impl Describe for ListExplode {
    const NAME: &'static str = "ListExplode";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: ListExplode\ninput: movies\nwith: { column: genres }\n";
}

impl Operator for ListExplode {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        let problems = unknown([&self.column], &input.schema, "column");
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut output = input.clone();
        for column in output
            .schema
            .columns
            .iter_mut()
            .filter(|column| column.name == self.column)
        {
            if !column.is_list() {
                let message = format!("column `{}` holds {}, not lists", column.name, column.data_type);
                return Err(vec![Problem::new(Code::WrongType, message).at("column")]);
            }
            column.data_type = column.element_type().clone();
            column.nullable = true;
            column.tags.remove(&Tag::List);
        }
        Ok(NodeType::Dataset(output))
    }

    fn form(&self) -> Form<'_> {
        Form::Table(self)
    }
}

impl Table for ListExplode {
    fn apply(&self, inputs: &Inputs<LazyDataset>, _: &TableContext) -> Result<Vec<(String, DataFrame)>> {
        let input = INPUT.lazy(inputs)?;
        let options = UnnestOptions::new().with_preserve_nulls(self.keep_empty);
        let exploded = |(name, table): &(String, LazyTable)| {
            let mut table = table.clone();
            // Unnesting keeps a row only for a null list, so empty lists are replaced by null first.
            for column in table
                .columns
                .iter_mut()
                .filter(|column| self.keep_empty && column.name == self.column)
            {
                column.expr = same_type("null_if_empty".to_owned(), column.expr.clone(), null_if_empty);
            }
            let frame = table.to_frame()?;
            Ok((
                name.clone(),
                frame.unnest_columns_with_options(&[self.column.as_str()], options.clone())?,
            ))
        };
        input.splits.iter().map(exploded).collect()
    }
}

fn null_if_empty(lists: &ArrayRef) -> Result<ArrayRef> {
    Ok(nullif(lists, &is_empty(lists)?)?)
}

/// A mask of empty lists.
fn is_empty(lists: &ArrayRef) -> Result<BooleanArray> {
    let lengths = cast(&arrow::compute::kernels::length::length(lists)?, &DataType::Int64)?;
    let lengths = lengths.as_primitive::<Int64Type>().iter();
    Ok(lengths.map(|length| length.map(|length| length == 0)).collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, ListArray};
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, codes, run};

    #[test]
    fn elements_in_order_and_empty_lists_as_asked() {
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>([
            Some(vec![Some(7), None]),
            None,
            Some(vec![]),
            Some(vec![Some(8)]),
        ]);
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..4));
        let data = Data::of([("id", ids), ("x", Arc::new(lists) as ArrayRef)]).tagged("x", &[Tag::Item, Tag::List]);
        let ran = run::<ListExplode>(json!({"column": "x"}), &[("input", data.clone())]);
        assert_eq!(ran.rows("train"), "0 7; 0 ; 3 8");
        assert_eq!(ran.tags("x"), [Tag::Item]);
        let ran = run::<ListExplode>(json!({"column": "x", "keep_empty": true}), &[("input", data.clone())]);
        assert_eq!(ran.rows("train"), "0 7; 0 ; 1 ; 2 ; 3 8");
        assert_eq!(
            codes::<ListExplode>(json!({"column": "id"}), &[("input", data)]),
            ["wrong-type"]
        );
    }
}
