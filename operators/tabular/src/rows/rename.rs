//! `Rename`: renames columns.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use towline_api::{
    Columns, DatasetPort, Describe, Form, Inputs, NamedExpr, NodeType, Operator, Port, Problem, Purity, Result,
    TypeContext,
};
use towline_tables::sql_planning::duplicates;

/// Renames columns; their order, values and tags are kept.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// New names, by column: `{ movieId: item_id }`.
    pub columns: BTreeMap<String, String>,
}

impl Rename {
    fn new_name<'a>(&'a self, name: &'a str) -> &'a str {
        self.columns.get(name).map_or(name, String::as_str)
    }
}

const INPUT: DatasetPort = DatasetPort::required("input", "The columns to rename.");

impl Describe for Rename {
    const NAME: &'static str = "Rename";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: Rename\ninput: ratings\nwith: { columns: { movieId: item_id } }\n";
}

impl Operator for Rename {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let mut output = INPUT.input_type(inputs)?.clone();
        let unknown = self.columns.keys().filter(|name| output.schema.get(name).is_none());
        let mut problems: Vec<Problem> = unknown
            .map(|name| Problem::unknown_column(name, &output.schema).at("columns"))
            .collect();
        let new_names = output.schema.names().map(|name| self.new_name(name));
        problems.extend(duplicates(new_names).into_iter().map(|problem| problem.at("columns")));
        if !problems.is_empty() {
            return Err(problems);
        }
        for column in &mut output.schema.columns {
            column.name = self.new_name(&column.name).to_owned();
        }
        Ok(NodeType::Dataset(output))
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(self)
    }
}

impl Columns for Rename {
    fn project(&self, inputs: &[&[NamedExpr]]) -> Result<Vec<NamedExpr>> {
        let columns = inputs.iter().flat_map(|columns| columns.iter());
        Ok(columns
            .map(|c| NamedExpr {
                name: self.new_name(&c.name).to_owned(),
                expr: c.expr.clone(),
            })
            .collect())
    }
}
