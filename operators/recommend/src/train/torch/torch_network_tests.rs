//! libtorch makes the steps that the kernels make: every rule, every kind of input, both losses.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::Device;
use towline_kernels::{Decay, Mask, Positives, Rule, Schedule, Step};

use crate::data::dense_features::DenseFeatures;
use crate::data::feature_column::{FeatureColumn, IdFeatures};
use crate::data::feature_table::FeatureTable;
use crate::towers::activation::Activation;
use crate::towers::tower_shape::{EmbeddingShape, Normalize, NumbersShape, Pool, TowerShape};
use crate::towers::towers::Towers;
use crate::train::config::training_options::Precision;
use crate::train::network::compute_backend::Computing;
use crate::train::network::dropout::Dropout;
use crate::train::network::temperature::Warmth;
use crate::train::torch::torch_network::{TorchNetwork, cuda};
use crate::train::train_backend::{Candidates, Compared, Learner, Manner, Pairs};

const ROWS: usize = 40;

fn table() -> FeatureTable {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let ids = |rng: &mut ChaCha8Rng, most: i64| (0..ROWS).map(|_| rng.random_range(1..most)).collect::<Vec<_>>();
    let mut offsets = vec![0];
    let mut values = Vec::new();
    for row in 0..ROWS {
        // Some lists are empty, and some elements are padding.
        values.extend((0..row % 4).map(|_| rng.random_range(0..9_i64)));
        offsets.push(values.len());
    }
    let list = FeatureColumn::IdFeatures(IdFeatures::Lists { offsets, values });
    let columns = vec![
        (
            "user".to_owned(),
            FeatureColumn::IdFeatures(IdFeatures::Single(ids(&mut rng, 12))),
        ),
        (
            "item".to_owned(),
            FeatureColumn::IdFeatures(IdFeatures::Single(ids(&mut rng, 15))),
        ),
        ("mean".to_owned(), list.clone()),
        ("highest".to_owned(), list.clone()),
        ("attended".to_owned(), list),
        (
            "age".to_owned(),
            FeatureColumn::Dense(DenseFeatures::of(
                2,
                (0..2 * ROWS).map(|_| rng.random_range(-1.0..1.0)).collect(),
            )),
        ),
    ];
    FeatureTable::of(columns, ROWS)
}

fn towers(normalize: Normalize, activation: Activation) -> Towers {
    let embedding = |column: &str, rows: usize, pooling: Pool| EmbeddingShape {
        column: column.to_owned(),
        rows,
        dim: 8,
        pooling,
        table: None,
    };
    let query = TowerShape {
        embeddings: vec![
            embedding("user", 12, Pool::Mean),
            embedding("mean", 9, Pool::Mean),
            embedding("highest", 9, Pool::Max),
            embedding("attended", 9, Pool::Attention),
        ],
        numbers: vec![NumbersShape {
            column: "age".to_owned(),
            width: 2,
        }],
        layers: vec![10, 6],
        activation,
    };
    let item = TowerShape {
        embeddings: vec![embedding("item", 15, Pool::Mean)],
        numbers: Vec::new(),
        layers: vec![7, 6],
        activation,
    };
    Towers::init(normalize, query, item, &mut ChaCha8Rng::seed_from_u64(3)).unwrap()
}

/// The losses of some steps, and the towers after them.
fn learn(learner: &mut Learner, towers: &Towers, steps: usize, pairs: bool) -> (Vec<f64>, Towers) {
    let table = table();
    let users: Vec<Option<u32>> = (0..ROWS as u32).map(|row| (row % 5 > 0).then_some(row % 7)).collect();
    let candidates: Vec<usize> = (0..30).collect();
    let held: Vec<u32> = (0..30).map(|place| place % 20).collect();
    let positives = Positives::new(7, &[(0, 3), (1, 4), (3, 19), (6, 2)]);
    let targets: Vec<(u32, f32)> = (0..ROWS as u32)
        .map(|row| (row % 30, -2.0 - row as f32 / 50.0))
        .collect();
    let places: Vec<u32> = targets.iter().map(|(place, _)| *place).collect();
    let mut mask = Mask::default();
    mask.fill(&positives, &users, &places, &held, 20);
    let log_q: Vec<f32> = (0..30).map(|place| -1.0 - place as f32 / 30.0).collect();
    let weights: Vec<f32> = (0..ROWS).map(|row| (1 + row % 3) as f32 / 79.0).collect();
    let compared = Compared {
        queries: (&table, &(0..ROWS).collect::<Vec<_>>()),
        items: (&table, &candidates),
    };
    let against: Vec<(u32, Option<u32>)> = places
        .iter()
        .map(|place| (*place, (place % 4 > 0).then_some((place + 7) % 30)))
        .collect();
    let losses = (0..steps).map(|_| {
        let loss = if pairs {
            let pairs = Pairs {
                places: &against,
                weights: &weights,
            };
            learner.pairwise(&compared, &pairs)
        } else {
            let candidates = Candidates {
                log_q: &log_q,
                targets: &targets,
                mask: &mask,
                weights: &weights,
            };
            learner.softmax(&compared, &candidates)
        };
        learner.learn().unwrap();
        loss.unwrap()
    });
    let losses = losses.collect();
    let mut learnt = towers.clone();
    learner.download(&mut learnt).unwrap();
    (losses, learnt)
}

fn step(rule: Rule, decay: Decay) -> Step {
    let schedule = Schedule {
        peak: 0.01,
        warm_up: 3,
        cosine: Some(40),
    };
    Step { rule, decay, schedule }
}

fn manner(step: Step, clip_norm: Option<f64>, dropout: f64, learnt: bool) -> Manner {
    Manner {
        step,
        clip_norm,
        dropout: Dropout::new(dropout, 9),
        temperature: Warmth { first: 0.4, learnt },
    }
}

fn torch(towers: &Towers, manner: &Manner) -> Learner {
    let network = TorchNetwork::new(towers, manner, Precision::F32, Device::Cpu).unwrap();
    Learner::Torch(Box::new(network))
}

#[test]
fn libtorch_makes_the_steps_of_the_kernels() {
    tch::set_num_threads(1);
    let adam = Rule::Adam {
        beta1: 0.9,
        beta2: 0.999,
    };
    for (rule, decay, normalize, clip_norm, pairs, activation, dropout, learnt) in [
        (
            adam,
            Decay::None,
            Normalize::None,
            None,
            false,
            Activation::Relu,
            0.0,
            true,
        ),
        (
            adam,
            Decay::Coupled(1e-3),
            Normalize::L2,
            Some(0.05),
            false,
            Activation::Elu,
            0.0,
            true,
        ),
        (
            adam,
            Decay::Decoupled(0.1),
            Normalize::None,
            None,
            true,
            Activation::Tanh,
            0.2,
            true,
        ),
        (
            Rule::Adagrad,
            Decay::Coupled(1e-3),
            Normalize::None,
            None,
            false,
            Activation::LeakyRelu,
            0.1,
            false,
        ),
        (
            Rule::Sgd,
            Decay::Decoupled(0.1),
            Normalize::L2,
            Some(0.1),
            true,
            Activation::Relu,
            0.0,
            false,
        ),
    ] {
        let (towers, step) = (towers(normalize, activation), step(rule, decay));
        let manner = manner(step, clip_norm, dropout, learnt);
        let on = Computing::new(Precision::F32, 2);
        let mut kernels = Learner::kernels(&towers, &manner, on);
        let (expected, after) = learn(&mut kernels, &towers, 25, pairs);
        let mut other = torch(&towers, &manner);
        let (found, weights) = learn(&mut other, &towers, 25, pairs);
        let (own, others) = (kernels.temperature().unwrap(), other.temperature().unwrap());
        assert!(
            (own - others).abs() < 1e-4 && learnt == ((own - 0.4).abs() > 1e-3),
            "{own} {others}"
        );
        assert!(expected[24] < expected[0] - 1e-3, "nothing was learnt: {expected:?}");
        for (a, b) in expected.iter().zip(&found) {
            assert!((a - b).abs() < 1e-4, "{step:?}: {expected:?} {found:?}");
        }
        // What is added to every item alike changes no loss: its gradient is what rounding leaves, and Adam makes long
        // steps of that.
        let idle = (normalize == Normalize::None).then_some(16);
        for (array, (a, b)) in after.arrays().into_iter().zip(weights.arrays()).enumerate() {
            if Some(array) == idle {
                continue;
            }
            let apart = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 2e-3, "{step:?}: array {array} is {apart} apart");
        }
    }
}

#[test]
fn a_state_that_is_taken_up_leads_to_the_same() {
    tch::set_num_threads(1);
    let adam = Rule::Adam {
        beta1: 0.9,
        beta2: 0.999,
    };
    let towers = towers(Normalize::None, Activation::Relu);
    let manner = manner(step(adam, Decay::Coupled(1e-3)), None, 0.2, true);
    let mut whole = torch(&towers, &manner);
    let (losses, _) = learn(&mut whole, &towers, 12, false);
    let mut first = torch(&towers, &manner);
    learn(&mut first, &towers, 5, false);
    let numbers: Vec<Vec<f32>> = first.state().unwrap().0.iter().map(|array| array.to_vec()).collect();
    let mut second = torch(&towers, &manner);
    assert!(!second.restore(5, &numbers[1..], &[]).unwrap());
    assert!(second.restore(5, &numbers, &[]).unwrap());
    assert_eq!(second.steps(), 5);
    let (rest, _) = learn(&mut second, &towers, 7, false);
    for (a, b) in losses[5..].iter().zip(&rest) {
        assert!((a - b).abs() < 1e-6, "{losses:?} {rest:?}");
    }
}

#[test]
fn what_is_not_a_number_is_named_by_its_column() {
    let mut towers = towers(Normalize::None, Activation::Relu);
    towers.tables[1][10] = f32::NAN;
    let adagrad = manner(step(Rule::Adagrad, Decay::None), None, 0.0, false);
    assert_eq!(torch(&towers, &adagrad).broken(), ["mean"]);
}

#[test]
fn without_a_cuda_device_the_error_says_what_to_do() {
    if let Err(error) = cuda() {
        let text = error.to_string();
        assert!(
            text.contains("finds no CUDA device") && text.contains("device: cpu"),
            "{text}"
        );
    }
}
