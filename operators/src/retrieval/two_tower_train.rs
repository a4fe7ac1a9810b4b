//! `TwoTowerTrain`.

use std::collections::BTreeMap;

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tch::nn::{self, OptimizerConfig, VarStore};

use super::catalogue::{Catalogue, ITEMS, Items};
use super::columns::EncodedTable;
use super::evaluation::Cases;
use super::ids::Originals;
use super::sampling::Sampling;
use super::seen::Seen;
use super::sides::Sides;
use super::torch_towers::{TorchTower, load_torch, torch};
use super::towers::{EmbeddingShape, Normalize, Tower, TowerShape, Towers, WEIGHTS};
use super::training::Training;
use super::users::unknown_split;
use crate::contract::{
    Artifact, Column, Context, DEFAULT_SPLIT, DatasetFiles, Describe, Device, Form, Inputs, ModelType, NodeType,
    Operator, OperatorError, Output, Port, Problem, Purity, Report, ReportTable, Result, Task, TaskResult, TypeContext,
    dataset_at, file_dataset_at,
};

/// How weights follow gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Optimizer {
    /// Adam (Kingma and Ba 2015) with its usual constants.
    #[default]
    Adam,
    /// Plain stochastic gradient descent.
    Sgd,
}

/// Trains a two-tower retrieval model on positive interactions: one tower embeds the user, one the item, and the dot
/// product of the two says how well they fit.
///
/// Columns go to the towers by their tags (`user`, `item`); one column of each side is its `id`. All must be encoded
/// categories: int64 [rows], or lists of them, which are averaged without padding. Each column has an embedding table;
/// the embeddings are concatenated and go through an MLP with `ReLU` between its layers.
///
/// The loss is the softmax over the items of the batch, corrected for how often each is drawn (Yi et al. 2019). Items
/// that the user has interacted with anywhere in the training split are no negatives.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TwoTowerTrain {
    /// Widths of the layers of each tower; the last is the width of the embeddings.
    #[serde(default = "default_layers")]
    pub layers: Vec<usize>,
    /// Width of every column's embedding; by default twice the fourth root of the number of its ids, rounded up to a
    /// multiple of 8, at most 64.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub embedding_dim: Option<usize>,
    /// Interactions per step; every other one of the batch is a negative.
    #[serde(default = "default_batch_size")]
    #[schemars(range(min = 2))]
    pub batch_size: usize,
    /// Passes over the training split.
    #[serde(default = "default_epochs")]
    #[schemars(range(min = 1))]
    pub epochs: usize,
    /// How weights follow gradients.
    #[serde(default)]
    pub optimizer: Optimizer,
    /// Length of the optimizer's steps.
    #[serde(default = "default_learning_rate")]
    pub learning_rate: f64,
    /// Scores are divided by it before the softmax; by default 1, or 0.05 with `normalize: l2`.
    #[serde(default)]
    pub temperature: Option<f64>,
    /// Whether embeddings are scaled to length 1.
    #[serde(default)]
    pub normalize: Normalize,
    /// Whether to correct for how often an item is drawn as a negative. Without it the model learns to rank against
    /// popularity.
    #[serde(default = "default_logq")]
    pub logq: bool,
    /// Decides the initial weights and the order of the rows.
    #[serde(default)]
    pub seed: u64,
    /// Lengths of the lists for the metrics of the validation.
    #[serde(default = "default_metrics_at")]
    pub metrics_at: Vec<usize>,
    /// The split to train on.
    #[serde(default = "default_fit_on")]
    pub fit_on: String,
    /// The split to validate on after each epoch, over the full catalogue and per interaction; by default `valid`, if
    /// there is one.
    #[serde(default)]
    pub validate_on: Option<String>,
}

fn default_layers() -> Vec<usize> {
    vec![128, 64]
}

fn default_batch_size() -> usize {
    4096
}

fn default_epochs() -> usize {
    2
}

fn default_learning_rate() -> f64 {
    1e-3
}

fn default_logq() -> bool {
    true
}

fn default_metrics_at() -> Vec<usize> {
    vec![10]
}

fn default_fit_on() -> String {
    DEFAULT_SPLIT.to_owned()
}

impl Describe for TwoTowerTrain {
    const NAME: &'static str = "TwoTowerTrain";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Seeded;
    const PORTS: &'static [Port] = &[Port::dataset(
        "input",
        "Positive interactions: encoded columns with their tags.",
    )];
    const EXAMPLE: &'static str = "op: TwoTowerTrain\ninput: features\nwith: { layers: [128, 64], epochs: 2 }\n";

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut range = |key: &str, bad: bool, text: &str| {
            if bad {
                problems.push(Problem::new("out-of-range", text).at(key));
            }
        };
        let positive = |x: f64| x.is_finite() && x > 0.0;
        range(
            "layers",
            self.layers.is_empty() || self.layers.contains(&0),
            "a tower needs layers, none of width 0",
        );
        range(
            "metrics_at",
            self.metrics_at.contains(&0),
            "a list of length 0 has no metrics",
        );
        range(
            "learning_rate",
            !positive(self.learning_rate),
            "the learning rate must be more than 0",
        );
        range(
            "temperature",
            self.temperature.is_some_and(|t| !positive(t)),
            "the temperature must be more than 0",
        );
        problems
    }
}

impl Operator for TwoTowerTrain {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let dataset = dataset_at(inputs, "input")?;
        let mut problems: Vec<Problem> = unknown_split(Some(&self.fit_on), &dataset.splits, "fit_on")
            .into_iter()
            .collect();
        problems.extend(unknown_split(
            self.validate_on.as_deref(),
            &dataset.splits,
            "validate_on",
        ));
        let sides = Sides::of(&dataset.schema);
        match sides {
            Ok(sides) if problems.is_empty() => Ok(NodeType::Model(
                self.model_type(&sides, self.validation(dataset.splits.iter().map(String::as_str))),
            )),
            Ok(_) => Err(problems),
            Err(more) => Err([problems, more].concat()),
        }
    }

    fn form(&self) -> Form<'_> {
        Form::Task(self)
    }
}

impl TwoTowerTrain {
    fn validation<'a>(&'a self, mut splits: impl Iterator<Item = &'a str>) -> Option<&'a str> {
        let wanted = self.validate_on.as_deref().unwrap_or("valid");
        splits.find(|split| *split == wanted)
    }

    fn model_type(&self, sides: &Sides, validation: Option<&str>) -> ModelType {
        let mut metrics = vec!["loss".to_owned()];
        for (split, k) in validation
            .iter()
            .flat_map(|split| self.metrics_at.iter().map(move |k| (split, k)))
        {
            metrics.extend([format!("{split}_recall_at_{k}"), format!("{split}_ndcg_at_{k}")]);
        }
        sides.model_type(self.layers.last().copied().unwrap_or(0), metrics)
    }

    fn shape(&self, columns: &[Column]) -> Result<TowerShape> {
        let embedding = |column: &Column| {
            let rows = column.domain.as_ref().and_then(|domain| domain.size);
            let rows = rows.ok_or_else(|| {
                OperatorError::invalid(format!("`{}` does not say how many ids it can hold", column.name))
            })? as usize;
            let rule = ((2.0 * (rows as f64).powf(0.25)).ceil() as usize)
                .next_multiple_of(8)
                .min(64);
            Ok(EmbeddingShape {
                column: column.name.clone(),
                rows,
                dim: self.embedding_dim.unwrap_or(rule),
            })
        };
        let embeddings = columns.iter().map(embedding).collect::<Result<_>>()?;
        Ok(TowerShape {
            embeddings,
            layers: self.layers.clone(),
        })
    }

    fn temperature(&self) -> f64 {
        let default = if self.normalize == Normalize::L2 { 0.05 } else { 1.0 };
        self.temperature.unwrap_or(default)
    }

    fn read(&self, dataset: &DatasetFiles, split: &str, context: &Context) -> Result<EncodedTable> {
        let sides = sides(dataset)?;
        let columns: Vec<&Column> = sides.query.iter().chain(&sides.item).collect();
        EncodedTable::read(super::model::tables(dataset, Some(split))?, &columns, &context.cancel)
    }

    fn optimizer(&self, variables: &VarStore) -> Result<nn::Optimizer> {
        match self.optimizer {
            Optimizer::Adam => nn::Adam::default().build(variables, self.learning_rate),
            Optimizer::Sgd => nn::Sgd::default().build(variables, self.learning_rate),
        }
        .map_err(torch)
    }
}

fn sides(dataset: &DatasetFiles) -> Result<Sides> {
    Sides::of(&dataset.schema).map_err(|problems| {
        let texts: Vec<String> = problems.into_iter().map(|problem| problem.message).collect();
        OperatorError::invalid(texts.join("; "))
    })
}

impl Task for TwoTowerTrain {
    fn run(&self, inputs: &Inputs<Artifact>, context: &Context) -> Result<Output> {
        let dataset = file_dataset_at(inputs, "input")?;
        let sides = sides(dataset)?;
        let train = self.read(dataset, &self.fit_on, context)?;
        if train.rows < 2 {
            return Err(OperatorError::invalid(format!(
                "the split `{}` has too few rows to train on",
                self.fit_on
            )));
        }
        let validation = self.validation(dataset.splits.iter().map(|(name, _)| name.as_str()));
        let model_type = self.model_type(&sides, validation);
        let (Some(user), Some(item)) = (model_type.user_column(), model_type.item_column()) else {
            return Err(OperatorError::invalid("there are no id columns"));
        };
        let users = Originals::of(user, &dataset.vocabularies)?;
        let items = Items::collect(&train, &model_type.item, &sides.item_id)?;
        let catalogue = Catalogue::new(&items, &Originals::of(item, &dataset.vocabularies)?)?;
        let cases = match validation {
            Some(split) => {
                let table = self.read(dataset, split, context)?;
                Some((
                    split,
                    Cases::per_interaction(&table, &model_type, &catalogue, &Seen::default())?,
                ))
            }
            None => None,
        };

        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        let mut towers = Towers {
            normalize: self.normalize,
            query: Tower::init(self.shape(&sides.query)?, &mut rng),
            item: Tower::init(self.shape(&sides.item)?, &mut rng),
        };
        load_torch()?;
        tch::set_num_threads(context.threads as i32);
        let device = if context.device == Device::Cuda {
            tch::Device::Cuda(0)
        } else {
            tch::Device::Cpu
        };
        let variables = VarStore::new(device);
        let root = variables.root();
        let query_tower = TorchTower::new(&towers.query, self.normalize, &root.sub("query")).map_err(torch)?;
        let item_tower = TorchTower::new(&towers.item, self.normalize, &root.sub("item")).map_err(torch)?;
        let mut optimizer = self.optimizer(&variables)?;
        let (user_ids, item_ids) = (train.single(&sides.user_id)?, train.single(&sides.item_id)?);
        let sampling = Sampling::new(user_ids, item_ids, &users);
        let training = Training {
            batch_size: self.batch_size,
            temperature: self.temperature(),
            logq: self.logq,
            context,
            train: &train,
            users: user_ids,
            items: item_ids,
            sampling,
            device,
        };

        context.progress.begin("rows", Some((self.epochs * train.rows) as u64));
        let mut metrics = BTreeMap::new();
        let mut order: Vec<usize> = (0..train.rows).collect();
        let mut table = ReportTable {
            title: "training".to_owned(),
            ..ReportTable::default()
        };
        table.columns = ["epoch".to_owned()]
            .into_iter()
            .chain(model_type.metrics.iter().cloned())
            .collect();
        for epoch in 1..=self.epochs {
            order.shuffle(&mut rng);
            let loss = training.epoch(&query_tower, &item_tower, &mut optimizer, &order)?;
            query_tower.download(&mut towers.query).map_err(torch)?;
            item_tower.download(&mut towers.item).map_err(torch)?;
            metrics.insert("loss".to_owned(), loss);
            if let Some((split, cases)) = &cases {
                metrics.extend(self.validate(&towers, &catalogue, split, cases, context)?);
            }
            let values: Vec<String> = model_type
                .metrics
                .iter()
                .filter_map(|name| metrics.get(name))
                .map(|x| format!("{x:.4}"))
                .collect();
            let named = model_type
                .metrics
                .iter()
                .zip(&values)
                .map(|(name, value)| format!("{name} {value}"));
            let note = named.collect::<Vec<_>>().join(", ");
            context.progress.note(&format!("epoch {epoch}/{}, {note}", self.epochs));
            table.rows.push([epoch.to_string()].into_iter().chain(values).collect());
        }

        let (weights, catalogue_file) = (context.temp_file(WEIGHTS), context.temp_file(ITEMS));
        towers.write(&weights)?;
        items.write(&catalogue_file)?;
        let description = serde_json::to_value(towers.architecture());
        let description = description.map_err(|error| OperatorError::invalid(error.to_string()))?;
        let files = [(WEIGHTS.to_owned(), weights), (ITEMS.to_owned(), catalogue_file)].into();
        let columns = model_type.query.columns.iter().chain(&model_type.item.columns);
        let digests = columns.filter_map(|column| column.domain.as_ref()?.vocabulary.as_ref());
        let vocabularies = digests
            .filter_map(|d| Some((d.clone(), dataset.vocabularies.get(d)?.clone())))
            .collect();
        let facts = vec![
            ("interactions".to_owned(), train.rows.to_string()),
            ("items".to_owned(), catalogue.len().to_string()),
        ];
        let report = Report {
            facts,
            tables: vec![table],
            warnings: Vec::new(),
        };
        Ok(Output {
            result: TaskResult::Model {
                model_type,
                description,
                files,
                vocabularies,
            },
            metrics,
            report,
        })
    }
}

impl TwoTowerTrain {
    fn validate(
        &self,
        towers: &Towers,
        catalogue: &Catalogue,
        split: &str,
        cases: &Cases,
        context: &Context,
    ) -> Result<BTreeMap<String, f64>> {
        let items = towers.item.embed(&catalogue.table, towers.normalize, context.threads)?;
        let longest = self.metrics_at.iter().copied().max().unwrap_or(0);
        let rankings = cases.by_model(towers, &items, longest, &Seen::default(), context)?;
        let mut metrics = BTreeMap::new();
        for (k, average) in self.metrics_at.iter().zip(cases.average(&rankings, &self.metrics_at)) {
            let [recall, _, ndcg, ..] = average.values(catalogue.len());
            metrics.insert(format!("{split}_recall_at_{k}"), recall);
            metrics.insert(format!("{split}_ndcg_at_{k}"), ndcg);
        }
        Ok(metrics)
    }
}
