//! Schemas of outputs: what is known without data, and what fits have found.

use std::collections::BTreeMap;

use towline_api::{LazyDataset, NodeType, Schema, State, Vocabulary};

use crate::run::value::{NodeValue, lazies};
use crate::typing::GraphNode;

/// The static schema of a node's output, with what the fits behind its inputs have found about its domains.
pub(super) fn of_output(node: &GraphNode, inputs: &[NodeValue]) -> Schema {
    let NodeType::Dataset(dataset) = &node.output else {
        return Schema::default();
    };
    with_known_domains(&dataset.schema, lazies(inputs).into_iter().map(|lazy| &lazy.schema))
}

/// A static schema with what the fits behind its inputs have found about their domains.
pub(in crate::run) fn with_known_domains<'a>(schema: &Schema, inputs: impl Iterator<Item = &'a Schema>) -> Schema {
    let mut schema = schema.clone();
    let known: Vec<_> = inputs
        .flat_map(|input| &input.columns)
        .filter_map(|column| column.domain.as_ref())
        .collect();
    for domain in schema.columns.iter_mut().filter_map(|column| column.domain.as_mut()) {
        let found = known
            .iter()
            .find(|found| found.name == domain.name && found.vocabulary.is_some());
        if let Some(found) = found {
            domain.clone_from(found);
        }
    }
    schema
}

/// The vocabularies that the domains of a schema name, of those of the input and those of a fit.
pub(super) fn vocabularies_of(schema: &Schema, input: &LazyDataset, state: &State) -> BTreeMap<String, Vocabulary> {
    let named = |digest: &String| {
        let mut domains = schema.columns.iter().filter_map(|column| column.domain.as_ref());
        domains.any(|domain| domain.vocabulary.as_ref() == Some(digest))
    };
    let learnt = state
        .tables
        .values()
        .map(|table| (table.digest.clone(), table.vocabulary.clone()));
    let all = input.vocabularies.clone().into_iter().chain(learnt);
    all.filter(|(digest, _)| named(digest)).collect()
}
