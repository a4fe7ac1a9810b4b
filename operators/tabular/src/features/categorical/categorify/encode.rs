//! The scalar function that maps values to ids, registered in DataFusion under the digest of its vocabulary.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, ListArray, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use hashbrown::HashMap;
use towline_kernels::IntegerIds;

use crate::features::categorical::categorify::count::{as_list, is_list};
use crate::features::categorical::categorify::keys::{Keys, Values};
use towline_api::{NULL_ID, OOV_ID, OperatorError, PADDING_ID, Result, Vocabulary};

/// The Arrow type of an encoded column.
pub(crate) fn encoded_type(is_list: bool) -> DataType {
    if is_list {
        DataType::List(Arc::new(Field::new_list_field(DataType::Int64, true)))
    } else {
        DataType::Int64
    }
}

/// A lookup table from values to ids.
#[derive(Debug)]
struct EncodingTable {
    values: Values,
    oov_buckets: u64,
    ids: Ids,
}

#[derive(Debug)]
enum Ids {
    Numbers(IntegerIds),
    Bytes(HashMap<Box<[u8]>, i64>),
}

impl EncodingTable {
    fn new(vocabulary: &Vocabulary) -> Result<Self> {
        let mut first_id = NULL_ID;
        let (mut numbers, mut texts) = (Vec::new(), HashMap::new());
        let (data_type, blocks) = vocabulary.blocks()?;
        let values = Values::of_vocabulary(&data_type)?;
        for block in blocks {
            // Reserved rows come first and hold null, so the rest are exactly the values with an id of their own.
            let block = block?;
            let reserved = (0..block.len()).take_while(|row| block.is_null(*row)).count();
            first_id += reserved as i64;
            let stored = block.slice(reserved, block.len() - reserved);
            let columns = match &values {
                Values::Tuple { .. } => stored.as_struct().columns().to_vec(),
                _ => vec![stored],
            };
            match values.keys(&columns)? {
                Keys::Numbers(keys) => numbers.extend(keys.values()),
                Keys::Bytes(keys) => {
                    let next = first_id + texts.len() as i64;
                    let pairs = keys.iter().zip(next..);
                    texts.extend(pairs.filter_map(|(key, id)| Some((Box::from(key?), id))));
                }
            }
        }
        let ids = if let Values::Number(_) = values {
            let ids = IntegerIds::new(numbers, first_id);
            Ids::Numbers(ids.ok_or_else(|| OperatorError::invalid("a vocabulary has fewer than 2^32 ids"))?)
        } else {
            Ids::Bytes(texts)
        };
        Ok(EncodingTable {
            values,
            oov_buckets: (first_id - OOV_ID).max(1) as u64,
            ids,
        })
    }

    fn encode(&self, columns: &[ArrayRef]) -> Result<Int64Array> {
        let keys = self.values.keys(columns)?;
        let mut ids = match (&keys, &self.ids) {
            (Keys::Numbers(numbers), Ids::Numbers(ids)) => ids.of(numbers.values()),
            (Keys::Bytes(bytes), Ids::Bytes(ids)) => {
                let known = |key: Option<&[u8]>| key.and_then(|key| ids.get(key).copied()).unwrap_or(PADDING_ID);
                bytes.iter().map(known).collect()
            }
            _ => {
                return Err(OperatorError::internal(
                    "the values have another type than the vocabulary",
                ));
            }
        };
        let nulls = match &keys {
            Keys::Numbers(keys) => keys.nulls().cloned(),
            Keys::Bytes(keys) => keys.nulls().cloned(),
        };
        if let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) {
            for (id, valid) in ids.iter_mut().zip(nulls.iter()) {
                if !valid {
                    *id = NULL_ID;
                }
            }
        }
        // No value has the padding id, so a padding id in the result is a value outside the vocabulary.
        if ids.contains(&PADDING_ID) {
            self.to_buckets(&keys, &mut ids)?;
        }
        Ok(Int64Array::from(ids))
    }

    fn to_buckets(&self, keys: &Keys, ids: &mut [i64]) -> Result<()> {
        let missed: UInt32Array = (0..)
            .zip(ids.iter())
            .filter(|(_, id)| **id == PADDING_ID)
            .map(|(row, _)| row)
            .collect();
        let keys = match keys {
            Keys::Numbers(keys) => Keys::Numbers(take(keys, &missed, None)?.as_primitive::<Int64Type>().clone()),
            Keys::Bytes(keys) => Keys::Bytes(take(keys, &missed, None)?.as_binary::<i32>().clone()),
        };
        for (row, hash) in missed.values().iter().zip(self.values.hashes(&keys)?) {
            ids[*row as usize] = OOV_ID + (hash % self.oov_buckets) as i64;
        }
        Ok(())
    }
}

/// `categorify_<digest>(columns...)`: encodes one column's values, or tuples of values.
#[derive(Debug)]
pub(crate) struct EncodeFunction {
    name: String,
    columns: Vec<String>,
    lookup: Arc<EncodingTable>,
    signature: Signature,
}

impl EncodeFunction {
    /// The function for these columns and the vocabulary with this digest.
    pub(crate) fn new(columns: &[String], digest: &str, vocabulary: &Vocabulary) -> Result<Self> {
        Ok(EncodeFunction {
            name: format!("categorify_{digest}"),
            columns: columns.to_vec(),
            lookup: vocabulary.derived(EncodingTable::new)?,
            signature: Signature::variadic_any(Volatility::Immutable),
        })
    }

    /// Checks that values of these types can be looked up; the error names the column.
    pub(crate) fn accept(&self, elements: &[&DataType]) -> Result<()> {
        if self.lookup.values.accepts(elements) {
            return Ok(());
        }
        let found: Vec<String> = elements.iter().map(ToString::to_string).collect();
        Err(OperatorError::invalid(format!(
            "column `{}` holds {}, but its vocabulary was fitted on {}: cast one of them, or fit again",
            self.columns.join("`, `"),
            found.join(", "),
            self.lookup.values.data_type()
        )))
    }

    fn encode(&self, columns: &[ArrayRef]) -> Result<ArrayRef> {
        let [list] = columns else {
            return Ok(Arc::new(self.values(columns)?));
        };
        if !is_list(list.data_type()) {
            return Ok(Arc::new(self.values(columns)?));
        }
        let (_, offsets, values, nulls) = as_list(list)?.as_list::<i32>().clone().into_parts();
        let ids: ArrayRef = Arc::new(self.values(&[values])?);
        let field = Arc::new(Field::new_list_field(DataType::Int64, true));
        Ok(Arc::new(ListArray::try_new(field, offsets, ids, nulls)?))
    }

    fn values(&self, columns: &[ArrayRef]) -> Result<Int64Array> {
        let types: Vec<&DataType> = columns.iter().map(Array::data_type).collect();
        self.accept(&types)?;
        self.lookup.encode(columns)
    }
}

// The name contains the vocabulary's digest, which determines the function.
impl PartialEq for EncodeFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.columns == other.columns
    }
}

impl Eq for EncodeFunction {}

impl Hash for EncodeFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
        self.columns.hash(state);
    }
}

impl ScalarUDFImpl for EncodeFunction {
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
        // A null value has an id; a null list stays null.
        let nullable = list.is_some_and(|field| field.is_nullable());
        Ok(Arc::new(Field::new(
            self.name(),
            encoded_type(list.is_some()),
            nullable,
        )))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DataFusionResult<ColumnarValue> {
        let columns = args
            .args
            .iter()
            .map(|value| value.to_array(args.number_rows))
            .collect::<DataFusionResult<Vec<_>>>()?;
        let ids = self
            .encode(&columns)
            .map_err(|error| DataFusionError::Execution(error.to_string()))?;
        Ok(ColumnarValue::Array(ids))
    }
}
