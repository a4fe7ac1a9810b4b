//! Values as keys: what makes two values of a column the same, which of them comes first, and their bytes for hashing.
//!
//! Numbers of every kind become 64-bit integers whose order is that of the values, so that one hash map serves them all.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, UInt64Type};
use arrow::error::ArrowError;

/// The values of an array as keys; null stands for null and NaN.
pub(super) enum Keys {
    /// Integers, booleans, dates, times and floats.
    Numbers(Int64Array),
    /// Strings.
    Text(StringArray),
}

/// The type in which values of `data_type` are kept, or `None` if they cannot be encoded.
pub(super) fn value_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Dictionary(_, values) => value_type(values),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Some(DataType::Utf8),
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32
        | DataType::Date64
        | DataType::Timestamp(..) => Some(data_type.clone()),
        _ => None,
    }
}

/// The values of `array`, which are kept as `value_type`, as keys.
pub(super) fn keys(array: &ArrayRef, value_type: &DataType) -> Result<Keys, ArrowError> {
    let array = cast(array, value_type)?;
    Ok(match value_type {
        DataType::Utf8 => Keys::Text(array.as_string::<i32>().clone()),
        DataType::UInt64 => Keys::Numbers(array.as_primitive::<UInt64Type>().unary(|v| (v as i64) ^ i64::MIN)),
        DataType::Float32 | DataType::Float64 => {
            let array = cast(&array, &DataType::Float64)?;
            let floats = array.as_primitive::<Float64Type>();
            Keys::Numbers(
                floats
                    .iter()
                    .map(|v| v.filter(|v| !v.is_nan()).map(float_key))
                    .collect(),
            )
        }
        _ => Keys::Numbers(cast(&array, &DataType::Int64)?.as_primitive::<Int64Type>().clone()),
    })
}

/// The values that `keys` came from: the inverse of [`keys`].
pub(super) fn values(keys: &Int64Array, value_type: &DataType) -> Result<ArrayRef, ArrowError> {
    match value_type {
        DataType::UInt64 => Ok(Arc::new(keys.unary::<_, UInt64Type>(|key| (key ^ i64::MIN) as u64))),
        DataType::Float32 | DataType::Float64 => {
            let floats: ArrayRef = Arc::new(keys.unary::<_, Float64Type>(|key| f64::from_bits(float_bits(key) as u64)));
            cast(&floats, value_type)
        }
        DataType::Date32 => {
            let days = cast(keys, &DataType::Int32)?;
            cast(&days, value_type)
        }
        _ => cast(keys, value_type),
    }
}

/// The canonical bytes of the value behind a key: eight bytes, little-endian, of the integer, of the days or ticks, or of
/// the IEEE 754 double. They are published: out-of-vocabulary buckets depend on them.
pub(super) fn canonical(key: i64, value_type: &DataType) -> [u8; 8] {
    match value_type {
        DataType::UInt64 => (key ^ i64::MIN).to_le_bytes(),
        DataType::Float32 | DataType::Float64 => float_bits(key).to_le_bytes(),
        _ => key.to_le_bytes(),
    }
}

/// An integer that orders like the float; adding zero makes the two zeros one.
fn float_key(value: f64) -> i64 {
    float_bits((value + 0.0).to_bits() as i64)
}

/// Flips the bits below the sign of negative numbers; applied twice it changes nothing.
fn float_bits(bits: i64) -> i64 {
    bits ^ (((bits >> 63) as u64) >> 1) as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, Float64Array, UInt64Array};

    #[test]
    fn keys_keep_order_and_come_back() {
        let arrays: [ArrayRef; 3] = [
            Arc::new(UInt64Array::from(vec![0, 1, u64::MAX / 2, u64::MAX])),
            Arc::new(Float64Array::from(vec![f64::NEG_INFINITY, -1.5, 0.0, 2.0])),
            Arc::new(Date32Array::from(vec![-1, 0, 1, 20_000])),
        ];
        for array in arrays {
            let Ok(Keys::Numbers(numbers)) = keys(&array, array.data_type()) else {
                panic!("numbers")
            };
            assert!(numbers.values().is_sorted());
            assert_eq!(&values(&numbers, array.data_type()).unwrap(), &array);
        }
    }

    #[test]
    fn the_zeros_are_one_and_nan_is_null() {
        let array: ArrayRef = Arc::new(Float64Array::from(vec![0.0, -0.0, f64::NAN]));
        let Ok(Keys::Numbers(numbers)) = keys(&array, &DataType::Float64) else {
            panic!("numbers")
        };
        assert_eq!(numbers, Int64Array::from(vec![Some(0), Some(0), None]));
    }
}
