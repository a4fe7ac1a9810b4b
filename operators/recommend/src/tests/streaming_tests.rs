//! Training data beyond the memory limit.

use std::sync::Arc;
use towline_api::Code;

use arrow::array::{Float32Array, Int64Array};
use arrow::datatypes::DataType;
use serde_json::{Value, json};

use crate::data::id_mapping::IdMapping;
use crate::data::tower_columns::TowerColumns;
use crate::data::training_rows::TrainingRows;
use crate::tests::fixture::*;
use crate::tests::mixed_input_tests::{everything, through_and_resumed};
use crate::train::two_tower_train::TwoTowerTrain;
use towline_api::*;

fn settings(more: &Value) -> Value {
    let mut settings = json!({ "layers": [16, 8], "batch_size": 100, "epochs": 4, "learning_rate": 0.01, "seed": 7,
        "shuffle_rows": 640, "metrics_at": [10] });
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    settings
}

fn run(fixture: &Fixture, name: &str, data: &DatasetFiles, more: &Value) -> Result<Output> {
    let operator: TwoTowerTrain = parse(&settings(more)).unwrap();
    let ports = inputs(vec![("input", Artifact::Dataset(data.clone()))]);
    operator.run(&ports, &fixture.context(name))
}

/// The training rows that a training would read.
fn rows(fixture: &Fixture, data: &DatasetFiles, more: &Value, name: &str) -> TrainingRows {
    let sides = TowerColumns::of(&data.schema).unwrap();
    let users = IdMapping::of(data.schema.get("user").unwrap(), &data.vocabularies).unwrap();
    let operator: TwoTowerTrain = parse(&settings(more)).unwrap();
    let scan = operator.survey(data, &sides, &users, &fixture.context(name));
    scan.unwrap().rows
}

fn weights(output: Output) -> Vec<u8> {
    std::fs::read(&model(output).files["weights.safetensors"]).unwrap()
}

#[test]
fn rows_on_the_disk_teach_what_rows_in_memory_do() {
    let fixture = Fixture::new();
    let data = everything(&fixture, "streamed");
    for (name, more) in [
        (
            "softmax",
            json!({ "pooling": "attention", "hard_negatives": { "top": 5 }, "uniform_negatives": 3 }),
        ),
        ("bpr", json!({ "loss": "bpr" })),
        ("unmasked", json!({ "mask_positives": false, "exclude_seen": true })),
    ] {
        let whole = run(&fixture, &format!("{name}-whole"), &data, &more).unwrap();
        let mut limited = more.clone();
        limited["memory_limit"] = json!("150kB");
        let streamed = run(&fixture, &format!("{name}-streamed"), &data, &limited).unwrap();
        assert_eq!(whole.metrics, streamed.metrics, "{name}");
        assert!(
            rows(&fixture, &data, &limited, &format!("{name}-rows")).streams(),
            "{name}"
        );
        assert_eq!(weights(whole), weights(streamed), "{name}");
    }
    let softmax = run(&fixture, "quality", &data, &json!({ "memory_limit": "150kB" })).unwrap();
    assert!(softmax.metrics["valid_recall_at_10"] > 0.8, "{:?}", softmax.metrics);
}

#[test]
fn weights_and_items_that_look_different_row_by_row_are_streamed_too() {
    let fixture = Fixture::new();
    let weight = Column::new("weight", DataType::Float32, false);
    let mut shelf = Column::new("shelf", DataType::Int64, false).with_tag(Tag::Item);
    shelf.domain = Some(Domain {
        name: "shelf".to_owned(),
        size: Some(4),
        ..Domain::default()
    });
    let data = fixture.widened("shelves", &[weight, shelf], |batch| {
        let rows = batch.num_rows() as i64;
        vec![
            Arc::new(Float32Array::from_iter_values((0..rows).map(|row| (row % 4) as f32))),
            Arc::new(Int64Array::from_iter_values((0..rows).map(|row| 1 + row * row % 3))),
        ]
    });
    let of = |name: &str, more: &Value| weights(run(&fixture, name, &data, more).unwrap());
    let plain = of("plain", &json!({ "memory_limit": "200kB" }));
    let whole = of("whole", &json!({ "sample_weight": "weight" }));
    let streamed = of(
        "streamed",
        &json!({ "sample_weight": "weight", "memory_limit": "200kB" }),
    );
    assert!(whole == streamed && whole != plain);
}

#[test]
fn no_more_rows_than_the_limit_allows_are_held() {
    let fixture = Fixture::new();
    let data = everything(&fixture, "held");
    let surveyed = |limit: Option<&str>, name: &str| rows(&fixture, &data, &json!({ "memory_limit": limit }), name);
    let held = |rows: &TrainingRows| rows.chunk.queries.bytes() + 16 * rows.chunk.users.len();
    let whole = surveyed(None, "memory");
    assert!(!whole.streams() && held(&whole) > 300_000, "{}", held(&whole));
    let mut streamed = surveyed(Some("150kB"), "disk");
    assert!(streamed.streams() && held(&streamed) < 100, "{}", held(&streamed));
    let mut rng = rand::SeedableRng::seed_from_u64(1);
    let (mut visited, mut most) = (Vec::new(), 0);
    for window in streamed.windows(&mut rng) {
        let order = streamed.take(&window).unwrap();
        most = most.max(held(&streamed));
        visited.extend(order.iter().map(|row| streamed.number(*row)));
    }
    assert!(most < 150_000 && most > 10_000, "{most}");
    assert!(!visited.is_sorted(), "blocks are shuffled");
    visited.sort_unstable();
    assert!(visited.iter().copied().eq(0..4000), "each row is visited once");
    // Data within the limit stays in memory.
    assert!(!surveyed(Some("10MB"), "fits").streams());
}

#[test]
fn a_streamed_training_is_taken_up_to_the_same_bytes() {
    let fixture = Fixture::new();
    let data = everything(&fixture, "resumed");
    let settings = settings(&json!({ "memory_limit": "150kB", "epochs": 3 }));
    let [through, resumed] = through_and_resumed(&fixture, &data, &settings);
    assert_eq!(through, resumed);
}

#[test]
fn a_limit_that_no_window_keeps_to_is_refused() {
    let fixture = Fixture::new();
    let error = run(&fixture, "small", &fixture.dataset, &json!({ "memory_limit": "1kB" })).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("`memory_limit`") && text.contains("`shuffle_rows`"),
        "{text}"
    );
    let operator: TwoTowerTrain = parse(&settings(&json!({ "memory_limit": "much" }))).unwrap();
    assert_eq!(operator.check()[0].code, Code::BadConfig);
}
