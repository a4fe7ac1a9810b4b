//! Static checks of `TwoTowerTrain`.

use crate::data::feature_column::FeatureKind;
use crate::data::tower_columns::TowerColumns;
use crate::model::retrieval_type::RetrievalType;
use crate::train::config::training_options::Loss;
use crate::train::config::two_tower_shape::one_domain;
use crate::train::network::temperature::MIN_TEMPERATURE;
use crate::train::two_tower_train::TwoTowerTrain;
use crate::train::validation::METRICS;
use towline_api::{Code, Column, Problem, byte_size};

/// Beyond these a mistyped width would exhaust the memory of the process.
const WIDEST_LAYER: usize = 65_536;
const WIDEST_EMBEDDING: usize = 4096;

impl TwoTowerTrain {
    /// Problems of the parameters, whatever the columns.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut range = |key: &str, bad: bool, text: &str| {
            if bad {
                problems.push(Problem::new(Code::OutOfRange, text).at(key));
            }
        };
        let positive = |x: f64| x.is_finite() && x > 0.0;
        range("layers", self.layers.contains(&0), "layer width must be at least 1");
        range(
            "layers",
            self.layers.iter().any(|&width| width > WIDEST_LAYER),
            "layer width must be at most 65536",
        );
        range("threads", self.threads == Some(0), "`threads` must be at least 1");
        range(
            "metrics_at",
            self.metrics_at.contains(&0),
            "the cut-off of a metric must be at least 1",
        );
        range(
            "average_epochs",
            self.average_epochs > self.epochs,
            "`average_epochs` must not exceed `epochs`",
        );
        range(
            "learning_rate",
            !positive(self.learning_rate),
            "learning rate must be greater than 0",
        );
        range(
            "temperature",
            self.temperature.is_some_and(|t| !positive(t)),
            "temperature must be greater than 0",
        );
        range(
            "temperature",
            self.learn_temperature && self.temperature.is_some_and(|t| t < MIN_TEMPERATURE),
            "with `learn_temperature` the initial temperature must be at least 0.01",
        );
        range(
            "dropout",
            self.dropout > 0.0 && self.layers.is_empty(),
            "dropout needs `layers`",
        );
        range(
            "clip_norm",
            self.clip_norm.is_some_and(|norm| !positive(norm)),
            "gradient norm must be greater than 0",
        );
        range(
            "uniform_negatives",
            self.uniform_negatives > 0 && self.loss != Loss::SampledSoftmax,
            "only `loss: sampled_softmax` takes additional negatives",
        );
        range(
            "hard_negatives",
            self.hard_negatives.is_some() && self.loss != Loss::SampledSoftmax,
            "only `loss: sampled_softmax` takes additional negatives",
        );
        range(
            "hard_negatives",
            self.hard_negatives.is_some() && self.epochs == 1,
            "hard negatives need at least 2 epochs: the first one has none",
        );
        range(
            "embedding_dims",
            self.embedding_dims.values().any(|&dim| dim == 0),
            "embedding width must be at least 1",
        );
        range(
            "embedding_dims",
            self.embedding_dims.values().any(|&dim| dim > WIDEST_EMBEDDING),
            "embedding width must be at most 4096",
        );
        range(
            "embedding_dims",
            self.layers.is_empty() && !self.embedding_dims.is_empty(),
            "without `layers` embeddings are added, and all have one width",
        );
        problems.extend(byte_size::problem(self.memory_limit.as_deref(), "memory_limit"));
        if let Some(early) = &self.early_stopping {
            let known = self.validation_metrics();
            if !known.contains(&early.metric) {
                let known: Vec<&str> = known.iter().map(String::as_str).collect();
                let help = towline_api::suggest::sentence(&early.metric, &known, "metrics");
                let text = format!("there is no metric `{}`", early.metric);
                problems.push(Problem::new(Code::BadConfig, text).at("early_stopping").help(help));
            }
        }
        problems
    }

    /// Problems of towers of these columns.
    pub(crate) fn inputs_of_towers(&self, sides: &TowerColumns) -> Vec<Problem> {
        let (query, item) = self.tower_columns(sides);
        let mut problems = Vec::new();
        for (side, columns) in [("user", &query), ("item", &item)] {
            if columns.is_empty() {
                let text = format!(
                    "the {side} tower has no input: only the id is tagged `{side}`, and `id_embedding` leaves it out"
                );
                problems.push(Problem::new(Code::BadInput, text).at("id_embedding"));
            }
        }
        let all: Vec<&Column> = query.iter().chain(&item).collect();
        problems.extend(self.settings_per_column(&all));
        problems.extend(self.initial_problems(sides));
        if self.layers.is_empty()
            && let Some(column) = all
                .iter()
                .find(|column| FeatureKind::of(column) != Some(FeatureKind::IdFeatures))
        {
            let text = format!("the numbers of `{}` cannot be added to embeddings", column.name);
            let help = "give the towers `layers`, or leave the column out";
            problems.push(Problem::new(Code::BadInput, text).at("layers").help(help));
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
                problems.push(Problem::new(Code::UnknownColumn, text).at(key).help(help));
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
                    problems.push(Problem::new(Code::Conflict, text).at("embedding_dims"));
                }
            }
        }
        problems
    }

    /// The problem of a warm start from a model of another embedding width.
    pub(crate) fn other_width(&self, earlier: &RetrievalType) -> Option<Problem> {
        let wanted = self.layers.last().copied().unwrap_or_else(|| self.added_width());
        let text = match earlier.dim {
            Some(dim) if dim == wanted => return None,
            Some(dim) => format!("the embedding width of `warm_start` is {dim}, that of this model {wanted}"),
            None => "`warm_start` has no embeddings".to_owned(),
        };
        Some(Problem::new(Code::BadInput, text).at_port("warm_start"))
    }

    /// Names of the validation metrics without that of the split.
    fn validation_metrics(&self) -> Vec<String> {
        self.metrics_at
            .iter()
            .flat_map(|k| METRICS.map(|name| format!("{name}_at_{k}")))
            .collect()
    }
}
