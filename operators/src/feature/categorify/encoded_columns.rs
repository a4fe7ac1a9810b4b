//! Columns that tests have encoded.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use serde_json::Value;

use super::Categorify;
use crate::harness::{Data, Ran, run};

pub(super) fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

pub(super) fn categorify(config: Value, data: Data) -> Ran {
    run::<Categorify>(config, &[("input", data)])
}

pub(super) fn ids(ran: &Ran, column: &str) -> Vec<i64> {
    ran.column(column).as_primitive::<Int64Type>().values().to_vec()
}
