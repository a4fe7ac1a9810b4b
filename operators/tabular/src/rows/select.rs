//! `Select`: selects columns.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use towline_api::{
    Columns, DatasetPort, DatasetType, Describe, Form, Inputs, NamedExpr, NodeType, Operator, OperatorError, Port,
    Problem, Purity, Result, Schema, TypeContext,
};
use towline_tables::sql_planning::duplicates;

/// Selects columns, in the given order. A chain without a step is a Select: `few: rows[a, b]`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Select {
    /// Columns to keep; all connected columns by default.
    #[serde(default)]
    pub columns: Option<Vec<String>>,
}

const INPUT: DatasetPort = DatasetPort::required("input", "The columns to choose from.");

impl Describe for Select {
    const NAME: &'static str = "Select";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: Select\ninput: interactions\nwith: { columns: [user_id, item_id] }\n";

    fn check(&self) -> Vec<Problem> {
        let problems = duplicates(self.columns.iter().flatten().map(String::as_str));
        problems.into_iter().map(|problem| problem.at("columns")).collect()
    }
}

impl Operator for Select {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        let Some(wanted) = &self.columns else {
            return Ok(NodeType::Dataset(input.clone()));
        };
        let mut columns = Vec::new();
        let mut problems = Vec::new();
        for (index, name) in wanted.iter().enumerate() {
            match input.schema.get(name) {
                Some(column) => columns.push(column.clone()),
                None => problems.push(Problem::unknown_column(name, &input.schema).at_index("columns", index)),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(NodeType::Dataset(DatasetType {
            schema: Schema { columns },
            splits: input.splits.clone(),
        }))
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(self)
    }
}

impl Columns for Select {
    fn project(&self, inputs: &[&[NamedExpr]]) -> Result<Vec<NamedExpr>> {
        let all = || inputs.iter().flat_map(|columns| columns.iter());
        let Some(wanted) = &self.columns else {
            return Ok(all().cloned().collect());
        };
        let find = |name: &String| {
            all()
                .find(|column| column.name == *name)
                .cloned()
                .ok_or_else(|| OperatorError::internal(format!("there is no column `{name}`")))
        };
        wanted.iter().map(find).collect()
    }
}
