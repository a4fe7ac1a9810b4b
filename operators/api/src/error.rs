//! Errors: problems found before a run, and failures during one.

use std::path::PathBuf;

use crate::Code;
use crate::fault::{self, Fault};

/// A step on the way to a value inside an operator's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathSegment {
    /// A key of a mapping.
    Key(String),
    /// A place in a list, from 0.
    Index(usize),
}

/// Where a problem lies, in the words of the operator; the engine turns it into a place in the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Site {
    /// The node as a whole.
    #[default]
    Node,
    /// A value of its configuration.
    Config(Vec<PathSegment>),
    /// A key of its configuration (the key itself, not its value).
    ConfigKey(Vec<PathSegment>),
    /// A range of bytes of a text in its configuration.
    ConfigText(Vec<PathSegment>, std::ops::Range<usize>),
    /// What is connected to a port.
    Port(String),
}

/// Something wrong with a node that is known without reading data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which kind of problem.
    pub code: Code,
    /// Where.
    pub site: Site,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Problem {
    /// A problem of the node as a whole.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Problem {
            code,
            site: Site::Node,
            message: message.into(),
            help: None,
        }
    }

    /// The same problem, at the value under the top-level config key `key`.
    #[must_use]
    pub fn at(mut self, key: &str) -> Self {
        self.site = Site::Config(vec![PathSegment::Key(key.to_owned())]);
        self
    }

    /// The same problem, at element `index` of the list under `key`.
    #[must_use]
    pub fn at_index(mut self, key: &str, index: usize) -> Self {
        self.site = Site::Config(vec![PathSegment::Key(key.to_owned()), PathSegment::Index(index)]);
        self
    }

    /// The same problem, at a range of bytes of the text under the top-level config key `key`.
    #[must_use]
    pub fn at_text(mut self, key: &str, range: std::ops::Range<usize>) -> Self {
        self.site = Site::ConfigText(vec![PathSegment::Key(key.to_owned())], range);
        self
    }

    /// The same problem of a configuration that stands under the key `key` of another.
    #[must_use]
    pub fn within(mut self, key: &str) -> Self {
        match &mut self.site {
            Site::Config(path) | Site::ConfigKey(path) | Site::ConfigText(path, _) => {
                path.insert(0, PathSegment::Key(key.to_owned()));
            }
            Site::Node => self.site = Site::Config(vec![PathSegment::Key(key.to_owned())]),
            Site::Port(_) => {}
        }
        self
    }

    /// The same problem, at what is connected to `port`.
    #[must_use]
    pub fn at_port(mut self, port: &str) -> Self {
        self.site = Site::Port(port.to_owned());
        self
    }

    /// The same problem, with a line of help.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The column is not in the schema; the help names the nearest one, or all there are.
    pub fn unknown_column(name: &str, schema: &crate::Schema) -> Self {
        let names: Vec<&str> = schema.names().collect();
        Problem::new(Code::UnknownColumn, format!("there is no column `{name}`"))
            .help(crate::suggest::sentence(name, &names, "columns"))
    }
}

/// A failure while an operator ran.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// The input is not what the operator can work on; the text says what and what to do.
    #[error("{0}")]
    Invalid(String),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A query failed.
    #[error("{}", innermost(.0))]
    Query(#[from] datafusion::error::DataFusionError),
    /// A batch could not be computed.
    #[error(transparent)]
    Arrow(#[from] arrow::error::ArrowError),
    /// A Parquet file could not be read or written.
    #[error("{}: {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the reader said.
        source: parquet::errors::ParquetError,
    },
    /// A server refused; it will again, until its settings or the configuration change.
    #[error("{0}")]
    Server(String),
    /// Something outside failed that may work the next time: a server that is not reachable or busy, an external program.
    #[error("{0}")]
    Transient(String),
    /// An operator broke a promise of the contract.
    #[error("{0}; this is a defect of the operator, please report it")]
    Internal(String),
    /// The run was interrupted.
    #[error("interrupted")]
    Cancelled,
    /// The work took longer than it may.
    #[error("it took longer than the {} s that `timeout` allows", .0.as_secs_f64())]
    TimedOut(std::time::Duration),
}

impl OperatorError {
    /// An [`OperatorError::Invalid`] with this text.
    pub fn invalid(text: impl Into<String>) -> Self {
        OperatorError::Invalid(text.into())
    }

    /// An [`OperatorError::Transient`] with this text.
    pub fn transient(text: impl Into<String>) -> Self {
        OperatorError::Transient(text.into())
    }

    /// An [`OperatorError::Internal`] with this text.
    pub fn internal(text: impl Into<String>) -> Self {
        OperatorError::Internal(text.into())
    }

    /// An I/O error that names its file.
    pub fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| OperatorError::Io { path, source }
    }

    /// A Parquet error that names its file.
    pub fn parquet(path: impl Into<PathBuf>) -> impl FnOnce(parquet::errors::ParquetError) -> Self {
        let path = path.into();
        move |source| OperatorError::Parquet { path, source }
    }

    /// Whose it is.
    pub fn fault(&self) -> Fault {
        fault::of(self)
    }

    /// Whether another attempt may succeed with nothing changed.
    pub fn is_transient(&self) -> bool {
        self.fault() == Fault::Transient
    }

    /// An error of the same fault with another text, made of its own: for context, and for errors that several nodes share.
    #[must_use]
    pub fn reworded(&self, text: impl FnOnce(String) -> String) -> Self {
        match self {
            OperatorError::Cancelled => return OperatorError::Cancelled,
            OperatorError::TimedOut(limit) => return OperatorError::TimedOut(*limit),
            OperatorError::Server(own) => return OperatorError::Server(text(own.clone())),
            // Its message says already that it is a defect.
            OperatorError::Internal(own) => return OperatorError::Internal(text(own.clone())),
            _ => {}
        }
        let text = text(self.to_string());
        match self.fault() {
            Fault::User => OperatorError::Invalid(text),
            Fault::Transient => OperatorError::Transient(text),
            Fault::Internal => OperatorError::Internal(text),
        }
    }
}

/// DataFusion wraps an error in context layers; the innermost message is the one that helps.
fn innermost(error: &datafusion::error::DataFusionError) -> String {
    error.find_root().strip_backtrace()
}

/// What an operator's run returns.
pub type Result<T, E = OperatorError> = std::result::Result<T, E>;
