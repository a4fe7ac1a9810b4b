//! `Session`: sessionization.

use datafusion::dataframe::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rows::difference::difference;
use crate::rows::per_split::{ROW, numbered, query_splits, query_type, unknown};
use towline_api::{
    Code, DatasetPort, Describe, Form, Inputs, LazyDataset, NodeType, Operator, Port, Problem, Purity, Result, Schema,
    Table, TableContext, Tag, TypeContext,
};
use towline_tables::sql_planning::{quoted, quoted_list};

/// Sessionization: adds a column that numbers the sessions of each key. A new session starts when the time between two
/// consecutive rows of a key exceeds `gap`. Numbers start at 1, ordered by key and time, and are unique within a split;
/// the column is `Int64`, tagged `session`. Rows without a time belong to the last session of their key. Other columns
/// and the row order are kept.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// Key column, for example `user_id`.
    pub key: String,
    /// Time column: a timestamp or a number.
    pub order_by: String,
    /// Maximum time between two rows of a session: in the unit of `order_by` if that is numeric, else in seconds
    /// (`1800` for half an hour).
    #[schemars(range(min = 0.0))]
    pub gap: f64,
    /// Name of the output column.
    #[serde(default = "session_id")]
    pub name: String,
}

fn session_id() -> String {
    "session_id".to_owned()
}

impl Session {
    fn query(&self, schema: &Schema) -> String {
        let (key, time, name) = (quoted(&self.key), quoted(&self.order_by), quoted(&self.name));
        let found = schema.get(&self.order_by).map(|column| &column.data_type);
        let numbers = found.filter(|data_type| data_type.is_numeric());
        let gap = self.gap;
        let pause = |earlier: &str| {
            if let Some(numbers) = numbers {
                format!("{} > {gap:?}", difference(numbers, &time, earlier))
            } else {
                let micros = |column: &str| format!("CAST(CAST({column} AS TIMESTAMP(6)) AS BIGINT)");
                format!("{} - {} > {:?}", micros(&time), micros(earlier), gap * 1e6)
            }
        };
        let order = format!("ORDER BY {time}, {ROW}");
        let all = quoted_list(schema.names());
        format!(
            "SELECT {all}, {name} FROM (SELECT *, sum(\"__new\") OVER (ORDER BY {key}, {time}, {ROW} ROWS BETWEEN UNBOUNDED \
             PRECEDING AND CURRENT ROW) AS {name} FROM (SELECT *, CASE WHEN \"__first\" = 1 OR {} THEN 1 ELSE 0 END AS \
             \"__new\" FROM (SELECT *, lag({time}) OVER (PARTITION BY {key} {order}) AS \"__before\", row_number() OVER \
             (PARTITION BY {key} {order}) AS \"__first\" FROM {}))) ORDER BY {ROW}",
            pause("\"__before\""),
            numbered()
        )
    }
}

const INPUT: DatasetPort = DatasetPort::required("input", "The rows, in any order.");

impl Describe for Session {
    const NAME: &'static str = "Session";
    const CODE_VERSION: u32 = 2;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str =
        "op: Session\ninput: clicks\nwith: { key: user_id, order_by: timestamp, gap: 1800 }\n";
}

impl Operator for Session {
    fn output_type(&self, inputs: &Inputs<NodeType>, context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let schema = &INPUT.input_type(inputs)?.schema;
        let mut problems = unknown([&self.key], schema, "key");
        problems.extend(unknown([&self.order_by], schema, "order_by"));
        if schema.get(&self.name).is_some() {
            let message = format!("the column `{}` already exists", self.name);
            problems.push(Problem::new(Code::DuplicateColumn, message).at("name"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        let mut output = query_type(INPUT, inputs, context, "order_by", |schema| self.query(schema))?;
        if let Some(column) = output.schema.columns.last_mut() {
            column.tags.insert(Tag::Session);
        }
        Ok(NodeType::Dataset(output))
    }

    fn form(&self) -> Form<'_> {
        Form::Table(self)
    }
}

impl Table for Session {
    fn apply(&self, inputs: &Inputs<LazyDataset>, context: &TableContext) -> Result<Vec<(String, DataFrame)>> {
        query_splits(INPUT, inputs, context, |schema| self.query(schema))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, TimestampSecondArray};
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, codes, run};

    #[test]
    fn a_pause_longer_than_the_gap_begins_a_session() {
        let ints = |values: &[i64]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        let (users, times) = ([2, 1, 1, 2, 1], [100, 50, 10, 131, 20]);
        let data = Data::of([("u", ints(&users)), ("t", ints(&times))]);
        let config = json!({"key": "u", "order_by": "t", "gap": 30});
        let ran = run::<Session>(config.clone(), &[("input", data.clone())]);
        assert_eq!(ran.rows("train"), "2 100 2; 1 50 1; 1 10 1; 2 131 3; 1 20 1");
        assert_eq!(ran.tags("session_id"), [Tag::Session]);
        let seconds: ArrayRef = Arc::new(TimestampSecondArray::from(times.to_vec()));
        let ran = run::<Session>(config, &[("input", Data::of([("u", ints(&users)), ("t", seconds)]))]);
        assert_eq!(
            ran.column("session_id").as_ref(),
            &Int64Array::from(vec![2, 1, 1, 3, 1])
        );
        let small: ArrayRef = Arc::new(arrow::array::Int8Array::from(vec![-128, 127]));
        let data_of_small = Data::of([("u", ints(&[1, 1])), ("t", small)]);
        let ran = run::<Session>(
            json!({"key": "u", "order_by": "t", "gap": 200}),
            &[("input", data_of_small)],
        );
        assert_eq!(
            ran.rows("train"),
            "1 -128 1; 1 127 2",
            "a pause of 255 has no place in eight bits"
        );
        let taken = json!({"key": "u", "order_by": "t", "gap": 30, "name": "u"});
        assert_eq!(codes::<Session>(taken, &[("input", data)]), ["duplicate-column"]);
    }
}
