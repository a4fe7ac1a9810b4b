//! `Clip`: limits numbers to a range.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray};
use arrow::compute::cast;
use arrow::compute::kernels::cmp::neq;
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::columns_of::{each_column, number};
use towline_api::{
    Code, Columns, DatasetPort, Describe, Form, Inputs, NamedExpr, NodeType, Operator, Port, Problem, Purity, Result,
    TypeContext,
};
use towline_tables::array_function::same_type;

/// Clips numbers to the range from `min` to `max`. Nulls, NaN and the column type are kept. For integers the bounds are
/// rounded inwards; it is an error if no integer of the type lies between them.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Clip {
    /// Lower bound, for example `0`.
    #[serde(default)]
    #[schemars(range(min = -1e300, max = 1e300))]
    pub min: Option<f64>,
    /// Upper bound, for example `100`.
    #[serde(default)]
    #[schemars(range(min = -1e300, max = 1e300))]
    pub max: Option<f64>,
}

const INPUT: DatasetPort = DatasetPort::required("input", "Columns of numbers.");

impl Describe for Clip {
    const NAME: &'static str = "Clip";
    const CODE_VERSION: u32 = 2;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: Clip\ninput: clicks[price]\nwith: { min: 0, max: 1000 }\n";

    fn assumed_type(inputs: &Inputs<NodeType>) -> Option<NodeType> {
        INPUT.get(inputs).cloned()
    }

    fn check(&self) -> Vec<Problem> {
        match (self.min, self.max) {
            (None, None) => vec![Problem::new(Code::MissingKey, "set `min`, `max` or both")],
            (Some(min), Some(max)) if min > max => {
                vec![Problem::new(Code::OutOfRange, format!("`min` ({min}) is greater than `max` ({max})")).at("min")]
            }
            _ => Vec::new(),
        }
    }
}

impl Clip {
    fn bounds(&self) -> (f64, f64) {
        (self.min.unwrap_or(f64::NEG_INFINITY), self.max.unwrap_or(f64::INFINITY))
    }
}

/// The bounds within an integer type, rounded inwards; lower > upper if no integer lies between them.
fn whole_bounds(data_type: &DataType, min: f64, max: f64) -> Option<(i128, i128)> {
    let (least, greatest): (i128, i128) = match data_type {
        DataType::Int8 => (i8::MIN.into(), i8::MAX.into()),
        DataType::Int16 => (i16::MIN.into(), i16::MAX.into()),
        DataType::Int32 => (i32::MIN.into(), i32::MAX.into()),
        DataType::Int64 => (i64::MIN.into(), i64::MAX.into()),
        DataType::UInt8 => (0, u8::MAX.into()),
        DataType::UInt16 => (0, u16::MAX.into()),
        DataType::UInt32 => (0, u32::MAX.into()),
        DataType::UInt64 => (0, u64::MAX.into()),
        _ => return None,
    };
    Some((least.max(min.ceil() as i128), greatest.min(max.floor() as i128)))
}

impl Operator for Clip {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        each_column(INPUT, inputs, |column| {
            number(column, "cannot be clipped")?;
            let (min, max) = self.bounds();
            if whole_bounds(&column.data_type, min, max).is_some_and(|(low, high)| low > high) {
                let message = format!(
                    "column `{}` holds {}, which has no number from {min} to {max}",
                    column.name, column.data_type
                );
                return Err(Problem::new(Code::OutOfRange, message).help("set other bounds, or cast the column"));
            }
            Ok(column.clone())
        })
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(self)
    }
}

impl Columns for Clip {
    fn project(&self, inputs: &[&[NamedExpr]]) -> Result<Vec<NamedExpr>> {
        let (min, max) = self.bounds();
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
    if let Some((low, high)) = whole_bounds(data_type, min, max) {
        let clipped: ArrayRef = if *data_type == DataType::UInt64 {
            let clip = |v: u64| i128::from(v).min(high).max(low) as u64;
            Arc::new(array.as_primitive::<UInt64Type>().unary::<_, UInt64Type>(clip))
        } else {
            let clip = |v: i64| i128::from(v).min(high).max(low) as i64;
            let whole = cast(array, &DataType::Int64)?;
            Arc::new(whole.as_primitive::<Int64Type>().unary::<_, Int64Type>(clip))
        };
        return Ok(cast(&clipped, data_type)?);
    }
    let floats = cast(array, &DataType::Float64)?;
    let floats = floats.as_primitive::<Float64Type>();
    let clipped = floats.unary::<_, Float64Type>(|v| if v.is_nan() { v } else { v.min(max).max(min) });
    // Values within the bounds keep their bits: a decimal can have more digits than a double.
    let moved: BooleanArray = neq(floats, &clipped)?;
    let clipped: ArrayRef = Arc::new(clipped);
    Ok(zip(&moved, &cast(&clipped, data_type)?, array)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Float64Array, Int32Array, UInt8Array, UInt64Array};
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
    #[test]
    fn no_number_is_lost_to_the_width_of_its_type() {
        let large: ArrayRef = Arc::new(UInt64Array::from(vec![Some(u64::MAX), Some(3), None]));
        let small: ArrayRef = Arc::new(UInt8Array::from(vec![0, 7, 255]));
        let decimals = Decimal128Array::from(vec![1_234_567_890_123_456_789_012, -5, 10]);
        let decimals: ArrayRef = Arc::new(decimals.with_precision_and_scale(30, 2).unwrap());
        let data = Data::of([("large", large), ("small", small.clone()), ("decimals", decimals)]);
        let ran = run::<Clip>(json!({"min": 0.05, "max": 1e30}), &[("input", data)]);
        let expected = "18446744073709551615 1 12345678901234567890.12; 3 7 0.05;  255 0.10";
        assert_eq!(ran.rows("train"), expected);
        for bounds in [json!({"min": 256}), json!({"max": -1}), json!({"min": 0.2, "max": 0.8})] {
            let data = Data::of([("small", Arc::clone(&small))]);
            assert_eq!(codes::<Clip>(bounds, &[("input", data)]), ["out-of-range"]);
        }
    }
}
