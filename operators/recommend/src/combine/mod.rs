//! Operators that select or combine models.

pub(crate) mod best_model;
pub(crate) mod ensemble;

pub use best_model::{BestModel, Direction};
pub use ensemble::Ensemble;
