//! Column values as text, for keys and documents.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float32Array, Float64Array, Int64Array, StringArray};
use arrow::array::{ListArray, UInt64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type, UInt64Type};

use crate::batch::decimal::{push_int, push_ints, push_uint, push_uints};
use towline_api::{OperatorError, Result};

/// Values of a column in a document; integers and text are allowed in keys as well.
pub(crate) enum ColumnValues {
    Int(Int64Array),
    UInt(UInt64Array),
    Text(StringArray),
    Bool(BooleanArray),
    Short(Float32Array),
    Long(Float64Array),
}

impl ColumnValues {
    /// Values of an array; types other than numbers and booleans are cast to text.
    pub(crate) fn of(array: &ArrayRef) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::UInt64 => ColumnValues::UInt(array.as_primitive::<UInt64Type>().clone()),
            other if other.is_integer() => {
                ColumnValues::Int(cast(array, &DataType::Int64)?.as_primitive::<Int64Type>().clone())
            }
            DataType::Boolean => ColumnValues::Bool(array.as_boolean().clone()),
            DataType::Float32 => ColumnValues::Short(array.as_primitive::<Float32Type>().clone()),
            DataType::Float64 => ColumnValues::Long(array.as_primitive::<Float64Type>().clone()),
            _ => ColumnValues::Text(cast(array, &DataType::Utf8)?.as_string::<i32>().clone()),
        })
    }

    /// Whether a column of this type is allowed in a key.
    pub(crate) fn takes(data_type: &DataType) -> bool {
        data_type.is_integer() || matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
    }

    /// Whether the value at `row` is null.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        match self {
            ColumnValues::Int(cells) => cells.is_null(row),
            ColumnValues::UInt(cells) => cells.is_null(row),
            ColumnValues::Text(cells) => cells.is_null(row),
            ColumnValues::Bool(cells) => cells.is_null(row),
            ColumnValues::Short(cells) => cells.is_null(row),
            ColumnValues::Long(cells) => cells.is_null(row),
        }
    }

    /// Whether the value at `row` is infinite or NaN.
    pub(crate) fn is_not_finite(&self, row: usize) -> bool {
        match self {
            ColumnValues::Short(cells) => !cells.is_null(row) && !cells.value(row).is_finite(),
            ColumnValues::Long(cells) => !cells.is_null(row) && !cells.value(row).is_finite(),
            _ => false,
        }
    }

    /// Appends the value at `row` as plain text.
    pub(crate) fn push_text(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            ColumnValues::Int(cells) => push_int(cells.value(row), out),
            ColumnValues::UInt(cells) => push_uint(cells.value(row), out),
            ColumnValues::Text(cells) => out.extend_from_slice(cells.value(row).as_bytes()),
            ColumnValues::Bool(cells) => out.extend_from_slice(if cells.value(row) { b"true" } else { b"false" }),
            // The shortest text that parses to the same number, always with a point or an exponent.
            ColumnValues::Short(cells) => out.extend_from_slice(format!("{:?}", cells.value(row)).as_bytes()),
            ColumnValues::Long(cells) => out.extend_from_slice(format!("{:?}", cells.value(row)).as_bytes()),
        }
    }

    /// Appends a range of values as JSON, separated by `, `, if the column holds integers without nulls; otherwise returns
    /// `false`.
    pub(crate) fn push_integers(&self, range: Range<usize>, out: &mut Vec<u8>) -> bool {
        match self {
            ColumnValues::Int(cells) if cells.null_count() == 0 => push_ints(&cells.values()[range], out),
            ColumnValues::UInt(cells) if cells.null_count() == 0 => push_uints(&cells.values()[range], out),
            _ => return false,
        }
        true
    }

    /// Appends the value at `row` as JSON.
    pub(crate) fn push_json(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            ColumnValues::Text(cells) => push_json_text(cells.value(row), out),
            ColumnValues::Short(cells) if !cells.value(row).is_finite() => out.extend_from_slice(b"null"),
            ColumnValues::Long(cells) if !cells.value(row).is_finite() => out.extend_from_slice(b"null"),
            _ => self.push_text(row, out),
        }
    }
}

/// Appends a JSON string.
pub(crate) fn push_json_text(text: &str, out: &mut Vec<u8>) {
    // Serialising text into memory cannot fail.
    let _ = serde_json::to_writer(out, text);
}

/// Lists of a column, of any Arrow list type.
pub(crate) struct ListValues {
    pub(crate) items: ColumnValues,
    ranges: Vec<Range<usize>>,
}

impl ListValues {
    /// `name` is the name of the column, for errors.
    pub(crate) fn of(name: &str, array: &ArrayRef) -> Result<Self> {
        let lists = as_list_array(name, array)?;
        let offsets = lists.offsets();
        let range = |row: usize| {
            if lists.is_null(row) {
                0..0
            } else {
                offsets[row] as usize..offsets[row + 1] as usize
            }
        };
        Ok(ListValues {
            items: ColumnValues::of(lists.values())?,
            ranges: (0..lists.len()).map(range).collect(),
        })
    }

    /// Range of the items of the list at `row`; empty for null.
    pub(crate) fn range(&self, row: usize) -> Range<usize> {
        self.ranges[row].clone()
    }
}

/// Casts any Arrow list type to `List`.
pub(crate) fn as_list_array(name: &str, array: &ArrayRef) -> Result<ListArray> {
    let lists = match array.data_type() {
        DataType::List(_) => Arc::clone(array),
        DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            cast(array, &DataType::List(Arc::clone(field)))?
        }
        other => return Err(OperatorError::internal(format!("`{name}` holds {other}, not lists"))),
    };
    Ok(lists.as_list::<i32>().clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_values_read_back_as_what_they_were() {
        let text = |array: ArrayRef| {
            let mut out = Vec::new();
            ColumnValues::of(&array).unwrap().push_json(0, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(Arc::new(Float32Array::from(vec![0.1]))), "0.1");
        assert_eq!(text(Arc::new(Float64Array::from(vec![2.0]))), "2.0");
        assert_eq!(text(Arc::new(Float64Array::from(vec![f64::NAN]))), "null");
        assert_eq!(text(Arc::new(BooleanArray::from(vec![true]))), "true");
        assert_eq!(text(Arc::new(StringArray::from(vec!["a\"b\n"]))), r#""a\"b\n""#);
    }
}
