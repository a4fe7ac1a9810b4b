//! `TopKEncode`.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float32Array, ListArray, RecordBatch, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{DataType, Field};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ids::original_type;
use super::model::LoadedModel;
use super::scoring::Scored;
use super::seen::Seen;
use super::sides::{interaction_columns, mismatches};
use super::users::{Users, unknown_split};
use crate::contract::{
    Artifact, BATCH_ROWS, Column, Context, DEFAULT_SPLIT, DatasetType, Describe, Form, Inputs, NodeType, Operator,
    Output, Port, Problem, Purity, Report, ReportTable, Result, Schema, TableWriter, Tag, Task, TaskResult,
    TypeContext, dataset_at, file_dataset_at, model_at, model_files_at,
};

/// Users in the sample that a run shows.
const SAMPLE: usize = 5;
/// Items of each of them.
const SAMPLE_ITEMS: usize = 10;

/// Recommends to every user of a dataset the `k` items that score best, searched exactly over the model's whole
/// catalogue.
///
/// One row per user, in order of the user's id: the original id, `recommendations` (original item ids, best first) and
/// `scores`. Ties go to the smaller item id. Users whose id is null or out of vocabulary are left out and counted.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TopKEncode {
    /// Number of items per user; fewer where the catalogue has no more.
    #[serde(default = "default_k")]
    #[schemars(range(min = 1))]
    pub k: usize,
    /// Whether to leave out what a user has interacted with already, by `seen` or else by `queries` itself.
    #[serde(default)]
    pub exclude_seen: bool,
    /// The split of `queries` whose users are served; by default all splits. Features are those of a user's last row.
    #[serde(default)]
    pub split: Option<String>,
}

fn default_k() -> usize {
    10
}

impl Describe for TopKEncode {
    const NAME: &'static str = "TopKEncode";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[
        Port::model("model", "The model that scores."),
        Port::dataset("queries", "The users, with the columns of the model's query side."),
        Port::dataset(
            "seen",
            "Interactions not to recommend again; `queries` itself by default.",
        )
        .optional(),
    ];
    const EXAMPLE: &'static str =
        "op: TopKEncode\ninputs: { model: model, queries: features }\nwith: { k: 20, exclude_seen: true }\n";
}

impl Operator for TopKEncode {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let model = model_at(inputs, "model")?;
        let queries = dataset_at(inputs, "queries")?;
        let wanted: Vec<&Column> = model.query.columns.iter().collect();
        let mut problems = mismatches(&wanted, &queries.schema, "queries");
        problems.extend(unknown_split(self.split.as_deref(), &queries.splits, "split"));
        if self.exclude_seen {
            let ids: Vec<&Column> = interaction_columns(model)
                .into_iter()
                .filter(|c| c.has(&[Tag::Id]))
                .collect();
            let (port, seen) = match inputs.get("seen") {
                Some(_) => ("seen", dataset_at(inputs, "seen")?),
                None => ("queries", queries),
            };
            problems.extend(
                mismatches(&ids, &seen.schema, port)
                    .into_iter()
                    .filter(|p| !problems.contains(p))
                    .collect::<Vec<_>>(),
            );
        }
        problems.extend(beyond_catalogue(self.k as u64, model.item_column()));
        if problems.is_empty() {
            let [user, item] = [model.user_column(), model.item_column()].map(original_type);
            let schema = schema(&model.user_id, user, item);
            Ok(NodeType::Dataset(DatasetType {
                schema,
                splits: vec![DEFAULT_SPLIT.to_owned()],
            }))
        } else {
            Err(problems)
        }
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
            "out-of-range",
            format!("{k} items are asked for, of at most {most} in the catalogue"),
        )
        .at("k")
        .help(format!(
            "ask for {most} or fewer, or encode the items with a larger `max_size`"
        ))
    })
}

fn list(element: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(element, true)))
}

fn schema(user_id: &str, user: DataType, item: DataType) -> Schema {
    Schema {
        columns: vec![
            Column::new(user_id, user, false).with_tag(Tag::User).with_tag(Tag::Id),
            Column::new("recommendations", list(item), false).with_tag(Tag::List),
            Column::new("scores", list(DataType::Float32), false).with_tag(Tag::List),
        ],
    }
}

fn lists(found: &[Vec<Scored>], original: &ArrayRef) -> Result<(ArrayRef, ArrayRef)> {
    let rows = UInt32Array::from_iter_values(found.iter().flatten().map(|scored| scored.row));
    let scores = Float32Array::from_iter_values(found.iter().flatten().map(|scored| scored.score));
    let lists = |values: ArrayRef| -> Result<ArrayRef> {
        let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(found.iter().map(Vec::len));
        Ok(Arc::new(ListArray::try_new(field, offsets, values, None)?))
    };
    Ok((lists(take(original.as_ref(), &rows, None)?)?, lists(Arc::new(scores))?))
}

/// Users with their lists, as a person reads them.
fn rows_of_sample(batch: &RecordBatch) -> Result<Vec<Vec<String>>> {
    let options = FormatOptions::default();
    let users = ArrayFormatter::try_new(batch.column(0), &options)?;
    let lists = batch.column(1).as_list::<i32>();
    let row = |row: usize| -> Result<Vec<String>> {
        let items = lists.value(row);
        let shown = items.slice(0, items.len().min(SAMPLE_ITEMS));
        let formatter = ArrayFormatter::try_new(&shown, &options)?;
        let items: Vec<String> = (0..shown.len()).map(|item| formatter.value(item).to_string()).collect();
        Ok(vec![users.value(row).to_string(), items.join(", ")])
    };
    (0..batch.num_rows()).map(row).collect()
}

impl Task for TopKEncode {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let model = LoadedModel::load(model_files_at(inputs, "model")?, &context.cancel)?;
        let queries = file_dataset_at(inputs, "queries")?;
        let users = Users::read(queries, self.split.as_deref(), &model, "queries", &context.cancel)?;
        let seen = if self.exclude_seen {
            let (port, dataset) = match inputs.get("seen") {
                Some(_) => ("seen", file_dataset_at(inputs, "seen")?),
                None => ("queries", queries),
            };
            Seen::read(dataset, None, &model, port, &context.cancel)?
        } else {
            Seen::default()
        };
        let ranker = model.ranker(context.threads)?;
        let original = &model.catalogue.original;
        let schema = schema(
            &model.model_type.user_id,
            users.original.data_type().clone(),
            original.data_type().clone(),
        );
        let path = context.temp_file("recommendations.parquet");
        let mut writer = TableWriter::create(&path, schema.to_arrow())?;
        let mut sample = Vec::new();
        context.progress.begin("users", Some(users.ids.len() as u64));
        for start in (0..users.ids.len()).step_by(BATCH_ROWS) {
            let rows: Vec<usize> = (start..(start + BATCH_ROWS).min(users.ids.len())).collect();
            let table = users.table.select(&rows);
            let exclude = |query: usize| seen.by(users.ids[start + query]);
            let done = |count| context.progress.advance(count);
            let found = ranker.top_k(
                &table,
                &users.ids[start..start + rows.len()],
                self.k,
                &exclude,
                context,
                &done,
            )?;
            let (recommendations, scores) = lists(&found, original)?;
            let columns = vec![users.original.slice(start, rows.len()), recommendations, scores];
            let batch = RecordBatch::try_new(schema.to_arrow(), columns)?;
            writer.write(&batch)?;
            if sample.len() < SAMPLE {
                sample.extend(rows_of_sample(
                    &batch.slice(0, batch.num_rows().min(SAMPLE - sample.len())),
                )?);
            }
        }
        writer.finish()?;
        let facts = vec![
            ("users".to_owned(), users.ids.len().to_string()),
            ("items".to_owned(), model.catalogue.len().to_string()),
            ("rows without a known user".to_owned(), users.nameless_rows.to_string()),
        ];
        let metrics = [
            ("users".to_owned(), users.ids.len() as f64),
            ("rows_without_known_user".to_owned(), users.nameless_rows as f64),
        ];
        let splits = vec![(DEFAULT_SPLIT.to_owned(), path)];
        Ok(Output {
            result: TaskResult::Dataset {
                schema,
                splits,
                vocabularies: std::collections::BTreeMap::new(),
            },
            metrics: metrics.into(),
            report: Report {
                facts,
                tables: vec![ReportTable {
                    title: "a sample, best first".to_owned(),
                    columns: vec![model.model_type.user_id.clone(), "recommendations".to_owned()],
                    rows: sample,
                }],
                ..Report::default()
            },
        })
    }
}
