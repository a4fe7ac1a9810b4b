//! Training with hard negatives on synthetic data.

use serde_json::{Value, json};

use crate::tests::fixture::*;
use crate::tests::mixed_input_tests::through_and_resumed;
use crate::train::two_tower_train::TwoTowerTrain;
use towline_api::*;

fn settings(epochs: usize, more: &Value) -> Value {
    let mut settings = json!({ "layers": [8], "batch_size": 8, "epochs": epochs, "learning_rate": 0.003, "seed": 5 });
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    settings
}

fn train(fixture: &Fixture, name: &str, threads: usize, settings: &Value) -> Output {
    let operator: TwoTowerTrain = parse(settings).unwrap();
    let ports = inputs(vec![("input", Artifact::Dataset(fixture.dataset.clone()))]);
    let mut context = fixture.context(name);
    context.threads = threads;
    operator.run(&ports, &context).unwrap()
}

fn weights(output: Output) -> Vec<u8> {
    std::fs::read(&model(output).files["weights.safetensors"]).unwrap()
}

#[test]
fn from_the_second_epoch_on_they_change_what_is_learnt() {
    let fixture = Fixture::new();
    let hard = settings(2, &json!({ "hard_negatives": { "top": 10, "each": 2 } }));
    let plain = train(&fixture, "plain", 1, &settings(2, &json!({})));
    let with = train(&fixture, "with", 1, &hard);
    let rows = |output: &Output| output.report.tables[0].rows.clone();
    assert_eq!(rows(&plain)[0], rows(&with)[0], "the first epoch has none");
    assert_ne!(rows(&plain)[1], rows(&with)[1], "the second one has");
    // Data this simple leaves no room for improvement, but results must not get worse.
    assert!(with.metrics["valid_recall_at_10"] > 0.95, "{:?}", with.metrics);
    let again = train(&fixture, "threads", 3, &hard);
    assert_eq!(weights(with), weights(again), "threads change nothing");
}

#[test]
fn an_interrupted_training_draws_the_same_ones() {
    let fixture = Fixture::new();
    let more = json!({ "hard_negatives": {}, "uniform_negatives": 3, "average_epochs": 2, "batch_size": 100 });
    let [through, resumed] = through_and_resumed(&fixture, &fixture.dataset, &settings(3, &more));
    assert_eq!(through, resumed);
}

#[test]
fn losses_that_take_no_more_negatives_refuse_them() {
    for (more, told) in [
        (json!({ "loss": "bpr", "hard_negatives": {} }), "sampled_softmax"),
        (json!({ "epochs": 1, "hard_negatives": {} }), "at least 2 epochs"),
        (json!({ "hard_negatives": { "top": 0 } }), "at least 1"),
    ] {
        let parsed = parse::<TwoTowerTrain>(&settings(2, &more));
        let problems = parsed.map_or_else(|problems| problems, |operator| operator.check());
        assert!(
            problems.iter().any(|problem| problem.message.contains(told)),
            "{problems:?}"
        );
    }
}
