//! `Sql`: an SQL query over the inputs.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::dataframe::DataFrame;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use towline_api::{
    Code, DatasetPort, DatasetType, Describe, Form, Inputs, LazyDataset, Many, Named, NodeType, Operator,
    OperatorError, Port, Problem, Purity, Result, Schema, Table, TableContext, TypeContext,
};
use towline_tables::sql_planning::{duplicates, plan_query, problem_in, rowless};

/// Runs an SQL query (DataFusion dialect) for every split. The inputs are tables under their names.
///
/// An input with a single split is available to the query on every split. Table and column names are case-sensitive.
/// Columns that keep their name and type keep their tags. Without ORDER BY the row order is unspecified.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sql {
    /// The query: one SELECT statement; WITH is allowed.
    pub query: String,
}

/// The output splits: those of the inputs with several splits, else those of the first input.
fn output_splits<'a>(inputs: &[(&'a str, Vec<&'a str>)]) -> Result<Vec<String>, Problem> {
    let mut several = inputs.iter().filter(|(_, splits)| splits.len() != 1);
    let Some((label, splits)) = several.next().or(inputs.first()) else {
        return Err(Problem::new(Code::BadInput, "nothing is connected to `inputs`"));
    };
    for (other_label, other) in several {
        if other.len() != splits.len() || !splits.iter().all(|split| other.contains(split)) {
            let message = format!(
                "`{label}` has the splits {}, but `{other_label}` has {}",
                splits.join(", "),
                other.join(", ")
            );
            return Err(Problem::new(Code::BadInput, message).help("give all inputs the same splits, or one split"));
        }
    }
    Ok(splits.iter().map(|&split| split.to_owned()).collect())
}

const INPUTS: DatasetPort<Many> = DatasetPort::many("inputs", "The tables of the query, by name.").named();

impl Describe for Sql {
    const NAME: &'static str = "Sql";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUTS.port()];
    const EXAMPLE: &'static str = "op: Sql\ninputs: { ratings: ratings, movies: movies }\nwith:\n  query: |\n    SELECT \
                                   r.*, m.title FROM ratings r JOIN movies m USING (movieId)\n";
}

impl Operator for Sql {
    fn output_type(&self, inputs: &Inputs<NodeType>, context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let tables = INPUTS.input_types(inputs)?;
        let tables: Vec<(&str, &DatasetType)> = tables.iter().map(|input| (input.label, input.value)).collect();
        let splits: Vec<_> = tables
            .iter()
            .map(|(label, t)| (*label, t.splits.iter().map(String::as_str).collect()))
            .collect();
        let splits = output_splits(&splits).map_err(|problem| vec![problem])?;
        let schemas: Vec<&Schema> = tables.iter().map(|(_, table)| &table.schema).collect();
        let providers = tables
            .iter()
            .map(|(label, table)| (*label, rowless(&table.schema)))
            .collect();
        let frame = plan_query(&context.session, providers, &self.query)
            .map_err(|error| vec![problem_in(&error, &schemas, "query", &self.query)])?;
        let schema = carried(&schemas, &frame);
        let problems = duplicates(schema.names());
        if problems.is_empty() {
            Ok(NodeType::Dataset(DatasetType { schema, splits }))
        } else {
            Err(problems.into_iter().map(|problem| problem.at("query")).collect())
        }
    }

    fn form(&self) -> Form<'_> {
        Form::Table(self)
    }
}

/// The result's schema, with the tags of the first input column of the same name and type.
fn carried(inputs: &[&Schema], frame: &DataFrame) -> Schema {
    let mut output = Schema::from_arrow(frame.schema().as_arrow());
    for column in &mut output.columns {
        let same = |input: &&Schema| {
            input
                .get(&column.name)
                .filter(|old| old.data_type == column.data_type)
                .cloned()
        };
        if let Some(old) = inputs.iter().find_map(same) {
            column.tags = old.tags;
            column.domain = old.domain;
        }
    }
    output
}

impl Table for Sql {
    fn apply(&self, inputs: &Inputs<LazyDataset>, context: &TableContext) -> Result<Vec<(String, DataFrame)>> {
        let inputs = INPUTS.lazy(inputs);
        let splits: Vec<_> = inputs
            .iter()
            .map(|input| {
                let names = input.value.splits.iter().map(|(name, _)| name.as_str());
                (input.label, names.collect())
            })
            .collect();
        let splits = output_splits(&splits).map_err(|problem| OperatorError::invalid(problem.message))?;
        let for_split = |split: String| {
            let mut tables: Vec<(&str, Arc<dyn TableProvider>)> = Vec::new();
            for Named { label, value } in &inputs {
                let only = value
                    .splits
                    .first()
                    .filter(|_| value.splits.len() == 1)
                    .map(|(_, table)| table);
                let table = only.or_else(|| value.split(&split));
                let table = table.ok_or_else(|| OperatorError::invalid(format!("`{label}` has no split `{split}`")))?;
                tables.push((label, table.to_frame()?.into_view()));
            }
            let frame = plan_query(&context.session, tables, &self.query)?;
            Ok((split, frame))
        };
        splits.into_iter().map(for_split).collect()
    }
}
