//! `LogOp`: logarithm transform.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::columns_of::{each_column, number};
use towline_api::{
    Columns, DatasetPort, Describe, Form, Inputs, NamedExpr, NodeType, Operator, Port, Problem, Purity, Result, Tag,
    TypeContext,
};
use towline_tables::array_function::array_function;

/// Log transform: the natural logarithm of 1 + x, as `Float64`, tagged `continuous`. Null where it is undefined (x <=
/// -1).
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogOp {
    /// Whether to use the symmetric log transform, sign(x) * ln(1 + |x|), which is defined for negative numbers.
    #[serde(default)]
    pub signed: bool,
}

const INPUT: DatasetPort = DatasetPort::required("input", "Columns of numbers.");

impl Describe for LogOp {
    const NAME: &'static str = "LogOp";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: LogOp\ninput: clicks[price]\n";
}

impl Operator for LogOp {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        each_column(INPUT, inputs, |column| {
            number(column, "has no logarithm")?;
            let mut column = column.clone().with_tag(Tag::Continuous);
            column.data_type = DataType::Float64;
            column.nullable |= !self.signed;
            Ok::<_, Problem>(column)
        })
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(self)
    }
}

impl Columns for LogOp {
    fn project(&self, inputs: &[&[NamedExpr]]) -> Result<Vec<NamedExpr>> {
        let signed = self.signed;
        let log = |column: &NamedExpr| {
            let name = if signed { "signed_ln_1p" } else { "ln_1p" };
            let columns = vec![column.expr.clone()];
            NamedExpr {
                name: column.name.clone(),
                expr: array_function(name.to_owned(), DataType::Float64, true, columns, move |arrays| {
                    log(&arrays[0], signed)
                }),
            }
        };
        Ok(inputs.concat().iter().map(log).collect())
    }
}

fn log(array: &ArrayRef, signed: bool) -> Result<ArrayRef> {
    let floats = cast(array, &DataType::Float64)?;
    let log = |v: f64| {
        if signed {
            Some(v.signum() * v.abs().ln_1p())
        } else {
            Some(v.ln_1p()).filter(|_| v > -1.0 || v.is_nan())
        }
    };
    let logs: Float64Array = floats
        .as_primitive::<Float64Type>()
        .iter()
        .map(|v| v.and_then(log))
        .collect();
    Ok(Arc::new(logs))
}

#[cfg(test)]
mod tests {
    use arrow::array::Int64Array;
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, run};

    #[test]
    fn logarithms_of_one_more() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(0), Some(9), None, Some(-1), Some(-9)]));
        let data = Data::of([("x", column)]);
        let ran = run::<LogOp>(json!({}), &[("input", data.clone())]);
        let expected = Float64Array::from(vec![Some(0.0), Some(10_f64.ln()), None, None, None]);
        assert_eq!(ran.column("x").as_primitive::<Float64Type>(), &expected);
        assert_eq!(ran.tags("x"), [Tag::Continuous]);
        let ran = run::<LogOp>(json!({"signed": true}), &[("input", data)]);
        assert_eq!(ran.column("x").as_primitive::<Float64Type>().value(4), -(10_f64.ln()));
    }
}
