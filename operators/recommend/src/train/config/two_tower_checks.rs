//! What stands against a training, found without data.

use crate::data::feature_column::FeatureKind;
use crate::data::tower_columns::TowerColumns;
use crate::train::config::training_options::Loss;
use crate::train::config::two_tower_shape::one_domain;
use crate::train::network::temperature::LEAST;
use crate::train::two_tower_train::TwoTowerTrain;
use crate::train::validation::METRICS;
use towline_api::{Column, ModelType, Problem, byte_size};

/// Beyond these a slip would take all memory, and with it the process.
const WIDEST_LAYER: usize = 65_536;
const WIDEST_EMBEDDING: usize = 4096;

impl TwoTowerTrain {
    /// What stands against these parameters, whatever the columns.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut range = |key: &str, bad: bool, text: &str| {
            if bad {
                problems.push(Problem::new("out-of-range", text).at(key));
            }
        };
        let positive = |x: f64| x.is_finite() && x > 0.0;
        range(
            "layers",
            self.layers.contains(&0),
            "a layer of width 0 passes nothing on",
        );
        range(
            "layers",
            self.layers.iter().any(|&width| width > WIDEST_LAYER),
            "a layer is at most 65536 wide",
        );
        range("threads", self.threads == Some(0), "nothing is done by no thread");
        range(
            "metrics_at",
            self.metrics_at.contains(&0),
            "a list of length 0 has no metrics",
        );
        range(
            "average_epochs",
            self.average_epochs > self.epochs,
            "there are fewer epochs than that",
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
        range(
            "temperature",
            self.learn_temperature && self.temperature.is_some_and(|t| t < LEAST),
            "a temperature that is learnt begins at 0.01 or above",
        );
        range(
            "dropout",
            self.dropout > 0.0 && self.layers.is_empty(),
            "without layers there is nothing that it could be left out of",
        );
        range(
            "clip_norm",
            self.clip_norm.is_some_and(|norm| !positive(norm)),
            "the length must be more than 0",
        );
        range(
            "uniform_negatives",
            self.uniform_negatives > 0 && self.loss != Loss::SampledSoftmax,
            "only the sampled softmax takes negatives beside its own",
        );
        range(
            "hard_negatives",
            self.hard_negatives.is_some() && self.loss != Loss::SampledSoftmax,
            "only the sampled softmax takes negatives beside its own",
        );
        range(
            "hard_negatives",
            self.hard_negatives.is_some() && self.epochs == 1,
            "the first epoch has no hard negatives: it needs another one",
        );
        range(
            "embedding_dims",
            self.embedding_dims.values().any(|&dim| dim == 0),
            "an embedding of width 0 says nothing",
        );
        range(
            "embedding_dims",
            self.embedding_dims.values().any(|&dim| dim > WIDEST_EMBEDDING),
            "an embedding is at most 4096 wide",
        );
        range(
            "embedding_dims",
            self.layers.is_empty() && !self.embedding_dims.is_empty(),
            "embeddings that are added, without layers, are all equally wide",
        );
        problems.extend(byte_size::problem(self.memory_limit.as_deref(), "memory_limit"));
        if let Some(early) = &self.early_stopping {
            let known = self.validation_metrics();
            if !known.contains(&early.metric) {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let help = towline_api::suggest::sentence(&early.metric, &known, "metrics");
                let text = format!("there is no metric `{}`", early.metric);
                problems.push(Problem::new("bad-config", text).at("early_stopping").help(help));
            }
        }
        problems
    }

    /// What stands against towers of these columns.
    pub(crate) fn inputs_of_towers(&self, sides: &TowerColumns) -> Vec<Problem> {
        let (query, item) = self.tower_columns(sides);
        let mut problems = Vec::new();
        for (side, columns) in [("user", &query), ("item", &item)] {
            if columns.is_empty() {
                let text = format!("the {side} tower would have no column, for only the id is tagged {side}");
                problems.push(Problem::new("bad-input", text).at("id_embedding"));
            }
        }
        let all: Vec<&Column> = query.iter().chain(&item).collect();
        problems.extend(self.settings_per_column(&all));
        problems.extend(self.beginnings(sides));
        if self.layers.is_empty()
            && let Some(column) = all
                .iter()
                .find(|column| FeatureKind::of(column) != Some(FeatureKind::IdFeatures))
        {
            let text = format!("the numbers of `{}` cannot be added to embeddings", column.name);
            let help = "give the towers `layers`, or leave the column out";
            problems.push(Problem::new("bad-input", text).at("layers").help(help));
        }
        problems
    }

    fn settings_per_column(&self, columns: &[&Column]) -> Vec<Problem> {
        let mut problems = Vec::new();
        let with = |wanted: &dyn Fn(&Column) -> bool| -> Vec<&str> {
            let found = columns.iter().filter(|column| wanted(column));
            found.map(|column| column.name.as_str()).collect()
        };
        let embedded = with(&|column| FeatureKind::of(column) == Some(FeatureKind::IdFeatures));
        let lists = with(&|column| FeatureKind::of(column) == Some(FeatureKind::IdFeatures) && column.is_list());
        let mut known = |key: &str, names: Vec<&String>, known: &[&str], what: &str| {
            for name in names.into_iter().filter(|name| !known.contains(&name.as_str())) {
                let help = towline_api::suggest::sentence(name, known, "columns");
                let text = format!("no tower has {what} `{name}`");
                problems.push(Problem::new("unknown-column", text).at(key).help(help));
            }
        };
        known(
            "embedding_dims",
            self.embedding_dims.keys().collect(),
            &embedded,
            "a column with embeddings",
        );
        known("poolings", self.poolings.keys().collect(), &lists, "a column of lists");
        for (place, a) in columns.iter().enumerate() {
            for b in columns[..place].iter().filter(|b| one_domain(a, b)) {
                let (of_a, of_b) = (self.embedding_dims.get(&a.name), self.embedding_dims.get(&b.name));
                if let (Some(of_a), Some(of_b)) = (of_a, of_b)
                    && of_a != of_b
                {
                    let text = format!(
                        "`{}` and `{}` share a vocabulary and so a table, which is not both {of_b} and {of_a} wide",
                        b.name, a.name
                    );
                    problems.push(Problem::new("conflict", text).at("embedding_dims"));
                }
            }
        }
        problems
    }

    /// A model that makes embeddings of another width cannot be where training begins.
    pub(crate) fn other_width(&self, earlier: &ModelType) -> Option<Problem> {
        let wanted = self.layers.last().copied().unwrap_or_else(|| self.added_width());
        let text = match earlier.dim {
            Some(dim) if dim == wanted => return None,
            Some(dim) => format!("the embeddings of `warm_start` are {dim} wide, those of this model {wanted}"),
            None => "`warm_start` has no embeddings".to_owned(),
        };
        Some(Problem::new("bad-input", text).at_port("warm_start"))
    }

    /// The metrics of a validation without the name of its split.
    fn validation_metrics(&self) -> Vec<String> {
        self.metrics_at
            .iter()
            .flat_map(|k| METRICS.map(|name| format!("{name}_at_{k}")))
            .collect()
    }
}
