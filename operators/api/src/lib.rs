//! The operator contract: what an operator is, and what it exchanges with the engine.

mod artifact;
pub mod byte_size;
mod cache_ignored;
mod code;
mod config;
mod context;
mod error;
mod fault;
mod files;
mod lazy;
mod model_type;
mod operator;
mod ports;
mod registry;
pub mod renamed;
mod schema;
pub mod secret;
pub mod suggest;
mod tags;
pub mod target;
mod types;
mod vocabulary;

/// The libraries whose types are part of the contract: an operator of one's own has the versions of the engine without
/// naming them.
pub use {arrow, datafusion};

pub use artifact::{Artifact, ModelFiles, Output, Receipt, Report, ReportTable, State, StateTable, TaskResult};
pub use cache_ignored::{CACHE_IGNORED, cache_ignored};
pub use code::Code;
pub use config::parse;
pub use context::{Cancel, Context, FitContext, ProgressSink, TableContext, TypeContext};
pub use error::{OperatorError, PathSegment, Problem, Result, Site};
pub use fault::Fault;
pub use files::{BATCH_ROWS, DatasetFiles, TableFile};
pub use lazy::{LazyDataset, LazyTable, NamedExpr, Rows};
pub use model_type::ModelType;
pub use operator::{
    Columns, Describe, FitOutput, Fitter, Form, Input, Inputs, Operator, Outside, Port, Purity, Sink, Source, Stateful,
    Table, Task,
};
pub use ports::{
    Dataset, DatasetPort, Many, Metrics, MetricsPort, Model, ModelPort, Named, Optional, PortKind, Required, TypedPort,
};
pub use registry::{Built, Descriptor, Registry};
pub use renamed::DeprecatedKey;
pub use schema::{Column, Domain, Schema};
pub use tags::{Tag, UnknownTag, contradiction};
pub use types::{DEFAULT_SPLIT, DatasetType, Kind, NodeType, default_split};
pub use vocabulary::{NULL_ID, OOV_ID, PADDING_ID, Vocabulary, VocabularyTable};
