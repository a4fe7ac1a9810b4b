//! Neural-network kernels: embedding tables and bags, pooling, attention, softmax gradient, optimizer steps.

pub(crate) mod attention;
pub(crate) mod bag;
pub(crate) mod catch_up;
pub(crate) mod embedding_table;
mod mask;
pub(crate) mod optimizer;
pub(crate) mod pooling;
mod softmax;

pub use bag::Bag;
pub use embedding_table::{Table, Touched};
pub use mask::{Mask, Positives};
pub use optimizer::{Decay, Numbers, Rule, Schedule, Step, update};
pub use pooling::Pooling;
pub use softmax::softmax_gradient;
