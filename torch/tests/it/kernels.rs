//! libtorch makes the steps that the kernels make: every optimizer, every kind of input, both losses.

use serde_json::{Value, json};
use towline_recommend::train::backend::Towers;

use crate::fixture::{Fixture, inputs, operator, small};
use crate::recording::{Computed, recorded};

const ROWS: usize = 40;

struct Trained {
    losses: Vec<f64>,
    towers: Towers,
    temperature: f64,
}

fn train(fixture: &Fixture, by: Computed, settings: &Value) -> Trained {
    let (backend, recording) = recorded(by);
    let operator = operator(&small(), settings);
    // Numbers need a layer: without one a tower is the sum of its embeddings.
    let without: &[&str] = if settings["layers"].is_array() { &["age"] } else { &[] };
    let ports = inputs(fixture.batch(ROWS, without));
    let context = fixture.context();
    operator.train_on(&ports, &context, &*backend).unwrap();
    let mut recording = recording.lock().unwrap();
    Trained {
        losses: std::mem::take(&mut recording.losses),
        towers: recording.trained.take().unwrap(),
        temperature: recording.temperature,
    }
}

#[test]
fn libtorch_makes_the_steps_of_the_kernels() {
    tch::set_num_threads(1);
    let fixture = Fixture::new();
    // A unit that is active for every item has a bias without a gradient: what is left is rounding, which Adam and Adagrad
    // scale to whole steps. With a kink (ReLU) such a step can change which units are active, and the losses drift apart;
    // so units with a kink are compared under SGD, which leaves rounding as small as it is.
    for settings in [
        json!({ "optimizer": "adam", "activation": "tanh", "temperature": 0.4, "learn_temperature": true }),
        json!({
            "optimizer": "adam", "weight_decay": 1e-3, "normalize": "l2", "clip_norm": 0.05, "activation": "elu",
            "temperature": 0.4, "learn_temperature": true, "pooling": "max",
        }),
        json!({
            "optimizer": "adam_w", "weight_decay": 0.1, "loss": "bpr", "activation": "tanh", "dropout": 0.2,
            "temperature": 0.4, "learn_temperature": true, "pooling": "attention",
        }),
        json!({
            "optimizer": "adagrad", "weight_decay": 1e-3, "activation": "leaky_relu", "dropout": 0.1,
            "temperature": 0.4, "pooling": "attention", "uniform_negatives": 7,
        }),
        json!({
            "optimizer": "sgd", "weight_decay": 0.1, "normalize": "l2", "clip_norm": 0.1, "loss": "bpr",
            "temperature": 0.4, "pooling": "sum",
        }),
        json!({ "layers": [], "loss": "full_softmax", "temperature": 0.4 }),
    ] {
        let mut settings = settings;
        settings["epochs"] = json!(25);
        if settings["layers"].is_array() {
            settings["embedding_dim"] = json!(6);
        }
        check(&fixture, &settings);
    }
}

fn check(fixture: &Fixture, settings: &Value) {
    let expected = train(fixture, Computed::Kernels, settings);
    let found = train(fixture, Computed::Libtorch, settings);
    assert_eq!((expected.losses.len(), found.losses.len()), (25, 25));
    let learnt = settings["learn_temperature"] == true;
    let (own, others) = (expected.temperature, found.temperature);
    assert!(
        (own - others).abs() < 1e-4 && learnt == ((own - 0.4).abs() > 1e-3),
        "{settings}: {own} {others}"
    );
    let epoch = |losses: &[f64]| losses.iter().sum::<f64>();
    let (first, last) = (epoch(&expected.losses[..5]), epoch(&expected.losses[20..]));
    assert!(last < first, "{settings}: nothing was learnt: {first} {last}");
    for (a, b) in expected.losses.iter().zip(&found.losses) {
        assert!(
            (a - b).abs() < 1e-4,
            "{settings}: {:?} {:?}",
            expected.losses,
            found.losses
        );
    }
    // What is added to every item alike changes no loss: its gradient is what rounding leaves, and Adam makes long
    // steps of that.
    let idle = expected.towers.item.layers.last().map(|layer| layer.bias.as_ptr());
    for (place, (a, b)) in expected
        .towers
        .arrays()
        .into_iter()
        .zip(found.towers.arrays())
        .enumerate()
    {
        if settings["normalize"] != "l2" && Some(a.as_ptr()) == idle {
            continue;
        }
        let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 2e-3, "{settings}: array {place} is {apart} apart");
    }
}
