//! `HashedCross`: feature hashing of crossed columns.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::categorical::categorify::keys::{Values, value_type};
use crate::features::categorical::hash_bucket::{hashed, to_buckets};
use crate::features::columns_of::unknown;
use crate::features::per_column::{PerColumn, many_buckets};
use towline_api::{
    Code, Column, Columns, DatasetPort, DatasetType, Describe, Form, Inputs, NamedExpr, NodeType, Operator,
    OperatorError, Port, Problem, Purity, Result, Schema, TypeContext,
};
use towline_tables::array_function::array_function;

/// Feature crosses by hashing: maps each tuple of values to one of a fixed number of buckets. The order of columns
/// matters: (1, 2) and (2, 1) are different tuples. The output has the crosses only.
///
/// The hash is XXH3 of the elements' bytes in order, modulo `buckets`. An element is 0 if null, else 1 followed by its
/// bytes (numbers: eight bytes, little-endian; text: its length in eight bytes, then UTF-8).
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HashedCross {
    /// Columns to cross, by output column: `{ age_gender: [age, gender] }`.
    pub crosses: BTreeMap<String, Vec<String>>,
    /// Number of hash buckets: from 1 to 2,147,483,647, or one per output column.
    #[schemars(schema_with = "many_buckets")]
    pub buckets: PerColumn<u64>,
}

const INPUT: DatasetPort = DatasetPort::required("input", "The columns to cross.");

impl Describe for HashedCross {
    const NAME: &'static str = "HashedCross";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str =
        "op: HashedCross\ninput: users\nwith: { crosses: { age_gender: [age, gender] }, buckets: 1000 }\n";

    fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (name, columns) in &self.crosses {
            if columns.len() < 2 {
                problems
                    .push(Problem::new(Code::BadConfig, format!("`{name}` needs at least two columns")).at("crosses"));
            }
            if self.buckets.of(name).is_none() {
                problems
                    .push(Problem::new(Code::MissingKey, format!("`buckets` has no value for `{name}`")).at("buckets"));
            }
        }
        if self.crosses.is_empty() {
            problems.push(Problem::new(Code::BadConfig, "`crosses` is empty").at("crosses"));
        }
        problems
    }
}

impl HashedCross {
    /// Names and storage types of the crossed columns, by output column.
    fn values(&self, schema: &Schema) -> Result<Vec<(String, Vec<(String, DataType)>)>, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut out = Vec::new();
        for (name, columns) in &self.crosses {
            problems.extend(unknown(columns.iter().map(String::as_str), schema, "crosses"));
            let mut parts = Vec::new();
            for column in columns.iter().filter_map(|column| schema.get(column)) {
                match value_type(&column.data_type) {
                    Some(kept) => parts.push((column.name.clone(), kept)),
                    None => {
                        let message = format!(
                            "column `{}` holds {}, which cannot be crossed",
                            column.name, column.data_type
                        );
                        problems.push(Problem::new(Code::WrongType, message).at("crosses"));
                    }
                }
            }
            out.push((name.clone(), parts));
        }
        if problems.is_empty() { Ok(out) } else { Err(problems) }
    }
}

impl Operator for HashedCross {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let input = INPUT.input_type(inputs)?;
        self.values(&input.schema)?;
        let crossed = |(name, columns): (&String, &Vec<String>)| {
            let mut column = Column::new(name, DataType::Int64, false);
            let mut tags = columns
                .iter()
                .filter_map(|column| Some(&input.schema.get(column)?.tags));
            column.tags = tags.next().cloned().unwrap_or_default();
            tags.for_each(|other| column.tags.retain(|tag| other.contains(tag)));
            column.tags.retain(|tag| tag.is_side());
            hashed(&mut column, self.buckets.of(name).unwrap_or(1));
            column
        };
        Ok(NodeType::Dataset(DatasetType {
            schema: Schema {
                columns: self.crosses.iter().map(crossed).collect(),
            },
            splits: input.splits.clone(),
        }))
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(self)
    }
}

impl Columns for HashedCross {
    fn project(&self, inputs: &[&[NamedExpr]]) -> Result<Vec<NamedExpr>> {
        let columns = inputs.concat();
        let cross = |(name, parts): (&String, &Vec<String>)| {
            let arguments = parts
                .iter()
                .map(|part| Ok(crate::features::columns_of::column(&columns, part)?.expr.clone()));
            let arguments = arguments.collect::<Result<Vec<_>>>()?;
            let buckets = self.buckets.of(name).unwrap_or(1);
            let body = move |arrays: &[ArrayRef]| cross(arrays, buckets);
            Ok(NamedExpr {
                name: name.clone(),
                expr: array_function(
                    format!("hashed_cross({buckets})"),
                    DataType::Int64,
                    false,
                    arguments,
                    body,
                ),
            })
        };
        self.crosses.iter().map(cross).collect()
    }
}

fn cross(arrays: &[ArrayRef], buckets: u64) -> Result<ArrayRef> {
    let kept = arrays.iter().enumerate().map(|(place, array)| {
        let found = array.data_type();
        let kept = value_type(found).ok_or_else(|| OperatorError::internal(format!("{found} cannot be crossed")))?;
        Ok((place.to_string(), kept))
    });
    let values = Values::tuple(&kept.collect::<Result<Vec<_>>>()?)?;
    Ok(Arc::new(to_buckets(&values, &values.keys(arrays)?, buckets)?))
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, Int64Array};
    use arrow::datatypes::Int64Type;
    use serde_json::json;
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;
    use crate::harness::{Data, codes, run};
    use towline_api::Tag;

    #[test]
    fn the_order_of_columns_counts_and_the_hash_is_published() {
        let ints = |values: &[i64]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        let data = Data::of([("a", ints(&[1, 2])), ("b", ints(&[2, 1]))])
            .tagged("a", &[Tag::User, Tag::Id])
            .tagged("b", &[Tag::User]);
        let config = json!({"crosses": {"x": ["a", "b"], "y": ["b", "a"]}, "buckets": 1_000_003});
        let ran = run::<HashedCross>(config, &[("input", data.clone())]);
        let ids = |name: &str| ran.column(name).as_primitive::<Int64Type>().values().to_vec();
        assert_eq!(ids("x")[0], ids("y")[1]);
        assert_ne!(ids("x")[0], ids("x")[1]);
        let bytes = [&[1][..], &1_i64.to_le_bytes(), &[1], &2_i64.to_le_bytes()].concat();
        assert_eq!(ids("x")[0], (xxh3_64(&bytes) % 1_000_003) as i64);
        assert_eq!(ran.tags("x"), [Tag::User, Tag::Categorical]);
        assert_eq!(
            ran.schema.get("x").unwrap().domain.as_ref().unwrap().size,
            Some(1_000_003)
        );
        let bad = json!({"crosses": {"x": ["a", "z"]}, "buckets": 5});
        assert_eq!(
            codes::<HashedCross>(bad, &[("input", data.clone())]),
            ["unknown-column"]
        );
        let bad = json!({"crosses": {"x": ["a"]}, "buckets": {"y": 5}});
        assert_eq!(
            codes::<HashedCross>(bad, &[("input", data)]),
            ["bad-config", "missing-key"]
        );
    }

    #[test]
    fn tuples_without_any_value_are_tuples_like_others() {
        let ints = |values: &[Option<i64>]| Arc::new(Int64Array::from(values.to_vec())) as ArrayRef;
        let data = Data::of([("a", ints(&[Some(7), None, None])), ("b", ints(&[None, None, Some(7)]))]);
        let config = json!({"crosses": {"x": ["a", "b"]}, "buckets": 1_000_003});
        let ran = run::<HashedCross>(config, &[("input", data)]);
        let seven = [&[1][..], &7_i64.to_le_bytes()].concat();
        let bytes = [[&seven[..], &[0]].concat(), vec![0, 0], [&[0], &seven[..]].concat()];
        let expected = bytes.map(|bytes| (xxh3_64(&bytes) % 1_000_003) as i64);
        assert_eq!(ran.column("x").as_primitive::<Int64Type>().values(), &expected);
    }
}
