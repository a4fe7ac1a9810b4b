//! Tests of several operators together on synthetic data.

pub(crate) mod fixture;
pub(crate) mod hard_negatives_tests;
pub(crate) mod input_tests;
pub(crate) mod layer_option_tests;
pub(crate) mod mixed_input_tests;
pub(crate) mod streaming_tests;
pub(crate) mod top_k_tests;
pub(crate) mod whole_tests;
