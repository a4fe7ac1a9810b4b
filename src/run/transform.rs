//! A fitted part of a pipeline, applied to new rows: the same code that a run applies, with what the last run has learnt.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use datafusion::common::DFSchema;
use datafusion::physical_expr::PhysicalExpr;
use towline_api::{Form, NamedExpr, NodeType, OperatorError, Registry, Schema, TypeContext, Vocabulary, suggest};

use crate::builtin::CHAIN_OPERATORS;
use crate::config::{LoadOptions, Reference, load_file};
use crate::run::Role;
use crate::run::resolve::with_known_domains;
use crate::run::session::session;
use crate::store::{Store, StoreError};
use crate::typing::{NodeId, TypedGraph, propagate, selected_names};

/// New rows belong to no split: an operator that treats the split it has learnt from apart does not do so here.
const NO_SPLIT: &str = "";

/// Why new rows cannot be transformed.
#[derive(Debug, thiserror::Error)]
pub enum TransformError {
    /// The pipeline is not valid.
    #[error("{} is not valid: {problems} (`towline validate` says where)", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, in short.
        problems: String,
    },
    /// There is no such node.
    #[error("there is no node `{name}`: {help}")]
    UnknownNode {
        /// What was asked for.
        name: String,
        /// What there is.
        help: String,
    },
    /// The node makes its rows itself, so that there is nothing to apply.
    #[error(
        "`{0}` makes rows of its own: name a node that only changes columns, such as the end of a chain of features"
    )]
    OwnRows(String),
    /// A node that has to be applied was never fitted, or what it learnt is gone.
    #[error("`{0}` has not learnt anything yet: run the pipeline first")]
    NotFitted(String),
    /// The rows do not have what is needed.
    #[error("{0}")]
    Rows(String),
    /// An operator refused.
    #[error(transparent)]
    Operator(#[from] OperatorError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Turns new rows into what a node of a pipeline makes of them. Nothing is learnt, and nothing but the batch is looked at.
pub struct Transformer {
    input: Schema,
    columns: Vec<(Arc<dyn PhysicalExpr>, String)>,
    output: Schema,
    arrow: SchemaRef,
    vocabularies: BTreeMap<String, Vocabulary>,
}

/// What a node makes of the rows, so far.
struct Projected {
    columns: Vec<NamedExpr>,
    schema: Schema,
}

impl Transformer {
    /// The transformer to the node `to` of the pipeline in `file`, with what its last run left in `store`.
    pub fn open(file: &Path, store: &Path, to: &str, registry: &Registry) -> Result<Self, TransformError> {
        let env = |name: &str| std::env::var(name).ok();
        let loaded = load_file(
            file,
            &LoadOptions {
                env: &env,
                overrides: &[],
                operators: CHAIN_OPERATORS,
            },
        );
        let invalid = |problems: usize| TransformError::Invalid {
            path: file.to_owned(),
            problems: format!("{problems} problems"),
        };
        let pipeline = loaded.pipeline.ok_or_else(|| invalid(loaded.diagnostics.len()))?;
        let context = TypeContext {
            session: session(),
            offline: false,
        };
        let typed = propagate(pipeline, &loaded.sources, registry, &context);
        let found = typed.diagnostics.len().max(1);
        let graph = TypedGraph::new(&typed).ok_or_else(|| invalid(found))?;
        Self::new(&graph, &Store::open(store)?, to)
    }

    /// The transformer to the node `to` of a valid pipeline.
    pub fn new(graph: &TypedGraph, store: &Store, to: &str) -> Result<Self, TransformError> {
        let Some(id) = graph.find(to) else {
            return Err(TransformError::UnknownNode {
                name: to.to_owned(),
                help: suggest::sentence(to, &graph.names(), "nodes"),
            });
        };
        let root = graph[id].rows.node;
        let NodeType::Dataset(rows) = &graph[root].output else {
            return Err(TransformError::OwnRows(to.to_owned()));
        };
        if root == id {
            return Err(TransformError::OwnRows(to.to_owned()));
        }
        let mut walk = Walk {
            graph,
            store,
            root,
            vocabularies: BTreeMap::new(),
        };
        let projected = walk.node(id)?;
        let used = |name: &str| {
            let refers = |column: &NamedExpr| column.expr.column_refs().iter().any(|found| found.name == name);
            projected.columns.iter().any(refers)
        };
        let mut input = rows.schema.clone();
        input.columns.retain(|column| used(&column.name));
        let schema = DFSchema::try_from(input.to_arrow()).map_err(OperatorError::from)?;
        let session = session();
        let compiled = |column: NamedExpr| {
            let expr = session
                .create_physical_expr(column.expr, &schema)
                .map_err(OperatorError::from)?;
            Ok((expr, column.name))
        };
        Ok(Transformer {
            input,
            columns: projected
                .columns
                .into_iter()
                .map(compiled)
                .collect::<Result<_, OperatorError>>()?,
            arrow: projected.schema.to_arrow(),
            output: projected.schema,
            vocabularies: walk.vocabularies,
        })
    }

    /// The columns that new rows need.
    pub fn input(&self) -> &Schema {
        &self.input
    }

    /// The columns of the result, with their domains.
    pub fn output(&self) -> &Schema {
        &self.output
    }

    /// The vocabulary that decodes a column of the result, if it is encoded.
    pub fn vocabulary_of(&self, column: &str) -> Option<&Vocabulary> {
        let digest = self.output.get(column)?.domain.as_ref()?.vocabulary.as_ref()?;
        self.vocabularies.get(digest)
    }

    /// What the node makes of the rows. Columns are found by name; others than those of [`Transformer::input`] are ignored.
    pub fn transform(&self, batch: &RecordBatch) -> Result<RecordBatch, TransformError> {
        let column = |wanted: &towline_api::Column| {
            let found = batch.column_by_name(&wanted.name).ok_or_else(|| {
                let schema = batch.schema();
                let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
                let help = suggest::sentence(&wanted.name, &names, "columns");
                TransformError::Rows(format!("the new rows have no column `{}`: {help}", wanted.name))
            })?;
            if found.data_type() != &wanted.data_type {
                return Err(TransformError::Rows(format!(
                    "column `{}` holds {}, but the pipeline was run on {}: give both the same type",
                    wanted.name,
                    found.data_type(),
                    wanted.data_type
                )));
            }
            Ok(Arc::clone(found))
        };
        let columns = self
            .input
            .columns
            .iter()
            .map(column)
            .collect::<Result<Vec<ArrayRef>, _>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let fields: Vec<_> = self
            .input
            .to_arrow()
            .fields()
            .iter()
            .map(|f| f.as_ref().clone().with_nullable(true))
            .collect();
        let schema = Arc::new(arrow::datatypes::Schema::new(fields));
        let rows = RecordBatch::try_new_with_options(schema, columns, &options).map_err(OperatorError::from)?;
        let mut out = Vec::with_capacity(self.columns.len());
        for ((expr, _), field) in self.columns.iter().zip(self.arrow.fields()) {
            let value = expr.evaluate(&rows).and_then(|value| value.into_array(rows.num_rows()));
            let value = value.map_err(OperatorError::from)?;
            out.push(cast(&value, field.data_type()).map_err(OperatorError::from)?);
        }
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.arrow), out, &options).map_err(OperatorError::from)?)
    }
}

/// The way from the rows to a node.
struct Walk<'a> {
    graph: &'a TypedGraph,
    store: &'a Store,
    root: NodeId,
    vocabularies: BTreeMap<String, Vocabulary>,
}

impl Walk<'_> {
    fn node(&mut self, id: NodeId) -> Result<Projected, TransformError> {
        let node = &self.graph[id];
        let NodeType::Dataset(dataset) = &node.output else {
            return Err(TransformError::OwnRows(node.name.clone()));
        };
        if id == self.root {
            let columns = dataset.schema.names().map(NamedExpr::column).collect();
            return Ok(Projected {
                columns,
                schema: dataset.schema.clone(),
            });
        }
        let stateful = matches!(node.form(), Form::Stateful(_));
        // What is connected beside the first port only took part in the fit.
        let taken = if stateful { 1 } else { node.connections.len() };
        let mut inputs = Vec::new();
        for connection in node.connections.iter().take(taken) {
            inputs.push(selected(self.node(connection.from)?, &connection.selection));
        }
        let known = inputs.iter().map(|input| &input.schema);
        let schema = with_known_domains(&dataset.schema, known);
        match node.form() {
            Form::Columns(columns) => {
                let parts: Vec<&[NamedExpr]> = inputs.iter().map(|input| input.columns.as_slice()).collect();
                Ok(Projected {
                    columns: columns.project(&parts)?,
                    schema,
                })
            }
            Form::Stateful(stateful) => {
                let work = Role::Fit.of_node(&node.name);
                let entry = self.store.last_of_node(self.graph.name(), &work);
                let entry = entry.ok_or_else(|| TransformError::NotFitted(node.name.clone()))?;
                let state = self.store.state(&entry);
                let input = inputs
                    .first()
                    .ok_or_else(|| OperatorError::invalid("nothing is connected"))?;
                let columns = stateful.project(&state, &input.schema, NO_SPLIT, &input.columns)?;
                let schema = stateful.refine(&state, &schema)?;
                let learnt = state.tables.into_values().map(|table| (table.digest, table.vocabulary));
                self.vocabularies.extend(learnt);
                Ok(Projected { columns, schema })
            }
            _ => Err(TransformError::OwnRows(node.name.clone())),
        }
    }
}

/// What a reference takes of a node's columns.
fn selected(from: Projected, reference: &Reference) -> Projected {
    let Some(names) = selected_names(&from.schema, reference) else {
        return from;
    };
    let column = |name: &String| from.columns.iter().find(|column| column.name == *name).cloned();
    Projected {
        columns: names.iter().filter_map(column).collect(),
        schema: Schema {
            columns: names.iter().filter_map(|name| from.schema.get(name).cloned()).collect(),
        },
    }
}
