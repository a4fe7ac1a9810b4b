//! Training against PyTorch's dense Adam with autograd over the full matrix of scores.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tch::nn::{self, OptimizerConfig, VarStore};
use tch::{Device, Kind, Tensor};
use towline_recommend::train::backend::{Normalize, Tower, Towers};

use crate::fixture::{Fixture, ITEMS, LAST, USERS, inputs, operator};
use crate::recording::{Computed, Step, recorded};

const BATCH: usize = 128;
const STEPS: usize = 200;
const LEARNING_RATE: f64 = 0.003;

struct DenseTower {
    tables: Vec<Tensor>,
    attention: Vec<Option<Tensor>>,
    layers: Vec<(Tensor, Tensor)>,
    normalize: Normalize,
}

impl DenseTower {
    fn new(towers: &Towers, tower: &Tower, tables: &[Tensor], variables: &nn::Path<'_>) -> Self {
        let matrix = |name: String, values: &[f32], rows: usize| {
            variables.var_copy(&name, &Tensor::from_slice(values).view([rows as i64, -1]))
        };
        let attention = tower.attention.iter().enumerate().map(|(place, query)| {
            let query = (!query.is_empty()).then(|| Tensor::from_slice(query));
            query.map(|query| variables.var_copy(&format!("attention{place}"), &query))
        });
        let layers = tower.layers.iter().enumerate();
        DenseTower {
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

    fn forward(&self, columns: &[Tensor], product: Product) -> Tensor {
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
            x = product(&x, weight) + bias;
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

/// `left right^T`.
type Product = fn(&Tensor, &Tensor) -> Tensor;

fn tables(towers: &Towers, root: &nn::Path<'_>) -> Vec<Tensor> {
    let tables = towers.tables.iter().enumerate().map(|(place, table)| {
        let table = Tensor::from_slice(table).view([-1, 16]);
        root.var_copy(&format!("table{place}"), &table)
    });
    tables.collect()
}

fn query_columns(step: &Step) -> Vec<Tensor> {
    let mut columns = vec![Tensor::from_slice(&step.users), Tensor::from_slice(&step.groups)];
    if !step.last.is_empty() {
        columns.push(Tensor::from_slice(&step.last).view([-1, LAST as i64]));
        columns.push(Tensor::from_slice(&step.age).view([-1, 1]));
    }
    columns
}

/// The embeddings of the users of a step, [batch, dim].
pub(crate) fn query_embeddings(towers: &Towers, step: &Step) -> Tensor {
    let variables = VarStore::new(Device::Cpu);
    let tables = tables(towers, &variables.root());
    let query = DenseTower::new(towers, &towers.query, &tables, &variables.root());
    query.forward(&query_columns(step), single)
}

/// The losses of every step with PyTorch.
fn dense(steps: &[Step], towers: &Towers, temperature: f64, decay: f64, product: Product) -> Vec<f64> {
    let variables = VarStore::new(Device::Cpu);
    let root = variables.root();
    let tables = tables(towers, &root);
    let query = DenseTower::new(towers, &towers.query, &tables, &(&root / "query"));
    let item = DenseTower::new(towers, &towers.item, &tables, &(&root / "item"));
    let mut adam = nn::Adam {
        wd: decay,
        ..nn::Adam::default()
    }
    .build(&variables, LEARNING_RATE)
    .unwrap();
    // All epochs see the same rows.
    let (mut liked, mut counts) = (vec![false; USERS * ITEMS], vec![0_u32; ITEMS]);
    for step in &steps[..STEPS / 4] {
        for (user, item) in step.users.iter().zip(&step.items) {
            liked[*user as usize * ITEMS + *item as usize] = true;
            counts[*item as usize] += 1;
        }
    }
    let rows = f64::from(counts.iter().sum::<u32>());
    let mut losses = Vec::new();
    for step in steps {
        let q = query.forward(&query_columns(step), product);
        let v = item.forward(
            &[Tensor::from_slice(&step.items), Tensor::from_slice(&step.brands)],
            product,
        );
        let mut mask = vec![0.0_f32; BATCH * BATCH];
        for (i, &user) in step.users.iter().enumerate() {
            for (j, &other) in step.items.iter().enumerate() {
                if i != j && liked[user as usize * ITEMS + other as usize] {
                    mask[i * BATCH + j] = f32::NEG_INFINITY;
                }
            }
        }
        let log_q = |item: &i64| (f64::from(counts[*item as usize]) / rows).ln() as f32;
        let correction: Vec<f32> = step.items.iter().map(log_q).collect();
        let side = BATCH as i64;
        let logits = product(&q, &v) / temperature - Tensor::from_slice(&correction)
            + Tensor::from_slice(&mask).view([side, side]);
        let loss = -logits.log_softmax(-1, Kind::Float).diagonal(0, 0, 1).mean(Kind::Float);
        adam.backward_step(&loss);
        losses.push(loss.double_value(&[]));
    }
    losses
}

fn single(left: &Tensor, right: &Tensor) -> Tensor {
    left.matmul(&right.tr())
}

/// Rounded to bf16 and back; its gradient is rounded, too.
fn rounded(tensor: &Tensor) -> Tensor {
    tensor.to_kind(Kind::BFloat16).to_kind(Kind::Float)
}

/// A product of libtorch in bf16, from products in single precision: factors, results and gradients are rounded, sums are
/// not.
fn bf16(left: &Tensor, right: &Tensor) -> Tensor {
    rounded(&single(&rounded(left), &rounded(right)))
}

/// The towers with every weight moved by up to this share of it.
fn nudged(towers: &Towers, seed: u64, share: f32) -> Towers {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut towers = towers.clone();
    for x in towers.arrays_mut().into_iter().flatten() {
        *x *= 1.0 + share * rng.random_range(-1.0..=1.0);
    }
    towers
}

/// The end of training: the mean loss of the last 40 steps.
fn end(losses: &[f64]) -> f64 {
    losses[STEPS - 40..].iter().sum::<f64>() / 40.0
}

/// Where training in bf16 ends, by dense trainings from weights that are moved by the rounding of bf16.
///
/// The steps of a processor round partial sums in an order of its own. Each is one more draw of what rounding does, and
/// has to lie in the prediction interval of these draws; an end in single precision is none of them.
struct Spread {
    mean: f64,
    bound: f64,
}

impl Spread {
    const DRAWS: u64 = 6;
    /// Half the 99.9 % prediction interval of one more draw, in standard deviations: Student's t of 5 degrees of freedom,
    /// 6.87, times sqrt(1 + 1 / 6).
    const INTERVAL: f64 = 7.42;

    fn of_bf16(steps: &[Step], towers: &Towers, temperature: f64, decay: f64) -> Self {
        let draw = |seed| {
            end(&dense(
                steps,
                &nudged(towers, seed, 2_f32.powi(-9)),
                temperature,
                decay,
                bf16,
            ))
        };
        let ends: Vec<f64> = (0..Self::DRAWS).map(draw).collect();
        let count = Self::DRAWS as f64;
        let mean = ends.iter().sum::<f64>() / count;
        let variance = ends.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (count - 1.0);
        Spread {
            mean,
            bound: Self::INTERVAL * variance.sqrt(),
        }
    }
}

#[test]
fn after_two_hundred_steps_the_loss_is_that_of_dense_adam() {
    tch::set_num_threads(1);
    let fixture = Fixture::new();
    for (layers, normalize, temperature, decay, all) in [
        (&[32, 16][..], "none", 1.0, 0.0, false),
        (&[][..], "none", 1.0, 1e-4, false),
        (&[16][..], "l2", 0.1, 1e-4, false),
        (&[32, 16][..], "none", 1.0, 1e-4, true),
    ] {
        let without = if all {
            &["weight"][..]
        } else {
            &["weight", "last", "age"][..]
        };
        let ports = inputs(fixture.data(BATCH * STEPS / 4, without));
        let settings = json!({
            "layers": layers, "normalize": normalize, "temperature": temperature, "weight_decay": decay,
            "embedding_dim": 16, "pooling": "attention", "batch_size": BATCH, "epochs": 4,
            "learning_rate": LEARNING_RATE, "seed": 5,
        });
        let train = |by: Computed, precision: &str| {
            let (backend, recording) = recorded(by);
            let operator = operator(&settings, &json!({ "precision": precision }));
            operator.train_on(&ports, &fixture.context(), &*backend).unwrap();
            let mut recording = recording.lock().unwrap();
            std::mem::take(&mut *recording)
        };
        let recording = train(Computed::Kernels, "f32");
        let (steps, towers) = (&recording.steps, recording.initial.as_ref().unwrap());
        let expected = dense(steps, towers, temperature, decay, single);
        let spread = Spread::of_bf16(steps, towers, temperature, decay);
        for (name, most, center, bound, found) in [
            ("kernels", 1e-4, end(&expected), 0.005, recording.losses.clone()),
            (
                "libtorch",
                1e-4,
                end(&expected),
                1e-4,
                train(Computed::Libtorch, "f32").losses,
            ),
            (
                "kernels, bf16",
                2e-3,
                spread.mean,
                spread.bound,
                train(Computed::Kernels, "bf16").losses,
            ),
            (
                "libtorch, bf16",
                2e-2,
                spread.mean,
                spread.bound,
                train(Computed::Libtorch, "bf16").losses,
            ),
        ] {
            assert_eq!((expected.len(), found.len()), (STEPS, STEPS));
            let found_end = end(&found);
            assert!(
                center < expected[0] - 0.5,
                "nothing was learnt: {} {center}",
                expected[0]
            );
            assert!((expected[0] - found[0]).abs() < most, "{} {}", expected[0], found[0]);
            assert!(
                (center - found_end).abs() < bound,
                "{layers:?}, {name}: dense {center}, found {found_end}, bound {bound}"
            );
        }
    }
}
