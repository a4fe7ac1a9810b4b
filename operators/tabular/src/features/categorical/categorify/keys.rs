//! Values as keys: equality, order and canonical bytes for hashing.
//!
//! Numbers of every type become 64-bit integers; text and tuples become bytes. Both order like the values, so two hash
//! map types serve all columns.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, Int64Array, StringArray, StructArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Float64Type, Int32Type, Int64Type, UInt64Type};
use arrow::row::{RowConverter, SortField};
use towline_kernels::widened;
use xxhash_rust::xxh3::xxh3_64;

use towline_api::{OperatorError, Result};

/// Values as keys. Null stands for null and NaN, and for a tuple whose elements are all null.
#[derive(Debug)]
pub(crate) enum Keys {
    /// Integers, booleans, dates, times and floats.
    Numbers(Int64Array),
    /// Strings and tuples.
    Bytes(BinaryArray),
}

/// The kind of value in a vocabulary.
#[derive(Debug)]
pub(crate) enum Values {
    /// Numbers of this type.
    Number(DataType),
    /// Strings.
    Text,
    /// One value of each column, in the order of the columns.
    Tuple {
        /// The names and types of the columns.
        fields: Fields,
        /// Converts tuples to bytes with the same order (nulls first) and back.
        converter: Arc<RowConverter>,
    },
}

/// The type in which values of `data_type` are stored, or `None` if they cannot be encoded.
pub(crate) fn value_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Dictionary(_, values) => value_type(values),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(DataType::Utf8),
        DataType::UInt64
        | DataType::Boolean
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Date64
        | DataType::Time32(_)
        | DataType::Time64(_)
        | DataType::Timestamp(..) => Some(data_type.clone()),
        other if is_small_integer(other) => Some(data_type.clone()),
        _ => None,
    }
}

/// Whether all values fit `Int64`: such columns can share a vocabulary at any width.
fn is_small_integer(data_type: &DataType) -> bool {
    use DataType::{Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32};
    matches!(data_type, Int8 | Int16 | Int32 | Int64 | UInt8 | UInt16 | UInt32)
}

/// The common storage type of two column types, or `None` if no vocabulary can hold both.
pub(crate) fn shared_type(a: &DataType, b: &DataType) -> Option<DataType> {
    match (value_type(a)?, value_type(b)?) {
        (a, b) if a == b => Some(a),
        (a, b) if is_small_integer(&a) && is_small_integer(&b) => Some(DataType::Int64),
        _ => None,
    }
}

impl Values {
    /// The kind of value of one column with this storage type.
    pub(crate) fn of(kept: &DataType) -> Self {
        if *kept == DataType::Utf8 {
            Values::Text
        } else {
            Values::Number(kept.clone())
        }
    }

    /// Tuples of columns with these names and storage types.
    pub(crate) fn tuple(columns: &[(String, DataType)]) -> Result<Self> {
        let fields: Fields = columns
            .iter()
            .map(|(name, kept)| Field::new(name, kept.clone(), true))
            .collect();
        let sort = columns.iter().map(|(_, kept)| SortField::new(kept.clone())).collect();
        let converter = Arc::new(RowConverter::new(sort)?);
        Ok(Values::Tuple { fields, converter })
    }

    /// The kind of value of a vocabulary whose `value` column has this type.
    pub(crate) fn of_vocabulary(stored: &DataType) -> Result<Self> {
        if let DataType::Struct(fields) = stored {
            let columns: Vec<_> = fields
                .iter()
                .map(|field| (field.name().clone(), field.data_type().clone()))
                .collect();
            return Self::tuple(&columns);
        }
        let kept =
            value_type(stored).ok_or_else(|| OperatorError::internal(format!("a vocabulary cannot hold {stored}")))?;
        Ok(Self::of(&kept))
    }

    /// The Arrow type of the vocabulary's `value` column.
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            Values::Number(kept) => kept.clone(),
            Values::Text => DataType::Utf8,
            Values::Tuple { fields, .. } => DataType::Struct(fields.clone()),
        }
    }

    /// Whether values of columns with these types can be looked up.
    pub(crate) fn accepts(&self, types: &[&DataType]) -> bool {
        let fits = |kept: &DataType, found: &DataType| {
            value_type(found)
                .is_some_and(|found| found == *kept || (is_small_integer(&found) && is_small_integer(kept)))
        };
        match self {
            Values::Number(kept) => types.iter().all(|found| fits(kept, found)),
            Values::Text => types.iter().all(|found| fits(&DataType::Utf8, found)),
            Values::Tuple { fields, .. } => {
                fields.len() == types.len()
                    && fields
                        .iter()
                        .zip(types)
                        .all(|(field, found)| fits(field.data_type(), found))
            }
        }
    }

    /// Converts one column, or the columns of a tuple, to keys.
    pub(crate) fn keys(&self, columns: &[ArrayRef]) -> Result<Keys> {
        match (self, columns) {
            (Values::Number(kept), [column]) => Ok(Keys::Numbers(numbers(column, kept)?)),
            (Values::Text, [column]) => {
                let text = cast(column, &DataType::Utf8)?.as_string::<i32>().clone();
                Ok(Keys::Bytes(BinaryArray::from(text)))
            }
            (Values::Tuple { fields, converter }, _) => {
                let canonical = fields
                    .iter()
                    .zip(columns)
                    .map(|(field, column)| same_values(column, field.data_type()))
                    .collect::<Result<Vec<_>>>()?;
                let rows = converter.convert_columns(&canonical)?;
                let length = columns.first().map_or(0, Array::len);
                let any = |row: usize| canonical.iter().any(|column| column.is_valid(row));
                let nulls = (0..length).map(any).collect::<NullBuffer>();
                let bytes = rows.try_into_binary()?;
                let (offsets, values, _) = bytes.into_parts();
                Ok(Keys::Bytes(BinaryArray::try_new(offsets, values, Some(nulls))?))
            }
            _ => Err(OperatorError::internal("a vocabulary of one column takes one column")),
        }
    }

    /// Converts keys back to values: the inverse of [`Values::keys`], but null tuples are lost.
    pub(crate) fn array(&self, keys: &Keys) -> Result<ArrayRef> {
        match (self, keys) {
            (Values::Number(kept), Keys::Numbers(numbers)) => values_of(numbers, kept),
            (Values::Text, Keys::Bytes(bytes)) => Ok(Arc::new(StringArray::try_from_binary(bytes.clone())?)),
            (Values::Tuple { fields, converter }, Keys::Bytes(bytes)) => {
                let parser = converter.parser();
                let columns = converter.convert_rows(bytes.iter().flatten().map(|row| parser.parse(row)))?;
                Ok(Arc::new(StructArray::try_new(fields.clone(), columns, None)?))
            }
            _ => Err(OperatorError::internal("these keys are not those of the vocabulary")),
        }
    }

    /// XXH3 hash of each key's canonical bytes. Part of the file format: it never changes.
    ///
    /// Text: its UTF-8 bytes. Numbers: eight bytes, little-endian, of the integer, of the days or ticks, or of the IEEE
    /// 754 double. Tuples: for each element 0 if null, else 1 and its bytes, where text is preceded by its length in
    /// eight bytes. A null hashes as no bytes, a null tuple as its zeros.
    pub(crate) fn hashes(&self, keys: &Keys) -> Result<Vec<u64>> {
        match (self, keys) {
            (Values::Number(kept), Keys::Numbers(numbers)) => {
                let nothing = xxh3_64(&[]);
                let hash = |key: i64| xxh3_64(&canonical(key, kept));
                Ok(numbers.iter().map(|key| key.map_or(nothing, hash)).collect())
            }
            (Values::Text, Keys::Bytes(text)) => Ok(text.iter().map(|v| xxh3_64(v.unwrap_or_default())).collect()),
            (Values::Tuple { fields, .. }, Keys::Bytes(rows)) => {
                let tuples = self.array(keys)?;
                let mut bytes: Vec<Vec<u8>> = vec![Vec::new(); tuples.len()];
                for (field, column) in fields.iter().zip(tuples.as_struct().columns()) {
                    append(&mut bytes, field.data_type(), column)?;
                }
                let nothing = xxh3_64(&vec![0; fields.len()]);
                let mut hashes = bytes.iter().map(|bytes| xxh3_64(bytes));
                let of = |row: usize| {
                    if rows.is_valid(row) {
                        hashes.next()
                    } else {
                        Some(nothing)
                    }
                };
                Ok((0..rows.len()).filter_map(of).collect())
            }
            _ => Err(OperatorError::internal("these keys are not those of the vocabulary")),
        }
    }
}

/// Appends the canonical bytes of one element to each tuple.
fn append(tuples: &mut [Vec<u8>], kept: &DataType, column: &ArrayRef) -> Result<()> {
    let keys = Values::of(kept).keys(std::slice::from_ref(column))?;
    for (row, tuple) in tuples.iter_mut().enumerate() {
        match &keys {
            Keys::Numbers(numbers) if numbers.is_valid(row) => {
                tuple.push(1);
                tuple.extend(canonical(numbers.value(row), kept));
            }
            Keys::Bytes(text) if text.is_valid(row) => {
                tuple.push(1);
                tuple.extend((text.value(row).len() as u64).to_le_bytes());
                tuple.extend(text.value(row));
            }
            _ => tuple.push(0),
        }
    }
    Ok(())
}

/// Normalises a column to its storage type: NaN becomes null, negative zero becomes zero.
fn same_values(column: &ArrayRef, kept: &DataType) -> Result<ArrayRef> {
    if *kept == DataType::Utf8 {
        return Ok(cast(column, kept)?);
    }
    values_of(&numbers(column, kept)?, kept)
}

fn numbers(column: &ArrayRef, kept: &DataType) -> Result<Int64Array> {
    Ok(match kept {
        DataType::UInt64 => cast(column, kept)?
            .as_primitive::<UInt64Type>()
            .unary(|v| (v as i64) ^ i64::MIN),
        DataType::Float32 | DataType::Float64 => cast(column, &DataType::Float64)?
            .as_primitive::<Float64Type>()
            .iter()
            .map(|v| v.filter(|v| !v.is_nan()).map(float_key))
            .collect(),
        small if is_small_integer(small) && *column.data_type() == DataType::Int32 => {
            let column = column.as_primitive::<Int32Type>();
            Int64Array::new(widened(column.values()).into(), column.nulls().cloned())
        }
        small if is_small_integer(small) => cast(column, &DataType::Int64)?.as_primitive::<Int64Type>().clone(),
        DataType::Time32(_) => {
            let ticks = cast(&cast(column, kept)?, &DataType::Int32)?;
            cast(&ticks, &DataType::Int64)?.as_primitive::<Int64Type>().clone()
        }
        other => {
            let column = cast(column, other)?;
            cast(&column, &DataType::Int64)?.as_primitive::<Int64Type>().clone()
        }
    })
}

fn values_of(keys: &Int64Array, kept: &DataType) -> Result<ArrayRef> {
    Ok(match kept {
        DataType::UInt64 => Arc::new(keys.unary::<_, UInt64Type>(|key| (key ^ i64::MIN) as u64)),
        DataType::Float32 | DataType::Float64 => {
            let floats: ArrayRef = Arc::new(keys.unary::<_, Float64Type>(|key| f64::from_bits(float_bits(key) as u64)));
            cast(&floats, kept)?
        }
        DataType::Date32 | DataType::Time32(_) => {
            let number = cast(keys, &DataType::Int32)?;
            cast(&number, kept)?
        }
        _ => cast(keys, kept)?,
    })
}

fn canonical(key: i64, kept: &DataType) -> [u8; 8] {
    match kept {
        DataType::UInt64 => (key ^ i64::MIN).to_le_bytes(),
        DataType::Float32 | DataType::Float64 => float_bits(key).to_le_bytes(),
        _ => key.to_le_bytes(),
    }
}

/// An integer that orders like the float; adding zero turns -0.0 into 0.0.
fn float_key(value: f64) -> i64 {
    float_bits((value + 0.0).to_bits() as i64)
}

/// Flips all bits but the sign of negative numbers; it is its own inverse.
fn float_bits(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, Float64Array, Int32Array, Time32SecondArray, Time64NanosecondArray, UInt64Array};

    #[test]
    fn keys_keep_order_and_come_back() {
        let arrays: [ArrayRef; 5] = [
            Arc::new(UInt64Array::from(vec![0, 1, u64::MAX / 2, u64::MAX])),
            Arc::new(Float64Array::from(vec![f64::NEG_INFINITY, -1.5, 0.0, 2.0])),
            Arc::new(Date32Array::from(vec![-1, 0, 1, 20_000])),
            Arc::new(Time32SecondArray::from(vec![0, 1, 86_399])),
            Arc::new(Time64NanosecondArray::from(vec![0, 1, 86_399_999_999_999])),
        ];
        for array in arrays {
            let values = Values::of(array.data_type());
            let keys = values.keys(std::slice::from_ref(&array)).unwrap();
            let Keys::Numbers(numbers) = &keys else {
                panic!("numbers")
            };
            assert!(numbers.values().is_sorted());
            assert_eq!(&values.array(&keys).unwrap(), &array);
        }
    }

    #[test]
    fn the_zeros_are_one_and_nan_is_null() {
        let array: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN]));
        let Ok(Keys::Numbers(numbers)) = Values::of(&DataType::Float64).keys(&[array]) else {
            panic!("numbers")
        };
        assert_eq!(numbers, Int64Array::from(vec![Some(0), Some(0), None]));
    }

    #[test]
    fn tuples_order_element_by_element_and_hash_by_published_bytes() {
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![None, Some(-1), Some(2), None]));
        let text: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), Some("a"), None, None]));
        let columns = [("n".to_owned(), DataType::Int32), ("t".to_owned(), DataType::Utf8)];
        let values = Values::tuple(&columns).unwrap();
        let keys = values.keys(&[numbers, text]).unwrap();
        let Keys::Bytes(bytes) = &keys else { panic!("bytes") };
        assert!(bytes.is_null(3), "a tuple without any value is null");
        assert!(bytes.value(0) < bytes.value(1) && bytes.value(1) < bytes.value(2));
        let mut second = vec![1];
        second.extend((-1_i64).to_le_bytes());
        second.extend([1, 1, 0, 0, 0, 0, 0, 0, 0, b'a']);
        let hashes = values.hashes(&keys).unwrap();
        assert_eq!((hashes[1], hashes[3]), (xxh3_64(&second), xxh3_64(&[0, 0])));
        let three = Keys::Bytes(bytes.slice(0, 3));
        let back = values.array(&three).unwrap();
        assert_eq!(
            back.as_struct().column(0).as_ref(),
            &Int32Array::from(vec![None, Some(-1), Some(2)])
        );
    }
}
