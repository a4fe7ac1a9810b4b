//! `Clip`: bounds for numbers.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::columns_of::{each_column, number};
use crate::array_function::same_type;
use crate::contract::{
    Columns, Describe, Form, Inputs, NamedExpr, NodeType, Operator, Port, Problem, Purity, Result, TypeContext,
};

/// Moves numbers outside `min` to `max` to the nearer bound. Nulls and NaN stay; so does the type, and for whole numbers the
/// bounds are rounded inwards.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Clip {
    /// The lower bound, for example `0`.
    #[serde(default)]
    #[schemars(range(min = -1e300, max = 1e300))]
    pub min: Option<f64>,
    /// The upper bound, for example `100`.
    #[serde(default)]
    #[schemars(range(min = -1e300, max = 1e300))]
    pub max: Option<f64>,
}

impl Describe for Clip {
    const NAME: &'static str = "Clip";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[Port::dataset("input", "Columns of numbers.")];
    const EXAMPLE: &'static str = "op: Clip\ninput: clicks[price]\nwith: { min: 0, max: 1000 }\n";
    const NVTABULAR: &'static [&'static str] = &["Clip"];

    fn assumed_type(inputs: &Inputs<NodeType>) -> Option<NodeType> {
        inputs.get("input").cloned()
    }

    fn check(&self) -> Vec<Problem> {
        match (self.min, self.max) {
            (None, None) => vec![Problem::new("missing-key", "give `min`, `max` or both")],
            (Some(min), Some(max)) if min > max => {
                vec![
                    Problem::new(
                        "out-of-range",
                        format!("`min` is {min}, more than `max`, which is {max}"),
                    )
                    .at("min"),
                ]
            }
            _ => Vec::new(),
        }
    }
}

impl Operator for Clip {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        each_column(inputs, |column| {
            number(column, "has no bounds").map(|()| column.clone())
        })
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(self)
    }
}

impl Columns for Clip {
    fn project(&self, inputs: &[&[NamedExpr]]) -> Result<Vec<NamedExpr>> {
        let (min, max) = (self.min.unwrap_or(f64::NEG_INFINITY), self.max.unwrap_or(f64::INFINITY));
        let clipped = |column: &NamedExpr| NamedExpr {
            name: column.name.clone(),
            expr: same_type(format!("clip({min},{max})"), column.expr.clone(), move |array| {
                clip(array, min, max)
            }),
        };
        Ok(inputs.concat().iter().map(clipped).collect())
    }
}

fn clip(array: &ArrayRef, min: f64, max: f64) -> Result<ArrayRef> {
    let data_type = array.data_type();
    let clipped: ArrayRef = if data_type.is_signed_integer() || data_type.is_unsigned_integer() {
        // The casts saturate, so that bounds beyond 64 bits are no bounds.
        let (low, high) = (min.ceil() as i64, max.floor() as i64);
        let whole = cast(array, &DataType::Int64)?;
        Arc::new(
            whole
                .as_primitive::<Int64Type>()
                .unary::<_, Int64Type>(|v| v.min(high).max(low)),
        )
    } else {
        let floats = cast(array, &DataType::Float64)?;
        let clip = |v: f64| if v.is_nan() { v } else { v.min(max).max(min) };
        Arc::new(floats.as_primitive::<Float64Type>().unary::<_, Float64Type>(clip))
    };
    Ok(cast(&clipped, data_type)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int32Array};
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, codes, run};

    #[test]
    fn bounds_hold_and_gaps_stay() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![
            Some(-1.0),
            None,
            Some(f64::NAN),
            Some(9.0),
            Some(f64::INFINITY),
        ]));
        let ints: ArrayRef = Arc::new(Int32Array::from(vec![Some(-5), None, Some(2), Some(3), Some(9)]));
        let data = Data::of([("f", floats), ("i", ints)]);
        let ran = run::<Clip>(json!({"min": 0.5, "max": 3.5}), &[("input", data.clone())]);
        assert_eq!(ran.rows("train"), "0.5 1;  ; NaN 2; 3.5 3; 3.5 3");
        let ran = run::<Clip>(json!({"max": 2}), &[("input", data.clone())]);
        assert!(ran.rows("train").starts_with("-1.0 -5;"));
        assert_eq!(codes::<Clip>(json!({}), &[("input", data.clone())]), ["missing-key"]);
        assert_eq!(
            codes::<Clip>(json!({"min": 2, "max": 1}), &[("input", data)]),
            ["out-of-range"]
        );
        let text: ArrayRef = Arc::new(arrow::array::StringArray::from(vec!["a"]));
        assert_eq!(
            codes::<Clip>(json!({"min": 1}), &[("input", Data::of([("t", text)]))]),
            ["wrong-type"]
        );
    }
}
