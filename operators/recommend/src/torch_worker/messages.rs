//! Requests to the worker program and the lines that it answers with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::towers::Side;
use crate::train::TwoTowerTrain;
use towline_api::{
    Artifact, Context, DatasetFiles, Describe, Input, Inputs, ModelFiles, ModelType, OperatorError, Output, Report,
    Result, Schema, TableFile, TaskResult, Vocabulary,
};

/// Both programs have to be of one version.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// A device of libtorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TorchDevice {
    /// The processor: for tests.
    Cpu,
    /// The first CUDA device.
    Cuda,
}

/// Shape of the tensor of a column that a TorchScript tower takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnShape {
    /// One value a row: [batch].
    Single,
    /// Padded lists of ids, [batch, length], or vectors, [batch, width].
    Lists,
}

/// A request with the version of who asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Envelope {
    pub(crate) version: String,
    pub(crate) request: Request,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Whether there is a CUDA device.
    Devices,
    Train(TrainRequest),
    Script(ScriptRequest),
}

/// A whole training.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct TrainRequest {
    pub(crate) operator: TwoTowerTrain,
    inputs: Vec<(String, StoredInput)>,
    pub(crate) temp: PathBuf,
    pub(crate) scratch: PathBuf,
    pub(crate) threads: usize,
    pub(crate) device: TorchDevice,
}

/// A tower as TorchScript.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScriptRequest {
    /// The model's description of itself.
    pub description: Value,
    /// Its weights.
    pub weights: PathBuf,
    /// The tower.
    pub side: Side,
    /// The columns that the tower takes, in its order.
    pub columns: Vec<ColumnShape>,
    /// The file to write.
    pub path: PathBuf,
}

/// A line of the worker.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    Begin { unit: String, total: Option<u64> },
    Advance { count: u64 },
    Note { text: String },
    Devices { cuda: bool },
    Trained(StoredOutput),
    Written,
    Failed { message: String },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredInput {
    Dataset(StoredDataset),
    Model(StoredModel),
}

type VocabularyPaths = BTreeMap<String, PathBuf>;

#[derive(Debug, Serialize, Deserialize)]
struct StoredDataset {
    schema: Schema,
    /// Name, file and number of rows of each split.
    splits: Vec<(String, PathBuf, u64)>,
    vocabularies: VocabularyPaths,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredModel {
    digest: String,
    model_type: ModelType,
    description: Value,
    files: BTreeMap<String, PathBuf>,
    vocabularies: VocabularyPaths,
    metrics: BTreeMap<String, f64>,
}

/// What a training has left in its temporary folder.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StoredOutput {
    model_type: ModelType,
    description: Value,
    files: BTreeMap<String, PathBuf>,
    vocabularies: VocabularyPaths,
    metrics: BTreeMap<String, f64>,
    report: Report,
}

fn paths(vocabularies: &BTreeMap<String, Vocabulary>) -> VocabularyPaths {
    let path = |(digest, vocabulary): (&String, &Vocabulary)| (digest.clone(), vocabulary.path().to_owned());
    vocabularies.iter().map(path).collect()
}

fn vocabularies(paths: VocabularyPaths) -> BTreeMap<String, Vocabulary> {
    let vocabulary = |(digest, path): (String, PathBuf)| (digest, Vocabulary::at(&path));
    paths.into_iter().map(vocabulary).collect()
}

impl TrainRequest {
    pub(crate) fn new(
        operator: &TwoTowerTrain,
        inputs: &Inputs<Artifact>,
        context: &Context,
        device: TorchDevice,
    ) -> Result<Self> {
        let stored = |input: &Input<Artifact>| {
            let value = match &input.value {
                Artifact::Dataset(dataset) => StoredInput::Dataset(StoredDataset::of(dataset)),
                Artifact::Model(model) => StoredInput::Model(StoredModel::of(model)),
                _ => {
                    let text = format!("`{}` is neither a dataset nor a model", input.port);
                    return Err(OperatorError::invalid(text));
                }
            };
            Ok((input.port.to_owned(), value))
        };
        Ok(TrainRequest {
            operator: operator.clone(),
            inputs: inputs.0.iter().map(stored).collect::<Result<_>>()?,
            temp: context.temp.clone(),
            scratch: context.scratch.clone(),
            threads: context.threads,
            device,
        })
    }

    /// The inputs, as the store would hand them to the operator.
    pub(crate) fn take_inputs(&mut self) -> Inputs<Artifact> {
        let input = |(port, value): (String, StoredInput)| {
            let port = TwoTowerTrain::PORTS.iter().find(|known| known.name == port)?;
            let value = match value {
                StoredInput::Dataset(dataset) => Artifact::Dataset(dataset.into_files()),
                StoredInput::Model(model) => Artifact::Model(model.into_files()),
            };
            let label = port.name.to_owned();
            let port = port.name;
            Some(Input { port, label, value })
        };
        Inputs(std::mem::take(&mut self.inputs).into_iter().filter_map(input).collect())
    }
}

impl StoredDataset {
    fn of(dataset: &DatasetFiles) -> Self {
        let splits = dataset.splits.iter();
        StoredDataset {
            schema: dataset.schema.clone(),
            splits: splits
                .map(|(name, table)| (name.clone(), table.path.clone(), table.rows))
                .collect(),
            vocabularies: paths(&dataset.vocabularies),
        }
    }

    fn into_files(self) -> DatasetFiles {
        let splits = self.splits.into_iter();
        DatasetFiles {
            schema: self.schema,
            splits: splits
                .map(|(name, path, rows)| (name, TableFile { path, rows }))
                .collect(),
            vocabularies: vocabularies(self.vocabularies),
        }
    }
}

impl StoredModel {
    fn of(model: &ModelFiles) -> Self {
        StoredModel {
            digest: model.digest.clone(),
            model_type: model.model_type.clone(),
            description: model.description.clone(),
            files: model.files.clone(),
            vocabularies: paths(&model.vocabularies),
            metrics: model.metrics.clone(),
        }
    }

    fn into_files(self) -> ModelFiles {
        ModelFiles {
            digest: self.digest,
            model_type: self.model_type,
            description: self.description,
            files: self.files,
            vocabularies: vocabularies(self.vocabularies),
            metrics: self.metrics,
        }
    }
}

impl StoredOutput {
    pub(crate) fn of(output: Output) -> Result<Self> {
        let TaskResult::Model {
            model_type,
            description,
            files,
            vocabularies,
        } = output.result
        else {
            return Err(OperatorError::invalid("a training makes a model"));
        };
        Ok(StoredOutput {
            model_type,
            description,
            files,
            vocabularies: paths(&vocabularies),
            metrics: output.metrics,
            report: output.report,
        })
    }

    pub(crate) fn into_output(self) -> Output {
        Output {
            result: TaskResult::Model {
                model_type: self.model_type,
                description: self.description,
                files: self.files,
                vocabularies: vocabularies(self.vocabularies),
            },
            metrics: self.metrics,
            report: self.report,
        }
    }
}
