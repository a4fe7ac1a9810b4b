//! Expectations and the tests of pipelines.

pub(crate) mod expectation_facts;
pub(crate) mod expectations;
pub(crate) mod pipeline_tests;
