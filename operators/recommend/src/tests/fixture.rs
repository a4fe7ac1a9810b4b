//! Synthetic test data: users of a group interact with the items of that group.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, ListArray, RecordBatch, StringArray, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use towline_api::*;
use towline_tables::TableWriter;

pub(crate) struct Quiet;

impl ProgressSink for Quiet {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn note(&self, text: &str) {
        println!("{text}");
    }
}

pub(crate) struct Fixture {
    pub(crate) folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    pub(crate) dataset: DatasetFiles,
}

pub(crate) const GROUPS: i64 = 4;
pub(crate) const USERS: i64 = 80;
pub(crate) const ITEMS: i64 = 40;
/// The first id of a vocabulary value.
pub(crate) const FIRST: i64 = 3;

/// The original id of an encoded item; original ids are in the reverse order of encoded ids.
pub(crate) fn item_name(id: i64) -> String {
    format!("item-{:03}", 900 - id)
}

fn vocabulary(path: &Path, values: ArrayRef) -> Vocabulary {
    let size = values.len() as i64;
    let fields = vec![
        Field::new("id", DataType::Int64, false),
        Field::new("value", values.data_type().clone(), true),
        Field::new("count", DataType::UInt64, false),
    ];
    let schema = Arc::new(arrow::datatypes::Schema::new(fields));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from_iter_values(1..=size)),
        values,
        Arc::new(UInt64Array::from_iter_values(vec![1; size as usize])),
    ];
    let mut writer = TableWriter::create(path, Arc::clone(&schema)).unwrap();
    writer.write(&RecordBatch::try_new(schema, columns).unwrap()).unwrap();
    writer.finish().unwrap();
    Vocabulary::at(path)
}

fn schema() -> Schema {
    let domain = |name: &str, size: i64, values: Option<DataType>| {
        Some(Domain {
            name: name.to_owned(),
            size: Some(size as u64),
            vocabulary: values.is_some().then(|| name.to_owned()),
            values,
            ..Domain::default()
        })
    };
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
    let mut user = Column::new("user", DataType::Int64, false)
        .with_tag(Tag::User)
        .with_tag(Tag::Id);
    user.domain = domain("users", FIRST + USERS, Some(DataType::Int64));
    let mut group = Column::new("tastes", list, false).with_tag(Tag::User);
    group.domain = domain("groups", FIRST + GROUPS, None);
    let mut item = Column::new("item", DataType::Int64, false)
        .with_tag(Tag::Item)
        .with_tag(Tag::Id);
    item.domain = domain("items", FIRST + ITEMS, Some(DataType::Utf8));
    Schema {
        columns: vec![user, group, item],
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let users = (1..FIRST)
            .map(|_| None)
            .chain((FIRST..FIRST + USERS).map(|id| Some(5_000 - id)));
        let items = (1..FIRST)
            .map(|_| None)
            .chain((FIRST..FIRST + ITEMS).map(|id| Some(item_name(id))));
        let vocabularies = BTreeMap::from([
            (
                "users".to_owned(),
                vocabulary(&folder.path().join("users"), Arc::new(users.collect::<Int64Array>())),
            ),
            (
                "items".to_owned(),
                vocabulary(&folder.path().join("items"), Arc::new(items.collect::<StringArray>())),
            ),
        ]);
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let mut splits = Vec::new();
        for (split, rows) in [("train", 4000), ("valid", 500)] {
            let (mut user, mut tastes, mut item) = (Vec::new(), Vec::new(), Vec::new());
            for row in 0..rows {
                let number = rng.random_range(0..USERS);
                let group = number % GROUPS;
                // One row in 50 has an out-of-vocabulary user.
                user.push(if row % 50 == 49 { 2 } else { FIRST + number });
                tastes.extend([FIRST + group, 0]);
                item.push(FIRST + rng.random_range(0..ITEMS / GROUPS) * GROUPS + group);
            }
            let lengths = OffsetBuffer::from_lengths(std::iter::repeat_n(2, rows));
            let field = Arc::new(Field::new_list_field(DataType::Int64, true));
            let tastes = ListArray::new(field, lengths, Arc::new(Int64Array::from(tastes)), None);
            let columns: Vec<ArrayRef> = vec![
                Arc::new(Int64Array::from(user)),
                Arc::new(tastes),
                Arc::new(Int64Array::from(item)),
            ];
            let mut writer =
                TableWriter::create(&folder.path().join(format!("{split}.parquet")), schema().to_arrow()).unwrap();
            writer
                .write(&RecordBatch::try_new(schema().to_arrow(), columns).unwrap())
                .unwrap();
            splits.push((split.to_owned(), writer.finish().unwrap()));
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        Fixture {
            folder,
            runtime,
            dataset: DatasetFiles {
                schema: schema(),
                splits,
                vocabularies,
            },
        }
    }

    /// The dataset with additional columns computed from each split's rows.
    pub(crate) fn widened(
        &self,
        name: &str,
        columns: &[Column],
        values: impl Fn(&RecordBatch) -> Vec<ArrayRef>,
    ) -> DatasetFiles {
        let mut schema = self.dataset.schema.clone();
        schema.columns.extend_from_slice(columns);
        let split = |(split, table): &(String, TableFile)| {
            let path = self.folder.path().join(format!("{split}-{name}.parquet"));
            let mut writer = TableWriter::create(&path, schema.to_arrow()).unwrap();
            for batch in table.batches(None).unwrap() {
                let batch = batch.unwrap();
                let arrays = [batch.columns().to_vec(), values(&batch)].concat();
                writer
                    .write(&RecordBatch::try_new(schema.to_arrow(), arrays).unwrap())
                    .unwrap();
            }
            (split.clone(), writer.finish().unwrap())
        };
        DatasetFiles {
            splits: self.dataset.splits.iter().map(split).collect(),
            schema: schema.clone(),
            vocabularies: self.dataset.vocabularies.clone(),
        }
    }

    /// A context with a temporary folder of this name.
    pub(crate) fn context(&self, name: &str) -> Context {
        let temp = self.folder.path().join(format!("temp-{name}"));
        std::fs::create_dir_all(&temp).unwrap();
        Context {
            progress: Arc::new(Quiet),
            cancel: Cancel::default(),
            scratch: temp.join("scratch"),
            temp,
            session: datafusion::prelude::SessionContext::new(),
            runtime: self.runtime.handle().clone(),
            threads: 1,
        }
    }

    pub(crate) fn types(&self) -> TypeContext {
        TypeContext {
            session: datafusion::prelude::SessionContext::new(),
            offline: false,
        }
    }
}

/// Inputs on these ports.
pub(crate) fn inputs<T>(values: Vec<(&'static str, T)>) -> Inputs<T> {
    Inputs(
        values
            .into_iter()
            .map(|(port, value)| Input {
                port,
                label: port.to_owned(),
                value,
            })
            .collect(),
    )
}

/// The model output of a training, as the store passes it on.
pub(crate) fn model(output: Output) -> ModelFiles {
    match output.result {
        TaskResult::Model {
            model_type,
            description,
            files,
            vocabularies,
        } => ModelFiles {
            digest: "digest".to_owned(),
            model_type,
            description,
            files,
            vocabularies,
            metrics: output.metrics,
        },
        other => panic!("not a model: {other:?}"),
    }
}
