//! A valid pipeline: one graph whose every node has its operator, its connections and the type of its output.

use std::ops::Index;

use petgraph::Direction;
use petgraph::graph::DiGraph;
use towline_api::{Built, Descriptor, Form, Inputs, NodeType, Port};

use crate::config::{Pipeline, Reference, Settings};
use crate::store::Address;
use crate::typing::node_id::NodeId;
use crate::typing::typed_pipeline::{CheckedExpectation, RowOrigin, TypedNode, TypedPipeline};

/// A connection of a node: what feeds one of its ports.
#[derive(Debug, Clone)]
pub struct Connection {
    /// The port.
    pub port: &'static str,
    /// The name that the operator knows the input by: the user's own on a port for many, else the name of the node.
    pub label: String,
    /// The node whose output is connected.
    pub from: NodeId,
    /// The columns and the split that are taken of that output.
    pub selection: Reference,
}

/// A node of a valid pipeline.
#[derive(Clone)]
pub struct GraphNode {
    /// Its name.
    pub name: String,
    /// How it is run.
    pub settings: Settings,
    /// What the registry knows of its operator.
    pub descriptor: Descriptor,
    /// The operator with its configuration.
    pub built: Built,
    /// What is connected, in the order of the ports.
    pub connections: Vec<Connection>,
    /// The nodes that must finish first although no data flows.
    pub after: Vec<NodeId>,
    /// The type of its output.
    pub output: NodeType,
    /// Which rows the output has.
    pub rows: RowOrigin,
    /// What is expected of the output.
    pub expectations: Vec<CheckedExpectation>,
}

impl GraphNode {
    fn new(pipeline: &Pipeline, place: usize, typed: TypedNode) -> Self {
        let node = &pipeline.nodes[place];
        let references = node.inputs.references();
        let connection = |binding: &crate::typing::Binding| {
            let reference = references[binding.reference];
            let upstream = &pipeline.nodes[reference.node].name;
            Connection {
                port: binding.port,
                label: binding.label.clone().unwrap_or_else(|| upstream.clone()),
                from: NodeId::at(reference.node),
                selection: reference.clone(),
            }
        };
        GraphNode {
            name: node.name.clone(),
            settings: node.settings.clone(),
            connections: typed.bindings.iter().map(connection).collect(),
            after: node.after.iter().map(|(place, _)| NodeId::at(*place)).collect(),
            descriptor: typed.descriptor,
            built: typed.built,
            output: typed.output,
            rows: typed.rows,
            expectations: typed.expectations,
        }
    }

    /// How its operator does its work.
    pub fn form(&self) -> Form<'_> {
        self.built.operator.form()
    }

    /// The declaration of a port.
    pub(crate) fn port(&self, name: &str) -> Option<&'static Port> {
        self.descriptor.ports.iter().find(|port| port.name == name)
    }

    /// Values of what is connected, in the order of `connections`, as the operator takes them.
    pub(crate) fn labelled<T>(&self, values: impl IntoIterator<Item = T>) -> Inputs<T> {
        let labelled = self.connections.iter().zip(values);
        let input = |(connection, value): (&Connection, T)| towline_api::Input {
            port: connection.port,
            label: connection.label.clone(),
            value,
        };
        Inputs(labelled.map(input).collect())
    }
}

/// A pipeline without errors, as it is planned and run. An edge leads from a node to each node that needs it, for its data
/// or by `after`.
#[derive(Clone)]
pub struct TypedGraph {
    name: String,
    shared_store: Option<Address>,
    graph: DiGraph<GraphNode, ()>,
    order: Vec<NodeId>,
}

impl TypedGraph {
    /// The graph of a typed pipeline; nothing if one of its nodes has no type or the address of its shared store is invalid.
    pub fn new(typed: &TypedPipeline) -> Option<Self> {
        let TypedPipeline { pipeline, nodes, .. } = typed;
        let mut graph = DiGraph::with_capacity(nodes.len(), pipeline.graph.edge_count());
        for (place, typed) in nodes.iter().enumerate() {
            graph.add_node(GraphNode::new(pipeline, place, typed.clone()?));
        }
        for edge in pipeline.graph.raw_edges() {
            graph.add_edge(edge.source(), edge.target(), ());
        }
        Some(TypedGraph {
            order: pipeline.order.iter().copied().map(NodeId::at).collect(),
            name: pipeline.name.clone(),
            shared_store: pipeline
                .store
                .as_ref()
                .map(|text| text.value.parse())
                .transpose()
                .ok()?,
            graph,
        })
    }

    /// The name of the pipeline.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The store that is shared with others, if the pipeline names one.
    pub fn shared_store(&self) -> Option<&Address> {
        self.shared_store.as_ref()
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.graph.node_count()
    }

    /// Whether there are no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The nodes, in the order of the file.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = NodeId> + use<> {
        self.graph.node_indices().map(NodeId)
    }

    /// The nodes in an order in which each follows all that it needs.
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }

    /// The node of a name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.ids().find(|id| self[*id].name == name)
    }

    /// The names of all nodes, in the order of the file.
    pub fn names(&self) -> Vec<&str> {
        self.graph.node_weights().map(|node| node.name.as_str()).collect()
    }

    /// The nodes that a node needs.
    pub fn needs(&self, id: NodeId) -> impl Iterator<Item = NodeId> + '_ {
        self.neighbours(id, Direction::Incoming)
    }

    /// The nodes beside a node, against the edges or along them.
    pub fn neighbours(&self, id: NodeId, direction: Direction) -> impl Iterator<Item = NodeId> + '_ {
        self.graph.neighbors_directed(id.0, direction).map(NodeId)
    }

    /// The edges: a node, and a node that needs it.
    pub fn edges(&self) -> impl Iterator<Item = (NodeId, NodeId)> + '_ {
        self.graph
            .raw_edges()
            .iter()
            .map(|edge| (NodeId(edge.source()), NodeId(edge.target())))
    }
}

impl Index<NodeId> for TypedGraph {
    type Output = GraphNode;

    fn index(&self, id: NodeId) -> &GraphNode {
        &self.graph[id.0]
    }
}
