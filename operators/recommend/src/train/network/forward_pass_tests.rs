//! The forward pass of training gives, up to rounding, what encoding gives.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use towline_kernels::{Decay, Rule, Schedule, Step};

use crate::data::dense_features::DenseFeatures;
use crate::data::feature_column::{FeatureColumn, IdFeatures};
use crate::data::feature_table::FeatureTable;
use crate::towers::tower_shape::{EmbeddingShape, NumbersShape, TowerShape};
use crate::towers::towers::Towers;
use crate::towers::{Activation, Normalize, Pool, Side};
use crate::train::config::training_options::Precision;
use crate::train::network::compute_backend::ComputeBackend;
use crate::train::network::network::Network;
use crate::train::network::temperature::TemperatureConfig;
use crate::train::train_backend::{TowerRows, TrainingConfig};

/// More than what one thread pools at a time.
const ROWS: usize = 700;

fn table(rng: &mut ChaCha8Rng) -> FeatureTable {
    let mut offsets = vec![0];
    let mut values = Vec::new();
    for row in 0..ROWS {
        // Some lists are empty, and some elements are padding.
        values.extend((0..row % 4).map(|_| rng.random_range(0..9_i64)));
        offsets.push(values.len());
    }
    let single = IdFeatures::Single((0..ROWS).map(|_| rng.random_range(1..12)).collect());
    let numbers = (0..2 * ROWS).map(|_| rng.random_range(-1.0..1.0)).collect();
    let columns = vec![
        ("id".to_owned(), FeatureColumn::IdFeatures(single)),
        (
            "list".to_owned(),
            FeatureColumn::IdFeatures(IdFeatures::Lists { offsets, values }),
        ),
        ("age".to_owned(), FeatureColumn::Dense(DenseFeatures::of(2, numbers))),
    ];
    FeatureTable::of(columns, ROWS)
}

fn shape(pooling: Pool, layers: &[usize], activation: Activation) -> TowerShape {
    let embedding = |column: &str, rows: usize| EmbeddingShape {
        column: column.to_owned(),
        rows,
        dim: 8,
        pooling,
        table: None,
    };
    let numbers = (!layers.is_empty()).then(|| NumbersShape {
        column: "age".to_owned(),
        width: 2,
    });
    TowerShape {
        embeddings: vec![
            EmbeddingShape {
                pooling: Pool::Mean,
                ..embedding("id", 12)
            },
            embedding("list", 9),
        ],
        numbers: numbers.into_iter().collect(),
        layers: layers.to_vec(),
        activation,
    }
}

#[test]
fn training_and_encoding_embed_alike() {
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    let table = table(&mut rng);
    let rows: Vec<usize> = (0..ROWS).collect();
    for (pooling, layers, activation, normalize) in [
        (Pool::Mean, &[16, 6][..], Activation::Relu, Normalize::None),
        (Pool::Sum, &[16, 6][..], Activation::LeakyRelu, Normalize::L2),
        (Pool::Max, &[6][..], Activation::Elu, Normalize::None),
        (Pool::Attention, &[16, 12, 6][..], Activation::Tanh, Normalize::L2),
        (Pool::Attention, &[][..], Activation::Relu, Normalize::None),
    ] {
        let shape = shape(pooling, layers, activation);
        let mut towers = Towers::init(normalize, shape.clone(), shape, &mut rng).unwrap();
        for query in towers.query.attention.iter_mut().flatten() {
            *query = rng.random_range(-2.0..2.0);
        }
        let config = TrainingConfig {
            step: Step {
                rule: Rule::Sgd,
                decay: Decay::None,
                schedule: Schedule {
                    peak: 0.1,
                    warm_up: 0,
                    cosine: None,
                },
            },
            clip_norm: None,
            dropout: None,
            temperature: TemperatureConfig {
                first: 1.0,
                learnt: false,
            },
        };
        let mut network = Network::new(&towers, &config, ComputeBackend::new(Precision::F32, 2));
        let batch = TowerRows {
            table: &table,
            rows: &rows,
        };
        network.forward(batch, batch).unwrap();
        for (side, found) in [
            (Side::Query, network.query.output()),
            (Side::Item, network.item.output()),
        ] {
            let expected = towers.embed(side, &table, 3).unwrap();
            assert_eq!(found.len(), expected.len());
            let apart = found
                .iter()
                .zip(&expected)
                .map(|(a, b)| (a - b).abs())
                .fold(0.0, f32::max);
            assert!(apart < 1e-5, "{pooling:?}, {layers:?}: {apart} apart");
        }
    }
}
