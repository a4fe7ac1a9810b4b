//! `CastSmallest`: casts integers to the smallest type.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::columns_of::{each_column, unknown};
use towline_api::{
    Code, Columns, DatasetPort, Describe, Form, Inputs, NamedExpr, NodeType, Operator, OperatorError, Port, Problem,
    Purity, Result, TypeContext,
};
use towline_tables::array_function::array_function;

/// Casts integer columns to the smallest type that holds a given range. Types must be known before data is read, so the
/// range is a parameter; a value outside it fails the node. `DataStats` reports the ranges. Columns that are not in
/// `ranges` are unchanged.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CastSmallest {
    /// Minimum and maximum of each column: `{ age: [0, 120] }`.
    pub ranges: BTreeMap<String, [i64; 2]>,
}

/// The smallest type that holds the range.
fn smallest([low, high]: [i64; 2]) -> DataType {
    let fits = |min: i64, max: i64| low >= min && high <= max;
    match () {
        () if fits(0, i64::from(u8::MAX)) => DataType::UInt8,
        () if fits(i64::from(i8::MIN), i64::from(i8::MAX)) => DataType::Int8,
        () if fits(0, i64::from(u16::MAX)) => DataType::UInt16,
        () if fits(i64::from(i16::MIN), i64::from(i16::MAX)) => DataType::Int16,
        () if fits(0, i64::from(u32::MAX)) => DataType::UInt32,
        () if fits(i64::from(i32::MIN), i64::from(i32::MAX)) => DataType::Int32,
        () => DataType::Int64,
    }
}

const INPUT: DatasetPort = DatasetPort::required("input", "Columns of whole numbers.");

impl Describe for CastSmallest {
    const NAME: &'static str = "CastSmallest";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: CastSmallest\ninput: users\nwith: { ranges: { age: [0, 120] } }\n";

    fn check(&self) -> Vec<Problem> {
        let turned = self.ranges.iter().filter(|(_, [low, high])| low > high);
        turned
            .map(|(name, _)| {
                Problem::new(
                    Code::OutOfRange,
                    format!("the minimum of `{name}` is above its maximum"),
                )
                .at("ranges")
            })
            .collect()
    }
}

impl Operator for CastSmallest {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let problems = unknown(
            self.ranges.keys().map(String::as_str),
            &INPUT.input_type(inputs)?.schema,
            "ranges",
        );
        if !problems.is_empty() {
            return Err(problems);
        }
        each_column(INPUT, inputs, |column| {
            let mut out = column.clone();
            if let Some(range) = self.ranges.get(&column.name) {
                if !column.data_type.is_integer() {
                    let message = format!("column `{}` holds {}, not integers", column.name, column.data_type);
                    return Err(Problem::new(Code::WrongType, message));
                }
                out.data_type = smallest(*range);
            }
            Ok(out)
        })
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(self)
    }
}

impl Columns for CastSmallest {
    fn project(&self, inputs: &[&[NamedExpr]]) -> Result<Vec<NamedExpr>> {
        let small = |column: NamedExpr| {
            let Some(range) = self.ranges.get(&column.name).copied() else {
                return column;
            };
            let (name, data_type) = (column.name.clone(), smallest(range));
            let function = format!("cast_smallest({name},{},{})", range[0], range[1]);
            let target = data_type.clone();
            let body = move |arrays: &[ArrayRef]| narrow(&arrays[0], range, &target, &name);
            NamedExpr {
                expr: array_function(function, data_type, true, vec![column.expr], body),
                name: column.name,
            }
        };
        Ok(inputs.concat().into_iter().map(small).collect())
    }
}

fn narrow(array: &ArrayRef, [low, high]: [i64; 2], target: &DataType, name: &str) -> Result<ArrayRef> {
    let whole = cast(array, &DataType::Int64)?;
    let outside = whole
        .as_primitive::<Int64Type>()
        .iter()
        .flatten()
        .find(|v| !(low..=high).contains(v));
    let lost = whole.null_count() > array.null_count();
    if outside.is_some() || lost {
        let value = outside.map_or_else(|| "an integer beyond 64 bits".to_owned(), |value| value.to_string());
        let message = format!("column `{name}` has a value outside its range {low} to {high}: {value}");
        return Err(OperatorError::invalid(message));
    }
    Ok(cast(&whole, target)?)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, codes, run, try_run};

    #[test]
    fn the_range_decides_the_type_and_holds() {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![Some(3), None, Some(-100)]));
        let data = Data::of([("x", Arc::clone(&column)), ("y", column)]);
        let ran = run::<CastSmallest>(json!({"ranges": {"x": [-100, 100]}}), &[("input", data.clone())]);
        assert_eq!(
            (ran.column("x").data_type(), ran.column("y").data_type()),
            (&DataType::Int8, &DataType::Int64)
        );
        assert_eq!(ran.rows("train"), "3 3;  ; -100 -100");
        let error = try_run::<CastSmallest>(json!({"ranges": {"x": [0, 9]}}), &[("input", data.clone())])
            .err()
            .unwrap();
        assert!(error.contains("`x`") && error.contains("-100"), "{error}");
        assert_eq!(
            codes::<CastSmallest>(json!({"ranges": {"z": [0, 9]}}), &[("input", data)]),
            ["unknown-column"]
        );
        assert_eq!(
            [smallest([0, 255]), smallest([-1, 40_000]), smallest([0, 1 << 40])],
            [DataType::UInt8, DataType::Int32, DataType::Int64]
        );
    }
}
