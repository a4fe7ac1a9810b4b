//! Planted data: users of a group like items of that group; few of both dominate.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Int64Array, ListArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use towline_api::{
    Artifact, Cancel, Column, Context, DatasetFiles, Domain, Input, Inputs, ProgressSink, Schema, Tag, parse,
};
use towline_recommend::train::TwoTowerTrain;
use towline_tables::TableWriter;

pub(crate) const USERS: usize = 902;
pub(crate) const ITEMS: usize = 310;
/// Elements of a list, padding included.
pub(crate) const LAST: usize = 3;

struct Silent;

impl ProgressSink for Silent {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn note(&self, _: &str) {}
}

/// A folder for data and what becomes of it.
pub(crate) struct Fixture {
    folder: tempfile::TempDir,
    contexts: std::cell::Cell<usize>,
    runtime: tokio::runtime::Runtime,
}

fn column(name: &str, side: Tag, domain: &str, size: usize) -> Column {
    let mut column = Column::new(name, DataType::Int64, false).with_tag(side);
    column.domain = Some(Domain {
        name: domain.to_owned(),
        size: Some(size as u64),
        ..Domain::default()
    });
    column
}

fn schema() -> Schema {
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, false)));
    let mut last = column("last", Tag::User, "items", ITEMS);
    last.data_type = list;
    let number = |name: &str| Column::new(name, DataType::Float32, false);
    Schema {
        columns: vec![
            column("user", Tag::User, "users", USERS).with_tag(Tag::Id),
            column("group", Tag::User, "groups", 8),
            last,
            number("age").with_tag(Tag::User).with_tag(Tag::Continuous),
            column("item", Tag::Item, "items", ITEMS).with_tag(Tag::Id),
            column("brand", Tag::Item, "brands", 13),
            number("weight"),
        ],
    }
}

fn values(rows: usize, users: i64, items: i64) -> Vec<ArrayRef> {
    let mut rng = ChaCha8Rng::seed_from_u64(17);
    let mut ids: [Vec<i64>; 5] = Default::default();
    let (mut age, mut weight) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let user = 1 + (rng.random::<f64>().powi(3) * users as f64) as i64;
        let group = user % 6;
        let item = 1 + (rng.random::<f64>().powi(3) * items as f64) as i64 * 6 + group;
        // Some lists are nothing but padding.
        let last = (0..LAST).map(|place| {
            if place < row % 4 {
                1 + (row * 7 + place) as i64 % (6 * items)
            } else {
                0
            }
        });
        ids[0].push(user);
        ids[1].push(1 + group);
        ids[2].extend(last);
        ids[3].push(item);
        ids[4].push(1 + item % 11);
        age.push(group as f32 / 3.0 - 1.0);
        weight.push((1 + row % 3) as f32);
    }
    let [user, group, last, item, brand] = ids.map(Int64Array::from);
    let field = Arc::new(Field::new_list_field(DataType::Int64, false));
    let lengths = OffsetBuffer::from_lengths(std::iter::repeat_n(LAST, rows));
    vec![
        Arc::new(user),
        Arc::new(group),
        Arc::new(ListArray::new(field, lengths, Arc::new(last), None)),
        Arc::new(Float32Array::from(age)),
        Arc::new(item),
        Arc::new(brand),
        Arc::new(Float32Array::from(weight)),
    ]
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Fixture {
            folder: tempfile::tempdir().unwrap(),
            contexts: std::cell::Cell::new(0),
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// So many rows of 900 users and 300 items as the split `train`, without the columns of `without`.
    pub(crate) fn data(&self, rows: usize, without: &[&str]) -> DatasetFiles {
        self.table(rows, (900, 50), without)
    }

    /// A batch of few users and items, each of which is in several rows.
    pub(crate) fn batch(&self, rows: usize, without: &[&str]) -> DatasetFiles {
        self.table(rows, (11, 2), without)
    }

    fn table(&self, rows: usize, (users, items): (i64, i64), without: &[&str]) -> DatasetFiles {
        let path = self.folder.path().join(format!("{rows}-{users}.parquet"));
        let all = schema();
        let mut writer = TableWriter::create(&path, all.to_arrow()).unwrap();
        writer
            .write(&RecordBatch::try_new(all.to_arrow(), values(rows, users, items)).unwrap())
            .unwrap();
        let columns = all.columns.into_iter();
        let columns = columns.filter(|column| !without.contains(&column.name.as_str()));
        DatasetFiles {
            schema: Schema {
                columns: columns.collect(),
            },
            splits: vec![("train".to_owned(), writer.finish().unwrap())],
            vocabularies: std::collections::BTreeMap::new(),
        }
    }

    /// A context with folders of its own.
    pub(crate) fn context(&self) -> Context {
        self.contexts.set(self.contexts.get() + 1);
        let temp = self.folder.path().join(format!("context-{}", self.contexts.get()));
        std::fs::create_dir_all(&temp).unwrap();
        Context {
            progress: Arc::new(Silent),
            cancel: Cancel::default(),
            scratch: temp.join("scratch"),
            temp,
            session: datafusion::prelude::SessionContext::new(),
            runtime: self.runtime.handle().clone(),
            threads: 2,
        }
    }
}

pub(crate) fn inputs(data: DatasetFiles) -> Inputs<Artifact> {
    Inputs(vec![Input {
        port: "input",
        label: "input".to_owned(),
        value: Artifact::Dataset(data),
    }])
}

/// The operator with these settings, those of `more` before the others.
pub(crate) fn operator(settings: &Value, more: &Value) -> TwoTowerTrain {
    let mut all = settings.clone();
    for (key, value) in more.as_object().into_iter().flatten() {
        all[key] = value.clone();
    }
    parse(&all).unwrap()
}

/// Small towers of every kind of input, for quick tests.
pub(crate) fn small() -> Value {
    json!({
        "layers": [10, 6], "embedding_dim": 8, "batch_size": 40, "epochs": 5, "learning_rate": 0.01,
        "warm_up": 3, "schedule": "cosine", "sample_weight": "weight", "seed": 3,
    })
}
