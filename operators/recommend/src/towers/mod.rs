//! The architecture of towers and their forward pass, for training and encoding.

pub(crate) mod activation;
pub(crate) mod concatenated_towers;
pub(crate) mod encoding;
pub(crate) mod forward_pass;
pub(crate) mod scoring;
pub(crate) mod side;
pub(crate) mod tower_files;
pub(crate) mod tower_shape;
pub(crate) mod towers;

pub use activation::Activation;
pub use side::Side;
pub use tower_shape::{Normalize, Pool};
