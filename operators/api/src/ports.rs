//! Typed access to what is connected to an operator's ports.

use crate::{
    Artifact, Code, DatasetFiles, DatasetType, Inputs, ModelFiles, ModelType, NodeType, OperatorError, Problem, Result,
};

/// The dataset type on `port`.
pub fn dataset_at<'a>(inputs: &'a Inputs<NodeType>, port: &str) -> Result<&'a DatasetType, Vec<Problem>> {
    match inputs.get(port) {
        Some(NodeType::Dataset(dataset)) => Ok(dataset),
        Some(other) => Err(wrong_kind(port, "dataset", other)),
        None => Err(unconnected(port, "dataset")),
    }
}

/// The model type on `port`.
pub fn model_at<'a>(inputs: &'a Inputs<NodeType>, port: &str) -> Result<&'a ModelType, Vec<Problem>> {
    match inputs.get(port) {
        Some(NodeType::Model(model)) => Ok(model),
        Some(other) => Err(wrong_kind(port, "model", other)),
        None => Err(unconnected(port, "model")),
    }
}

/// Every dataset type that is connected, in order.
pub fn datasets(inputs: &Inputs<NodeType>) -> Vec<&DatasetType> {
    inputs
        .values()
        .filter_map(|value| {
            if let NodeType::Dataset(d) = value {
                Some(d)
            } else {
                None
            }
        })
        .collect()
}

/// The stored dataset on `port`.
pub fn file_dataset_at<'a>(inputs: &'a Inputs<Artifact>, port: &str) -> Result<&'a DatasetFiles> {
    match inputs.get(port) {
        Some(Artifact::Dataset(dataset)) => Ok(dataset),
        _ => Err(OperatorError::invalid(format!("no dataset is connected to `{port}`"))),
    }
}

/// The stored model on `port`.
pub fn model_files_at<'a>(inputs: &'a Inputs<Artifact>, port: &str) -> Result<&'a ModelFiles> {
    match inputs.get(port) {
        Some(Artifact::Model(model)) => Ok(model),
        _ => Err(OperatorError::invalid(format!("no model is connected to `{port}`"))),
    }
}

fn wrong_kind(port: &str, wanted: &str, found: &NodeType) -> Vec<Problem> {
    vec![
        Problem::new(
            Code::BadInput,
            format!("`{port}` takes a {wanted}, not a {}", found.kind()),
        )
        .at_port(port),
    ]
}

fn unconnected(port: &str, wanted: &str) -> Vec<Problem> {
    vec![Problem::new(
        Code::BadInput,
        format!("nothing is connected to `{port}`, which takes a {wanted}"),
    )]
}
