//! `GroupBy`: aggregates rows by group.

use std::collections::BTreeMap;

use datafusion::dataframe::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rows::per_split::{ROW, numbered, query_splits, query_type, unknown};
use towline_api::{
    Code, DatasetPort, Describe, Form, Inputs, LazyDataset, NodeType, Operator, Port, Problem, Purity, Result, Schema,
    Table, TableContext, Tag, TypeContext,
};
use towline_tables::sql_planning::{duplicates, quoted, quoted_list};

/// Aggregates the rows of each split by group. The output has one row per group, ordered by the group's key: the
/// columns of `by`, then one column `<column>_<aggregate>` per aggregate. Null is a group key of its own.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupBy {
    /// Columns to group by, for example `[session_id]`.
    pub by: Vec<String>,
    /// Order of the rows in a group, for `list`, `first` and `last`, for example `[timestamp]`; ties are in row order.
    #[serde(default)]
    pub order_by: Vec<String>,
    /// Aggregates, by column: `{ item_id: [list, last], price: [mean] }`. Available are `list`, `first`, `last`,
    /// `count`, `nunique`, `sum`, `mean`, `std`, `var`, `min`, `max`, `median`, and every other DataFusion aggregate
    /// function of one column.
    pub aggregate: BTreeMap<String, Vec<String>>,
}

impl GroupBy {
    fn outputs(&self) -> impl Iterator<Item = (String, &String, &String)> {
        let pairs = self
            .aggregate
            .iter()
            .flat_map(|(column, all)| all.iter().map(move |aggregate| (column, aggregate)));
        pairs.map(|(column, aggregate)| (format!("{column}_{aggregate}"), column, aggregate))
    }

    fn query(&self) -> String {
        let by = quoted_list(self.by.iter().map(String::as_str));
        let order: Vec<String> = self
            .order_by
            .iter()
            .map(|name| quoted(name))
            .chain([ROW.to_owned()])
            .collect();
        let order = order.join(", ");
        let mut columns = vec![by.clone()];
        for (name, column, aggregate) in self.outputs() {
            let column = quoted(column);
            let function = match aggregate.as_str() {
                "list" => format!("array_agg({column} ORDER BY {order})"),
                "first" => format!("first_value({column} ORDER BY {order})"),
                "last" => format!("last_value({column} ORDER BY {order})"),
                "nunique" => format!("count(DISTINCT {column})"),
                "mean" => format!("avg({column})"),
                "std" => format!("stddev({column})"),
                other => format!("{other}({column})"),
            };
            columns.push(format!("{function} AS {}", quoted(&name)));
        }
        format!(
            "SELECT {} FROM {} GROUP BY {by} ORDER BY {by}",
            columns.join(", "),
            numbered()
        )
    }
}

const INPUT: DatasetPort = DatasetPort::required("input", "The rows to group.");

impl Describe for GroupBy {
    const NAME: &'static str = "GroupBy";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: GroupBy\ninput: clicks\nwith: { by: [session_id], order_by: [timestamp], aggregate: { item_id: [list, last] } }\n";

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.by.is_empty() {
            problems.push(Problem::new(Code::BadConfig, "`by` is empty").at("by"));
        }
        let word = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        for (_, _, aggregate) in self.outputs().filter(|(_, _, aggregate)| !word(aggregate)) {
            problems.push(
                Problem::new(
                    Code::BadConfig,
                    format!("`{aggregate}` is not the name of an aggregate"),
                )
                .at("aggregate"),
            );
        }
        problems
    }
}

impl Operator for GroupBy {
    fn output_type(&self, inputs: &Inputs<NodeType>, context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        let mut problems = unknown(&self.by, &input.schema, "by");
        problems.extend(unknown(&self.order_by, &input.schema, "order_by"));
        problems.extend(unknown(self.aggregate.keys(), &input.schema, "aggregate"));
        let names: Vec<String> = self
            .by
            .iter()
            .cloned()
            .chain(self.outputs().map(|(name, ..)| name))
            .collect();
        problems.extend(
            duplicates(names.iter().map(String::as_str))
                .into_iter()
                .map(|problem| problem.at("aggregate")),
        );
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut output = query_type(INPUT, inputs, context, "aggregate", |_| self.query())?;
        for (name, column, aggregate) in self.outputs() {
            let (Some(from), Some(to)) = (
                input.schema.get(column),
                output.schema.columns.iter_mut().find(|c| c.name == name),
            ) else {
                continue;
            };
            // An aggregate that returns input values keeps their tags and domain.
            if matches!(aggregate.as_str(), "list" | "first" | "last" | "min" | "max") {
                to.tags.clone_from(&from.tags);
                to.domain.clone_from(&from.domain);
            }
            if aggregate == "list" {
                to.tags.insert(Tag::List);
                to.tags.remove(&Tag::Id);
            }
        }
        Ok(NodeType::Dataset(output))
    }

    fn form(&self) -> Form<'_> {
        Form::Table(self)
    }
}

impl Table for GroupBy {
    fn apply(&self, inputs: &Inputs<LazyDataset>, context: &TableContext) -> Result<Vec<(String, DataFrame)>> {
        query_splits(INPUT, inputs, context, |_: &Schema| self.query())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, codes, run};

    fn data() -> Data {
        let ints = |values: &[Option<i64>]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        Data::of([
            ("s", ints(&[Some(2), Some(1), Some(2), Some(1), None])),
            ("t", ints(&[Some(9), Some(5), Some(3), Some(5), Some(0)])),
            ("i", ints(&[Some(10), Some(11), Some(12), Some(13), None])),
        ])
        .tagged("i", &[Tag::Item, Tag::Id, Tag::Categorical])
    }

    #[test]
    fn lists_are_in_order_and_equal_times_in_order_of_the_rows() {
        let config =
            json!({"by": ["s"], "order_by": ["t"], "aggregate": {"i": ["list", "first", "last"], "t": ["max"]}});
        let ran = run::<GroupBy>(config, &[("input", data())]);
        assert_eq!(ran.rows("train"), "1 [11, 13] 11 13 5; 2 [12, 10] 12 10 9;  []   0");
        assert_eq!(
            ran.schema.names().collect::<Vec<_>>(),
            ["s", "i_list", "i_first", "i_last", "t_max"]
        );
        assert_eq!(ran.tags("i_list"), [Tag::Item, Tag::Categorical, Tag::List]);
        assert_eq!(ran.tags("i_last"), [Tag::Item, Tag::Id, Tag::Categorical]);
    }

    #[test]
    fn every_aggregate_of_the_engine_and_no_other() {
        let config = json!({"by": ["s"], "aggregate": {"i": ["count", "nunique", "mean", "approx_distinct"]}});
        let ran = run::<GroupBy>(config, &[("input", data())]);
        assert_eq!(ran.rows("train"), "1 2 2 12.0 2; 2 2 2 11.0 2;  0 0  0");
        let code = |config| codes::<GroupBy>(config, &[("input", data())]);
        assert_eq!(
            code(json!({"by": ["s"], "aggregate": {"i": ["nonsense"]}})),
            ["bad-sql"]
        );
        assert_eq!(
            code(json!({"by": ["s"], "aggregate": {"i": ["x) --"]}})),
            ["bad-config"]
        );
        assert_eq!(
            code(json!({"by": ["z"], "aggregate": {"y": ["sum"]}})),
            ["unknown-column", "unknown-column"]
        );
    }
}
