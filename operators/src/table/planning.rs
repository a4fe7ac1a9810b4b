//! SQL over tables, planned the same way with and without data.

use std::sync::Arc;

use datafusion::catalog::{MemoryCatalogProviderList, TableProvider};
use datafusion::common::{DataFusionError, Result as DataFusionResult, SchemaError, TableReference};
use datafusion::dataframe::DataFrame;
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SQLOptions;
use datafusion::prelude::SessionContext;
use futures::FutureExt;

use crate::contract::{Problem, Schema, suggest};

/// A session like `session` in which names keep their case and nothing is registered yet: nodes do not see each other's
/// tables.
pub(super) fn private_session(session: &SessionContext) -> SessionContext {
    let state = session.state();
    let mut config = state.config().clone().with_create_default_catalog_and_schema(true);
    config.options_mut().sql_parser.enable_ident_normalization = false;
    let state = SessionStateBuilder::new_from_existing(state)
        .with_config(config)
        .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()))
        .build();
    SessionContext::new_with_state(state)
}

/// A table without rows, to plan against.
pub(super) fn rowless(schema: &Schema) -> Arc<dyn TableProvider> {
    Arc::new(EmptyTable::new(schema.to_arrow()))
}

/// The query over these tables, not computed. Only queries are let through.
pub(super) fn plan_query(
    session: &SessionContext,
    tables: Vec<(&str, Arc<dyn TableProvider>)>,
    query: &str,
) -> DataFusionResult<DataFrame> {
    let private = private_session(session);
    for (name, table) in tables {
        private.register_table(TableReference::bare(name), table)?;
    }
    let options = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    // Every table is in memory or a view, so that planning never waits.
    let planned = private.sql_with_options(query, options).now_or_never();
    let frame = planned.unwrap_or_else(|| Err(DataFusionError::Plan("the query cannot be planned at once".into())))?;
    let (_, plan) = frame.into_parts();
    Ok(DataFrame::new(session.state(), plan))
}

/// What is wrong with the SQL under the config key `key`, in the user's words.
pub(super) fn problem(error: &DataFusionError, schemas: &[&Schema], key: &str) -> Problem {
    let mut root = error.find_root();
    while let DataFusionError::Collection(errors) = root {
        match errors.first() {
            Some(first) => root = first.find_root(),
            None => break,
        }
    }
    if let DataFusionError::SchemaError(schema_error, _) = root
        && let SchemaError::FieldNotFound { field, .. } = schema_error.as_ref()
    {
        let names: Vec<&str> = schemas.iter().flat_map(|schema| schema.names()).collect();
        return Problem::new("unknown-column", format!("there is no column `{}`", field.flat_name()))
            .at(key)
            .help(suggest::sentence(&field.name, &names, "columns"));
    }
    Problem::new("bad-sql", root.strip_backtrace()).at(key)
}

/// `name` as an SQL identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The names as a list of SQL identifiers.
pub(super) fn quoted_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// Names that occur more than once, each a problem.
pub(super) fn duplicates<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Problem> {
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    for name in names {
        *seen.entry(name).or_default() += 1;
    }
    let twice = seen.into_iter().filter(|(_, times)| *times > 1);
    twice
        .map(|(name, _)| {
            Problem::new(
                "duplicate-column",
                format!("there would be more than one column `{name}`"),
            )
            .help("rename or leave out all but one")
        })
        .collect()
}
