//! The architecture of towers and their forward pass.

pub(crate) mod activation;
pub(crate) mod concatenated_towers;
pub(crate) mod scoring;
pub(crate) mod side;
pub(crate) mod tower_files;
pub(crate) mod tower_shape;
pub(crate) mod towers;

pub use activation::Activation;
pub use side::Side;
pub use tower_shape::{Normalize, Pool};
