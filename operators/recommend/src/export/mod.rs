//! Export of trained models.

pub(crate) mod model_export;

pub use model_export::ModelExport;
