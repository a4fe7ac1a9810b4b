//! Whether what a node produced is what was expected of it.

use std::collections::{BTreeMap, BTreeSet};

use towline_api::{Artifact, LazyDataset};

use crate::checks::Fact;
use crate::config::expression::Scalar;
use crate::plan::{ExpectationRecord, Origin, Step};
use crate::run::failure::Failure;
use crate::run::value::NodeValue;
use crate::run::work::{Entries, Role, Work, WorkItem};
use crate::store::{Content, Entry};
use crate::typing::{NodeId, TypedGraph};

/// The outcomes of the expectations of a node; nothing, if a fact that they need is not known yet. `metrics` are those of
/// the node.
pub(super) fn examine(
    graph: &TypedGraph,
    id: NodeId,
    value: &NodeValue,
    metrics: &BTreeMap<String, f64>,
    entries: &mut dyn Entries,
) -> Result<Option<Vec<ExpectationRecord>>, Failure> {
    let expectations = &graph[id].expectations;
    if expectations.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let wanted = expectations
        .iter()
        .flat_map(|expectation| expectation.condition.facts())
        .collect();
    let mut facts: BTreeMap<Fact, Scalar> = metrics
        .iter()
        .map(|(name, number)| (Fact::Metric(name.clone()), Scalar::of(*number)))
        .collect();
    match value {
        NodeValue::Other {
            artifact: Artifact::Receipt(receipt),
            ..
        } => {
            facts.insert(Fact::Records, Scalar::Number(receipt.records as f64));
        }
        NodeValue::Other { .. } => {}
        NodeValue::Dataset { lazy, origin, .. } => match facts_of_rows(id, lazy, origin, &wanted, entries)? {
            Some(of_rows) => facts.extend(of_rows),
            None => return Ok(None),
        },
    }
    let record = |expectation: &crate::typing::CheckedExpectation| ExpectationRecord {
        expression: expectation.condition.text.clone(),
        location: expectation.location.clone(),
        outcome: expectation.condition.evaluate(&facts),
    };
    Ok(Some(expectations.iter().map(record).collect()))
}

/// The failure of a node whose expectations do not all hold.
pub(super) fn unmet(records: &[ExpectationRecord]) -> Result<(), Failure> {
    let (unmet, of) = (records.iter().filter(|r| !r.outcome.met).count(), records.len());
    if unmet > 0 {
        return Err(Failure::Unmet { unmet, of });
    }
    Ok(())
}

/// Facts about rows: remembered by the content of the rows, so that another threshold needs no other scan.
fn facts_of_rows(
    id: NodeId,
    lazy: &LazyDataset,
    origin: &Origin,
    wanted: &BTreeSet<Fact>,
    entries: &mut dyn Entries,
) -> Result<Option<BTreeMap<Fact, Scalar>>, Failure> {
    let wanted: BTreeSet<Fact> = wanted.iter().filter(|fact| fact.is_of_rows()).cloned().collect();
    if wanted.is_empty() {
        return Ok(Some(BTreeMap::new()));
    }
    let names: Vec<String> = wanted.iter().map(Fact::to_string).collect();
    let item = WorkItem {
        node: id,
        role: Role::Facts,
        step: Step::facts(origin, &names),
    };
    let entry = entries.entry(item, Work::Facts(lazy, &wanted))?;
    Ok(entry.map(|entry| remembered(&entry, &wanted)))
}

fn remembered(entry: &Entry, wanted: &BTreeSet<Fact>) -> BTreeMap<Fact, Scalar> {
    let Content::State { facts, .. } = &entry.content else {
        return BTreeMap::new();
    };
    wanted
        .iter()
        .filter_map(|fact| {
            let value = serde_json::from_value(facts.get(&fact.to_string())?.clone()).ok()?;
            Some((fact.clone(), value))
        })
        .collect()
}
