//! The operator contract: what an operator is, and what it exchanges with the engine.

mod artifact;
pub mod byte_size;
mod config;
mod context;
mod error;
mod files;
mod lazy;
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

pub use artifact::{Artifact, ModelFiles, Output, Receipt, Report, ReportTable, State, StateTable, TaskResult};
pub use config::parse;
pub use context::{Cancel, Context, FitContext, ProgressSink, TableContext, TypeContext};
pub use error::{OperatorError, PathSegment, Problem, Result, Site};
pub use files::{BATCH_ROWS, DatasetFiles, TableFile};
pub use lazy::{LazyDataset, LazyTable, NamedExpr, Rows};
pub use operator::{
    Columns, Describe, FitOutput, Fitter, Form, Input, Inputs, Operator, Outside, Port, Purity, Source, Stateful,
    Table, Task,
};
pub use ports::{dataset_at, datasets, file_dataset_at, model_at, model_files_at};
pub use registry::{Built, Descriptor, Registry};
pub use renamed::DeprecatedKey;
pub use schema::{Column, Domain, Schema};
pub use tags::{Tag, UnknownTag, contradiction};
pub use types::{DEFAULT_SPLIT, DatasetType, Kind, ModelType, NodeType, Score, default_split};
pub use vocabulary::{NULL_ID, OOV_ID, PADDING_ID, Vocabulary, VocabularyTable};
