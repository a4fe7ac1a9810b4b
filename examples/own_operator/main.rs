//! Towline with an operator of one's own: `cargo run --example own_operator -- run examples/own_operator/pipeline.yaml`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use towline::Engine;
use towline::cli::Exit;
use towline_api::datafusion::functions::expr_fn::{btrim, lower};
use towline_api::datafusion::prelude::lit;
use towline_api::{
    Code, Columns, DatasetPort, Describe, Form, Inputs, NamedExpr, NodeType, Operator, Port, Problem, Purity, Result,
    TypeContext,
};

/// Makes texts comparable: no white space around them, and lower case.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TidyText {
    /// The columns to tidy; the others stay as they are.
    columns: Vec<String>,
}

const INPUT: DatasetPort = DatasetPort::required("input", "Rows with texts.");

impl Describe for TidyText {
    const NAME: &'static str = "TidyText";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: TidyText\ninput: songs\nwith: { columns: [artist] }\n";
}

impl Operator for TidyText {
    // What is said here is found by `towline validate`, with its place in the file and no data read.
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let output = INPUT.input_type(inputs)?.clone();
        let mut problems = Vec::new();
        for name in &self.columns {
            match output.schema.get(name) {
                None => problems.push(Problem::unknown_column(name, &output.schema).at("columns")),
                Some(column) if !column.data_type.is_string() => {
                    let text = format!("`{name}` is {}, and only texts can be tidied", column.data_type);
                    problems.push(Problem::new(Code::WrongType, text).at("columns"));
                }
                Some(_) => {}
            }
        }
        if problems.is_empty() {
            Ok(NodeType::Dataset(output))
        } else {
            Err(problems)
        }
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(self)
    }
}

impl Columns for TidyText {
    // A part of the plan of whatever reads the node: nothing is written in between.
    fn project(&self, inputs: &[&[NamedExpr]]) -> Result<Vec<NamedExpr>> {
        let tidy = |column: &NamedExpr| {
            let mut column = column.clone();
            if self.columns.contains(&column.name) {
                column.expr = lower(btrim(vec![column.expr, lit(" \t")]));
            }
            column
        };
        Ok(inputs.concat().iter().map(tidy).collect())
    }
}

fn main() -> Exit {
    Engine::new().with::<TidyText>().main()
}
