//! The function that turns values into ids: a DataFusion function named by the digest of its vocabulary.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_64;

use super::count::as_list;
use super::keys::{Keys, canonical, keys, value_type};
use crate::contract::{NULL_ID, OOV_ID, OperatorError, Result, VocabularyTable};

/// The Arrow type of an encoded column.
pub(super) fn encoded_type(is_list: bool) -> DataType {
    if is_list {
        DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)))
    } else {
        DataType::Int64
    }
}

/// From values to ids.
#[derive(Debug)]
struct Lookup {
    value_type: DataType,
    oov_buckets: u64,
    ids: Ids,
}

#[derive(Debug)]
enum Ids {
    /// `ids[key - first]`, 0 where there is none: for keys that lie close together.
    Dense {
        first: i64,
        ids: Vec<i64>,
    },
    Sparse(HashMap<i64, i64>),
    Text(HashMap<Box<str>, i64>),
}

impl Lookup {
    fn new(table: &VocabularyTable) -> Result<Self> {
        let first_id = table.first_value_id();
        let values = table.values();
        let kept = value_type(values.data_type())
            .ok_or_else(|| OperatorError::invalid(format!("a vocabulary cannot hold {}", values.data_type())))?;
        // Reserved rows come first and hold null, so that the others are exactly the values with ids of their own.
        let reserved = (first_id - 1) as usize;
        let values = values.slice(reserved, values.len() - reserved);
        let ids = match keys(&values, &kept)? {
            Keys::Numbers(numbers) => number_ids(&numbers, first_id),
            Keys::Text(text) => Ids::Text(
                text.iter()
                    .zip(first_id..)
                    .filter_map(|(v, id)| Some((Box::from(v?), id)))
                    .collect(),
            ),
        };
        Ok(Lookup {
            value_type: kept,
            oov_buckets: (first_id - OOV_ID).max(1) as u64,
            ids,
        })
    }

    fn encode(&self, array: &ArrayRef) -> Result<Int64Array> {
        let ids = match keys(array, &self.value_type)? {
            Keys::Numbers(numbers) => numbers
                .iter()
                .map(|key| key.map_or(NULL_ID, |key| self.number(key)))
                .collect(),
            Keys::Text(text) => text
                .iter()
                .map(|value| value.map_or(NULL_ID, |value| self.text(value)))
                .collect::<Vec<_>>(),
        };
        Ok(Int64Array::from(ids))
    }

    fn number(&self, key: i64) -> i64 {
        let id = match &self.ids {
            Ids::Dense { first, ids } => usize::try_from(key.wrapping_sub(*first))
                .ok()
                .and_then(|index| ids.get(index))
                .copied()
                .filter(|id| *id > 0),
            Ids::Sparse(ids) => ids.get(&key).copied(),
            Ids::Text(_) => None,
        };
        id.unwrap_or_else(|| self.bucket(xxh3_64(&canonical(key, &self.value_type))))
    }

    fn text(&self, value: &str) -> i64 {
        let id = if let Ids::Text(ids) = &self.ids {
            ids.get(value).copied()
        } else {
            None
        };
        id.unwrap_or_else(|| self.bucket(xxh3_64(value.as_bytes())))
    }

    fn bucket(&self, hash: u64) -> i64 {
        OOV_ID + (hash % self.oov_buckets) as i64
    }
}

fn number_ids(keys: &Int64Array, first_id: i64) -> Ids {
    let pairs = || keys.iter().zip(first_id..).filter_map(|(key, id)| Some((key?, id)));
    let (low, high) = pairs().fold((i64::MAX, i64::MIN), |(low, high), (key, _)| {
        (low.min(key), high.max(key))
    });
    let span = high.checked_sub(low).and_then(|span| usize::try_from(span).ok());
    match span {
        Some(span) if span <= 8 * keys.len() + 4096 => {
            let mut ids = vec![0; span + 1];
            for (key, id) in pairs() {
                ids[(key - low) as usize] = id;
            }
            Ids::Dense { first: low, ids }
        }
        _ => Ids::Sparse(pairs().collect()),
    }
}

/// `categorify_<digest>(column)`: the ids of the column's values.
#[derive(Debug)]
pub(super) struct Encode {
    name: String,
    column: String,
    lookup: Arc<Lookup>,
    signature: Signature,
}

impl Encode {
    /// The function for the column `column`, whose vocabulary has this digest and content.
    pub(super) fn new(column: &str, digest: &str, table: &VocabularyTable) -> Result<Self> {
        Ok(Encode {
            name: format!("categorify_{digest}"),
            column: column.to_owned(),
            lookup: Arc::new(Lookup::new(table)?),
            signature: Signature::any(1, Volatility::Immutable),
        })
    }

    /// An error that names the column if values of `element` are not what the vocabulary was made of.
    pub(super) fn accept(&self, element: &DataType) -> Result<()> {
        let kept = &self.lookup.value_type;
        if value_type(element).as_ref() == Some(kept) {
            return Ok(());
        }
        Err(OperatorError::invalid(format!(
            "column `{}` holds {element}, but its vocabulary was fitted on {kept}: give both the same type, or fit again",
            self.column
        )))
    }

    fn encode(&self, array: &ArrayRef) -> Result<ArrayRef> {
        if !is_list(array.data_type()) {
            self.accept(array.data_type())?;
            return Ok(Arc::new(self.lookup.encode(array)?));
        }
        let array = as_list(array)?;
        let (_, offsets, values, nulls) = array.as_list::<i32>().clone().into_parts();
        self.accept(values.data_type())?;
        let ids: ArrayRef = Arc::new(self.lookup.encode(&values)?);
        let field = Arc::new(Field::new_list_field(DataType::Int64, true));
        Ok(Arc::new(ListArray::try_new(field, offsets, ids, nulls)?))
    }
}

fn is_list(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
    )
}

// The name holds the digest of the vocabulary, which decides what the function does.
impl PartialEq for Encode {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.column == other.column
    }
}

impl Eq for Encode {}

impl Hash for Encode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.column.hash(state);
    }
}

impl ScalarUDFImpl for Encode {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> DataFusionResult<DataType> {
        Ok(encoded_type(arg_types.first().is_some_and(is_list)))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DataFusionResult<FieldRef> {
        let list = args.arg_fields.first().filter(|field| is_list(field.data_type()));
        // A missing value has an id; a missing list stays missing.
        let nullable = list.is_some_and(|field| field.is_nullable());
        Ok(Arc::new(Field::new(
            self.name(),
            encoded_type(list.is_some()),
            nullable,
        )))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let [value] = args.args.as_slice() else {
            return Err(DataFusionError::Execution(format!("{} takes one column", self.name)));
        };
        let array = value.to_array(args.number_rows)?;
        let ids = self
            .encode(&array)
            .map_err(|error| DataFusionError::Execution(error.to_string()))?;
        Ok(ColumnarValue::Array(ids))
    }
}
