//! The operators together on synthetic data.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, Int64Type};
use serde_json::json;

use crate::baselines::*;
use crate::evaluate::*;
use crate::export::*;
use crate::retrieve::*;
use crate::tests::fixture::*;
use crate::torch_worker::WorkerProgram;
use crate::train::*;
use towline_api::*;

fn config<T: Describe>(value: serde_json::Value) -> T {
    parse(&value).unwrap()
}

fn train(fixture: &Fixture, name: &str) -> Output {
    train_on(fixture, name, 2, "cpu")
}

fn train_on(fixture: &Fixture, name: &str, threads: usize, device: &str) -> Output {
    let operator: TwoTowerTrain = config(json!({
        "layers": [16, 8], "batch_size": 200, "epochs": 6, "learning_rate": 0.01, "seed": 7, "threads": threads,
        "device": device,
    }));
    operator
        .run(
            &inputs(vec![("input", Artifact::Dataset(fixture.dataset.clone()))]),
            &fixture.context(name),
        )
        .unwrap()
}

fn table(output: &Output) -> RecordBatch {
    let TaskResult::Dataset { splits, schema, .. } = &output.result else {
        panic!("not a dataset")
    };
    let text = serde_json::to_string(schema).unwrap();
    assert_eq!(
        &serde_json::from_str::<Schema>(&text).unwrap(),
        schema,
        "the schema must survive being stored"
    );
    let file = TableFile {
        path: splits[0].1.clone(),
        rows: 0,
    };
    let batches: Vec<_> = file.batches(None).unwrap().map(Result::unwrap).collect();
    arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap()
}

#[test]
fn same_seed_same_bytes() {
    let fixture = Fixture::new();
    let first = model(train(&fixture, "a"));
    let mut others = vec![train(&fixture, "b"), train_on(&fixture, "c", 1, "cpu")];
    // Without a CUDA device this falls back to the CPU.
    let worker = WorkerProgram::find("this test");
    if !worker.is_ok_and(|worker| worker.has_cuda(&fixture.context("cuda")).unwrap_or(false)) {
        others.push(train_on(&fixture, "d", 3, "auto"));
    }
    for other in others.into_iter().map(model) {
        for (name, path) in &first.files {
            let (one, other) = (std::fs::read(path).unwrap(), std::fs::read(&other.files[name]).unwrap());
            assert_eq!(one, other, "{name}");
        }
    }
}

#[test]
fn the_weights_of_the_last_epochs_are_averaged() {
    let fixture = Fixture::new();
    let weights = |epochs: usize, average: usize| -> Vec<f32> {
        let operator: TwoTowerTrain =
            config(json!({ "layers": [8], "batch_size": 500, "epochs": epochs, "average_epochs": average, "seed": 3 }));
        let ports = inputs(vec![("input", Artifact::Dataset(fixture.dataset.clone()))]);
        let trained = operator.run(&ports, &fixture.context(&format!("{epochs}-{average}")));
        let loaded =
            crate::model::stored_model::LoadedModel::load(&model(trained.unwrap()), &Cancel::default()).unwrap();
        let towers = loaded.towers().unwrap();
        towers.arrays().into_iter().flatten().copied().collect()
    };
    let (first, second, mean) = (weights(1, 1), weights(2, 1), weights(2, 2));
    assert!(first.iter().zip(&second).any(|(a, b)| (a - b).abs() > 1e-3));
    for ((a, b), mean) in first.iter().zip(&second).zip(&mean) {
        assert!(((a + b) / 2.0 - mean).abs() < 1e-6, "{a} {b} {mean}");
    }
}

#[test]
fn a_trained_model_beats_chance_and_popularity() {
    let fixture = Fixture::new();
    let trained = train(&fixture, "train");
    assert!(trained.metrics["valid_recall_at_10"] > 0.8, "{:?}", trained.metrics);
    let (model, data) = (
        Artifact::Model(model(trained)),
        Artifact::Dataset(fixture.dataset.clone()),
    );
    for per in ["user", "interaction"] {
        let operator: Evaluate = config(json!({ "per": per }));
        let types = inputs(vec![
            (
                "model",
                NodeType::Model(match &model {
                    Artifact::Model(m) => m.model_type.clone(),
                    _ => unreachable!(),
                }),
            ),
            (
                "data",
                NodeType::Dataset(DatasetType {
                    schema: fixture.dataset.schema.clone(),
                    splits: vec!["train".to_owned(), "valid".to_owned()],
                }),
            ),
        ]);
        let NodeType::Metrics(mut names) = operator.output_type(&types, &fixture.types()).unwrap() else {
            panic!()
        };
        let output = operator
            .run(
                &inputs(vec![("model", model.clone()), ("data", data.clone())]),
                &fixture.context("evaluate"),
            )
            .unwrap();
        names.sort();
        assert_eq!(names, output.metrics.keys().cloned().collect::<Vec<_>>());
        let (model, popular, chance) = (
            output.metrics["recall_at_10"],
            output.metrics["popularity.recall_at_10"],
            output.metrics["random.recall_at_10"],
        );
        assert!(
            model > 0.8 && popular < 0.5 && chance < 0.5,
            "{per}: {:?}",
            output.metrics
        );
    }
}

#[test]
fn recommendations_name_original_ids_and_leave_out_what_was_seen() {
    let fixture = Fixture::new();
    let (model, data) = (
        Artifact::Model(model(train(&fixture, "train"))),
        Artifact::Dataset(fixture.dataset.clone()),
    );
    let operator: TopKEncode = config(json!({ "k": 50 }));
    let ports = inputs(vec![("model", model.clone()), ("queries", data)]);
    let output = operator.run(&ports, &fixture.context("all")).unwrap();
    assert!((output.metrics["rows_without_known_user"] - 90.0).abs() < 1e-9);
    let all = table(&output);
    let users = all.column(0).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!(users, (5_000 - FIRST - USERS + 1..=5_000 - FIRST).collect::<Vec<_>>());
    let items = all.column(1).as_list::<i32>().value(0);
    assert_eq!(items.len(), ITEMS as usize, "the whole catalogue, once each");
    assert!(
        items
            .as_string::<i32>()
            .iter()
            .all(|name| name.unwrap().starts_with("item-"))
    );
    let scores = all.column(2).as_list::<i32>().value(0);
    assert!(
        scores
            .as_primitive::<Float32Type>()
            .values()
            .is_sorted_by(|a, b| a >= b)
    );

    let operator: TopKEncode = config(json!({ "k": 50, "exclude_seen": true }));
    let new = table(&operator.run(&ports, &fixture.context("new")).unwrap());
    // A user has seen almost all items of their own group and none of another.
    let lengths = (0..new.num_rows()).map(|row| new.column(1).as_list::<i32>().value_length(row));
    assert!(
        lengths.clone().all(|length| (30..40).contains(&length)),
        "{:?}",
        lengths.collect::<Vec<_>>()
    );
}

#[test]
fn embeddings_give_the_scores() {
    let fixture = Fixture::new();
    let (model, data) = (
        Artifact::Model(model(train(&fixture, "train"))),
        Artifact::Dataset(fixture.dataset.clone()),
    );
    let ports = inputs(vec![("model", model), ("data", data.clone()), ("queries", data)]);
    let run = |side: &str| {
        table(
            &config::<Encode>(json!({ "side": side }))
                .run(&ports, &fixture.context(side))
                .unwrap(),
        )
    };
    let (users, items) = (run("query"), run("item"));
    assert_eq!((users.num_rows(), items.num_rows()), (USERS as usize, ITEMS as usize));
    assert_eq!(
        items.column(0).as_string::<i32>().value(0),
        item_name(FIRST + ITEMS - 1)
    );
    let best = table(
        &config::<TopKEncode>(json!({ "k": 1 }))
            .run(&ports, &fixture.context("best"))
            .unwrap(),
    );
    let query = users.column(1).as_list::<i32>().value(0);
    let query = query.as_primitive::<Float32Type>();
    let score = |row: usize| {
        let item = items.column(1).as_list::<i32>().value(row);
        towline_kernels::dot(query.values(), item.as_primitive::<Float32Type>().values())
    };
    let highest = (0..items.num_rows()).map(score).fold(f32::NEG_INFINITY, f32::max);
    let found = best
        .column(2)
        .as_list::<i32>()
        .value(0)
        .as_primitive::<Float32Type>()
        .value(0);
    assert!((found - highest).abs() < f32::EPSILON);
}

#[test]
fn an_export_is_replaced_and_other_folders_are_refused() {
    let fixture = Fixture::new();
    let model = model(train(&fixture, "train"));
    let ports = inputs(vec![("input", Artifact::Model(model))]);
    let target = fixture.folder.path().join("exported");
    let operator: ModelExport = config(json!({ "path": target }));
    for round in ["first", "second"] {
        let output = operator.run(&ports, &fixture.context(round)).unwrap();
        let TaskResult::Receipt(receipt) = output.result else {
            panic!("not a receipt")
        };
        assert!(operator.still_published(&receipt));
    }
    let other = fixture.folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("notes.txt"), "mine").unwrap();
    let operator: ModelExport = config(json!({ "path": other }));
    assert!(operator.run(&ports, &fixture.context("refused")).is_err());
}

#[test]
fn columns_that_no_tower_can_read_are_refused_before_a_run() {
    let fixture = Fixture::new();
    let mut schema = fixture.dataset.schema.clone();
    schema
        .columns
        .push(Column::new("age", arrow::datatypes::DataType::Float64, true).with_tag(Tag::User));
    schema.columns.retain(|column| column.name != "item");
    let dataset = NodeType::Dataset(DatasetType {
        schema,
        splits: vec!["train".to_owned()],
    });
    let operator: TwoTowerTrain = config(json!({ "validate_on": "test" }));
    let problems = operator
        .output_type(&inputs(vec![("input", dataset)]), &fixture.types())
        .unwrap_err();
    assert_eq!(problems.len(), 3, "{problems:?}");
}

#[test]
fn popularity_by_recency_prefers_what_is_recent() {
    let fixture = Fixture::new();
    let time = Column::new("time", arrow::datatypes::DataType::Float64, false);
    // Item FIRST occurs on the last day only, all others ten days earlier.
    let data = fixture.widened("time", &[time], |batch| {
        let items = batch.column(2).as_primitive::<Int64Type>().values();
        let times = items.iter().map(|item| if *item == FIRST { 10.0 } else { 0.0 });
        vec![std::sync::Arc::new(arrow::array::Float64Array::from_iter_values(times))]
    });
    let best = |more: serde_json::Value, name: &str| {
        let operator: Popularity = config(more);
        let ports = inputs(vec![("input", Artifact::Dataset(data.clone()))]);
        let model = Artifact::Model(model(operator.run(&ports, &fixture.context(name)).unwrap()));
        let ports = inputs(vec![("model", model), ("queries", Artifact::Dataset(data.clone()))]);
        let operator: TopKEncode = config(json!({ "k": 1 }));
        let lists = table(&operator.run(&ports, &fixture.context(name)).unwrap());
        lists
            .column(1)
            .as_list::<i32>()
            .value(0)
            .as_string::<i32>()
            .value(0)
            .to_owned()
    };
    assert_eq!(
        best(json!({ "recency": { "column": "time", "half_life": 1.0 } }), "recent"),
        item_name(FIRST)
    );
    assert_ne!(
        best(json!({ "recency": { "column": "time", "half_life": 1e9 } }), "old"),
        item_name(FIRST)
    );
    for (recency, told) in [
        (json!({ "column": "tim", "half_life": 1.0 }), "unknown-column"),
        (json!({ "column": "tastes", "half_life": 1.0 }), "bad-input"),
    ] {
        let operator: Popularity = config(json!({ "recency": recency }));
        let dataset = NodeType::Dataset(DatasetType {
            schema: data.schema.clone(),
            splits: vec!["train".to_owned()],
        });
        let problems = operator
            .output_type(&inputs(vec![("input", dataset)]), &fixture.types())
            .unwrap_err();
        assert_eq!(problems[0].code.as_str(), told);
    }
}

#[test]
fn a_loss_that_explodes_says_where() {
    let fixture = Fixture::new();
    for (rate, what) in [(1e30, "is not a number any more"), (1e6, "the loss has grown to ")] {
        let operator: TwoTowerTrain = config(
            json!({ "layers": [], "embedding_dim": 8, "optimizer": "sgd", "learning_rate": rate, "batch_size": 100 }),
        );
        let ports = inputs(vec![("input", Artifact::Dataset(fixture.dataset.clone()))]);
        let error = operator
            .run(&ports, &fixture.context(&format!("exploded {rate}")))
            .unwrap_err()
            .to_string();
        for part in [what, "at step ", "100 interactions", "of the split", "`learning_rate`"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
}
