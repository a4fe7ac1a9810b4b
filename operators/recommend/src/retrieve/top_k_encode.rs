//! `TopKEncode`.

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
use crate::retrieve::batch_retrieval;
use crate::retrieve::cold_start::{ColdStart, segment_problem};
use crate::retrieve::item_filter::{EXCLUDE, ITEMS, ItemRules, ONLY};
use crate::retrieve::target_users::{UserId, mismatched};
use towline_api::{
    Artifact, Code, Column, Context, DEFAULT_SPLIT, DatasetPort, DatasetType, Describe, Form, Inputs, ModelPort,
    NodeType, Operator, Optional, Output, Port, Problem, Purity, Result, Schema, Tag, Task, TypeContext, byte_size,
};

/// Recommends to every user of a dataset the `k` items that score best, searched exactly over the model's whole
/// catalogue.
///
/// One row per user, in order of the user's id: the original id, `recommendations` (original item ids, best first) and
/// `scores`. Ties go to the smaller item id. Users whose id is null or out of vocabulary are left out and counted, and so
/// are lists that are shorter than `k` because no more items are left.
///
/// The lists are the same on every processor: the fastest instructions that it has only propose items, and one product
/// with a fixed order of additions decides.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopKEncode {
    /// Number of items per user; fewer where no more are left.
    #[serde(default = "default_k")]
    #[schemars(range(min = 1))]
    pub k: usize,
    /// Whether to leave out what a user has interacted with already, by `seen` or else by `queries` itself.
    #[serde(default)]
    pub exclude_seen: bool,
    /// The split of `queries` whose users are served; by default all splits. Features are those of a user's last row.
    #[serde(default)]
    pub split: Option<String>,
    /// Serve these users alone, by original id. Those whom the model does not know are counted, or get the list of
    /// `cold_start`.
    #[serde(default)]
    pub users: Option<Vec<UserId>>,
    /// Leave out the items for which this SQL predicate is true, such as `stock = 0`: over the columns of `items`, or else over the original
    /// values of the model's own item columns.
    #[serde(default)]
    pub exclude: Option<String>,
    /// Recommend only items for which this SQL predicate is true, such as `price <= 20`: over the same columns.
    #[serde(default)]
    pub only: Option<String>,
    /// At most so many items of one list have the same value in a column: `{ brand: 2 }`. The best are kept; items whose
    /// value is null are not counted. The columns are those of the predicates.
    #[serde(default)]
    pub max_per: BTreeMap<String, usize>,
    /// What users without history get: `overall`, the most popular items, or `{ segment: COLUMN }`, the most popular
    /// ones of their segment. Without history are users whom the model does not know and, where `seen` is connected,
    /// those who have no row there. The column is one of `users` (else `queries`) and of `seen` (else `queries`). Scores
    /// are then shares of the interactions.
    #[serde(default)]
    pub cold_start: Option<ColdStart>,
    /// How much memory the items, the users and their lists may take, for example `512MB`. It changes no result; what
    /// cannot be done within it is an error.
    #[serde(default)]
    #[schemars(transform = towline_api::cache_ignored)]
    pub memory_limit: Option<String>,
}

/// The metrics.
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
    /// The bytes of `memory_limit`.
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

    /// What is wrong with the choice of users.
    fn user_problems(&self, inputs: &Inputs<NodeType>, model: &RetrievalType) -> Result<Vec<Problem>, Vec<Problem>> {
        let queries = QUERIES.input_type(inputs)?;
        let mut problems: Vec<Problem> = unknown_split(self.split.as_deref(), &queries.splits, "split")
            .into_iter()
            .collect();
        if let Some(users) = USERS.input_type(inputs)? {
            problems.extend(id_problem(model.user_column(), &users.schema, USERS.name()));
            if self.users.is_some() {
                let message = "users are listed, and a table of users is connected";
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

/// A problem if the catalogue cannot have `k` items: two ids at least stand for none (padding, null).
fn beyond_catalogue(k: u64, item: Option<&Column>) -> Option<Problem> {
    let domain = item?.domain.as_ref()?;
    let most = domain.size.or(domain.at_most)?.saturating_sub(2);
    (k > most).then(|| {
        Problem::new(
            Code::OutOfRange,
            format!("{k} items are asked for, of at most {most} in the catalogue"),
        )
        .at("k")
        .help(format!(
            "ask for {most} or fewer, or encode the items with a larger `max_size`"
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

impl Task for TopKEncode {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        batch_retrieval::run(self, inputs, context)
    }
}
