//! Encoded columns for tests.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::Int64Type;
use serde_json::Value;

use crate::features::categorical::categorify::Categorify;
use crate::harness::{Data, Ran, run};

pub(crate) fn ints(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

pub(crate) fn categorify(config: Value, data: Data) -> Ran {
    run::<Categorify>(config, &[("input", data)])
}

pub(crate) fn ids(ran: &Ran, column: &str) -> Vec<i64> {
    ran.column(column).as_primitive::<Int64Type>().values().to_vec()
}
