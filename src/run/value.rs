//! What a node's output is for those that depend on it, and what a reference takes of it.

use towline_api::{Artifact, DatasetFiles, LazyDataset, Receipt};

use crate::config::Reference;
use crate::plan::{Fingerprint, Origin, Step};
use crate::typing::selected_names;

/// What a node's output is, for those that depend on it.
#[derive(Clone)]
pub enum NodeValue {
    /// A dataset; `origin` stands for its content.
    Dataset {
        /// Its columns, lazily.
        lazy: LazyDataset,
        /// How it comes about: stored content, and the steps on top of it.
        origin: Origin,
        /// Its rows in the store, where they were put there for a task to read.
        stored: Option<StoredDataset>,
    },
    /// Anything else.
    Other {
        /// What it is.
        artifact: Artifact,
        /// Its content.
        origin: Origin,
    },
}

/// A dataset whose rows lie in the store.
#[derive(Clone)]
pub struct StoredDataset {
    /// The files.
    pub files: DatasetFiles,
    /// The content.
    pub origin: Origin,
}

impl NodeValue {
    /// What stands for its content in the fingerprints of those that depend on it.
    pub(super) fn origin(&self) -> &Origin {
        match self {
            NodeValue::Dataset { origin, .. } | NodeValue::Other { origin, .. } => origin,
        }
    }

    /// The dataset, if it is one.
    pub(super) fn lazy(&self) -> Option<&LazyDataset> {
        match self {
            NodeValue::Dataset { lazy, .. } => Some(lazy),
            NodeValue::Other { .. } => None,
        }
    }

    /// What was published, if it is a receipt.
    pub(super) fn receipt(&self) -> Option<&Receipt> {
        match self {
            NodeValue::Other {
                artifact: Artifact::Receipt(receipt),
                ..
            } => Some(receipt),
            _ => None,
        }
    }

    /// What a reference takes of it.
    pub(super) fn selected(&self, reference: &Reference) -> NodeValue {
        let NodeValue::Dataset { lazy, origin, .. } = self else {
            return self.clone();
        };
        let names = selected_names(&lazy.schema, reference);
        let split = reference.split.as_ref().map(|split| split.value.as_str());
        if names.is_none() && split.is_none() {
            return self.clone();
        }
        let mut lazy = lazy.clone();
        if let Some(split) = split {
            lazy.splits.retain(|(name, _)| name == split);
        }
        if let Some(names) = &names {
            lazy.schema.columns = names.iter().filter_map(|name| lazy.schema.get(name).cloned()).collect();
            for (_, table) in &mut lazy.splits {
                let picked = names
                    .iter()
                    .filter_map(|name| table.columns.iter().find(|c| c.name == *name).cloned());
                table.columns = picked.collect();
            }
        }
        let fingerprint = Fingerprint::of_selection(origin.part("input", None), names.as_deref(), split);
        let rows = origin.rows().filter(|_| split.is_none());
        let origin = Step::new(vec![origin.clone()], fingerprint).origin(origin.label(), rows, &lazy.schema);
        NodeValue::Dataset {
            lazy,
            origin,
            stored: None,
        }
    }
}

/// The datasets among these values.
pub(super) fn lazies(values: &[NodeValue]) -> Vec<&LazyDataset> {
    values.iter().filter_map(NodeValue::lazy).collect()
}
