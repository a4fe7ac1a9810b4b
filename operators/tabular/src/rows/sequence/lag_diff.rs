//! `LagDiff`: lagged differences.

use arrow::datatypes::DataType;
use datafusion::dataframe::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rows::difference::difference;
use crate::rows::per_split::{ROW, numbered, query_splits, query_type, unknown};
use towline_api::{
    Code, DatasetPort, Describe, Form, Inputs, LazyDataset, NodeType, Operator, Port, Problem, Purity, Result, Schema,
    Table, TableContext, Tag, TypeContext,
};
use towline_tables::sql_planning::{duplicates, quoted, quoted_list};

/// Lagged differences: adds a column `<column>_difference_lag_<lag>` per column and lag, the value minus the value
/// `lag` rows earlier with the same key, ordered by `order_by` within the split (ties in row order). Null if there is
/// no such row. Other columns and the row order are kept.
///
/// Integer differences are `Int64`; one that overflows fails the node. Differences of dates are in days, those of
/// timestamps are durations.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LagDiff {
    /// Key columns, for example `[user_id]`.
    pub key: Vec<String>,
    /// Column that orders the rows of a key, for example `timestamp`.
    pub order_by: String,
    /// Columns to difference, for example `[timestamp, price]`: numbers, dates or timestamps.
    pub columns: Vec<String>,
    /// Lags in rows; a negative lag looks ahead. `[1]` by default.
    #[serde(default = "previous")]
    pub lags: Vec<i64>,
}

fn previous() -> Vec<i64> {
    vec![1]
}

impl LagDiff {
    fn outputs(&self) -> impl Iterator<Item = (String, &String, i64)> {
        let pairs = self
            .columns
            .iter()
            .flat_map(|column| self.lags.iter().map(move |lag| (column, *lag)));
        pairs.map(|(column, lag)| (format!("{column}_difference_lag_{lag}"), column, lag))
    }

    fn query(&self, schema: &Schema) -> String {
        let key = quoted_list(self.key.iter().map(String::as_str));
        let order = quoted(&self.order_by);
        let all = quoted_list(schema.names());
        let compared = |(name, column, lag): (String, &String, i64)| {
            let data_type = schema.get(column).map_or(&DataType::Null, |column| &column.data_type);
            let column = quoted(column);
            let earlier = format!("lag({column}, {lag}) OVER (PARTITION BY {key} ORDER BY {order}, {ROW})");
            format!("{} AS {}", difference(data_type, &column, &earlier), quoted(&name))
        };
        let differences: Vec<String> = self.outputs().map(compared).collect();
        let names = quoted_list(
            self.outputs()
                .map(|(name, ..)| name)
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str),
        );
        format!(
            "SELECT {all}, {names} FROM (SELECT {all}, {ROW}, {} FROM {}) ORDER BY {ROW}",
            differences.join(", "),
            numbered()
        )
    }
}

fn has_difference(data_type: &DataType) -> bool {
    data_type.is_numeric() || matches!(data_type, DataType::Date32 | DataType::Date64 | DataType::Timestamp(..))
}

const INPUT: DatasetPort = DatasetPort::required("input", "The rows to compare.");

impl Describe for LagDiff {
    const NAME: &'static str = "LagDiff";
    const CODE_VERSION: u32 = 2;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str =
        "op: LagDiff\ninput: clicks\nwith: { key: [user_id], order_by: timestamp, columns: [timestamp] }\n";

    fn check(&self) -> Vec<Problem> {
        let empty = [
            ("key", self.key.is_empty()),
            ("columns", self.columns.is_empty()),
            ("lags", self.lags.is_empty()),
        ];
        let empty = empty.into_iter().filter(|(_, empty)| *empty);
        let mut problems: Vec<Problem> = empty
            .map(|(key, _)| Problem::new(Code::BadConfig, format!("`{key}` is empty")).at(key))
            .collect();
        if self.lags.contains(&0) {
            problems.push(Problem::new(Code::OutOfRange, "a lag of 0 compares a row with itself").at("lags"));
        }
        problems
    }
}

impl Operator for LagDiff {
    fn output_type(&self, inputs: &Inputs<NodeType>, context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        let mut problems = unknown(&self.key, &input.schema, "key");
        problems.extend(unknown([&self.order_by], &input.schema, "order_by"));
        problems.extend(unknown(&self.columns, &input.schema, "columns"));
        let columns = self.columns.iter().filter_map(|name| input.schema.get(name));
        problems.extend(
            columns
                .filter(|column| !has_difference(&column.data_type))
                .map(|column| {
                    let message = format!(
                        "column `{}` holds {}, which cannot be subtracted",
                        column.name, column.data_type
                    );
                    Problem::new(Code::WrongType, message)
                        .at("columns")
                        .help("compare numbers, dates or timestamps")
                }),
        );
        let names: Vec<String> = self.outputs().map(|(name, ..)| name).collect();
        let all = input.schema.names().chain(names.iter().map(String::as_str));
        problems.extend(duplicates(all).into_iter().map(|problem| problem.at("columns")));
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut output = query_type(INPUT, inputs, context, "columns", |schema| self.query(schema))?;
        for (name, column, _) in self.outputs() {
            let sides = input
                .schema
                .get(column)
                .map(|column| column.tags.clone())
                .unwrap_or_default();
            if let Some(column) = output.schema.columns.iter_mut().find(|column| column.name == name) {
                column.tags.insert(Tag::Continuous);
                column.tags.extend(sides.into_iter().filter(|tag| tag.is_side()));
            }
        }
        Ok(NodeType::Dataset(output))
    }

    fn form(&self) -> Form<'_> {
        Form::Table(self)
    }
}

impl Table for LagDiff {
    fn apply(&self, inputs: &Inputs<LazyDataset>, context: &TableContext) -> Result<Vec<(String, DataFrame)>> {
        query_splits(INPUT, inputs, context, |schema| self.query(schema))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, codes, run};

    #[test]
    fn the_order_is_global_and_rows_stay_where_they_are() {
        let ints = |values: &[i64]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        let rows = [(1, 30), (2, 7), (1, 10), (1, 20), (2, 7)];
        let batch = |part: &[(i64, i64)]| {
            let (users, times): (Vec<i64>, Vec<i64>) = part.iter().copied().unzip();
            RecordBatch::try_from_iter([("u", ints(&users)), ("t", ints(&times))]).unwrap()
        };
        let data = Data::batches("train", rows.chunks(2).map(batch).collect());
        let config = json!({"key": ["u"], "order_by": "t", "columns": ["t"], "lags": [1, -1]});
        let ran = run::<LagDiff>(config, &[("input", data.clone())]);
        assert_eq!(ran.rows("train"), "1 30 10 ; 2 7  0; 1 10  -10; 1 20 10 -10; 2 7 0 ");
        assert_eq!(ran.tags("t_difference_lag_1"), [Tag::Continuous]);
        let bad = json!({"key": ["u"], "order_by": "t", "columns": ["t"], "lags": [0]});
        assert_eq!(codes::<LagDiff>(bad, &[("input", data)]), ["out-of-range"]);
    }
    #[test]
    fn whole_numbers_do_not_wrap() {
        use arrow::array::{Int8Array, UInt32Array, UInt64Array};
        let small: ArrayRef = Arc::new(Int8Array::from(vec![-128, 127, -128]));
        let unsigned: ArrayRef = Arc::new(UInt32Array::from(vec![5, 3, u32::MAX]));
        let large: ArrayRef = Arc::new(UInt64Array::from(vec![u64::MAX, u64::MAX - 2, u64::MAX - 1]));
        let times: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let key: ArrayRef = Arc::new(Int64Array::from(vec![1, 1, 1]));
        let columns = [
            ("k", key),
            ("t", times),
            ("small", small),
            ("unsigned", unsigned),
            ("large", large),
        ];
        let config = json!({"key": ["k"], "order_by": "t", "columns": ["small", "unsigned", "large"]});
        let ran = run::<LagDiff>(config, &[("input", Data::of(columns))]);
        let differences = |name: &str| {
            let column = ran.column(&format!("{name}_difference_lag_1"));
            column.as_any().downcast_ref::<Int64Array>().unwrap().values()[1..].to_vec()
        };
        assert_eq!(differences("small"), [255, -255]);
        assert_eq!(differences("unsigned"), [-2, i64::from(u32::MAX) - 3]);
        assert_eq!(differences("large"), [-2, 1]);
        let text: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["a"]));
        let words = json!({"key": ["s"], "order_by": "s", "columns": ["s"]});
        assert_eq!(
            codes::<LagDiff>(words, &[("input", Data::of([("s", text)]))]),
            ["wrong-type"]
        );
    }
}
