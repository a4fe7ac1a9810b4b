//! `HashBucket`: feature hashing.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray};
use arrow::datatypes::{DataType, Field};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::features::categorical::categorify::count::{as_list, is_list};
use crate::features::categorical::categorify::encode::encoded_type;
use crate::features::categorical::categorify::keys::{Keys, Values, value_type};
use crate::features::columns_of::each_column;
use crate::features::per_column::{PerColumn, many_buckets};
use towline_api::{
    Code, Column, Columns, DatasetPort, Describe, Domain, Form, Inputs, NamedExpr, NodeType, Operator, OperatorError,
    Port, Problem, Purity, Result, Tag, TypeContext,
};
use towline_tables::array_function::{ColumnType, typed_function};

/// Feature hashing: maps each value to one of a fixed number of buckets by XXH3 of its bytes (text: UTF-8; numbers:
/// eight bytes, little-endian), modulo `buckets`. It needs no fit and has no vocabulary, so ids cannot be decoded. Ids
/// are 0 to `buckets` - 1. Null hashes as no bytes. Lists are hashed element by element.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HashBucket {
    /// Number of hash buckets: from 1 to 2,147,483,647, or one per column (`{ user_id: 100_000 }`).
    #[schemars(schema_with = "many_buckets")]
    pub buckets: PerColumn<u64>,
}

/// Sets the domain of a hashed column.
pub(crate) fn hashed(column: &mut Column, buckets: u64) {
    column.data_type = encoded_type(column.is_list());
    column.nullable &= column.is_list();
    column.tags.insert(Tag::Categorical);
    column.domain = Some(Domain {
        name: column.name.clone(),
        size: Some(buckets),
        ..Domain::default()
    });
}

/// Hashes keys to bucket ids.
pub(crate) fn to_buckets(values: &Values, keys: &Keys, buckets: u64) -> Result<Int64Array> {
    let ids = values.hashes(keys)?.into_iter().map(|hash| (hash % buckets) as i64);
    Ok(Int64Array::from_iter_values(ids))
}

const INPUT: DatasetPort = DatasetPort::required("input", "The columns to hash.");

impl Describe for HashBucket {
    const NAME: &'static str = "HashBucket";
    const CODE_VERSION: u32 = 1;
    const PURITY: Purity = Purity::Pure;
    const PORTS: &'static [Port] = &[INPUT.port()];
    const EXAMPLE: &'static str = "op: HashBucket\ninput: clicks[user_id]\nwith: { buckets: 100_000 }\n";
}

impl Operator for HashBucket {
    fn output_type(&self, inputs: &Inputs<NodeType>, _: &TypeContext) -> Result<NodeType, Vec<Problem>> {
        let problems =
            crate::features::columns_of::unknown(self.buckets.names(), &INPUT.input_type(inputs)?.schema, "buckets");
        if !problems.is_empty() {
            return Err(problems);
        }
        each_column(INPUT, inputs, |column| {
            if value_type(column.element_type()).is_none() {
                let message = format!(
                    "column `{}` holds {}, which cannot be hashed",
                    column.name, column.data_type
                );
                return Err(Problem::new(Code::WrongType, message));
            }
            let Some(buckets) = self.buckets.of(&column.name) else {
                let message = format!("`buckets` has no value for column `{}`", column.name);
                return Err(Problem::new(Code::MissingKey, message));
            };
            let mut out = column.clone();
            hashed(&mut out, buckets);
            Ok(out)
        })
    }

    fn form(&self) -> Form<'_> {
        Form::Columns(self)
    }
}

impl Columns for HashBucket {
    fn project(&self, inputs: &[&[NamedExpr]]) -> Result<Vec<NamedExpr>> {
        let hashed = |column: &NamedExpr| {
            let buckets = self.buckets.of(&column.name).unwrap_or(1);
            let typing = |columns: &[ColumnType]| {
                let list = columns.first().filter(|(data_type, _)| is_list(data_type));
                (
                    encoded_type(list.is_some()),
                    list.is_some_and(|(_, nullable)| *nullable),
                )
            };
            let name = format!("hash_bucket({buckets})");
            NamedExpr {
                name: column.name.clone(),
                expr: typed_function(name, vec![column.expr.clone()], typing, move |arrays| {
                    hash(&arrays[0], buckets)
                }),
            }
        };
        Ok(inputs.concat().iter().map(hashed).collect())
    }
}

fn hash(array: &ArrayRef, buckets: u64) -> Result<ArrayRef> {
    if is_list(array.data_type()) {
        let (_, offsets, values, nulls) = as_list(array)?.as_list::<i32>().clone().into_parts();
        let ids = hash(&values, buckets)?;
        let field = Arc::new(Field::new_list_field(DataType::Int64, true));
        return Ok(Arc::new(ListArray::try_new(field, offsets, ids, nulls)?));
    }
    let found = array.data_type();
    let kept = value_type(found).ok_or_else(|| OperatorError::internal(format!("{found} cannot be hashed")))?;
    let values = Values::of(&kept);
    Ok(Arc::new(to_buckets(
        &values,
        &values.keys(std::slice::from_ref(array))?,
        buckets,
    )?))
}

#[cfg(test)]
mod tests {
    use arrow::array::StringArray;
    use arrow::datatypes::Int64Type;
    use serde_json::json;
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;
    use crate::harness::{Data, codes, run};

    #[test]
    fn the_hash_is_published_and_the_domain_exact() {
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None, Some("b")]));
        let numbers: ArrayRef = Arc::new(arrow::array::Int32Array::from(vec![1, 2, 1]));
        let data = Data::of([("t", text), ("n", numbers)]);
        let ran = run::<HashBucket>(json!({"buckets": {"t": 10, "n": 7}}), &[("input", data.clone())]);
        let bucket = |bytes: &[u8], n: u64| (xxh3_64(bytes) % n) as i64;
        let t = ran.column("t");
        assert_eq!(
            t.as_primitive::<Int64Type>().values(),
            &[bucket(b"a", 10), bucket(b"", 10), bucket(b"b", 10)]
        );
        assert_eq!(
            ran.column("n").as_primitive::<Int64Type>().value(1),
            bucket(&2_i64.to_le_bytes(), 7)
        );
        let size = |name: &str| ran.schema.get(name).unwrap().domain.clone().unwrap().size;
        assert_eq!((size("t"), size("n")), (Some(10), Some(7)));
        assert_eq!(
            codes::<HashBucket>(json!({"buckets": 0}), &[("input", data.clone())]),
            ["out-of-range"]
        );
        assert_eq!(
            codes::<HashBucket>(json!({"buckets": {"t": 1}}), &[("input", data)]),
            ["missing-key"]
        );
    }

    #[test]
    fn every_id_up_to_the_last_occurs_and_none_beyond() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..1000));
        let ran = run::<HashBucket>(json!({"buckets": 5}), &[("input", Data::of([("n", numbers)]))]);
        let ids: std::collections::BTreeSet<i64> = ran
            .column("n")
            .as_primitive::<Int64Type>()
            .values()
            .iter()
            .copied()
            .collect();
        assert!(ids.into_iter().eq(0..5));
    }
}
