//! Training against PyTorch's dense Adam with autograd over the full matrix of scores.

use arrow::datatypes::DataType;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::nn::{self, OptimizerConfig, VarStore};
use tch::{Device, Kind, Tensor};
use towline_kernels::{Decay, Mask, Rule, Schedule, Step};

use super::columns::{EncodedTable, Ids};
use super::fixture::Quiet;
use super::ids::Originals;
use super::in_batch::InBatch;
use super::network::Network;
use super::sampling::Sampling;
use super::sides::Sides;
use super::towers::{EmbeddingShape, Normalize, Pool, Tower, TowerShape, Towers};
use super::training::Training;
use super::training_options::Loss;
use crate::contract::{Cancel, Column, Context, Device as Place};

const BATCH: usize = 128;
const STEPS: usize = 200;
const LEARNING_RATE: f64 = 0.003;

struct Data {
    table: EncodedTable,
    columns: Vec<(&'static str, Vec<i64>)>,
    sides: Sides,
}

/// Users of a group like items of that group; few of both dominate.
fn data() -> Data {
    let mut rng = ChaCha8Rng::seed_from_u64(17);
    let rows = BATCH * STEPS / 4;
    let mut columns = vec![
        ("user", Vec::new()),
        ("group", Vec::new()),
        ("item", Vec::new()),
        ("brand", Vec::new()),
    ];
    for _ in 0..rows {
        let user = 1 + (rng.random::<f64>().powi(3) * 900.0) as i64;
        let group = user % 6;
        let item = 1 + (rng.random::<f64>().powi(3) * 50.0) as i64 * 6 + group;
        for (column, value) in columns.iter_mut().zip([user, 1 + group, item, 1 + item % 11]) {
            column.1.push(value);
        }
    }
    let column = |name: &str| Column::new(name, DataType::Int64, false);
    let table = columns
        .iter()
        .map(|(name, ids)| ((*name).to_owned(), Ids::Single(ids.clone())))
        .collect();
    Data {
        table: EncodedTable::of(table, rows),
        columns,
        sides: Sides {
            query: vec![column("user"), column("group")],
            item: vec![column("item"), column("brand")],
            user_id: "user".to_owned(),
            item_id: "item".to_owned(),
        },
    }
}

fn towers(layers: &[usize], normalize: Normalize) -> Towers {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let mut tower = |columns: [(&str, usize); 2]| {
        let embeddings = columns.map(|(column, rows)| EmbeddingShape {
            column: column.to_owned(),
            rows,
            dim: 16,
            pooling: Pool::Mean,
        });
        Tower::init(
            TowerShape {
                embeddings: embeddings.to_vec(),
                layers: layers.to_vec(),
            },
            &mut rng,
        )
    };
    let query = tower([("user", 902), ("group", 8)]);
    Towers {
        normalize,
        query,
        item: tower([("item", 310), ("brand", 13)]),
    }
}

struct TorchTower {
    tables: Vec<Tensor>,
    layers: Vec<(Tensor, Tensor)>,
    normalize: Normalize,
}

impl TorchTower {
    fn new(tower: &Tower, normalize: Normalize, variables: &nn::Path<'_>) -> Self {
        let matrix = |name: String, values: &[f32], rows: usize| {
            variables.var_copy(&name, &Tensor::from_slice(values).view([rows as i64, -1]))
        };
        let tables = tower.shape.embeddings.iter().zip(&tower.tables);
        let layers = tower.layers.iter().enumerate();
        TorchTower {
            tables: tables
                .map(|(shape, table)| matrix(shape.column.clone(), table, shape.rows))
                .collect(),
            layers: layers
                .map(|(index, layer)| {
                    let weight = matrix(format!("weight{index}"), &layer.weight, layer.bias.len());
                    (
                        weight,
                        variables.var_copy(&format!("bias{index}"), &Tensor::from_slice(&layer.bias)),
                    )
                })
                .collect(),
            normalize,
        }
    }

    fn forward(&self, columns: &[Tensor]) -> Tensor {
        let parts: Vec<Tensor> = self
            .tables
            .iter()
            .zip(columns)
            .map(|(table, ids)| table.index_select(0, ids))
            .collect();
        let mut x = if self.layers.is_empty() {
            &parts[0] + &parts[1]
        } else {
            Tensor::cat(&parts, 1)
        };
        for (index, (weight, bias)) in self.layers.iter().enumerate() {
            x = x.linear(weight, Some(bias));
            if index + 1 < self.layers.len() {
                x = x.relu();
            }
        }
        if self.normalize == Normalize::L2 {
            x = &x / x.norm_scalaropt_dim(2.0, [1_i64].as_slice(), true).clamp_min(1e-12);
        }
        x
    }
}

/// The losses of every step with PyTorch.
fn dense(data: &Data, towers: &Towers, orders: &[Vec<usize>], temperature: f64, decay: f64) -> Vec<f64> {
    let variables = VarStore::new(Device::Cpu);
    let query = TorchTower::new(&towers.query, towers.normalize, &(variables.root() / "query"));
    let item = TorchTower::new(&towers.item, towers.normalize, &(variables.root() / "item"));
    let mut adam = nn::Adam {
        wd: decay,
        ..nn::Adam::default()
    }
    .build(&variables, LEARNING_RATE)
    .unwrap();
    let (users, items) = (&data.columns[0].1, &data.columns[2].1);
    let mut liked = vec![false; 902 * 310];
    for (user, item) in users.iter().zip(items) {
        liked[(user * 310 + item) as usize] = true;
    }
    let count = |item: i64| items.iter().filter(|other| **other == item).count() as f64;
    let log_q: Vec<f64> = (0..310)
        .map(|item| (count(item).max(1.0) / items.len() as f64).ln())
        .collect();
    let mut losses = Vec::new();
    for rows in orders.iter().flat_map(|order| order.chunks(BATCH)) {
        let ids = |column: usize| {
            Tensor::from_slice(&rows.iter().map(|&row| data.columns[column].1[row]).collect::<Vec<_>>())
        };
        let q = query.forward(&[ids(0), ids(1)]);
        let v = item.forward(&[ids(2), ids(3)]);
        let mut mask = vec![0.0_f32; rows.len() * rows.len()];
        for (i, &row) in rows.iter().enumerate() {
            for (j, &other) in rows.iter().enumerate() {
                if i != j && liked[(users[row] * 310 + items[other]) as usize] {
                    mask[i * rows.len() + j] = f32::NEG_INFINITY;
                }
            }
        }
        let side = rows.len() as i64;
        let correction: Vec<f32> = rows.iter().map(|&row| log_q[items[row] as usize] as f32).collect();
        let logits = q.matmul(&v.tr()) / temperature - Tensor::from_slice(&correction)
            + Tensor::from_slice(&mask).view([side, side]);
        let loss = -logits.log_softmax(-1, Kind::Float).diagonal(0, 0, 1).mean(Kind::Float);
        adam.backward_step(&loss);
        losses.push(loss.double_value(&[]));
    }
    losses
}

/// The losses of every step with the network.
fn network(data: &Data, towers: &Towers, orders: &[Vec<usize>], temperature: f64, decay: f64) -> Vec<f64> {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let context = Context {
        progress: std::sync::Arc::new(Quiet),
        cancel: Cancel::default(),
        temp: folder.path().to_owned(),
        scratch: folder.path().join("scratch"),
        session: datafusion::prelude::SessionContext::new(),
        runtime: runtime.handle().clone(),
        threads: 2,
        device: Place::Cpu,
    };
    let schedule = Schedule {
        peak: LEARNING_RATE,
        warm_up: 0,
        cosine: None,
    };
    let decay = if decay > 0.0 {
        Decay::Coupled(decay)
    } else {
        Decay::None
    };
    let step = Step {
        rule: Rule::Adam {
            beta1: 0.9,
            beta2: 0.999,
        },
        decay,
        schedule,
    };
    let mut network = Network::new(towers, step, None, 2);
    let mut training = Training {
        batch_size: BATCH,
        temperature,
        loss: Loss::SampledSoftmax,
        logq: true,
        uniform_negatives: 0,
        row_weights: None,
        context: &context,
        train: &data.table,
        sampling: Sampling::new(&data.table, &data.sides, &Originals::without_vocabulary(), true).unwrap(),
        in_batch: InBatch::default(),
        mask: Mask::default(),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let batches = orders.iter().flat_map(|order| order.chunks(BATCH));
    batches
        .map(|rows| training.epoch(&mut network, rows, &mut rng).unwrap())
        .collect()
}

#[test]
fn after_two_hundred_steps_the_loss_is_that_of_dense_adam() {
    tch::set_num_threads(1);
    let data = data();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut order: Vec<usize> = (0..data.table.rows).collect();
    let orders: Vec<Vec<usize>> = (0..4)
        .map(|_| {
            order.shuffle(&mut rng);
            order.clone()
        })
        .collect();
    for (layers, normalize, temperature, decay) in [
        (&[32, 16][..], Normalize::None, 1.0, 0.0),
        (&[][..], Normalize::None, 1.0, 1e-4),
        (&[16][..], Normalize::L2, 0.1, 1e-4),
    ] {
        let towers = towers(layers, normalize);
        let expected = dense(&data, &towers, &orders, temperature, decay);
        let found = network(&data, &towers, &orders, temperature, decay);
        assert_eq!((expected.len(), found.len()), (STEPS, STEPS));
        let mean = |losses: &[f64]| losses[STEPS - 40..].iter().sum::<f64>() / 40.0;
        let (expected_end, found_end) = (mean(&expected), mean(&found));
        assert!(
            expected_end < expected[0] - 0.5,
            "nothing was learnt: {} {expected_end}",
            expected[0]
        );
        assert!((expected[0] - found[0]).abs() < 1e-4, "{} {}", expected[0], found[0]);
        println!("{layers:?}: dense {expected_end}, found {found_end}");
        assert!(
            (expected_end - found_end).abs() < 0.005,
            "{layers:?}: dense {expected_end}, found {found_end}"
        );
    }
}
