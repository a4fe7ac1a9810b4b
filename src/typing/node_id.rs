//! The identity of a node of a pipeline.

use std::fmt;

use petgraph::graph::NodeIndex;

/// A node of a pipeline. Ids are in the order of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(super) NodeIndex);

impl NodeId {
    /// The node at this place of [`Pipeline::nodes`].
    pub(crate) fn at(place: usize) -> Self {
        NodeId(NodeIndex::new(place))
    }

    /// Its place in the order of the file, from 0.
    pub fn index(self) -> usize {
        self.0.index()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.index())
    }
}
