//! Trainable towers: layers, gradients, initial weights.

pub(crate) mod compute_backend;
pub(crate) mod dense_layers;
pub(crate) mod dropout;
#[cfg(test)]
mod forward_pass_tests;
pub(crate) mod initial_weights;
pub(crate) mod network;
pub(crate) mod temperature;
pub(crate) mod trainable_tower;
pub(crate) mod warm_start;
