//! `Bucketize`: bins numbers by boundaries.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::columns_of::{each_column, number, unknown};
use towline_api::{
    Code, Columns, DatasetPort, Describe, Domain, Form, Inputs, NamedExpr, NodeType, Operator, Port, Problem, Purity,
    Result, Tag, TypeContext,
};
use towline_tables::array_function::array_function;

/// Bins numbers: below the first boundary is bin 0, from the first boundary up to the second is bin 1, and so on. The
/// output is `Int64`, tagged `categorical`, with its domain. Null and NaN become null.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bucketize {
    /// Bin boundaries in ascending order, for all columns (`[0, 10, 100]`) or per column (`{ price: [10, 100] }`).
    pub boundaries: Boundaries,
}

/// Boundaries for all columns, or per column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Boundaries {
    /// The same boundaries for every column.
    All(Vec<f64>),
    /// Boundaries per column; every input column must be listed.
    Columns(std::collections::BTreeMap<String, Vec<f64>>),
}

impl Bucketize {
    fn of(&self, column: &str) -> Option<&[f64]> {
        match &self.boundaries {
            Boundaries::All(all) => Some(all),
            Boundaries::Columns(columns) => columns.get(column).map(Vec::as_slice),
        }
    }
}

const INPUT: DatasetPort = DatasetPort::required("input", "Columns of numbers.");

impl Describe for Bucketize {
    const NAME: &'static str = "Bucketize";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: Bucketize\ninput: users[age]\nwith: { boundaries: [18, 25, 40, 65] }\n";

    fn check(&self) -> Vec<Problem> {
        let lists: Vec<&Vec<f64>> = match &self.boundaries {
            Boundaries::All(all) => vec![all],
            Boundaries::Columns(columns) => columns.values().collect(),
        };
        let ascending = |list: &&Vec<f64>| !list.is_empty() && list.windows(2).all(|pair| pair[0] < pair[1]);
        if lists.iter().all(ascending) {
            return Vec::new();
        }
        vec![Problem::new(Code::OutOfRange, "boundaries must be a non-empty ascending list").at("boundaries")]
    }
}

impl Operator for Bucketize {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        if let Boundaries::Columns(columns) = &self.boundaries {
            let problems = unknown(
                columns.keys().map(String::as_str),
                &INPUT.input_type(inputs)?.schema,
                "boundaries",
            );
            if !problems.is_empty() {
                return Err(problems);
            }
        }
        each_column(INPUT, inputs, |column| {
            number(column, "cannot be binned")?;
            let Some(boundaries) = self.of(&column.name) else {
                let message = format!("column `{}` has no boundaries", column.name);
                return Err(Problem::new(Code::MissingKey, message));
            };
            let mut out = column.clone().with_tag(Tag::Categorical);
            out.tags.remove(&Tag::Continuous);
            out.data_type = DataType::Int64;
            out.domain = Some(Domain {
                name: column.name.clone(),
                size: Some(boundaries.len() as u64 + 1),
                ..Domain::default()
            });
            Ok(out)
        })
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(self)
    }
}

impl Columns for Bucketize {
    fn project(&self, inputs: &[&[NamedExpr]]) -> Result<Vec<NamedExpr>> {
        let bucketed = |column: &NamedExpr| {
            let boundaries = self.of(&column.name).unwrap_or_default().to_vec();
            let name = format!("bucketize({boundaries:?})");
            let body = move |arrays: &[ArrayRef]| buckets(&arrays[0], &boundaries);
            NamedExpr {
                name: column.name.clone(),
                expr: array_function(name, DataType::Int64, true, vec![column.expr.clone()], body),
            }
        };
        Ok(inputs.concat().iter().map(bucketed).collect())
    }
}

fn buckets(array: &ArrayRef, boundaries: &[f64]) -> Result<ArrayRef> {
    let floats = cast(array, &DataType::Float64)?;
    let bucket = |v: f64| boundaries.partition_point(|boundary| *boundary <= v) as i64;
    let values = floats.as_primitive::<Float64Type>().iter();
    let buckets: Int64Array = values.map(|v| v.filter(|v| !v.is_nan()).map(bucket)).collect();
    Ok(Arc::new(buckets))
}

#[cfg(test)]
mod tests {
    use arrow::array::Float64Array;
    use serde_json::json;

    use super::*;
    use crate::harness::{Data, codes, run};

    #[test]
    fn ranges_hold_their_lower_end_and_the_domain_is_known() {
        let column: ArrayRef = Arc::new(Float64Array::from(vec![
            Some(-1.0),
            Some(0.0),
            Some(9.9),
            Some(10.0),
            None,
            Some(f64::NAN),
        ]));
        let data = Data::of([("x", column)]).tagged("x", &[Tag::Continuous]);
        let ran = run::<Bucketize>(json!({"boundaries": [0, 10]}), &[("input", data.clone())]);
        assert_eq!(ran.rows("train"), "0; 1; 1; 2; ; ");
        assert_eq!(ran.schema.columns[0].domain.as_ref().unwrap().size, Some(3));
        assert_eq!(ran.tags("x"), [Tag::Categorical]);
        assert_eq!(
            codes::<Bucketize>(json!({"boundaries": [1, 1]}), &[("input", data.clone())]),
            ["out-of-range"]
        );
        assert_eq!(
            codes::<Bucketize>(json!({"boundaries": {"y": [1]}}), &[("input", data.clone())]),
            ["unknown-column"]
        );
        assert_eq!(
            codes::<Bucketize>(json!({"boundaries": {}}), &[("input", data)]),
            ["missing-key"]
        );
    }
}
