//! `Filter`: filters rows by a predicate.

use arrow::datatypes::DataType;
use datafusion::common::{DFSchema, DataFusionError, Result as DataFusionResult};
use datafusion::dataframe::DataFrame;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::prelude::SessionContext;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use towline_api::{
    DatasetPort, Describe, Form, Inputs, LazyDataset, NodeType, Operator, Port, Problem, Purity, Result, Table,
    TableContext, TypeContext,
};
use towline_tables::sql_planning::{private_session, problem_in, steady};

/// Keeps the rows of every split for which an SQL predicate is true. Column names are case-sensitive.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    /// SQL predicate, as in a WHERE clause: `click = 1 AND rating >= 4`.
    #[serde(rename = "where")]
    pub predicate: String,
}

impl Filter {
    fn parse(&self, session: &SessionContext, schema: &DFSchema) -> DataFusionResult<Expr> {
        let expr = private_session(session).parse_sql_expr(&self.predicate, schema)?;
        steady(&expr)?;
        match expr.get_type(schema)? {
            DataType::Boolean => Ok(expr),
            other => Err(DataFusionError::Plan(format!(
                "`{}` is {other}, not true or false",
                self.predicate
            ))),
        }
    }
}

const INPUT: DatasetPort = DatasetPort::required("input", "The rows to choose from.");

impl Describe for Filter {
    const NAME: &'static str = "Filter";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: Filter\ninput: interactions\nwith: { where: \"click = 1\" }\n";

    fn assumed_type(inputs: &Inputs<NodeType>) -> Option<NodeType> {
        INPUT.get(inputs).cloned()
    }
}

impl Operator for Filter {
    fn output_type(&self, inputs: &Inputs<NodeType>, context: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        DFSchema::try_from(input.schema.to_arrow())
            .and_then(|schema| self.parse(&context.session, &schema))
            .map_err(|error| vec![problem_in(&error, &[&input.schema], "where", &self.predicate)])?;
        Ok(NodeType::Dataset(input.clone()))
    }

    fn form(&self) -> Form<'_> {
        Form::Table(self)
    }
}

impl Table for Filter {
    fn apply(&self, inputs: &Inputs<LazyDataset>, context: &TableContext) -> Result<Vec<(String, DataFrame)>> {
        let input = INPUT.lazy(inputs)?;
        input
            .splits
            .iter()
            .map(|(name, table)| {
                let frame = table.to_frame()?;
                let predicate = self.parse(&context.session, frame.schema())?;
                Ok((name.clone(), frame.filter(predicate)?))
            })
            .collect()
    }
}
