//! `TopKEncode`: exact top-k retrieval.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::id_mapping::original_type;
use crate::data::tower_columns::mismatches;
use crate::model::distinct_users::unknown_split;
use crate::model::id_reader::id_problem;
use crate::model::retrieval_type::RetrievalType;
use crate::retrieve::cold_start::{ColdStart, segment_problem};
use crate::retrieve::item_filter::{EXCLUDE, ITEMS, ItemRules, ONLY};
use crate::retrieve::target_users::{UserId, mismatched};
use towline_api::{
    Code, Column, DEFAULT_SPLIT, DatasetPort, DatasetType, Describe, Form, Inputs, ModelPort, NodeType, Operator,
    Optional, Port, Problem, Purity, Result, Schema, Tag, TypeContext, byte_size,
};

/// Retrieves the `k` highest-scoring items for every user by exact search over the model's full catalogue.
///
/// One output row per user, ordered by user id: the original id, `recommendations` (original item ids, best first) and
/// `scores`. Ties go to the smaller item id. Users with a null or out-of-vocabulary id are skipped and counted; lists
/// shorter than `k`, because no more items are eligible, are counted.
///
/// Lists are identical on every processor: vector instructions only propose candidates, and a scalar product with a
/// fixed order of additions decides.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopKEncode {
    /// Number of items per user; fewer if no more are eligible.
    #[serde(default = "default_k")]
    #[schemars(range(min = 1))]
    pub k: usize,
    /// Whether to exclude the items that a user has already interacted with, in `seen` or else in `queries`.
    #[serde(default)]
    pub exclude_seen: bool,
    /// The split of `queries` with the users to serve; all splits by default. Features are taken from a user's last
    /// row.
    #[serde(default)]
    pub split: Option<String>,
    /// User ids (original) to serve; all users by default. Unknown users are counted, or get the list of `cold_start`.
    #[serde(default)]
    pub users: Option<Vec<UserId>>,
    /// SQL predicate of items to exclude, for example `stock = 0`. Columns are those of `items`, or else the original
    /// values of the model's own item columns.
    #[serde(default)]
    pub exclude: Option<String>,
    /// SQL predicate of items to recommend, for example `price <= 20`. Columns as for `exclude`.
    #[serde(default)]
    pub only: Option<String>,
    /// Maximum number of items in a list with the same value of a column: `{ brand: 2 }`. The best are kept; items with
    /// a null value are not limited. Columns as for `exclude`.
    #[serde(default)]
    pub max_per: BTreeMap<String, usize>,
    /// List for users without history: `overall`, the most popular items, or `{ segment: COLUMN }`, the most popular
    /// items of the user's segment. Users without history are unknown users and, if `seen` is connected, users without
    /// a row there. The segment column is read from `users` (else `queries`) and from `seen` (else `queries`). Scores
    /// are relative frequencies.
    #[serde(default)]
    pub cold_start: Option<ColdStart>,
    /// Memory limit for items, users and lists, for example `512MB`. It does not change the result; the node fails if
    /// it is too small.
    #[serde(default)]
    #[schemars(transform = towline_api::cache_ignored)]
    pub memory_limit: Option<String>,
}

/// Metric names.
pub(crate) const METRICS: [&str; 5] = [
    "users",
    "rows_without_known_user",
    "short_lists",
    "cold_start_users",
    "unknown_users",
];

fn default_k() -> usize {
    10
}

pub(crate) const MODEL: ModelPort = ModelPort::required("model", "The model that scores.");
pub(crate) const QUERIES: DatasetPort =
    DatasetPort::required("queries", "The users, with the columns of the model's query side.");
pub(crate) const SEEN: DatasetPort<Optional> = DatasetPort::optional(
    "seen",
    "Pairs of user and item not to recommend again, by encoded or original ids; `queries` itself by default.",
);
pub(crate) const USERS: DatasetPort<Optional> = DatasetPort::optional(
    "users",
    "Serve the users of this table alone, by encoded or original ids; their features come from `queries`.",
);

impl Describe for TopKEncode {
    const NAME: &'static str = "TopKEncode";
    const CODE_VERSION: u32 = 2;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[
        MODEL.port(),
        QUERIES.port(),
        SEEN.port(),
        USERS.port(),
        ITEMS.port(),
        EXCLUDE.port(),
        ONLY.port(),
    ];
    const EXAMPLE: &'static str = "op: TopKEncode\ninputs: { model: model, queries: features }\nwith: { k: 20, exclude_seen: true, max_per: { item_brand: 3 } }\n";

    fn check(&self) -> Vec<Problem> {
        byte_size::problem(self.memory_limit.as_deref(), "memory_limit")
            .into_iter()
            .collect()
    }
}

impl TopKEncode {
    /// `memory_limit` in bytes.
    pub(crate) fn limit(&self) -> Option<usize> {
        self.memory_limit.as_deref().and_then(byte_size::byte_size)
    }

    pub(crate) fn rules(&self) -> ItemRules<'_> {
        ItemRules {
            exclude: self.exclude.as_deref(),
            only: self.only.as_deref(),
            max_per: &self.max_per,
        }
    }

    /// Problems with the parameters and ports that select users.
    fn user_problems(&self, inputs: &Inputs<NodeType>, model: &RetrievalType) -> Result<Vec<Problem>, Vec<Problem>> {
        let queries = QUERIES.input_type(inputs)?;
        let mut problems: Vec<Problem> = unknown_split(self.split.as_deref(), &queries.splits, "split")
            .into_iter()
            .collect();
        if let Some(users) = USERS.input_type(inputs)? {
            problems.extend(id_problem(model.user_column(), &users.schema, USERS.name()));
            if self.users.is_some() {
                let message = "`users` is set and a table of users is connected";
                problems.push(
                    Problem::new(Code::Conflict, message)
                        .at("users")
                        .help("use one of the two"),
                );
            }
        }
        if let Some(users) = &self.users {
            problems.extend(mismatched(users, &original_type(model.user_column())));
        }
        let (history, seen) = match SEEN.input_type(inputs)? {
            Some(history) => (history, SEEN.name()),
            None => (queries, QUERIES.name()),
        };
        if self.exclude_seen || seen == SEEN.name() {
            for id in [model.user_column(), model.item_column()] {
                problems.extend(id_problem(id, &history.schema, seen));
            }
        }
        if let Some(ColdStart::Segment(column)) = &self.cold_start {
            let (users, of_users) = match USERS.input_type(inputs)? {
                Some(users) => (users, USERS.name()),
                None => (queries, QUERIES.name()),
            };
            problems.extend(segment_problem(column, &users.schema, of_users));
            if seen != of_users {
                problems.extend(segment_problem(column, &history.schema, seen));
            }
            if seen == QUERIES.name() && !self.exclude_seen {
                problems.extend(id_problem(model.item_column(), &history.schema, seen));
            }
        }
        Ok(problems)
    }
}

impl Operator for TopKEncode {
    fn output_type(&self, inputs: &Inputs<NodeType>, context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let model = &RetrievalType::at(MODEL, inputs)?;
        let queries = QUERIES.input_type(inputs)?;
        let wanted: Vec<&Column> = model.query.columns.iter().collect();
        let mut problems = mismatches(&wanted, &queries.schema, QUERIES.name());
        problems.extend(self.user_problems(inputs, model)?);
        problems.extend(self.rules().problems(inputs, model, &context.session)?);
        problems.extend(beyond_catalogue(self.k as u64, model.item_column()));
        let mut once: Vec<Problem> = Vec::new();
        for problem in problems {
            if !once.contains(&problem) {
                once.push(problem);
            }
        }
        if once.is_empty() {
            let [user, item] = [model.user_column(), model.item_column()].map(original_type);
            let schema = schema(&model.user_id, user, item);
            Ok(NodeType::Dataset(DatasetType {
                schema,
                splits: vec![DEFAULT_SPLIT.to_owned()],
            }))
        } else {
            Err(once)
        }
    }

    fn metrics(&self, _: &NodeType) -> Vec<String> {
        METRICS.map(str::to_owned).to_vec()
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

/// A problem if the catalogue cannot have `k` items: at least two ids are reserved (padding, null).
fn beyond_catalogue(k: u64, item: Option<&Column>) -> Option<Problem> {
    let domain = item?.domain.as_ref()?;
    let most = domain.size.or(domain.at_most)?.saturating_sub(2);
    (k > most).then(|| {
        Problem::new(
            Code::OutOfRange,
            format!("`k` is {k}, but the catalogue has at most {most} items"),
        )
        .at("k")
        .help(format!(
            "set `k` to {most} or less, or encode the items with a larger `max_size`"
        ))
    })
}

pub(crate) fn list(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(element, true)))
}

pub(crate) fn schema(user_id: &str, user: DataType, item: DataType) -> Schema {
    Schema {
        columns: vec![
            Column::new(user_id, user, false).with_tag(Tag::User).with_tag(Tag::Id),
            Column::new("recommendations", list(item), false).with_tag(Tag::List),
            Column::new("scores", list(DataType::Float32), false).with_tag(Tag::List),
        ],
    }
}
