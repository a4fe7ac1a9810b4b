//! What towers can read besides ids: lists with attention, numbers, vectors, and tables that columns share.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, FixedSizeListArray, Float32Array, Float64Array, ListArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int64Type};
use serde_json::{Value, json};

use super::encode::Side;
use super::fixture::*;
use super::model::LoadedModel;
use super::*;
use crate::contract::*;

const NOISE: i64 = 12;

fn config<T: Describe>(value: Value) -> T {
    parse(&value).unwrap()
}

fn settings(more: &Value) -> Value {
    let mut settings = json!({ "layers": [16, 8], "batch_size": 200, "epochs": 8, "learning_rate": 0.01, "seed": 7,
        "id_embedding": "user_features_only" });
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    settings
}

/// The group of the user of each row: what decides which items fit. Nobody's group is 0.
fn groups(batch: &RecordBatch) -> Vec<i64> {
    let users = batch.column(0).as_primitive::<Int64Type>();
    let group = |user: &i64| if *user < FIRST { 0 } else { (user - FIRST) % GROUPS };
    users.values().iter().map(group).collect()
}

/// Data without the column that says the group: the columns given say it.
fn data(
    fixture: &Fixture,
    name: &str,
    columns: &[Column],
    values: impl Fn(&RecordBatch) -> Vec<ArrayRef>,
) -> DatasetFiles {
    let mut data = fixture.widened(name, columns, values);
    data.schema.columns.retain(|column| column.name != "tastes");
    data
}

fn try_train(fixture: &Fixture, name: &str, data: &DatasetFiles, more: &Value) -> Result<Output> {
    let operator: TwoTowerTrain = config(settings(more));
    let types = inputs(vec![("input", type_of(data))]);
    let problems = operator.output_type(&types, &fixture.types()).err();
    assert_eq!(problems, None, "{name}");
    operator.run(
        &inputs(vec![("input", Artifact::Dataset(data.clone()))]),
        &fixture.context(name),
    )
}

fn type_of(data: &DatasetFiles) -> NodeType {
    NodeType::Dataset(DatasetType {
        schema: data.schema.clone(),
        splits: vec!["train".to_owned(), "valid".to_owned()],
    })
}

fn recall(output: &Output) -> f64 {
    output.metrics["valid_recall_at_10"]
}

fn load(output: Output) -> (LoadedModel, ModelFiles) {
    let files = model(output);
    (LoadedModel::load(&files, &Cancel::default()).unwrap(), files)
}

fn list_column(name: &str, size: i64) -> Column {
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
    let mut column = Column::new(name, list, false).with_tag(Tag::User);
    column.domain = Some(Domain {
        name: name.to_owned(),
        size: Some(size as u64),
        ..Domain::default()
    });
    column
}

fn lists(rows: &[Vec<i64>]) -> ArrayRef {
    let field = Arc::new(Field::new_list_field(DataType::Int64, true));
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(Vec::len));
    let values = Arc::new(arrow::array::Int64Array::from(rows.concat()));
    Arc::new(ListArray::new(field, offsets, values, None))
}

/// The group among ids that say nothing, at any place.
fn noisy(batch: &RecordBatch) -> Vec<ArrayRef> {
    let row = |(row, group): (usize, i64)| {
        let mut ids: Vec<i64> = (0..5)
            .map(|place| FIRST + GROUPS + (row as i64 * 7 + place * 5) % NOISE)
            .collect();
        ids.insert(row % 6, FIRST + group);
        ids
    };
    let rows: Vec<Vec<i64>> = groups(batch).into_iter().enumerate().map(row).collect();
    vec![lists(&rows)]
}

#[test]
fn attention_finds_what_tells_users_apart() {
    let fixture = Fixture::new();
    let columns = [list_column("clues", FIRST + GROUPS + NOISE)];
    let data = data(&fixture, "clues", &columns, noisy);
    let of = |name: &str, more: Value| try_train(&fixture, name, &data, &more).unwrap();
    let attentive = of("attention", json!({ "pooling": "attention" }));
    assert!(recall(&attentive) > 0.8, "{:?}", attentive.metrics);
    // Said of the column it is the same.
    let single = of(
        "single",
        json!({ "pooling": "max", "poolings": { "clues": "attention" } }),
    );
    let (loaded, files) = load(attentive);
    assert_eq!(
        std::fs::read(&files.files["weights.safetensors"]).unwrap(),
        std::fs::read(&model(single).files["weights.safetensors"]).unwrap()
    );
    let towers = loaded.towers().unwrap();
    let (query, width) = (&towers.query.attention[0], towers.query.attention[0].len());
    let table = &towers.tables[towers.query.tables[0]];
    let score = |id: i64| towline_kernels::dot(&table[id as usize * width..][..width], query);
    let mean = |ids: std::ops::Range<i64>| ids.clone().map(score).sum::<f32>() / (ids.end - ids.start) as f32;
    let (clues, noise) = (
        mean(FIRST..FIRST + GROUPS),
        mean(FIRST + GROUPS..FIRST + GROUPS + NOISE),
    );
    assert!(clues > noise + 0.2, "clues {clues}, noise {noise}");
}

fn number(name: &str) -> Column {
    Column::new(name, DataType::Float64, true)
        .with_tag(Tag::User)
        .with_tag(Tag::Continuous)
}

/// The group as a direction, times `scale` and from `start` on.
fn directions(scale: f64, start: f64) -> impl Fn(&RecordBatch) -> Vec<ArrayRef> {
    move |batch| {
        let angles: Vec<f64> = groups(batch).iter().map(|group| *group as f64 * 1.57).collect();
        let array = |f: fn(f64) -> f64| -> ArrayRef {
            Arc::new(Float64Array::from_iter_values(
                angles.iter().map(|angle| start + scale * f(*angle)),
            ))
        };
        vec![array(f64::cos), array(f64::sin)]
    }
}

#[test]
fn numbers_on_a_common_scale_are_inputs_and_others_are_refused() {
    let fixture = Fixture::new();
    let columns = [number("x"), number("y")];
    let normal = data(&fixture, "normal", &columns, directions(1.0, 0.0));
    let trained = try_train(&fixture, "normal", &normal, &json!({})).unwrap();
    assert!(recall(&trained) > 0.8, "{:?}", trained.metrics);
    let large = data(&fixture, "large", &columns, directions(50.0, 300.0));
    let error = try_train(&fixture, "large", &large, &json!({}))
        .unwrap_err()
        .to_string();
    assert!(error.contains("`x`") && error.contains("Normalize"), "{error}");
    let missing = data(&fixture, "missing", &columns, |batch| {
        let none: ArrayRef = Arc::new(Float64Array::from(vec![None; batch.num_rows()]));
        vec![directions(1.0, 0.0)(batch).remove(0), none]
    });
    let error = try_train(&fixture, "missing", &missing, &json!({}))
        .unwrap_err()
        .to_string();
    assert!(error.contains("`y`") && error.contains("FillMissing"), "{error}");
}

fn problems(fixture: &Fixture, columns: &[Column], more: &Value) -> String {
    let data = fixture.widened("static", columns, |_| Vec::new());
    let operator: TwoTowerTrain = config(settings(more));
    let problems = operator.output_type(&inputs(vec![("input", type_of(&data))]), &fixture.types());
    let texts = problems.unwrap_err().into_iter().map(|problem| {
        format!(
            "{} {} {}",
            problem.code,
            problem.message,
            problem.help.unwrap_or_default()
        )
    });
    texts.collect::<Vec<_>>().join("\n")
}

#[test]
fn what_cannot_be_an_input_is_found_without_data() {
    let fixture = Fixture::new();
    let mut untagged = number("x");
    untagged.tags.remove(&Tag::Continuous);
    let found = |columns: &[Column], more: Value| {
        // Columns must come with values, so they are declared on a dataset without rows.
        let mut fixture = Fixture::new();
        fixture.dataset.splits.clear();
        problems(&fixture, columns, &more)
    };
    let text = found(&[untagged], json!({}));
    assert!(text.contains("`x`") && text.contains("Normalize"), "{text}");
    let text = found(&[number("x")], json!({ "layers": [] }));
    assert!(text.contains("`x`") && text.contains("layers"), "{text}");
    let text = found(&[number("x")], json!({ "embedding_dims": { "x": 4 } }));
    assert!(text.starts_with("unknown-column"), "{text}");
    let text = found(&[], json!({ "poolings": { "item": "max" } }));
    assert!(
        text.starts_with("unknown-column") && text.contains("`tastes`"),
        "{text}"
    );
    let mut history = list_column("history", FIRST + ITEMS);
    history.domain = fixture.dataset.schema.get("item").unwrap().domain.clone();
    let text = found(&[history], json!({ "embedding_dims": { "history": 4, "item": 8 } }));
    assert!(text.starts_with("conflict"), "{text}");
}

fn vector_type(width: i32) -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new_list_field(DataType::Float32, false)), width)
}

/// A vector per group; with `lists`, in lists of any length as far as their type says.
fn vectors(lists: bool) -> impl Fn(&RecordBatch) -> Vec<ArrayRef> {
    move |batch| {
        let groups = groups(batch);
        let values = groups
            .iter()
            .flat_map(|group| (0..6).map(move |place| ((group * 5 + place * 3) % 7) as f32 / 3.0 - 1.0));
        let values: ArrayRef = Arc::new(Float32Array::from_iter_values(values));
        let field = Arc::new(Field::new_list_field(DataType::Float32, lists));
        vec![if lists {
            let offsets = OffsetBuffer::from_lengths(groups.iter().map(|_| 6));
            Arc::new(ListArray::new(field, offsets, values, None))
        } else {
            Arc::new(FixedSizeListArray::new(field, 6, values, None))
        }]
    }
}

#[test]
fn vectors_that_were_learnt_elsewhere_are_inputs() {
    let fixture = Fixture::new();
    let lists = DataType::List(Arc::new(Field::new_list_field(DataType::Float32, true)));
    let mut weights = Vec::new();
    for (name, data_type) in [("fixed", vector_type(6)), ("lists", lists)] {
        let columns = [Column::new("v", data_type, false)
            .with_tag(Tag::User)
            .with_tag(Tag::Embedding)];
        let data = data(&fixture, name, &columns, vectors(name == "lists"));
        let trained = try_train(&fixture, name, &data, &json!({})).unwrap();
        assert!(recall(&trained) > 0.8, "{name}: {:?}", trained.metrics);
        weights.push(std::fs::read(&model(trained).files["weights.safetensors"]).unwrap());
    }
    assert_eq!(weights[0], weights[1], "the two types say the same");
}

/// A column of each kind, of the user, with the items' own table for the history; and a number of the item.
fn everything(fixture: &Fixture, name: &str) -> DatasetFiles {
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
    // Two columns whose ids mean something else have two tables.
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
    // An earlier model that hardly learns any more is the same model.
    let operator: TwoTowerTrain = config(settings(
        &json!({ "pooling": "attention", "epochs": 1, "learning_rate": 1e-30 }),
    ));
    let ports = inputs(vec![
        ("input", Artifact::Dataset(data.clone())),
        ("warm_start", model.clone()),
    ]);
    let again = Artifact::Model(super::fixture::model(
        operator.run(&ports, &fixture.context("again")).unwrap(),
    ));
    assert_eq!(embeddings(&model, "before"), embeddings(&again, "after"));
}

/// Interrupts the training after its first epoch.
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

/// The weights of a training, and of one that was interrupted after an epoch and taken up.
pub(super) fn through_and_resumed(fixture: &Fixture, data: &DatasetFiles, settings: &Value) -> [Vec<u8>; 2] {
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

#[cfg(feature = "torch")]
#[test]
fn the_script_of_a_tower_takes_every_kind_of_input() {
    use super::torch_script::{Shape, write_script};
    let fixture = Fixture::new();
    let data = everything(&fixture, "script");
    let trained = try_train(
        &fixture,
        "script",
        &data,
        &json!({ "pooling": "attention", "epochs": 2 }),
    )
    .unwrap();
    let (loaded, _) = load(trained);
    let towers = loaded.towers().unwrap();
    let users = super::users::Users::read(&data, None, &loaded, "queries", &Cancel::default()).unwrap();
    let expected = towers.embed(Side::Query, &users.table, 1).unwrap();
    let path = fixture.folder.path().join("query.pt");
    write_script(towers, Side::Query, &[Shape::Lists, Shape::Single, Shape::Lists], &path).unwrap();
    let script = tch::CModule::load(&path).unwrap();
    let rows = users.table.rows;
    let history = users.table.get("history").unwrap();
    let padded = (0..rows).flat_map(|row| {
        let ids = history.row(row).to_vec();
        let missing = 5 - ids.len();
        ids.into_iter()
            .chain(std::iter::repeat_n(0, missing))
            .collect::<Vec<i64>>()
    });
    let history = tch::Tensor::from_slice(&padded.collect::<Vec<_>>()).view([-1, 5]);
    let numbers = |name: &str, width: usize| tch::Tensor::from_slice(&users.table.numbers(name, width).unwrap().values);
    let found = script
        .forward_ts(&[history, numbers("x", 1), numbers("v", 6).view([-1, 6])])
        .unwrap();
    let found = Vec::<f32>::try_from(found.view([-1])).unwrap();
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(&expected) {
        assert!((a - b).abs() < 1e-4, "{a} {b}");
    }
}
