//! Training against PyTorch's dense Adam with autograd over the full matrix of scores.

use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::nn::{self, OptimizerConfig, VarStore};
use tch::{Device, Kind, Tensor};
use towline_kernels::{Decay, Mask, Rule, Schedule, Step};

use crate::data::dense_features::DenseFeatures;
use crate::data::feature_column::{FeatureColumn, IdFeatures};
use crate::data::feature_table::FeatureTable;
use crate::data::positives::PositivesBuilder;
use crate::data::row_blocks::RowBlock;
use crate::data::training_rows::TrainingRowsBuilder;
use crate::tests::fixture::Quiet;
use crate::towers::activation::Activation;
use crate::towers::tower_shape::{EmbeddingShape, Normalize, NumbersShape, Pool, TowerShape};
use crate::towers::towers::{Tower, Towers};
use crate::train::config::training_options::{Loss, Precision};
use crate::train::losses::sampling::Sampling;
use crate::train::network::compute_backend::Computing;
use crate::train::network::temperature::Warmth;
use crate::train::torch::torch_network::TorchNetwork;
use crate::train::train_backend::{Learner, Manner};
use crate::train::training_loop::Training;
use towline_api::{Cancel, Context};

const BATCH: usize = 128;
const STEPS: usize = 200;
const LEARNING_RATE: f64 = 0.003;

struct Data {
    table: FeatureTable,
    columns: Vec<(&'static str, Vec<i64>)>,
    /// Up to three items of a row, padded with 0.
    last: Vec<i64>,
    age: Vec<f32>,
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
    let (mut last, mut age) = (Vec::new(), Vec::new());
    for row in 0..rows {
        let user = 1 + (rng.random::<f64>().powi(3) * 900.0) as i64;
        let group = user % 6;
        let item = 1 + (rng.random::<f64>().powi(3) * 50.0) as i64 * 6 + group;
        for (column, value) in columns.iter_mut().zip([user, 1 + group, item, 1 + item % 11]) {
            column.1.push(value);
        }
        last.extend((0..3).map(|place| {
            if place < row % 4 {
                1 + (row * 7 + place) as i64 % 300
            } else {
                0
            }
        }));
        age.push(group as f32 / 3.0 - 1.0);
    }
    let single = columns.iter().map(|(name, ids)| {
        (
            (*name).to_owned(),
            FeatureColumn::IdFeatures(IdFeatures::Single(ids.clone())),
        )
    });
    let mut table: Vec<(String, FeatureColumn)> = single.collect();
    let lists = IdFeatures::Lists {
        offsets: (0..=rows).map(|row| 3 * row).collect(),
        values: last.clone(),
    };
    table.push(("last".to_owned(), FeatureColumn::IdFeatures(lists)));
    table.push((
        "age".to_owned(),
        FeatureColumn::Dense(DenseFeatures::of(1, age.clone())),
    ));
    Data {
        table: FeatureTable::of(table, rows),
        columns,
        last,
        age,
    }
}

/// Towers of the columns without lists, or of all: the lists have the table of the items.
fn towers(layers: &[usize], normalize: Normalize, all: bool) -> Towers {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let tower = |columns: [(&str, usize); 2]| {
        let embeddings = columns.map(|(column, rows)| EmbeddingShape {
            column: column.to_owned(),
            rows,
            dim: 16,
            pooling: Pool::Mean,
            table: None,
        });
        TowerShape {
            embeddings: embeddings.to_vec(),
            numbers: Vec::new(),
            layers: layers.to_vec(),
            activation: Activation::default(),
        }
    };
    let (mut query, item) = (
        tower([("user", 902), ("group", 8)]),
        tower([("item", 310), ("brand", 13)]),
    );
    if all {
        query.embeddings.push(EmbeddingShape {
            column: "last".to_owned(),
            pooling: Pool::Attention,
            table: Some("item.embedding.item".to_owned()),
            ..item.embeddings[0].clone()
        });
        query.numbers.push(NumbersShape {
            column: "age".to_owned(),
            width: 1,
        });
    }
    Towers::init(normalize, query, item, &mut rng).unwrap()
}

struct TorchTower {
    tables: Vec<Tensor>,
    attention: Vec<Option<Tensor>>,
    layers: Vec<(Tensor, Tensor)>,
    normalize: Normalize,
}

impl TorchTower {
    fn new(towers: &Towers, tower: &Tower, tables: &[Tensor], variables: &nn::Path<'_>) -> Self {
        let matrix = |name: String, values: &[f32], rows: usize| {
            variables.var_copy(&name, &Tensor::from_slice(values).view([rows as i64, -1]))
        };
        let attention = tower.attention.iter().enumerate().map(|(place, query)| {
            let query = (!query.is_empty()).then(|| Tensor::from_slice(query));
            query.map(|query| variables.var_copy(&format!("attention{place}"), &query))
        });
        let layers = tower.layers.iter().enumerate();
        TorchTower {
            tables: tower
                .tables
                .iter()
                .map(|place| tables[*place].shallow_clone())
                .collect(),
            attention: attention.collect(),
            layers: layers
                .map(|(index, layer)| {
                    let weight = matrix(format!("weight{index}"), &layer.weight, layer.bias.len());
                    (
                        weight,
                        variables.var_copy(&format!("bias{index}"), &Tensor::from_slice(&layer.bias)),
                    )
                })
                .collect(),
            normalize: towers.normalize,
        }
    }

    fn forward(&self, columns: &[Tensor]) -> Tensor {
        let embeddings = self.tables.iter().zip(&self.attention).zip(columns);
        let mut parts: Vec<Tensor> = embeddings
            .map(|((table, query), ids)| {
                let rows = Tensor::embedding(table, ids, -1, false, false);
                let Some(query) = query else { return rows };
                let absent = ids.eq(0);
                let weights = rows.matmul(query).masked_fill(&absent, -1e9).softmax(1, Kind::Float);
                let weights = weights.masked_fill(&absent, 0.0).unsqueeze(-1);
                (rows * weights).sum_dim_intlist([1_i64].as_slice(), false, Kind::Float)
            })
            .collect();
        parts.extend(columns[self.tables.len()..].iter().map(Tensor::shallow_clone));
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
    let root = variables.root();
    let tables = towers.tables.iter().enumerate().map(|(place, table)| {
        let table = Tensor::from_slice(table).view([-1, 16]);
        root.var_copy(&format!("table{place}"), &table)
    });
    let tables: Vec<Tensor> = tables.collect();
    let query = TorchTower::new(towers, &towers.query, &tables, &(&root / "query"));
    let item = TorchTower::new(towers, &towers.item, &tables, &(&root / "item"));
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
        let last: Vec<i64> = rows
            .iter()
            .flat_map(|row| data.last[3 * row..3 * row + 3].to_vec())
            .collect();
        let age: Vec<f32> = rows.iter().map(|row| data.age[*row]).collect();
        let mut columns = vec![ids(0), ids(1)];
        if towers.query.shape.embeddings.len() > 2 {
            columns.push(Tensor::from_slice(&last).view([-1, 3]));
            columns.push(Tensor::from_slice(&age).view([-1, 1]));
        }
        let q = query.forward(&columns);
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
fn network(
    data: &Data,
    orders: &[Vec<usize>],
    (temperature, decay): (f64, f64),
    learner: impl FnOnce(&Manner) -> Learner,
) -> Vec<f64> {
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
    let mut learner = learner(&Manner {
        step,
        clip_norm: None,
        dropout: None,
        temperature: Warmth {
            first: temperature,
            learnt: false,
        },
    });
    let (rows, pairs) = (data.table.rows, data.columns[0].1.iter().zip(&data.columns[2].1));
    let mut liked = PositivesBuilder::Memory(Vec::new());
    for (user, item) in pairs {
        liked.add(*user as u32, *item as u32).unwrap();
    }
    let mut block = RowBlock::like(&data.table, &data.table);
    block.queries = data.table.clone();
    block.users = data.columns[0].1.iter().map(|user| *user as u32).collect();
    let mut first: Vec<usize> = Vec::new();
    let (mut ids, mut counts) = (Vec::new(), Vec::new());
    for (row, &item) in data.columns[2].1.iter().enumerate() {
        let place = ids.iter().position(|id| *id == item as u32).unwrap_or_else(|| {
            first.push(row);
            ids.push(item as u32);
            counts.push(0);
            ids.len() - 1
        });
        counts[place] += 1;
        block.places.push(place as u32);
    }
    let mut gathered = TrainingRowsBuilder::new(RowBlock::like(&data.table, &data.table), 64 * rows, None);
    let fill = |target: &mut RowBlock, _| {
        *target = block.clone();
        Ok(())
    };
    gathered.extend(rows, fill).unwrap();
    let sampling = Sampling::new(&ids, &counts);
    let mut training = Training {
        batch_size: BATCH,
        loss: Loss::SampledSoftmax,
        logq: true,
        uniform_negatives: 0,
        frozen: None,
        context: &context,
        rows: gathered.finish(data.table.select(&first), ids, None).unwrap(),
        liked: liked.finish().unwrap(),
        sampling,
        mask: Mask::default(),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let batches = orders.iter().flat_map(|order| order.chunks(BATCH));
    batches
        .map(|rows| {
            let (sum, weight) = training.pass(&mut learner, rows, &mut rng).unwrap();
            sum / weight
        })
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
    for (layers, normalize, temperature, decay, all) in [
        (&[32, 16][..], Normalize::None, 1.0, 0.0, false),
        (&[][..], Normalize::None, 1.0, 1e-4, false),
        (&[16][..], Normalize::L2, 0.1, 1e-4, false),
        (&[32, 16][..], Normalize::None, 1.0, 1e-4, true),
    ] {
        let towers = towers(layers, normalize, all);
        let expected = dense(&data, &towers, &orders, temperature, decay);
        let kernels = |precision| {
            let towers = &towers;
            move |manner: &Manner| Learner::kernels(towers, manner, Computing::new(precision, 2))
        };
        let torch = |precision| {
            let towers = &towers;
            move |manner: &Manner| {
                let network = TorchNetwork::new(towers, manner, precision, Device::Cpu).unwrap();
                Learner::Torch(Box::new(network))
            }
        };
        let of = (temperature, decay);
        for (name, most, found) in [
            ("kernels", 1e-4, network(&data, &orders, of, kernels(Precision::F32))),
            (
                "kernels, bf16",
                2e-3,
                network(&data, &orders, of, kernels(Precision::Bf16)),
            ),
            ("libtorch", 1e-4, network(&data, &orders, of, torch(Precision::F32))),
            (
                "libtorch, bf16",
                2e-2,
                network(&data, &orders, of, torch(Precision::Bf16)),
            ),
        ] {
            assert_eq!((expected.len(), found.len()), (STEPS, STEPS));
            let mean = |losses: &[f64]| losses[STEPS - 40..].iter().sum::<f64>() / 40.0;
            let (expected_end, found_end) = (mean(&expected), mean(&found));
            assert!(
                expected_end < expected[0] - 0.5,
                "nothing was learnt: {} {expected_end}",
                expected[0]
            );
            assert!((expected[0] - found[0]).abs() < most, "{} {}", expected[0], found[0]);
            println!("{layers:?}, {name}: dense {expected_end}, found {found_end}");
            assert!(
                (expected_end - found_end).abs() < 0.005,
                "{layers:?}, {name}: dense {expected_end}, found {found_end}"
            );
        }
    }
}
