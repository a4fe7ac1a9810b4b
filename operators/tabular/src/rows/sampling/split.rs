//! `Split`: train/validation splits.

use std::collections::BTreeMap;

use datafusion::common::Column as ColumnRef;
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, ScalarUDF, lit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::rows::sampling::split_hash::RowPlace;
use towline_api::{
    Code, DEFAULT_SPLIT, DatasetPort, DatasetType, Describe, Form, Inputs, LazyDataset, NodeType, Operator,
    OperatorError, PathSegment, Port, Problem, Purity, Result, Schema, Site, Table, TableContext, TypeContext,
};
use towline_tables::sql_planning::{plan_query, problem, quoted, quoted_list, rowless};

/// The split with the held-out rows.
const VALID: &str = "valid";

/// Divides a dataset with one split into several. Set exactly one of `fraction` (random), `leave_last` and `time`. A
/// row's split depends on its content, not on its position.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Split {
    /// Random split: the fraction of each split, which add up to 1, as in `{ train: 0.8, valid: 0.2 }`. Equal rows are
    /// in the same split.
    #[serde(default)]
    pub fraction: Option<BTreeMap<String, f64>>,
    /// Random seed of `fraction`.
    #[serde(default)]
    pub seed: u64,
    /// With `fraction`: column whose equal values are in the same split, for example `user_id`.
    #[serde(default)]
    pub key: Option<String>,
    /// Leave-last-out split: the last rows of each user go to `valid`, the others to `train`.
    #[serde(default)]
    pub leave_last: Option<LeaveLast>,
    /// Temporal split: rows before a point in time go to `train`, the others to `valid`.
    #[serde(default)]
    pub time: Option<TimeSplit>,
}

/// Holds out the last rows of each key. The output is ordered by key and time.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LeaveLast {
    /// Key column, for example `user_id`.
    pub key: String,
    /// Column that orders the rows of a key, for example `timestamp`; ties are ordered by the other columns. Rows
    /// without a time come first.
    pub order_by: String,
    /// Number of rows to hold out per key; at least one row stays in `train`. Set this or `share`.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub n: Option<u64>,
    /// Fraction of rows to hold out per key, rounded to whole rows; at least one row stays in `train`. Set this or `n`.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: Option<f64>,
    /// Minimum number of rows of a key to hold any out.
    #[serde(default = "two")]
    #[schemars(range(min = 1))]
    pub min_rows: u64,
}

fn two() -> u64 {
    2
}

/// Divides at a point in time.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeSplit {
    /// Time column: a timestamp, a date or a number. Rows without a time go to `train`.
    pub column: String,
    /// The first time of `valid`: a number, or a string such as `2024-05-01T00:00:00`.
    pub at: Value,
}

impl LeaveLast {
    /// The queries for `train` and `valid`.
    fn queries(&self, schema: &Schema) -> [String; 2] {
        let all = quoted_list(schema.names());
        let key = quoted(&self.key);
        let others = schema
            .names()
            .filter(|name| *name != self.key && *name != self.order_by);
        let order: Vec<String> = std::iter::once(self.order_by.as_str())
            .chain(others)
            .map(quoted)
            .collect();
        let order = order.join(" DESC NULLS LAST, ");
        let last = match (self.n, self.share) {
            (Some(n), _) => n.to_string(),
            (None, share) => format!("round({:?} * \"__rows\")", share.unwrap_or(0.0)),
        };
        let aside = format!(
            "(\"__rows\" >= {} AND \"__rank\" < \"__rows\" AND \"__rank\" <= {last})",
            self.min_rows
        );
        let select = |condition: String| {
            format!(
                "SELECT {all} FROM (SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY {order} DESC NULLS LAST) AS \
                 \"__rank\", count(*) OVER (PARTITION BY {key}) AS \"__rows\" FROM input) WHERE {condition} ORDER BY \
                 {key}, \"__rank\" DESC"
            )
        };
        [select(format!("NOT {aside}")), select(aside)]
    }
}

impl TimeSplit {
    fn queries(&self, schema: &Schema) -> [String; 2] {
        let at = match &self.at {
            Value::String(text) => format!("'{}'", text.replace('\'', "''")),
            other => other.to_string(),
        };
        let (all, column) = (quoted_list(schema.names()), quoted(&self.column));
        [
            format!("SELECT {all} FROM input WHERE {column} < {at} OR {column} IS NULL"),
            format!("SELECT {all} FROM input WHERE {column} >= {at}"),
        ]
    }
}

impl Split {
    /// The hash range of each split: `train` first, the others by name.
    fn ranges(fraction: &BTreeMap<String, f64>) -> Vec<(&str, f64, f64)> {
        let train = fraction.iter().filter(|(name, _)| *name == DEFAULT_SPLIT);
        let others = fraction.iter().filter(|(name, _)| *name != DEFAULT_SPLIT);
        let mut start = 0.0;
        let mut ranges: Vec<(&str, f64, f64)> = train
            .chain(others)
            .map(|(name, share)| {
                let from = start;
                start += share;
                (name.as_str(), from, start)
            })
            .collect();
        // Rounding must not exclude a row at the end of the range.
        if let Some(last) = ranges.last_mut() {
            last.2 = 1.0;
        }
        ranges
    }

    fn queries(&self, schema: &Schema) -> Option<[String; 2]> {
        match (&self.leave_last, &self.time) {
            (Some(leave_last), _) => Some(leave_last.queries(schema)),
            (None, Some(time)) => Some(time.queries(schema)),
            (None, None) => None,
        }
    }

    fn by_chance(
        &self,
        fraction: &BTreeMap<String, f64>,
        schema: &Schema,
        frame: &DataFrame,
    ) -> Result<Vec<(String, DataFrame)>> {
        let names: Vec<&str> = match &self.key {
            Some(key) => vec![key.as_str()],
            None => schema.names().collect(),
        };
        let columns = names
            .into_iter()
            .map(|name| Expr::Column(ColumnRef::new_unqualified(name)))
            .collect();
        let place = ScalarUDF::new_from_impl(RowPlace::new(self.seed)).call(columns);
        Split::ranges(fraction)
            .into_iter()
            .map(|(name, from, to)| {
                let inside = place.clone().gt_eq(lit(from)).and(place.clone().lt(lit(to)));
                Ok((name.to_owned(), frame.clone().filter(inside)?))
            })
            .collect()
    }

    /// The names of the output splits, or all problems.
    pub(crate) fn names_of_splits(&self, schema: &Schema, context: &TypeContext) -> Result<Vec<String>, Vec<Problem>> {
        let mut named: Vec<(&String, Vec<&str>)> = self.key.iter().map(|key| (key, vec!["key"])).collect();
        if let Some(leave_last) = &self.leave_last {
            named.push((&leave_last.key, vec!["leave_last", "key"]));
            named.push((&leave_last.order_by, vec!["leave_last", "order_by"]));
        }
        named.extend(self.time.iter().map(|time| (&time.column, vec!["time", "column"])));
        let unknown = named.into_iter().filter(|(name, _)| schema.get(name).is_none());
        let problems: Vec<Problem> = unknown
            .map(|(name, path)| Problem {
                site: Site::Config(path.into_iter().map(|key| PathSegment::Key(key.to_owned())).collect()),
                ..Problem::unknown_column(name, schema)
            })
            .collect();
        if !problems.is_empty() {
            return Err(problems);
        }
        for query in self.queries(schema).into_iter().flatten() {
            let key = if self.time.is_some() { "time" } else { "leave_last" };
            plan_query(&context.session, vec![("input", rowless(schema))], &query)
                .map_err(|error| vec![problem(&error, &[schema], key)])?;
        }
        Ok(match &self.fraction {
            Some(fraction) => Split::ranges(fraction)
                .into_iter()
                .map(|(name, ..)| name.to_owned())
                .collect(),
            None => vec![DEFAULT_SPLIT.to_owned(), VALID.to_owned()],
        })
    }

    /// Divides the rows.
    pub(crate) fn divide(
        &self,
        schema: &Schema,
        frame: &DataFrame,
        context: &TableContext,
    ) -> Result<Vec<(String, DataFrame)>> {
        if let Some(fraction) = &self.fraction {
            return self.by_chance(fraction, schema, frame);
        }
        let queries = self.queries(schema).into_iter().flatten();
        [DEFAULT_SPLIT, VALID]
            .into_iter()
            .zip(queries)
            .map(|(name, query)| {
                let frame = plan_query(&context.session, vec![("input", frame.clone().into_view())], &query)?;
                Ok((name.to_owned(), frame))
            })
            .collect()
    }
}

const INPUT: DatasetPort = DatasetPort::required("input", "The rows to divide; one split.");

impl Describe for Split {
    const NAME: &'static str = "Split";
    const CODE_VERSION: u32 = 2;
    const PURITY: Purity = Purity::Seeded;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str =
        "op: Split\ninput: ratings\nwith:\n  leave_last: { key: userId, order_by: timestamp, n: 2, min_rows: 5 }\n";

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let given = [self.fraction.is_some(), self.leave_last.is_some(), self.time.is_some()];
        if given.into_iter().filter(|given| *given).count() != 1 {
            let message = "set exactly one of `fraction`, `leave_last` and `time`";
            problems.push(Problem::new(Code::Conflict, message));
        }
        if let Some(fraction) = &self.fraction {
            let sum: f64 = fraction.values().sum();
            if (sum - 1.0).abs() > 1e-6 || fraction.values().any(|share| *share <= 0.0) {
                let message = format!("the fractions must be positive and add up to 1, not {sum}");
                problems.push(Problem::new(Code::OutOfRange, message).at("fraction"));
            }
        } else if self.key.is_some() || self.seed != 0 {
            let key = if self.key.is_some() { "key" } else { "seed" };
            problems.push(Problem::new(Code::Conflict, format!("`{key}` needs `fraction`")).at(key));
        }
        if let Some(leave_last) = &self.leave_last
            && leave_last.n.is_some() == leave_last.share.is_some()
        {
            problems.push(Problem::new(Code::Conflict, "set exactly one of `n` and `share`").at("leave_last"));
        }
        if let Some(time) = &self.time
            && !(time.at.is_string() || time.at.is_number())
        {
            problems.push(Problem::new(Code::WrongType, "`at` must be a number or a text").at("time"));
        }
        problems
    }
}

impl Operator for Split {
    fn output_type(&self, inputs: &Inputs<NodeType>, context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        let splits = self.names_of_splits(&input.schema, context);
        if input.splits.len() != 1 {
            let message = format!("the input already has several splits: {}", input.splits.join(", "));
            let already = Problem::new(Code::BadInput, message).at_port("input");
            return Err(std::iter::once(already)
                .chain(splits.err().unwrap_or_default())
                .collect());
        }
        Ok(NodeType::Dataset(DatasetType {
            schema: input.schema.clone(),
            splits: splits?,
        }))
    }

    fn form(&self) -> Form<'_> {
        Form::Table(self)
    }
}

impl Table for Split {
    fn apply(&self, inputs: &Inputs<LazyDataset>, context: &TableContext) -> Result<Vec<(String, DataFrame)>> {
        let input = INPUT.lazy(inputs)?;
        let Some((_, table)) = input.splits.first() else {
            return Err(OperatorError::internal("the input has no splits"));
        };
        self.divide(&input.schema, &table.to_frame()?, context)
    }
}
