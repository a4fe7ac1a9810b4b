//! `History`: lists of earlier values.

use datafusion::dataframe::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rows::per_split::{ROW, TABLE, numbered, unknown, unknown_split};
use towline_api::{
    Code, DatasetPort, DatasetType, Describe, Form, Inputs, LazyDataset, NodeType, Operator, OperatorError, Port,
    Problem, Purity, Result, Schema, Table, TableContext, TypeContext, default_split,
};
use towline_tables::sql_planning::{duplicates, plan_query, problem, quoted, quoted_list, rowless};

/// Adds interaction histories: for each row, the last values of a column with the same key as a list, oldest first, for
/// example a user's last ten items. Each list length adds a column `<column>_last_<n>`.
///
/// Histories are built from rows of `fit_on` that come strictly before the row in the order of `order_by`, so neither
/// the row itself nor later or held-out rows leak into them. At equal times rows of `fit_on` are in row order and come
/// before those of other splits; rows without a time come last. Without earlier rows, or with a null key, lists are
/// empty.
///
/// `next` adds a split with the last row of each key over all splits and the full history up to now. It is meant as
/// `queries` of `TopKEncode` (`split: next`), while training and evaluation use histories as of each row. Other columns
/// and the row order are kept.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// Key column, for example `user_id`.
    pub key: String,
    /// Column that orders the rows of a key, for example `timestamp`.
    pub order_by: String,
    /// Columns to collect, for example `[item_id]`.
    pub columns: Vec<String>,
    /// Maximum list lengths; each adds a list column, for example `[2, 10]`.
    pub last: Vec<u32>,
    /// The split that histories are built from.
    #[serde(default = "default_split")]
    pub fit_on: String,
    /// Name of an additional split with one row per key, for example `next`.
    #[serde(default)]
    pub next: Option<String>,
}

/// Table name of the rows of `fit_on` in a query on another split.
const KNOWN: &str = "known";
/// Column with the index of a row's table, which breaks ties in time.
const PART: &str = "\"__part\"";

/// Selects the rows of a table with row number and table index.
fn part(number: usize, table: &str) -> String {
    format!("SELECT *, {number} AS {PART}, row_number() OVER () AS {ROW} FROM {table}")
}

impl History {
    /// Output lists: name, column, length.
    fn outputs(&self) -> impl Iterator<Item = (String, &String, u32)> {
        let pairs = self
            .columns
            .iter()
            .flat_map(|column| self.last.iter().map(move |last| (column, *last)));
        pairs.map(|(column, last)| (format!("{column}_last_{last}"), column, last))
    }

    /// The same with quoted names and columns.
    fn quoted_outputs(&self) -> impl Iterator<Item = (String, String, u32)> {
        self.outputs()
            .map(|(name, column, last)| (quoted(&name), quoted(column), last))
    }

    /// The lists as query columns; `list` builds the expression for a column and a length. An empty list is a slice of
    /// the column, because `make_array()` has no type.
    fn lists(&self, list: impl Fn(&str, &str, u32) -> String) -> String {
        let key = quoted(&self.key);
        let known = |(name, column, last): (String, String, u32)| {
            let list = list(&name, &column, last);
            format!(
                "coalesce(CASE WHEN {key} IS NOT NULL THEN {list} END, array_pop_back(make_array({column}))) AS {name}"
            )
        };
        self.quoted_outputs().map(known).collect::<Vec<_>>().join(", ")
    }

    /// The query over `fit_on`: each row sees the rows before it.
    fn own(&self, schema: &Schema) -> String {
        let (key, time) = (quoted(&self.key), quoted(&self.order_by));
        let lists = self.lists(|_, column, last| {
            format!(
                "array_agg({column}) OVER (PARTITION BY {key} ORDER BY {time}, {ROW} ROWS BETWEEN {last} PRECEDING AND 1 \
                 PRECEDING)"
            )
        });
        let all = quoted_list(schema.names());
        let names = self.names();
        format!(
            "SELECT {all}, {names} FROM (SELECT {all}, {ROW}, {lists} FROM {}) ORDER BY {ROW}",
            numbered()
        )
    }

    fn names(&self) -> String {
        self.quoted_outputs()
            .map(|(name, ..)| name)
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The rows with the lists that end with each row, in columns named like the lists.
    fn trails(&self, rows: &str) -> String {
        let (key, time) = (quoted(&self.key), quoted(&self.order_by));
        let trail = |(name, column, last): (String, String, u32)| {
            let before = last - 1;
            format!(
                "array_agg({column}) OVER (PARTITION BY {key} ORDER BY {time}, {PART}, {ROW} ROWS BETWEEN {before} PRECEDING \
                 AND CURRENT ROW) AS {name}"
            )
        };
        let trails: Vec<String> = self.quoted_outputs().map(trail).collect();
        format!("SELECT *, {} FROM ({rows})", trails.join(", "))
    }

    /// The query over another split: each row takes the list of the last `fit_on` row before it.
    fn other(&self, schema: &Schema) -> String {
        let (key, time) = (quoted(&self.key), quoted(&self.order_by));
        let all = quoted_list(schema.names());
        let names = self.names();
        let nothing: Vec<String> = self
            .quoted_outputs()
            .map(|(name, ..)| format!("NULL AS {name}"))
            .collect();
        let lists = self.lists(|name, _, _| {
            format!(
                "last_value({name}) IGNORE NULLS OVER (PARTITION BY {key} ORDER BY {time}, {PART}, {ROW} ROWS BETWEEN \
                 UNBOUNDED PRECEDING AND 1 PRECEDING)"
            )
        });
        format!(
            "WITH both AS (SELECT {all}, {ROW}, {PART}, {names} FROM ({}) UNION ALL SELECT {all}, {ROW}, {PART}, {} FROM \
             ({})) SELECT {all}, {names} FROM (SELECT {all}, {ROW}, {PART}, {lists} FROM both) WHERE {PART} = 1 ORDER BY {ROW}",
            self.trails(&part(0, KNOWN)),
            nothing.join(", "),
            part(1, TABLE)
        )
    }

    /// The query for the last row of each key over these tables.
    fn latest(&self, schema: &Schema, tables: &[String]) -> String {
        let (key, time) = (quoted(&self.key), quoted(&self.order_by));
        let (all, names) = (quoted_list(schema.names()), self.names());
        let rows: Vec<String> = tables
            .iter()
            .enumerate()
            .map(|(number, name)| part(number, name))
            .collect();
        format!(
            "SELECT {all}, {names} FROM (SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY {time} DESC NULLS FIRST, \
             {PART} DESC, {ROW} DESC) AS \"__rank\" FROM ({})) WHERE \"__rank\" = 1 AND {key} IS NOT NULL ORDER BY {key}",
            self.trails(&rows.join(" UNION ALL "))
        )
    }

    fn problems(&self, input: &DatasetType) -> Vec<Problem> {
        let mut problems = unknown([&self.key], &input.schema, "key");
        problems.extend(unknown([&self.order_by], &input.schema, "order_by"));
        problems.extend(unknown(&self.columns, &input.schema, "columns"));
        let outputs: Vec<String> = self.outputs().map(|(name, ..)| name).collect();
        let all = input.schema.names().chain(outputs.iter().map(String::as_str));
        problems.extend(duplicates(all).into_iter().map(|problem| problem.at("last")));
        problems.extend(unknown_split(&self.fit_on, &input.splits, "fit_on"));
        if let Some(next) = self.next.as_ref().filter(|next| input.splits.contains(*next)) {
            let message = format!("the split `{next}` already exists");
            problems.push(Problem::new(Code::Conflict, message).at("next"));
        }
        problems
    }
}

const INPUT: DatasetPort = DatasetPort::required("input", "Rows with a key and a time, split already.");

impl Describe for History {
    const NAME: &'static str = "History";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: History\ninput: split\nwith: { key: user_id, order_by: timestamp, columns: [item_id], last: [2, 10], next: next }\n";

    fn check(&self) -> Vec<Problem> {
        let empty = [("columns", self.columns.is_empty()), ("last", self.last.is_empty())];
        let empty = empty.into_iter().filter(|(_, empty)| *empty);
        let mut problems: Vec<Problem> = empty
            .map(|(key, _)| Problem::new(Code::BadConfig, format!("`{key}` is empty")).at(key))
            .collect();
        if self.last.contains(&0) {
            problems.push(Problem::new(Code::OutOfRange, "a list length must be at least 1").at("last"));
        }
        problems
    }
}

impl Operator for History {
    fn output_type(&self, inputs: &Inputs<NodeType>, context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        let problems = self.problems(input);
        if !problems.is_empty() {
            return Err(problems);
        }
        let table = |name| (name, rowless(&input.schema));
        let query = self.own(&input.schema);
        let frame = plan_query(&context.session, vec![table(TABLE)], &query)
            .map_err(|error| vec![problem(&error, &[&input.schema], "columns")])?;
        Ok(NodeType::Dataset(DatasetType {
            schema: input.schema.carried_to(frame.schema().as_arrow()),
            splits: input.splits.iter().chain(&self.next).cloned().collect(),
        }))
    }

    fn form(&self) -> Form<'_> {
        Form::Table(self)
    }
}

impl Table for History {
    fn apply(&self, inputs: &Inputs<LazyDataset>, context: &TableContext) -> Result<Vec<(String, DataFrame)>> {
        let input = INPUT.lazy(inputs)?;
        let view = |name: &str| {
            let split = input.splits.iter().find(|(split, _)| split == name);
            let (_, table) = split.ok_or_else(|| OperatorError::internal(format!("there is no split `{name}`")))?;
            Ok::<_, OperatorError>(table.to_frame()?.into_view())
        };
        let mut frames = Vec::new();
        for (name, _) in &input.splits {
            let mut tables = vec![(TABLE, view(name)?)];
            let query = if *name == self.fit_on {
                self.own(&input.schema)
            } else {
                tables.push((KNOWN, view(&self.fit_on)?));
                self.other(&input.schema)
            };
            frames.push((name.clone(), plan_query(&context.session, tables, &query)?));
        }
        if let Some(next) = &self.next {
            let names: Vec<String> = (0..input.splits.len())
                .map(|number| format!("split_{number}"))
                .collect();
            let views = input.splits.iter().map(|(split, _)| view(split));
            let views = views.collect::<Result<Vec<_>>>()?;
            let tables = names.iter().map(String::as_str).zip(views).collect();
            let query = self.latest(&input.schema, &names);
            frames.push((next.clone(), plan_query(&context.session, tables, &query)?));
        }
        Ok(frames)
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
