//! `Concat`: concatenates columns.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use towline_api::{
    Code, Columns, DatasetPort, DatasetType, Describe, Form, Inputs, Many, NamedExpr, NodeType, Operator, Port,
    Problem, Purity, Result, Schema, TypeContext,
};
use towline_tables::sql_planning::duplicates;

/// Concatenates the columns of its inputs, which must all describe the same rows. `a + b` in a chain is this operator.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Concat {}

const INPUTS: DatasetPort<Many> = DatasetPort::many("inputs", "Columns of the same rows.");

impl Describe for Concat {
    const NAME: &'static str = "Concat";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUTS.port()];
    const EXAMPLE: &'static str = "op: Concat\ninputs: [user_id, item_id, item_features]\n";
}

impl Operator for Concat {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let inputs: Vec<&DatasetType> = INPUTS.input_types(inputs)?.iter().map(|input| input.value).collect();
        let Some(first) = inputs.first() else {
            return Err(vec![Problem::new(Code::BadInput, "nothing is connected to `inputs`")]);
        };
        if let Some(other) = inputs.iter().find(|input| input.splits != first.splits) {
            let (a, b) = (first.splits.join(", "), other.splits.join(", "));
            return Err(vec![Problem::new(
                Code::UnrelatedRows,
                format!("one input has the splits {a}, another {b}"),
            )]);
        }
        let columns: Vec<_> = inputs
            .iter()
            .flat_map(|input| input.schema.columns.iter().cloned())
            .collect();
        let problems = duplicates(columns.iter().map(|column| column.name.as_str()));
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(NodeType::Dataset(DatasetType {
            schema: Schema { columns },
            splits: first.splits.clone(),
        }))
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(self)
    }
}

impl Columns for Concat {
    fn project(&self, inputs: &[&[NamedExpr]]) -> Result<Vec<NamedExpr>> {
        Ok(inputs.concat())
    }
}
