//! Whether what a node produced is what was expected of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use towline_api::{Artifact, LazyDataset, OperatorError};

use crate::checks::{Fact, Outcome, measurement};
use crate::config::expression::Scalar;
use crate::plan::{Origin, Step};
use crate::run::reuse::{Made, Piece, Role};
use crate::run::runner::{Failure, Runner};
use crate::run::value::NodeValue;
use crate::store::{Content, Entry};

/// How often somebody who waits for facts looks whether the run was interrupted.
const PATIENCE: Duration = Duration::from_millis(100);

/// What became of an expectation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExpectationRecord {
    /// The expression as it was written.
    pub expression: String,
    /// Where it stands: `file:line:column`.
    pub location: String,
    /// Whether it holds, and the values of its parts.
    pub outcome: Outcome,
}

impl Runner {
    /// Checks the expectations of a node on its output. In a plan, what is not known yet is no failure.
    pub(super) fn examine(&self, node: usize, value: &NodeValue) -> Result<(), Failure> {
        let expectations = &self.nodes[node].expectations;
        if expectations.is_empty() {
            return Ok(());
        }
        let wanted: BTreeSet<Fact> = expectations
            .iter()
            .flat_map(|expectation| expectation.condition.facts())
            .collect();
        let facts = match self.facts(node, value, &wanted) {
            Err(Failure::WouldRun(reason)) => {
                self.note(node, |work| {
                    work.ran = true;
                    work.reason = reason;
                });
                return Ok(());
            }
            facts => facts?,
        };
        let records: Vec<ExpectationRecord> = expectations
            .iter()
            .map(|expectation| ExpectationRecord {
                expression: expectation.condition.text.clone(),
                location: expectation.location.clone(),
                outcome: expectation.condition.evaluate(&facts),
            })
            .collect();
        let (unmet, of) = (records.iter().filter(|r| !r.outcome.met).count(), records.len());
        self.note(node, |work| work.expectations = records);
        if unmet > 0 && self.stop_at_unmet {
            return Err(Failure::Unmet { unmet, of });
        }
        Ok(())
    }

    fn facts(
        &self,
        node: usize,
        value: &NodeValue,
        wanted: &BTreeSet<Fact>,
    ) -> Result<BTreeMap<Fact, Scalar>, Failure> {
        let mut facts = BTreeMap::new();
        for (name, number) in self.work_of(node).metrics {
            facts.insert(Fact::Metric(name), Scalar::of(number));
        }
        match value {
            NodeValue::Other {
                artifact: Artifact::Receipt(receipt),
                ..
            } => {
                facts.insert(Fact::Records, Scalar::Number(receipt.records as f64));
            }
            NodeValue::Other { .. } => {}
            NodeValue::Dataset { lazy, origin, .. } => {
                let of_rows: BTreeSet<Fact> = wanted.iter().filter(|fact| fact.is_of_rows()).cloned().collect();
                if !of_rows.is_empty() {
                    facts.extend(self.facts_of_rows(node, lazy, origin, &of_rows)?);
                }
            }
        }
        Ok(facts)
    }

    /// Facts about rows: remembered by the content of the rows, so that another threshold needs no other scan.
    fn facts_of_rows(
        &self,
        node: usize,
        lazy: &LazyDataset,
        origin: &Origin,
        wanted: &BTreeSet<Fact>,
    ) -> Result<BTreeMap<Fact, Scalar>, Failure> {
        let names: Vec<String> = wanted.iter().map(Fact::to_string).collect();
        let piece = Piece {
            node,
            role: Role::Facts,
            step: Step::facts(origin, &names),
        };
        let entry = self.produce(piece, || {
            let reading = measurement(lazy, wanted)?.run();
            let measured = self.runtime.block_on(self.unless_cancelled(reading))?;
            let facts = measured
                .iter()
                .map(|(fact, value)| (fact.to_string(), serde_json::json!(value)))
                .collect();
            let tables = BTreeMap::new();
            Ok(Made::from(Content::State { tables, facts }))
        })?;
        Ok(remembered(&entry, wanted))
    }

    /// What a future comes to, or an end to the waiting where the run is interrupted.
    async fn unless_cancelled<T>(
        &self,
        work: impl Future<Output = Result<T, OperatorError>>,
    ) -> Result<T, OperatorError> {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                () = tokio::time::sleep(PATIENCE) => self.cancel.check()?,
            }
        }
    }
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
