//! Why a node has no output.

use towline_api::OperatorError;

use crate::store::StoreError;

/// Why a node has no output.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The operator failed.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its output is not what was expected of it.
    #[error("{unmet} of {of} expectations do not hold")]
    Unmet {
        /// How many do not hold.
        unmet: usize,
        /// How many there are.
        of: usize,
    },
    /// The operator panicked.
    #[error("the operator panicked (this is a bug of the operator): {0}")]
    Panic(String),
}

impl Failure {
    /// The same failure for another node; what cannot be copied keeps its text.
    pub(super) fn copy(&self) -> Failure {
        match self {
            Failure::Operator(error) => error.reworded(|text| text).into(),
            // Not one to retry, as the original is not.
            Failure::Store(error) => OperatorError::invalid(error.to_string()).into(),
            Failure::Unmet { unmet, of } => Failure::Unmet { unmet: *unmet, of: *of },
            Failure::Panic(text) => Failure::Panic(text.clone()),
        }
    }

    /// Whether another attempt may succeed: this is the one place that decides on retries. Mistakes of the user,
    /// interruptions, defects and a store that fails are no such reasons.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Failure::Operator(error) => error.is_transient(),
            Failure::Store(_) | Failure::Unmet { .. } | Failure::Panic(_) => false,
        }
    }
}
