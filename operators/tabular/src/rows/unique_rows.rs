//! `UniqueRows`: distinct users or items.

use datafusion::dataframe::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rows::per_split::unknown_split;
use towline_api::{
    Code, Column, DEFAULT_SPLIT, DatasetPort, DatasetType, Describe, Form, Inputs, LazyDataset, NodeType, Operator,
    OperatorError, Port, Problem, Purity, Result, Schema, Table, TableContext, Tag, TypeContext, default_split,
};
use towline_tables::sql_planning::{plan_query, problem, quoted, quoted_list, rowless};

/// User or item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Users.
    User,
    /// Items.
    Item,
}

/// The distinct users or items of interactions: one row per id with its features, ordered by id.
///
/// If rows of one id differ, the latest by `order_by` is used; ties, and all rows without `order_by`, are resolved by
/// the smallest values, so the result does not depend on the row order. Rows with a null id are dropped.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UniqueRows {
    /// `user` or `item`: the id is the column with this tag and `id`; the features are the other columns with this tag.
    pub by: Side,
    /// Column that orders the rows of an id by time, for example `timestamp`.
    #[serde(default)]
    pub order_by: Option<String>,
    /// The input split. The output has one split, `train`.
    #[serde(default = "default_split")]
    pub split: String,
}

impl UniqueRows {
    fn tag(&self) -> Tag {
        match self.by {
            Side::User => Tag::User,
            Side::Item => Tag::Item,
        }
    }

    fn id<'a>(&self, schema: &'a Schema) -> Result<&'a Column, Problem> {
        let tag = self.tag();
        let mut ids = schema.columns.iter().filter(|column| column.has(&[tag, Tag::Id]));
        match (ids.next(), ids.next()) {
            (Some(id), None) => Ok(id),
            (None, _) => Err(
                Problem::new(Code::BadInput, format!("no column is tagged {tag} and id"))
                    .at_port("input")
                    .help(format!(
                        "tag one with TagAs{}ID",
                        if self.by == Side::User { "User" } else { "Item" }
                    )),
            ),
            (Some(a), Some(b)) => Err(Problem::new(
                Code::BadInput,
                format!("`{}` and `{}` are both tagged {tag} and id", a.name, b.name),
            )
            .at_port("input")),
        }
    }

    fn query(&self, schema: &Schema) -> Result<String, Problem> {
        let id = self.id(schema)?;
        let tags = [self.tag()];
        let columns: Vec<&str> = schema.tagged(&tags).map(|column| column.name.as_str()).collect();
        let all = quoted_list(columns.iter().copied());
        let id_name = quoted(&id.name);
        let mut order: Vec<String> = columns
            .iter()
            .filter(|name| **name != id.name)
            .map(|name| quoted(name))
            .collect();
        let mut latest = String::new();
        if let Some(by) = &self.order_by {
            latest = format!(", max({}) AS \"__latest\"", quoted(by));
            order.insert(0, "\"__latest\" DESC NULLS LAST".to_owned());
        }
        let order = if order.is_empty() {
            String::new()
        } else {
            format!("ORDER BY {}", order.join(", "))
        };
        Ok(format!(
            "SELECT {all} FROM (SELECT *, row_number() OVER (PARTITION BY {id_name} {order}) AS \"__rank\" FROM (SELECT \
             {all}{latest} FROM input WHERE {id_name} IS NOT NULL GROUP BY {all})) WHERE \"__rank\" = 1 ORDER BY {id_name}"
        ))
    }
}

const INPUT: DatasetPort = DatasetPort::required("input", "Interactions with tagged columns.");

impl Describe for UniqueRows {
    const NAME: &'static str = "UniqueRows";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: UniqueRows\ninput: features\nwith: { by: item }\n";
}

impl Operator for UniqueRows {
    fn output_type(&self, inputs: &Inputs<NodeType>, context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        let unknown = unknown_split(&self.split, &input.splits, "split");
        let mut problems: Vec<Problem> = unknown.into_iter().collect();
        if let Some(name) = self.order_by.as_ref().filter(|name| input.schema.get(name).is_none()) {
            problems.push(Problem::unknown_column(name, &input.schema).at("order_by"));
        }
        let query = self.query(&input.schema);
        if let Err(problem) = &query {
            problems.push(problem.clone());
        }
        let (Ok(query), true) = (query, problems.is_empty()) else {
            return Err(problems);
        };
        let frame = plan_query(&context.session, vec![("input", rowless(&input.schema))], &query)
            .map_err(|error| vec![problem(&error, &[&input.schema], "order_by")])?;
        let schema = input.schema.carried_to(frame.schema().as_arrow());
        Ok(NodeType::Dataset(DatasetType {
            schema,
            splits: vec![DEFAULT_SPLIT.to_owned()],
        }))
    }

    fn form(&self) -> Form<'_> {
        Form::Table(self)
    }
}

impl Table for UniqueRows {
    fn apply(&self, inputs: &Inputs<LazyDataset>, context: &TableContext) -> Result<Vec<(String, DataFrame)>> {
        let input = INPUT.lazy(inputs)?;
        let table = input
            .split(&self.split)
            .ok_or_else(|| OperatorError::internal(format!("there is no split `{}`", self.split)))?;
        let query = self
            .query(&input.schema)
            .map_err(|problem| OperatorError::invalid(problem.message))?;
        let frame = plan_query(&context.session, vec![("input", table.to_frame()?.into_view())], &query)?;
        Ok(vec![(DEFAULT_SPLIT.to_owned(), frame)])
    }
}
