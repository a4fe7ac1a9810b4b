//! Tower inputs other than ids: lists with attention pooling, numbers, vectors, and shared tables.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, FixedSizeListArray, Float32Array, Float64Array, ListArray, RecordBatch};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Int64Type};
use serde_json::{Value, json};

use crate::model::stored_model::LoadedModel;
use crate::tests::fixture::*;
use crate::train::*;
use towline_api::*;

const NOISE: i64 = 12;

pub(crate) fn config<T: Describe>(value: Value) -> T {
    parse(&value).unwrap()
}

pub(crate) fn settings(more: &Value) -> Value {
    let mut settings = json!({ "layers": [16, 8], "batch_size": 200, "epochs": 8, "learning_rate": 0.01, "seed": 7,
        "id_embedding": "user_features_only" });
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    settings
}

/// The group of each row's user, which determines the matching items. 0 for unknown users.
pub(crate) fn groups(batch: &RecordBatch) -> Vec<i64> {
    let users = batch.column(0).as_primitive::<Int64Type>();
    let group = |user: &i64| if *user < FIRST { 0 } else { (user - FIRST) % GROUPS };
    users.values().iter().map(group).collect()
}

/// A dataset without the group column; the given columns carry the information.
pub(crate) fn data(
    fixture: &Fixture,
    name: &str,
    columns: &[Column],
    values: impl Fn(&RecordBatch) -> Vec<ArrayRef>,
) -> DatasetFiles {
    let mut data = fixture.widened(name, columns, values);
    data.schema.columns.retain(|column| column.name != "tastes");
    data
}

pub(crate) fn try_train(fixture: &Fixture, name: &str, data: &DatasetFiles, more: &Value) -> Result<Output> {
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

pub(crate) fn recall(output: &Output) -> f64 {
    output.metrics["valid_recall_at_10"]
}

pub(crate) fn load(output: Output) -> (LoadedModel, ModelFiles) {
    let files = model(output);
    (LoadedModel::load(&files, &Cancel::default()).unwrap(), files)
}

pub(crate) fn list_column(name: &str, size: i64) -> Column {
    let list = DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)));
    let mut column = Column::new(name, list, false).with_tag(Tag::User);
    column.domain = Some(Domain {
        name: name.to_owned(),
        size: Some(size as u64),
        ..Domain::default()
    });
    column
}

pub(crate) fn lists(rows: &[Vec<i64>]) -> ArrayRef {
    let field = Arc::new(Field::new_list_field(DataType::Int64, true));
    let offsets = OffsetBuffer::from_lengths(rows.iter().map(Vec::len));
    let values = Arc::new(arrow::array::Int64Array::from(rows.concat()));
    Arc::new(ListArray::new(field, offsets, values, None))
}

/// The group at a random position among uninformative ids.
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
    // The same setting for the column gives the same result.
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

pub(crate) fn number(name: &str) -> Column {
    Column::new(name, DataType::Float64, true)
        .with_tag(Tag::User)
        .with_tag(Tag::Continuous)
}

/// The group as a direction, scaled by `scale` and offset by `start`.
pub(crate) fn directions(scale: f64, start: f64) -> impl Fn(&RecordBatch) -> Vec<ArrayRef> {
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
        // Columns need values, so the dataset is declared without rows.
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

pub(crate) fn vector_type(width: i32) -> DataType {
    DataType::FixedSizeList(Arc::new(Field::new_list_field(DataType::Float32, false)), width)
}

/// A vector per group; with `lists`, typed as lists of any length.
pub(crate) fn vectors(lists: bool) -> impl Fn(&RecordBatch) -> Vec<ArrayRef> {
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
