//! Typed ports: an operator declares each of its inputs once, as a constant, and reads what is connected through it.
//!
//! ```
//! use towline_api::{DatasetPort, ModelPort, Optional, Port};
//!
//! const MODEL: ModelPort = ModelPort::required("model", "The model that scores.");
//! const SEEN: DatasetPort<Optional> = DatasetPort::optional("seen", "What users know already.");
//! const PORTS: &[Port] = &[MODEL.port(), SEEN.port()];
//! ```

use std::collections::BTreeMap;
use std::marker::PhantomData;

use crate::{
    Artifact, Code, DatasetFiles, DatasetType, Input, Inputs, Kind, LazyDataset, ModelFiles, ModelType, NodeType,
    OperatorError, Port, Problem, Result,
};

/// What may be connected to a typed port.
pub trait PortKind: Copy + 'static {
    /// The kind.
    const KIND: Kind;
    /// Its static type.
    type Type: 'static;
    /// Its stored form, as tasks and sinks read it.
    type Stored: 'static;

    /// The static type, if it is of this kind.
    fn of_type(node: &NodeType) -> Option<&Self::Type>;

    /// The stored form, if it is of this kind.
    fn of_artifact(artifact: &Artifact) -> Option<&Self::Stored>;
}

/// Ports for datasets.
#[derive(Debug, Clone, Copy)]
pub enum Dataset {}

/// Ports for models.
#[derive(Debug, Clone, Copy)]
pub enum Model {}

/// Ports for metrics.
#[derive(Debug, Clone, Copy)]
pub enum Metrics {}

impl PortKind for Dataset {
    const KIND: Kind = Kind::Dataset;
    type Type = DatasetType;
    type Stored = DatasetFiles;

    fn of_type(node: &NodeType) -> Option<&DatasetType> {
        match node {
            NodeType::Dataset(dataset) => Some(dataset),
            _ => None,
        }
    }

    fn of_artifact(artifact: &Artifact) -> Option<&DatasetFiles> {
        match artifact {
            Artifact::Dataset(dataset) => Some(dataset),
            _ => None,
        }
    }
}

impl PortKind for Model {
    const KIND: Kind = Kind::Model;
    type Type = ModelType;
    type Stored = ModelFiles;

    fn of_type(node: &NodeType) -> Option<&ModelType> {
        match node {
            NodeType::Model(model) => Some(model),
            _ => None,
        }
    }

    fn of_artifact(artifact: &Artifact) -> Option<&ModelFiles> {
        match artifact {
            Artifact::Model(model) => Some(model),
            _ => None,
        }
    }
}

impl PortKind for Metrics {
    const KIND: Kind = Kind::Metrics;
    type Type = Vec<String>;
    type Stored = BTreeMap<String, f64>;

    fn of_type(node: &NodeType) -> Option<&Vec<String>> {
        match node {
            NodeType::Metrics(names) => Some(names),
            _ => None,
        }
    }

    fn of_artifact(artifact: &Artifact) -> Option<&BTreeMap<String, f64>> {
        match artifact {
            Artifact::Metrics(metrics) => Some(metrics),
            _ => None,
        }
    }
}

/// Exactly one thing is connected.
#[derive(Debug, Clone, Copy)]
pub enum Required {}

/// One thing is connected, or none.
#[derive(Debug, Clone, Copy)]
pub enum Optional {}

/// Any number of things are connected (a list, or names of the user's own).
#[derive(Debug, Clone, Copy)]
pub enum Many {}

/// A port of an operator: what may be connected (`K`), and how many of it (`N`).
#[derive(Debug)]
pub struct TypedPort<K, N> {
    port: Port,
    marker: PhantomData<(K, N)>,
}

/// A port for datasets.
pub type DatasetPort<N = Required> = TypedPort<Dataset, N>;

/// A port for models.
pub type ModelPort<N = Required> = TypedPort<Model, N>;

/// A port for metrics.
pub type MetricsPort<N = Required> = TypedPort<Metrics, N>;

impl<K, N> Clone for TypedPort<K, N> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, N> Copy for TypedPort<K, N> {}

/// A value on a port for many, with the name that the user gave it.
#[derive(Debug)]
pub struct Named<'a, T> {
    /// The name (`inputs: { ratings: a }`), or that of the node.
    pub label: &'a str,
    /// The value.
    pub value: &'a T,
}

impl<T> Clone for Named<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Named<'_, T> {}

impl<K: PortKind, N> TypedPort<K, N> {
    const fn new(name: &'static str, doc: &'static str, required: bool, many: bool) -> Self {
        TypedPort {
            port: Port {
                name,
                kind: K::KIND,
                required,
                many,
                named: false,
                measured: false,
                tolerant: false,
                doc,
            },
            marker: PhantomData,
        }
    }

    /// The declaration, for [`Describe::PORTS`](crate::Describe::PORTS).
    pub const fn port(self) -> Port {
        self.port
    }

    /// The name under `inputs:`.
    pub const fn name(self) -> &'static str {
        self.port.name
    }

    /// Whatever is connected first, if anything is.
    pub fn get<T>(self, inputs: &Inputs<T>) -> Option<&T> {
        self.all(inputs).next().map(|input| &input.value)
    }

    /// Whether anything is connected.
    pub fn is_connected<T>(self, inputs: &Inputs<T>) -> bool {
        self.get(inputs).is_some()
    }

    /// Whatever is connected, in order.
    pub fn all<T>(self, inputs: &Inputs<T>) -> impl Iterator<Item = &Input<T>> {
        inputs.0.iter().filter(move |input| input.port == self.port.name)
    }

    /// The same port, of an operator that reads the names of what is connected.
    #[must_use]
    pub const fn named(mut self) -> Self {
        self.port.named = true;
        self
    }

    /// The same port, of an operator that reads the metrics of what is connected.
    #[must_use]
    pub const fn measured(mut self) -> Self {
        self.port.measured = true;
        self
    }

    fn typed(self, node: &NodeType) -> Result<&K::Type, Vec<Problem>> {
        K::of_type(node).ok_or_else(|| {
            let (name, wanted, found) = (self.port.name, K::KIND, node.kind());
            let text = format!("`{name}` takes a {wanted}, not a {found}");
            vec![Problem::new(Code::BadInput, text).at_port(name)]
        })
    }

    fn stored(self, artifact: &Artifact) -> Result<&K::Stored> {
        K::of_artifact(artifact).ok_or_else(|| {
            let (name, wanted) = (self.port.name, K::KIND);
            OperatorError::internal(format!("what is connected to `{name}` is not a {wanted}"))
        })
    }

    fn one_type(self, inputs: &Inputs<NodeType>) -> Result<&K::Type, Vec<Problem>> {
        match self.get(inputs) {
            Some(node) => self.typed(node),
            None => {
                let (name, wanted) = (self.port.name, K::KIND);
                let text = format!("nothing is connected to `{name}`, which takes a {wanted}");
                Err(vec![Problem::new(Code::BadInput, text)])
            }
        }
    }

    fn one_stored(self, inputs: &Inputs<Artifact>) -> Result<&K::Stored> {
        self.stored(self.get(inputs).ok_or_else(|| self.unconnected())?)
    }

    fn unconnected(self) -> OperatorError {
        OperatorError::internal(format!("nothing is connected to `{}`", self.port.name))
    }
}

impl<K: PortKind> TypedPort<K, Required> {
    /// A port that something must be connected to.
    pub const fn required(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, doc, true, false)
    }

    /// The static type of what is connected.
    pub fn input_type(self, inputs: &Inputs<NodeType>) -> Result<&K::Type, Vec<Problem>> {
        self.one_type(inputs)
    }

    /// What is connected, as it is stored.
    pub fn files(self, inputs: &Inputs<Artifact>) -> Result<&K::Stored> {
        self.one_stored(inputs)
    }
}

impl<K: PortKind> TypedPort<K, Optional> {
    /// A port that the operator can do without.
    pub const fn optional(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, doc, false, false)
    }

    /// The static type of what is connected, if anything is.
    pub fn input_type(self, inputs: &Inputs<NodeType>) -> Result<Option<&K::Type>, Vec<Problem>> {
        self.get(inputs).map(|node| self.typed(node)).transpose()
    }

    /// What is connected, if anything is, as it is stored.
    pub fn files(self, inputs: &Inputs<Artifact>) -> Result<Option<&K::Stored>> {
        self.get(inputs).map(|artifact| self.stored(artifact)).transpose()
    }

    /// The static type of what is connected, where the configuration makes that necessary.
    pub fn needed_type(self, inputs: &Inputs<NodeType>) -> Result<&K::Type, Vec<Problem>> {
        self.one_type(inputs)
    }

    /// What is connected, as it is stored, where the configuration makes that necessary.
    pub fn needed_files(self, inputs: &Inputs<Artifact>) -> Result<&K::Stored> {
        self.one_stored(inputs)
    }
}

impl<K: PortKind> TypedPort<K, Many> {
    /// A port for any number of things, one at least.
    pub const fn many(name: &'static str, doc: &'static str) -> Self {
        Self::new(name, doc, true, true)
    }

    /// The same port, of an operator that can do without what is connected to it.
    #[must_use]
    pub const fn or_none(mut self) -> Self {
        self.port.required = false;
        self
    }

    /// The same port, of an operator that can do without those that failed.
    #[must_use]
    pub const fn tolerant(mut self) -> Self {
        self.port.tolerant = true;
        self
    }

    /// The static types of what is connected, in order.
    pub fn input_types(self, inputs: &Inputs<NodeType>) -> Result<Vec<Named<'_, K::Type>>, Vec<Problem>> {
        self.all(inputs)
            .map(|Input { label, value, .. }| {
                let value = self.typed(value)?;
                Ok(Named { label, value })
            })
            .collect()
    }

    /// What is connected, in order, as it is stored; an error if anything failed.
    pub fn files(self, inputs: &Inputs<Artifact>) -> Result<Vec<Named<'_, K::Stored>>> {
        self.all(inputs)
            .map(|Input { label, value, .. }| {
                let value = self.stored(value)?;
                Ok(Named { label, value })
            })
            .collect()
    }
}

impl DatasetPort<Required> {
    /// What is connected, not computed yet.
    pub fn lazy(self, inputs: &Inputs<LazyDataset>) -> Result<&LazyDataset> {
        self.get(inputs).ok_or_else(|| self.unconnected())
    }
}

impl DatasetPort<Optional> {
    /// What is connected, if anything is, not computed yet.
    pub fn lazy(self, inputs: &Inputs<LazyDataset>) -> Option<&LazyDataset> {
        self.get(inputs)
    }
}

impl DatasetPort<Many> {
    /// What is connected, in order, not computed yet.
    pub fn lazy(self, inputs: &Inputs<LazyDataset>) -> Vec<Named<'_, LazyDataset>> {
        self.all(inputs)
            .map(|Input { label, value, .. }| Named { label, value })
            .collect()
    }
}
