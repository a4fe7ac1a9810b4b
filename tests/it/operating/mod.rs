//! Operators through whole pipelines.

pub(crate) mod exports;
pub(crate) mod features;
pub(crate) mod golden;
pub(crate) mod new_items;
pub(crate) mod publishing;
pub(crate) mod quality;
pub(crate) mod torch_worker;
