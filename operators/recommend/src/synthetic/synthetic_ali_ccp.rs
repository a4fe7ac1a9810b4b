//! `SyntheticAliCcp`: synthetic interactions in the schema of Ali-CCP.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::synthetic::planted_rule::{MAX_ITEM_ID, MAX_USER_ID, PlantedRule, suited, taste};
use towline_api::{
    Artifact, Code, Column, Context, DEFAULT_SPLIT, DatasetType, Describe, Form, Inputs, NodeType, Operator,
    OperatorError, Output, Port, Problem, Purity, Report, Result, Schema, Task, TaskResult, TypeContext,
};
use towline_tables::TableWriter;

/// Rows per random stream: fixed, so that the data does not depend on the number of threads.
const CHUNK: u64 = 65_536;

/// Features made by cutting the id range into this many equal parts, numbered from 1.
const USER_CUTS: [(&str, i64); 12] = [
    ("user_shops", 116_740),
    ("user_profile", 97),
    ("user_group", 13),
    ("user_gender", 2),
    ("user_age", 7),
    ("user_consumption_1", 3),
    ("user_consumption_2", 3),
    ("user_is_occupied", 2),
    ("user_geography", 4),
    ("user_intentions", 33_785),
    ("user_brands", 58_014),
    ("user_categories", 6_085),
];
const ITEM_CUTS: [(&str, i64); 4] = [
    ("item_category", 6_804),
    ("item_shop", 479_354),
    ("item_brand", 165_081),
    ("item_intention", 76_330),
];
/// Uniform columns with values in `0..n`.
const EVEN: [(&str, i32); 5] = [
    ("user_item_categories", 7_735),
    ("user_item_shops", 384_343),
    ("user_item_brands", 142_632),
    ("user_item_intentions", 74_317),
    ("position", 4),
];
const TARGETS: [&str; 2] = ["click", "conversion"];

/// Generates synthetic interactions in the schema of the Ali-CCP data set, following Merlin's generator `aliccp-raw`:
/// 25 columns, log-normal ids (few users and items dominate), features derived from the id, and uniformly random values
/// elsewhere (including `click`). The same parameters give the same bytes on every machine.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SyntheticAliCcp {
    /// Number of interactions over all splits.
    #[schemars(range(min = 1))]
    pub rows: u64,
    /// Random seed.
    #[serde(default)]
    pub seed: u64,
    /// Fraction of each split; they add up to 1.
    #[serde(default = "splits")]
    pub splits: BTreeMap<String, f64>,
    /// Fraction of the interactions with a planted structure: the item suits the user's taste, one of 8 by user id.
    /// Merlin's generator has none (0), so no model beats popularity on it. The recall of the optimal model is in the
    /// metrics `optimal_recall_at_10` and `optimal_recall_at_20` (per interaction, over the whole catalogue).
    /// `PlantedOptimum` is that model, for the port `optimal` of `Evaluate`.
    #[serde(default)]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub structure: f64,
}

fn splits() -> BTreeMap<String, f64> {
    BTreeMap::from([(DEFAULT_SPLIT.to_owned(), 0.7), ("valid".to_owned(), 0.3)])
}

/// Smallest and largest id of users or items.
#[derive(Debug, Clone, Copy)]
struct IdRange {
    low: i64,
    high: i64,
}

impl IdRange {
    fn of(ids: &[i64]) -> Self {
        ids.iter().fold(
            IdRange {
                low: i64::MAX,
                high: i64::MIN,
            },
            |r, &id| r.with(IdRange { low: id, high: id }),
        )
    }

    fn with(self, other: IdRange) -> Self {
        IdRange {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
        }
    }

    /// The part of `parts` equal parts that contains `id`, from 1; upper bounds are inclusive.
    fn cut(self, id: i64, parts: i64) -> i64 {
        let width = (self.high - self.low).max(1) as u64;
        (((id - self.low) * parts) as u64)
            .div_ceil(width)
            .clamp(1, parts as u64) as i64
    }
}

/// The ids of a chunk, and the random stream for its other columns.
struct ChunkIds {
    users: Vec<i64>,
    items: Vec<i64>,
    random: ChaCha8Rng,
}

impl SyntheticAliCcp {
    /// The splits with their numbers of rows: `train` first, the others by name; the last one gets the rounding
    /// remainder.
    fn sizes(&self) -> Vec<(String, u64)> {
        let mut names: Vec<&String> = self.splits.keys().collect();
        names.sort_by_key(|name| *name != DEFAULT_SPLIT);
        let mut left = self.rows;
        let last = names.len().saturating_sub(1);
        let size = |(index, name): (usize, &String)| {
            let rows = if index == last {
                left
            } else {
                ((self.rows as f64 * self.splits[name]) as u64).min(left)
            };
            left -= rows;
            (name.clone(), rows)
        };
        names.into_iter().enumerate().map(size).collect()
    }

    fn schema() -> Schema {
        let users = std::iter::once("user_id").chain(USER_CUTS.iter().map(|(name, _)| *name));
        let items = std::iter::once("item_id").chain(ITEM_CUTS.iter().map(|(name, _)| *name));
        let small = users.chain(items).chain(EVEN.iter().map(|(name, _)| *name));
        let small = small.map(|name| Column::new(name, DataType::Int32, false));
        let targets = TARGETS.iter().map(|name| Column::new(*name, DataType::Int64, false));
        Schema {
            columns: small.chain(targets).collect(),
        }
    }

    fn ids(&self, chunk: u64) -> ChunkIds {
        let rows = CHUNK.min(self.rows - chunk * CHUNK) as usize;
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        random.set_stream(chunk);
        let users: Vec<i64> = (0..rows)
            .map(|_| log_normal(&mut random).clamp(1, MAX_USER_ID))
            .collect();
        let mut items: Vec<i64> = (0..rows)
            .map(|_| log_normal(&mut random).clamp(1, MAX_ITEM_ID))
            .collect();
        if self.structure > 0.0 {
            for (user, item) in users.iter().zip(&mut items) {
                if random.random::<f64>() < self.structure {
                    *item = suited(*item, taste(*user));
                }
            }
        }
        ChunkIds { users, items, random }
    }

    fn batch(&self, chunk: u64, ranges: (IdRange, IdRange), schema: &SchemaRef) -> Result<RecordBatch> {
        let ChunkIds {
            users,
            items,
            mut random,
        } = self.ids(chunk);
        let rows = users.len();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
        for (ids, range, cuts) in [(&users, ranges.0, &USER_CUTS[..]), (&items, ranges.1, &ITEM_CUTS[..])] {
            columns.push(Arc::new(Int32Array::from_iter_values(ids.iter().map(|&id| id as i32))));
            for &(_, parts) in cuts {
                let values = ids.iter().map(|&id| range.cut(id, parts) as i32);
                columns.push(Arc::new(Int32Array::from_iter_values(values)));
            }
        }
        for (_, end) in EVEN {
            let values = (0..rows).map(|_| random.random_range(0..end));
            columns.push(Arc::new(Int32Array::from_iter_values(values)));
        }
        for _ in TARGETS {
            let values = (0..rows).map(|_| i64::from(random.random::<bool>()));
            columns.push(Arc::new(Int64Array::from_iter_values(values)));
        }
        Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
    }
}

/// The cut-offs of the optimal recall metrics.
const OPTIMAL_AT: [usize; 2] = [10, 20];

/// The integer part of a log-normal variable (mean 3, standard deviation 1 of the logarithm; Box-Muller transform).
fn log_normal(random: &mut ChaCha8Rng) -> i64 {
    let (a, b) = (1.0 - random.random::<f64>(), random.random::<f64>());
    let normal = (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos();
    (3.0 + normal).exp() as i64
}

/// Runs `work` for every chunk on several threads and `take` for every result in order on this thread.
fn in_waves<T: Send>(
    chunks: u64,
    context: &Context,
    work: impl Fn(u64) -> T + Sync,
    mut take: impl FnMut(T) -> Result<()>,
) -> Result<()> {
    let wave = context.threads.max(1);
    for start in (0..chunks).step_by(wave) {
        context.cancel.check()?;
        let wave = start..chunks.min(start + wave as u64);
        let results = std::thread::scope(|scope| {
            let threads: Vec<_> = wave
                .map(|chunk| {
                    scope.spawn({
                        let work = &work;
                        move || work(chunk)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(std::thread::ScopedJoinHandle::join)
                .collect::<Vec<_>>()
        });
        for result in results {
            take(result.map_err(|_| OperatorError::internal("a generator thread panicked"))?)?;
        }
    }
    Ok(())
}

impl Describe for SyntheticAliCcp {
    const NAME: &'static str = "SyntheticAliCcp";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Seeded;
    const PORTS: &'static [Port] = &[];
    const EXAMPLE: &'static str =
        "op: SyntheticAliCcp\nwith: { rows: 1_000_000, seed: 42, splits: { train: 0.7, valid: 0.3 } }\n";

    fn check(&self) -> Vec<Problem> {
        let sum: f64 = self.splits.values().sum();
        if (sum - 1.0).abs() <= 1e-6 && self.splits.values().all(|share| *share > 0.0) {
            return Vec::new();
        }
        let message = format!("the fractions must be positive and add up to 1, not {sum}");
        vec![Problem::new(Code::OutOfRange, message).at("splits")]
    }
}

impl Operator for SyntheticAliCcp {
    fn output_type(&self, _: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let splits = self.sizes().into_iter().map(|(name, _)| name).collect();
        Ok(NodeType::Dataset(DatasetType {
            schema: SyntheticAliCcp::schema(),
            splits,
        }))
    }

    fn metrics(&self, _: &NodeType) -> Vec<String> {
        OPTIMAL_AT.map(metric_at).to_vec()
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

impl Task for SyntheticAliCcp {
    fn run(&self, _: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let schema = SyntheticAliCcp::schema();
        let arrow = schema.to_arrow();
        let chunks = self.rows.div_ceil(CHUNK);
        // Features depend on the range of all ids, which is known only after all are drawn; drawing them again is
        // cheaper than storing them.
        let mut ranges: Option<(IdRange, IdRange)> = None;
        let measure = |chunk| {
            let ids = self.ids(chunk);
            (IdRange::of(&ids.users), IdRange::of(&ids.items))
        };
        in_waves(chunks, context, measure, |(users, items)| {
            ranges = Some(ranges.map_or((users, items), |(u, i)| (u.with(users), i.with(items))));
            Ok(())
        })?;
        let ranges = ranges.ok_or_else(|| OperatorError::invalid("`rows` must be at least 1"))?;

        context.progress.begin("rows", Some(self.rows));
        let mut open = Vec::new();
        for (index, (name, rows)) in self.sizes().into_iter().enumerate() {
            let path = context.temp_file(&format!("split-{index}.parquet"));
            open.push((name, rows, TableWriter::create(&path, Arc::clone(&arrow))?));
        }
        let mut current = 0;
        in_waves(
            chunks,
            context,
            |chunk| self.batch(chunk, ranges, &arrow),
            |batch| {
                let batch = batch?;
                let mut done = 0;
                while done < batch.num_rows() && current < open.len() {
                    let (_, left, writer) = &mut open[current];
                    let take = (*left).min((batch.num_rows() - done) as u64);
                    writer.write(&batch.slice(done, take as usize))?;
                    *left -= take;
                    done += take as usize;
                    if *left == 0 {
                        current += 1;
                    }
                }
                context.progress.advance(batch.num_rows() as u64);
                Ok(())
            },
        )?;
        let splits = open
            .into_iter()
            .map(|(name, _, writer)| Ok((name, writer.finish()?.path)))
            .collect::<Result<Vec<_>>>()?;
        let facts = self
            .sizes()
            .into_iter()
            .map(|(name, rows)| (format!("rows of {name}"), rows.to_string()));
        let best: Vec<(usize, f64)> = OPTIMAL_AT
            .into_iter()
            .zip(PlantedRule::new(self.structure).best_recall(&OPTIMAL_AT))
            .collect();
        let told = |(k, recall): &(usize, f64)| (format!("best possible recall at {k}"), format!("{recall:.4}"));
        let report = Report {
            facts: std::iter::once(("rows".to_owned(), self.rows.to_string()))
                .chain(facts)
                .chain(best.iter().map(told))
                .collect(),
            ..Report::default()
        };
        let result = TaskResult::Dataset {
            schema,
            splits,
            vocabularies: BTreeMap::new(),
        };
        let metric = |(k, recall): &(usize, f64)| (metric_at(*k), *recall);
        Ok(Output {
            result,
            metrics: best.iter().map(metric).collect(),
            report,
        })
    }
}

/// Metric name of the optimal recall at `k`.
fn metric_at(k: usize) -> String {
    format!("optimal_recall_at_{k}")
}

#[cfg(test)]
#[path = "synthetic_ali_ccp_tests.rs"]
mod tests;
