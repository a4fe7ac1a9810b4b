//! Plans SQL over tables, the same way with and without data.

use std::ops::Range;
use std::sync::Arc;

use datafusion::catalog::{MemoryCatalogProviderList, TableProvider};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DataFusionError, Result as DataFusionResult, SchemaError, TableReference};
use datafusion::dataframe::DataFrame;
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{Expr, Volatility};
use datafusion::prelude::SessionContext;
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::ParserError;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, Tokenizer};
use futures::FutureExt;

use towline_api::{Code, Problem, Schema, suggest};

/// A copy of `session` with case-sensitive names and no tables, so that nodes do not see each other's tables.
pub fn private_session(session: &SessionContext) -> SessionContext {
    let state = session.state();
    let mut config = state.config().clone().with_create_default_catalog_and_schema(true);
    config.options_mut().sql_parser.enable_ident_normalization = false;
    let state = SessionStateBuilder::new_from_existing(state)
        .with_config(config)
        .with_catalog_list(Arc::new(MemoryCatalogProviderList::new()))
        .build();
    SessionContext::new_with_state(state)
}

/// An empty table to plan against.
pub fn rowless(schema: &Schema) -> Arc<dyn TableProvider> {
    Arc::new(EmptyTable::new(schema.to_arrow()))
}

/// Plans a query over these tables without running it. Only SELECT statements are allowed.
pub fn plan_query(
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
    // All tables are in memory or views, so planning never waits.
    let planned = private.sql_with_options(query, options).now_or_never();
    let frame =
        planned.unwrap_or_else(|| Err(DataFusionError::Plan("the query needs asynchronous planning".into())))?;
    let (_, plan) = frame.into_parts();
    plan.apply_with_subqueries(|node| node.apply_expressions(steady).map(|_| TreeNodeRecursion::Continue))?;
    Ok(DataFrame::new(session.state(), plan))
}

/// An error if an expression is volatile (its value differs between runs): a cached result would be out of date.
pub fn steady(expr: &Expr) -> DataFusionResult<TreeNodeRecursion> {
    expr.apply(|inner| {
        let Expr::ScalarFunction(function) = inner else {
            return Ok(TreeNodeRecursion::Continue);
        };
        if function.func.signature().volatility == Volatility::Immutable {
            return Ok(TreeNodeRecursion::Continue);
        }
        Err(DataFusionError::Plan(format!(
            "`{}()` is volatile, but results are cached: pass the value to the pipeline instead, as a variable \
             (`${{vars.today}}`, set with `--set vars.today=...`) or from the environment (`${{env.TODAY}}`)",
            function.func.name()
        )))
    })
}

/// The problem with SQL generated from the parameter `key`, in the user's terms.
pub fn problem(error: &DataFusionError, schemas: &[&Schema], key: &str) -> Problem {
    explained(error, schemas).0.at(key)
}

/// The problem with SQL that the user wrote in the parameter `key`, with the position of the error in it.
pub fn problem_in(error: &DataFusionError, schemas: &[&Schema], key: &str, sql: &str) -> Problem {
    let (problem, word) = explained(error, schemas);
    let range = match word {
        Some(column) => find_column(sql, &column),
        None => error_position(&problem.message).and_then(|position| word_at(sql, position)),
    };
    let message = problem
        .message
        .split(" at Line: ")
        .next()
        .unwrap_or_default()
        .to_owned();
    match range {
        Some(range) => Problem { message, ..problem }.at_text(key, range),
        None => problem.at(key),
    }
}

/// The problem, and the unknown column if it is about one.
fn explained(error: &DataFusionError, schemas: &[&Schema]) -> (Problem, Option<Column>) {
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
        let message = format!("there is no column `{}`", field.flat_name());
        let help = suggest::sentence(&field.name, &names, "columns");
        return (
            Problem::new(Code::UnknownColumn, message).help(help),
            Some((**field).clone()),
        );
    }
    if let DataFusionError::SchemaError(schema_error, _) = root
        && let SchemaError::AmbiguousReference { field } = schema_error.as_ref()
    {
        let message = format!("the column `{}` is in more than one table", field.name);
        let help = format!("say which one is meant: `TABLE.{}`", field.name);
        return (
            Problem::new(Code::AmbiguousColumn, message).help(help),
            Some((**field).clone()),
        );
    }
    let message = match root {
        DataFusionError::SQL(error, _) => match error.as_ref() {
            ParserError::TokenizerError(message) | ParserError::ParserError(message) => message.clone(),
            ParserError::RecursionLimitExceeded => "it is nested too deeply".to_owned(),
        },
        other => other.strip_backtrace(),
    };
    (Problem::new(Code::BadSql, message), None)
}

/// The tokens of a query with their byte ranges.
fn tokens(sql: &str) -> Vec<(Token, Range<usize>)> {
    let dialect = GenericDialect {};
    let tokens = Tokenizer::new(&dialect, sql)
        .tokenize_with_location()
        .unwrap_or_default();
    let place = |location: Location| offset(sql, location);
    tokens
        .into_iter()
        .filter(|token| !matches!(token.token, Token::Whitespace(_)))
        .map(|token| (token.token, place(token.span.start)..place(token.span.end)))
        .collect()
}

/// The byte offset of a line and a column; both count from 1, columns in characters.
fn offset(sql: &str, location: Location) -> usize {
    let lines = sql.split_inclusive('\n').take(location.line.saturating_sub(1) as usize);
    let start: usize = lines.map(str::len).sum();
    let before = location.column.saturating_sub(1) as usize;
    start + sql[start..].chars().take(before).map(char::len_utf8).sum::<usize>()
}

/// The first use of a column: qualified if the error qualifies it.
fn find_column(sql: &str, column: &Column) -> Option<Range<usize>> {
    let tokens = tokens(sql);
    let is = |at: usize, name: &str| matches!(tokens.get(at), Some((Token::Word(word), _)) if word.value == name);
    (0..tokens.len()).filter(|&at| is(at, &column.name)).find_map(|at| {
        let place = tokens[at].1.clone();
        match &column.relation {
            Some(table) => {
                let qualified = at >= 2 && tokens[at - 1].0 == Token::Period && is(at - 2, table.table());
                qualified.then(|| tokens[at - 2].1.start..place.end)
            }
            None => Some(place),
        }
    })
}

/// The position at the end of a parser message.
fn error_position(message: &str) -> Option<Location> {
    let (_, place) = message.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    let digits: String = column.chars().take_while(char::is_ascii_digit).collect();
    Some(Location {
        line: line.parse().ok()?,
        column: digits.parse().ok()?,
    })
}

/// The token at a position.
fn word_at(sql: &str, location: Location) -> Option<Range<usize>> {
    let at = offset(sql, location);
    let token = tokens(sql).into_iter().find(|(_, range)| range.contains(&at));
    token.map(|(_, range)| range)
}

/// `name` as a quoted SQL identifier.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Names as a list of quoted SQL identifiers.
pub fn quoted_list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(quoted).collect::<Vec<_>>().join(", ")
}

/// A problem for each duplicate name.
pub fn duplicates<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Problem> {
    let mut seen = std::collections::BTreeMap::<&str, usize>::new();
    for name in names {
        *seen.entry(name).or_default() += 1;
    }
    let twice = seen.into_iter().filter(|(_, times)| *times > 1);
    twice
        .map(|(name, _)| {
            Problem::new(
                Code::DuplicateColumn,
                format!("the output would have several columns `{name}`"),
            )
            .help("rename or leave out all but one")
        })
        .collect()
}
