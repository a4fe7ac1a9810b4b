//! Embedding tables in memory.

use std::path::Path;

use arrow::array::ArrayRef;

use towline_api::OperatorError;

/// Vectors of equal width in row-major order, with ids if the file has them.
pub(crate) struct Vectors {
    pub(crate) width: usize,
    pub(crate) numbers: Vec<f32>,
    pub(crate) ids: Option<ArrayRef>,
}

/// The error of a file that is not an embedding table.
pub(crate) fn wrong(path: &Path, what: &str) -> OperatorError {
    OperatorError::invalid(format!("{}: not an embedding table: {what}", path.display()))
}
