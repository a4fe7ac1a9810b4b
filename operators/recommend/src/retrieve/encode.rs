//! `Encode`: exports embeddings.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Float32Array, ListArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::data::id_mapping::original_type;
use crate::data::tower_columns::mismatches;
use crate::model::distinct_users::DistinctUsers;
use crate::model::retrieval_type::RetrievalType;
use crate::model::stored_model::LoadedModel;
use crate::towers::Side;
use towline_api::{
    Artifact, Column, Context, DEFAULT_SPLIT, DatasetPort, DatasetType, Describe, Form, Inputs, ModelPort, NodeType,
    Operator, Optional, Output, Port, Problem, Purity, Report, Result, Schema, Tag, Task, TaskResult, TypeContext,
};
use towline_tables::TableWriter;

/// Computes the embeddings of users or items: one row per id, ordered by original id, with `embedding` (float32 [dim]).
/// The dot product of a user's and an item's embedding is the score.
///
/// Items are those of the model's catalogue. Null and out-of-vocabulary ids are excluded.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Encode {
    /// The tower to encode with.
    pub side: Side,
}

/// Metric name: number of embeddings.
const METRIC: &str = "embeddings";

const MODEL: ModelPort = ModelPort::required("model", "The model that encodes.");
const DATA: DatasetPort<Optional> = DatasetPort::optional(
    "data",
    "The users, with the columns of the model's query side; not needed for items.",
);

impl Describe for Encode {
    const NAME: &'static str = "Encode";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[MODEL.port(), DATA.port()];
    const EXAMPLE: &'static str = "op: Encode\ninputs: { model: model }\nwith: { side: item }\n";
}

impl Operator for Encode {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let model = RetrievalType::at(MODEL, inputs)?;
        let (id, column, tag) = match self.side {
            Side::Item => (&model.item_id, model.item_column(), Tag::Item),
            Side::Query => {
                let wanted: Vec<&Column> = model.query.columns.iter().collect();
                let problems = mismatches(&wanted, &DATA.needed_type(inputs)?.schema, DATA.name());
                if !problems.is_empty() {
                    return Err(problems);
                }
                (&model.user_id, model.user_column(), Tag::User)
            }
        };
        let schema = schema(id, original_type(column), tag);
        Ok(NodeType::Dataset(DatasetType {
            schema,
            splits: vec![DEFAULT_SPLIT.to_owned()],
        }))
    }

    fn metrics(&self, _: &NodeType) -> Vec<String> {
        vec![METRIC.to_owned()]
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

fn schema(id: &str, data_type: DataType, tag: Tag) -> Schema {
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Float32, true)));
    Schema {
        columns: vec![
            Column::new(id, data_type, false).with_tag(tag).with_tag(Tag::Id),
            Column::new("embedding", list, false)
                .with_tag(tag)
                .with_tag(Tag::Embedding),
        ],
    }
}

impl Task for Encode {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let model = LoadedModel::load(MODEL.files(inputs)?, &context.cancel)?;
        let towers = model.towers()?;
        let (id, tag, original, embeddings, without_id) = match self.side {
            Side::Item => {
                let embeddings = towers.embed(self.side, &model.catalogue.table, context.threads)?;
                (
                    &model.model_type.item_id,
                    Tag::Item,
                    Arc::clone(&model.catalogue.original),
                    embeddings,
                    0,
                )
            }
            Side::Query => {
                let queries = DATA.needed_files(inputs)?;
                let users = DistinctUsers::read(queries, None, &model, DATA.name(), &context.cancel)?;
                let embeddings = towers.embed(self.side, &users.table, context.threads)?;
                (
                    &model.model_type.user_id,
                    Tag::User,
                    users.original,
                    embeddings,
                    users.rows_without_user_id,
                )
            }
        };
        let rows = original.len();
        let schema = schema(id, original.data_type().clone(), tag);
        let field = Arc::new(Field::new_list_field(DataType::Float32, true));
        let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(towers.dim(), rows));
        let vectors: ArrayRef = Arc::new(ListArray::try_new(
            field,
            offsets,
            Arc::new(Float32Array::from(embeddings)),
            None,
        )?);
        let path = context.temp_file("embeddings.parquet");
        let mut writer = TableWriter::create(&path, schema.to_arrow())?;
        writer.write(&RecordBatch::try_new(schema.to_arrow(), vec![original, vectors])?)?;
        writer.finish()?;
        let facts = vec![
            ("embeddings".to_owned(), rows.to_string()),
            ("rows with an unknown id".to_owned(), without_id.to_string()),
        ];
        Ok(Output {
            result: TaskResult::Dataset {
                schema,
                splits: vec![(DEFAULT_SPLIT.to_owned(), path)],
                vocabularies: std::collections::BTreeMap::new(),
            },
            metrics: [(METRIC.to_owned(), rows as f64)].into(),
            report: Report {
                facts,
                ..Report::default()
            },
        })
    }
}
