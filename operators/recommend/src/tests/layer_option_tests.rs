//! Activations, dropout and a learnt temperature in full trainings.

use serde_json::{Value, json};

use crate::tests::fixture::*;
use crate::tests::input_tests::{load, recall, settings, try_train};
use crate::tests::mixed_input_tests::{everything, through_and_resumed};
use crate::train::*;
use towline_api::*;

fn trained(fixture: &Fixture, name: &str, more: &Value) -> Output {
    try_train(fixture, name, &everything(fixture, name), more).unwrap()
}

#[test]
fn every_activation_learns_and_is_the_models_own() {
    let fixture = Fixture::new();
    let mut weights = Vec::new();
    for activation in ["relu", "leaky_relu", "elu", "tanh"] {
        let output = trained(&fixture, activation, &json!({ "activation": activation }));
        let found = recall(&output);
        assert!(found > 0.5, "{activation}: {found}");
        let (loaded, files) = load(output);
        let told = &files.description["query"]["activation"];
        assert!(told == activation || activation == "relu" && told.is_null(), "{told}");
        let towers = loaded.towers().unwrap();
        assert_eq!(json!(towers.query.shape.activation), json!(activation));
        weights.push(towers.query.layers[0].weight.clone());
    }
    for (place, one) in weights.iter().enumerate() {
        assert!(weights[..place].iter().all(|other| other != one));
    }
}

#[test]
fn dropout_is_for_training_alone_and_has_a_seed_of_its_own() {
    let fixture = Fixture::new();
    let with = |name: &str, share: f64, threads: usize| {
        trained(&fixture, name, &json!({ "dropout": share, "threads": threads }))
    };
    let (without, some, again) = (with("a", 0.0, 2), with("b", 0.3, 2), with("c", 0.3, 1));
    let loss = |output: &Output| output.metrics["loss"];
    assert!(loss(&some) > loss(&without) + 0.01, "what is left out makes it harder");
    assert!(recall(&some) > 0.5, "{}", recall(&some));
    let bytes = |output: Output| std::fs::read(&model(output).files["weights.safetensors"]).unwrap();
    let (some, again, without) = (bytes(some), bytes(again), bytes(without));
    assert!(some == again, "threads change nothing");
    assert!(some != without);
}

#[test]
fn a_learnt_temperature_moves_with_the_loss_and_is_told() {
    let fixture = Fixture::new();
    let with = |name: &str, first: f64, learnt: bool| {
        let more = json!({ "normalize": "l2", "temperature": first, "learn_temperature": learnt });
        trained(&fixture, name, &more).metrics
    };
    let fixed = with("a", 0.5, false);
    assert!(!fixed.contains_key("temperature"));
    // Cosines divided by 0.5 are too close together: a lower temperature fits better.
    let learnt = with("b", 0.5, true);
    assert!((0.01..0.45).contains(&learnt["temperature"]), "{learnt:?}");
    assert!(learnt["loss"] < fixed["loss"] - 0.01, "{learnt:?} {fixed:?}");
}

#[test]
fn an_interrupted_training_goes_on_with_them_to_the_same_bytes() {
    let fixture = Fixture::new();
    let data = everything(&fixture, "resume");
    let more = json!({ "activation": "elu", "dropout": 0.2, "learn_temperature": true, "epochs": 3, "clip_norm": 1.0 });
    let [through, resumed] = through_and_resumed(&fixture, &data, &settings(&more));
    assert!(through == resumed);
}

#[test]
fn what_cannot_be_is_refused() {
    let codes = |value: &Value| -> Vec<&'static str> {
        let problems = match parse::<TwoTowerTrain>(value) {
            Ok(operator) => operator.check(),
            Err(problems) => problems,
        };
        problems.into_iter().map(|problem| problem.code.as_str()).collect()
    };
    for bad in [
        json!({ "dropout": 1.0 }),
        json!({ "dropout": -0.1 }),
        json!({ "dropout": 0.2, "layers": [] }),
        json!({ "learn_temperature": true, "temperature": 0.001 }),
    ] {
        assert_eq!(codes(&bad), ["out-of-range"], "{bad}");
    }
    assert_eq!(codes(&json!({ "activation": "rely" })).len(), 1);
}
