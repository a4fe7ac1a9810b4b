//! All input types together: shared tables, operators on such a model, and resumed training.

use std::sync::Arc;

use arrow::array::{AsArray, Float32Array};
use arrow::datatypes::{DataType, Int64Type};
use serde_json::{Value, json};

use crate::evaluate::*;
use crate::retrieve::*;
use crate::tests::fixture::*;
use crate::tests::input_tests::*;
use crate::towers::*;
use crate::train::*;
use towline_api::*;

/// One user column of each type, the item table for the history, and an item number.
pub(crate) fn everything(fixture: &Fixture, name: &str) -> DatasetFiles {
    let mut history = list_column("history", FIRST + ITEMS);
    history.domain = fixture.dataset.schema.get("item").unwrap().domain.clone();
    let vector = Column::new("v", vector_type(6), false).with_tag(Tag::User);
    let price = Column::new("price", DataType::Float32, false)
        .with_tag(Tag::Item)
        .with_tag(Tag::Continuous);
    data(fixture, name, &[history, number("x"), vector, price], |batch| {
        let row = |(row, group): (usize, i64)| {
            let item = |place: usize| FIRST + (row + place) as i64 % (ITEMS / GROUPS) * GROUPS + group;
            (0..row % 4).map(item).chain([PADDING_ID]).collect()
        };
        let rows: Vec<Vec<i64>> = groups(batch).into_iter().enumerate().map(row).collect();
        let items = batch.column(2).as_primitive::<Int64Type>().values().iter();
        let price = Float32Array::from_iter_values(items.map(|item| (item % 5) as f32 / 2.0 - 1.0));
        vec![
            lists(&rows),
            directions(1.0, 0.0)(batch).remove(0),
            vectors(false)(batch).remove(0),
            Arc::new(price),
        ]
    })
}

#[test]
fn columns_of_one_vocabulary_share_a_table() {
    let fixture = Fixture::new();
    let data = everything(&fixture, "shared");
    let trained = try_train(
        &fixture,
        "shared",
        &data,
        &json!({ "poolings": { "history": "attention" } }),
    )
    .unwrap();
    assert!(recall(&trained) > 0.8, "{:?}", trained.metrics);
    let (loaded, _) = load(trained);
    let towers = loaded.towers().unwrap();
    assert_eq!(
        (towers.tables.len(), &towers.query.tables, &towers.item.tables),
        (1, &vec![0], &vec![0])
    );
    let columns = |side| {
        let shape = &towers.tower(side).shape;
        shape
            .parts()
            .into_iter()
            .map(|(column, ..)| column.to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(columns(Side::Query), ["history", "x", "v"]);
    assert_eq!(columns(Side::Item), ["item", "price"]);
    // Two columns with different vocabularies have separate tables.
    let mut other = data;
    for column in &mut other.schema.columns {
        if let Some(domain) = column.domain.as_mut().filter(|_| column.name == "history") {
            domain.name = "of its own".to_owned();
        }
    }
    let apart = try_train(&fixture, "apart", &other, &json!({})).unwrap();
    assert_eq!(load(apart).0.towers().unwrap().tables.len(), 2);
}

#[test]
fn inputs_of_every_kind_are_encoded_evaluated_and_taken_over() {
    let fixture = Fixture::new();
    let data = everything(&fixture, "all");
    let trained = try_train(&fixture, "all", &data, &json!({ "pooling": "attention" })).unwrap();
    let expected = recall(&trained);
    let model = Artifact::Model(model(trained));
    let ports = inputs(vec![
        ("model", model.clone()),
        ("data", Artifact::Dataset(data.clone())),
    ]);
    let operator: Evaluate = config(json!({ "per": "interaction", "bootstrap": 0 }));
    let found = operator.run(&ports, &fixture.context("evaluate")).unwrap();
    assert!((found.metrics["recall_at_10"] - expected).abs() < 1e-9);
    let embeddings = |model: &Artifact, name: &str| {
        let ports = inputs(vec![
            ("model", model.clone()),
            ("data", Artifact::Dataset(data.clone())),
        ]);
        let operator: Encode = config(json!({ "side": "query" }));
        let output = operator.run(&ports, &fixture.context(name)).unwrap();
        let TaskResult::Dataset { splits, .. } = output.result else {
            panic!("not a dataset")
        };
        std::fs::read(&splits[0].1).unwrap()
    };
    // Warm start with a negligible learning rate reproduces the earlier model.
    let operator: TwoTowerTrain = config(settings(
        &json!({ "pooling": "attention", "epochs": 1, "learning_rate": 1e-30 }),
    ));
    let ports = inputs(vec![
        ("input", Artifact::Dataset(data.clone())),
        ("warm_start", model.clone()),
    ]);
    let again = Artifact::Model(crate::tests::fixture::model(
        operator.run(&ports, &fixture.context("again")).unwrap(),
    ));
    assert_eq!(embeddings(&model, "before"), embeddings(&again, "after"));
}

/// Interrupts training after the first epoch.
struct Interrupt(Cancel);

impl ProgressSink for Interrupt {
    fn begin(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn note(&self, text: &str) {
        if text.starts_with("epoch 1/") {
            self.0.cancel();
        }
    }
}

/// The weights of an uninterrupted training, and of one interrupted after an epoch and resumed.
pub(crate) fn through_and_resumed(fixture: &Fixture, data: &DatasetFiles, settings: &Value) -> [Vec<u8>; 2] {
    let operator: TwoTowerTrain = config(settings.clone());
    let ports = inputs(vec![("input", Artifact::Dataset(data.clone()))]);
    let weights = |output: Output| std::fs::read(&model(output).files["weights.safetensors"]).unwrap();
    let through = weights(operator.run(&ports, &fixture.context("through")).unwrap());
    let mut context = fixture.context("resumed");
    context.progress = Arc::new(Interrupt(context.cancel.clone()));
    let error = operator.run(&ports, &context).unwrap_err();
    assert!(matches!(error, OperatorError::Cancelled), "{error}");
    let checkpoints = std::fs::read_dir(&context.scratch).unwrap().count();
    assert_eq!(checkpoints, 1, "the state of the epoch is kept");
    let resumed = weights(operator.run(&ports, &fixture.context("resumed")).unwrap());
    [through, resumed]
}

#[test]
fn attention_and_shared_tables_are_taken_up_to_the_same_bytes() {
    let fixture = Fixture::new();
    let data = everything(&fixture, "resume");
    let settings = settings(&json!({ "pooling": "attention", "epochs": 3, "clip_norm": 1.0, "average_epochs": 2 }));
    let [through, resumed] = through_and_resumed(&fixture, &data, &settings);
    assert_eq!(through, resumed);
}
