//! Facts about rows that expectations need.

use std::collections::{BTreeMap, BTreeSet};

use towline_api::LazyDataset;

use crate::checks::{Fact, measurement};
use crate::run::execute::{ExecContext, Produced};
use crate::run::failure::Failure;

/// Measures facts in one scan.
pub(in crate::run) fn measure(
    lazy: &LazyDataset,
    wanted: &BTreeSet<Fact>,
    context: &ExecContext<'_>,
) -> Result<Produced, Failure> {
    let reading = measurement(lazy, wanted)?.run();
    let measured = context.tables.runtime.block_on(context.stop.or(reading))??;
    let facts = measured
        .iter()
        .map(|(fact, value)| (fact.to_string(), serde_json::json!(value)))
        .collect();
    Ok(Produced::State {
        tables: BTreeMap::new(),
        facts,
    })
}
