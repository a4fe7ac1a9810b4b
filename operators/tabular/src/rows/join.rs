//! `Join`: joins another table.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::{DataType, UInt64Type};
use datafusion::dataframe::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rows::per_split::ROW;
use towline_api::{
    Code, DatasetPort, DatasetType, Describe, Form, Inputs, LazyDataset, NodeType, Operator, OperatorError, Port,
    Problem, Purity, Result, Schema, Table, TableContext, TypeContext,
};
use towline_tables::array_function::array_function;
use towline_tables::sql_planning::{duplicates, plan_query, problem, quoted, quoted_list, rowless};

/// Joins the table `right` to the rows of every split of `input`, in the order of `input`. `right` has one split, or
/// the same splits as `input`. Null keys match nothing.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Join {
    /// Join keys: columns of `input` with the names of the columns of `right` that they must equal: `{ item_id: movieId
    /// }`.
    pub on: BTreeMap<String, String>,
    /// Join type. `left`: all rows, with nulls where there is no match. `inner`: rows with a match. `semi`, `anti`:
    /// rows with a match, or without one; no columns are added.
    #[serde(default)]
    pub how: How,
    /// Handling of duplicate keys in `right`: `refuse` (the node fails) or `first` (use the first row in the order of
    /// `right`).
    #[serde(default)]
    pub duplicates: Duplicates,
}

/// Join type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// All rows.
    #[default]
    Left,
    /// Rows with a match.
    Inner,
    /// Rows with a match, without the columns of the other table.
    Semi,
    /// Rows without a match.
    Anti,
}

/// Handling of duplicate keys in the other table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Duplicates {
    /// Fail the node.
    #[default]
    Refuse,
    /// Use the first row.
    First,
}

impl Join {
    fn new_columns<'a>(&'a self, right: &'a Schema) -> Vec<&'a str> {
        if matches!(self.how, How::Semi | How::Anti) {
            return Vec::new();
        }
        right
            .names()
            .filter(|name| !self.on.values().any(|key| key == name))
            .collect()
    }

    fn query(&self, left: &Schema, right: &Schema) -> String {
        let table = |name: &str, columns: Vec<&str>| {
            columns
                .iter()
                .map(|column| format!("{name}.{}", quoted(column)))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let new = self.new_columns(right);
        let mut columns = vec![table("l", left.names().collect())];
        if !new.is_empty() {
            columns.push(table("r", new));
        }
        let equal = self
            .on
            .iter()
            .map(|(l, r)| format!("l.{} = r.{}", quoted(l), quoted(r)));
        let equal = equal.collect::<Vec<_>>().join(" AND ");
        let how = match self.how {
            How::Left => "LEFT JOIN",
            How::Inner => "JOIN",
            How::Semi => "LEFT SEMI JOIN",
            How::Anti => "LEFT ANTI JOIN",
        };
        let numbered = |name: &str| format!("(SELECT *, row_number() OVER () AS {ROW} FROM {name})");
        format!(
            "SELECT {} FROM {} l {how} \"right\" r ON {equal} ORDER BY l.{ROW}",
            columns.join(", "),
            numbered("input")
        )
    }

    /// The other table with unique keys.
    fn unique(&self, right: &Schema) -> String {
        let keys = quoted_list(self.on.values().map(String::as_str));
        format!(
            "SELECT {}, \"__rank\" FROM (SELECT *, row_number() OVER (PARTITION BY {keys} ORDER BY {ROW}) AS \"__rank\" FROM \
             (SELECT *, row_number() OVER () AS {ROW} FROM \"right\"))",
            quoted_list(right.names())
        )
    }
}

const INPUT: DatasetPort = DatasetPort::required("input", "The rows.");
const RIGHT: DatasetPort = DatasetPort::required("right", "The other table.");

impl Describe for Join {
    const NAME: &'static str = "Join";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port(), RIGHT.port()];
    const EXAMPLE: &'static str =
        "op: Join\ninputs: { input: ratings, right: movies }\nwith: { on: { movieId: movieId }, how: left }\n";

    fn check(&self) -> Vec<Problem> {
        if self.on.is_empty() {
            return vec![Problem::new(Code::BadConfig, "`on` is empty").at("on")];
        }
        Vec::new()
    }
}

impl Operator for Join {
    fn output_type(&self, inputs: &Inputs<NodeType>, context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let (left, right) = (INPUT.input_type(inputs)?, RIGHT.input_type(inputs)?);
        let mut problems = crate::rows::per_split::unknown(self.on.keys(), &left.schema, "on");
        problems.extend(crate::rows::per_split::unknown(self.on.values(), &right.schema, "on"));
        if right.splits.len() != 1 && left.splits.iter().any(|split| !right.splits.contains(split)) {
            let message = format!(
                "it has the splits {}, the input has {}",
                right.splits.join(", "),
                left.splits.join(", ")
            );
            problems.push(Problem::new(Code::BadInput, message).at_port("right"));
        }
        let new = self.new_columns(&right.schema);
        problems.extend(
            duplicates(left.schema.names().chain(new.iter().copied()))
                .into_iter()
                .map(|p| p.at_port("right")),
        );
        if !problems.is_empty() {
            return Err(problems);
        }
        let tables = vec![("input", rowless(&left.schema)), ("right", rowless(&right.schema))];
        let frame = plan_query(&context.session, tables, &self.query(&left.schema, &right.schema))
            .map_err(|error| vec![problem(&error, &[&left.schema, &right.schema], "on")])?;
        let both = [left.schema.columns.clone(), right.schema.columns.clone()].concat();
        Ok(NodeType::Dataset(DatasetType {
            schema: Schema { columns: both }.carried_to(frame.schema().as_arrow()),
            splits: left.splits.clone(),
        }))
    }

    fn form(&self) -> Form<'_> {
        Form::Table(self)
    }
}

impl Table for Join {
    fn apply(&self, inputs: &Inputs<LazyDataset>, context: &TableContext) -> Result<Vec<(String, DataFrame)>> {
        let (left, right) = (INPUT.lazy(inputs)?, RIGHT.lazy(inputs)?);
        let query = self.query(&left.schema, &right.schema);
        let joined = |(name, table): &(String, towline_api::LazyTable)| {
            let only = right
                .splits
                .first()
                .filter(|_| right.splits.len() == 1)
                .map(|(_, table)| table);
            let other = only.or_else(|| right.split(name));
            let other = other.ok_or_else(|| OperatorError::invalid(format!("`right` has no split `{name}`")))?;
            let view = vec![("right", other.to_frame()?.into_view())];
            let ranked = plan_query(&context.session, view, &self.unique(&right.schema))?;
            let rank = datafusion::prelude::col("\"__rank\"");
            let keep = match self.duplicates {
                Duplicates::First => rank.eq(datafusion::prelude::lit(1_u64)),
                Duplicates::Refuse => {
                    let keys: Vec<&str> = self.on.values().map(String::as_str).collect();
                    let keys = keys.join("`, `");
                    array_function(
                        format!("only_one({keys})"),
                        DataType::Boolean,
                        false,
                        vec![rank],
                        move |arrays| only_one(&arrays[0], &keys),
                    )
                }
            };
            let once = ranked.filter(keep)?.drop_columns(&["__rank"])?;
            let tables = vec![("input", table.to_frame()?.into_view()), ("right", once.into_view())];
            Ok((name.clone(), plan_query(&context.session, tables, &query)?))
        };
        left.splits.iter().map(joined).collect()
    }
}

/// True for the first row of every key; an error if a key has another row.
fn only_one(ranks: &ArrayRef, keys: &str) -> Result<ArrayRef> {
    if ranks.as_primitive::<UInt64Type>().values().iter().any(|rank| *rank > 1) {
        let message = format!(
            "the table on `right` has a value of `{keys}` more than once: set `duplicates: first`, or make its rows unique with Dedup"
        );
        return Err(OperatorError::invalid(message));
    }
    Ok(Arc::new(BooleanArray::from(vec![true; ranks.len()])))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, codes, run, try_run};
    use towline_api::Tag;

    fn ints(values: &[Option<i64>]) -> ArrayRef {
        Arc::new(Int64Array::from(values.to_vec()))
    }

    fn inputs(ids: &[Option<i64>], names: &[&str]) -> [(&'static str, Data); 2] {
        let names: ArrayRef = Arc::new(StringArray::from(names.to_vec()));
        let left = Data::of([
            ("k", ints(&[Some(3), Some(1), None, Some(2), Some(3)])),
            ("v", ints(&[Some(0), Some(1), Some(2), Some(3), Some(4)])),
        ]);
        [
            ("input", left),
            (
                "right",
                Data::of([("id", ints(ids)), ("name", names)]).tagged("name", &[Tag::Item]),
            ),
        ]
    }

    #[test]
    fn every_kind_keeps_the_order_of_rows() {
        let both = inputs(&[Some(1), Some(3), None], &["one", "three", "none"]);
        let rows = |how: &str| {
            let ran = run::<Join>(json!({"on": {"k": "id"}, "how": how}), &both);
            ran.rows("train")
        };
        assert_eq!(rows("left"), "3 0 three; 1 1 one;  2 ; 2 3 ; 3 4 three");
        assert_eq!(rows("inner"), "3 0 three; 1 1 one; 3 4 three");
        assert_eq!(rows("semi"), "3 0; 1 1; 3 4");
        assert_eq!(rows("anti"), " 2; 2 3");
        let ran = run::<Join>(json!({"on": {"k": "id"}}), &both);
        assert_eq!(ran.tags("name"), [Tag::Item]);
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused_or_the_first_taken() {
        let both = inputs(&[Some(3), Some(3)], &["a", "b"]);
        let error = try_run::<Join>(json!({"on": {"k": "id"}}), &both).err().unwrap();
        assert!(error.contains("more than once"), "{error}");
        let ran = run::<Join>(json!({"on": {"k": "id"}, "how": "inner", "duplicates": "first"}), &both);
        assert_eq!(ran.rows("train"), "3 0 a; 3 4 a");
    }

    #[test]
    fn names_that_would_be_there_twice_and_names_that_are_not() {
        let mut both = inputs(&[Some(1)], &["a"]);
        both[1].1 = Data::of([("id", ints(&[Some(1)])), ("v", ints(&[Some(1)]))]);
        assert_eq!(codes::<Join>(json!({"on": {"k": "id"}}), &both), ["duplicate-column"]);
        assert_eq!(codes::<Join>(json!({"on": {"k": "z"}}), &both)[0], "unknown-column");
    }
}
